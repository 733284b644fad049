"""The stages from a folder as `openemo weights combine` writes it: image latents, wav2vec 2.0."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from openemo import training
from openemo.checkpoints.components import load_scheduler
from openemo.ddim_scheduler import DDIMScheduler
from openemo.errors import ConfigError
from openemo.models import EmoUNet, ReferenceNet
from openemo.models.image_autoencoder import ImageAutoencoder
from openemo.training.datasets.latent_coders import load_coder
from openemo.training.datasets.latent_sequences import LatentSequence, encode_sequences
from openemo.training.recipes import DenoiserRecipe
from openemo.training.stages.denoiser_stage import DenoiserStage
from tests.training.losses import draw_losses

SPEECH_DIM, SIDE, STRIDE = 3 * 6, 64, 4
SPATIAL: dict[str, Any] = dict(
    block_out_channels=(8, 12),
    attention_levels=(True, False),
    layers_per_block=1,
    num_attention_heads=2,
    norm_num_groups=4,
    ff_mult=1,
    cross_attention_dim=10,
)
SETTINGS: dict[str, Any] = dict(
    latents="image",
    speech="wav2vec2",
    prediction_type=None,
    steps=2,
    learning_rate=1e-3,
    lr_warmup_steps=1,
    clips=1,
    clip_frames=3,
    motion_frames=2,
    num_threads=1,
    quiet_share=0.5,
    speed_dropout=0.0,
)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Float16 networks under SD-1.5's schedule, its kind of autoencoder."""
    folder = tmp_path_factory.mktemp("sd15")
    with torch.random.fork_rng():
        torch.manual_seed(8)
        unet = EmoUNet(
            **SPATIAL,
            audio_feature_dim=SPEECH_DIM,
            audio_tokens=5,
            audio_dim=9,
            temporal_num_heads=2,
            temporal_attentions=1,
            temporal_ff_mult=1,
            max_frames=16,
            locator_downscale=STRIDE,
            speed_dim=6,
        )
        reference_net = ReferenceNet(**SPATIAL)
        autoencoder = ImageAutoencoder(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(4, 4, 8),
            layers_per_block=1,
            norm_num_groups=4,
        )
    networks = {"unet": unet, "reference_net": reference_net, "autoencoder": autoencoder}
    for name, network in networks.items():
        torch.nn.Module.half(network).save_pretrained(folder / name)
    schedule = DDIMScheduler(beta_schedule="scaled_linear", prediction_type="epsilon", clip_sample=False)
    schedule.save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture(scope="module")
def wav2vec_dir(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same sequences; the voices one row of wav2vec 2.0's features per frame."""
    folder = tmp_path_factory.mktemp("wav2vec")
    shutil.copytree(data_dir / "sequences", folder / "sequences")
    (folder / "voices").mkdir()
    rng = np.random.default_rng(3)
    for name, rows in (("c1.0", 11), ("quiet.0", 70)):
        np.save(folder / "voices" / f"{name}.npy", rng.standard_normal((rows, SPEECH_DIM)).astype(np.float16))
    return folder


def recipe(start: Path, data: Path, output: Path, **changes: Any) -> DenoiserRecipe:
    folders = dict(data=data, output=output, initial_weights=start, autoencoder=start / "autoencoder")
    return DenoiserRecipe(**(SETTINGS | folders | changes))


def test_pictures_are_coded_one_by_one(start: Path, wav2vec_dir: Path, tmp_path: Path) -> None:
    coder = load_coder("image", start / "autoencoder")
    coded = LatentSequence.load(encode_sequences(wav2vec_dir / "sequences", coder, tmp_path)[0])
    assert coded.latents.shape == (7, 4, SIDE // STRIDE, SIDE // STRIDE)
    assert coded.features.shape == (4, SIDE // STRIDE, SIDE // STRIDE)
    assert np.array_equal(coded.latents[0], coded.features)  # the first frame is the reference itself
    assert not np.array_equal(coded.latents[1], coded.features)


@pytest.mark.slow
def test_the_three_stages_train_from_it_one_after_the_other(
    start: Path, wav2vec_dir: Path, tmp_path: Path
) -> None:
    before, exported = start, start
    for stage in ("image", "video", "speed"):
        settings = recipe(exported, wav2vec_dir, tmp_path / stage, autoencoder=start / "autoencoder")
        path = tmp_path / f"{stage}.yaml"
        path.write_text(settings.model_dump_json())
        training.run(stage, path)
        before, exported = exported, tmp_path / stage / "export"
        old, new = (load_file(f / "unet/diffusion_pytorch_model.safetensors") for f in (before, exported))
        changed = {name for name, tensor in new.items() if not torch.equal(tensor, old[name].float())}
        assert changed
        assert any("speed" in name for name in changed) == (stage == "speed")
        assert any("audio" in name for name in changed) == (stage == "video")
        assert load_scheduler(exported / "scheduler").config.prediction_type == "epsilon"
    rows = (tmp_path / "speed" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [2]


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["image", "video", "speed"])
def test_mixed_precision_and_gradient_checkpointing_compute_the_same_step(
    start: Path, wav2vec_dir: Path, tmp_path: Path, stage: Any
) -> None:
    losses, gradients = [], []
    for changes in ({}, {"gradient_checkpointing": True}, {"mixed_precision": "bf16"}):
        made = DenoiserStage(stage, recipe(start, wav2vec_dir, tmp_path / "run", **changes))
        loss = draw_losses(made, 4)["loss"]
        loss.backward()
        trained = [p.grad for p in made.unet.parameters() if p.requires_grad and p.grad is not None]
        assert all(grad.dtype == torch.float32 for grad in trained)
        losses.append(float(loss.detach()))
        gradients.append(torch.cat([grad.flatten() for grad in trained]))
    # The same operations twice.
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-6, rtol=1e-4)
    # bfloat16 has 8 bits: 0.4 % per operation.
    assert losses[2] == pytest.approx(losses[0], rel=0.02)
    assert torch.nn.functional.cosine_similarity(gradients[2], gradients[0], dim=0) > 0.98


def test_settings_that_do_not_fit_are_errors(
    start: Path, wav2vec_dir: Path, data_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="without `initial_weights`"):
        DenoiserStage("image", recipe(start, wav2vec_dir, tmp_path / "a", initial_weights=None))
    stage = DenoiserStage("video", recipe(start, data_dir, tmp_path / "b"))  # Whisper's features
    with pytest.raises(ConfigError, match="1024"):
        draw_losses(stage, 1)
