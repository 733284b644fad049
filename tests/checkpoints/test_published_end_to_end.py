"""From the published layout to a video, with the commands that a user types. Networks are tiny and random."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model

from openemo import checkpoints
from openemo.checkpoints.combining import combine
from openemo.checkpoints.families import echomimic, hallo
from openemo.checkpoints.importing import import_weights
from openemo.checkpoints.key_map import KeyMap
from openemo.checkpoints.verifying import verify
from openemo.cli.main import main
from openemo.errors import CheckpointError
from openemo.models import EmoUNet, ReferenceNet, reference_config, unet_config
from openemo.models.network_presets import Preset
from openemo.pipeline import EmoPipeline
from openemo.pipeline_presets import pipeline_config
from openemo.video.video_reader import probe

from .conftest import randomise, write_openai_whisper

# Widths that 8 heads and 32 groups divide: the files do not hold these two numbers.
SPATIAL: dict[str, Any] = dict(
    block_out_channels=(32, 64), attention_levels=(True, False), layers_per_block=1, ff_mult=1
)
TEMPORAL: dict[str, Any] = dict(temporal_attentions=1, temporal_ff_mult=1, max_frames=24)
LOCATOR: dict[str, Any] = dict(locator_downscale=4, locator_channels=(5, 6, 7))
WHISPER_DIM, WAV2VEC2_DIM = 12, 14
SMALL = dict(clip_frames=5, num_inference_steps=2, crop_px=48)


def networks(preset: Preset, text_dim: int, **sizes: Any) -> tuple[EmoUNet, ReferenceNet]:
    unet = EmoUNet(
        **unet_config(preset) | SPATIAL | TEMPORAL | LOCATOR | sizes | dict(cross_attention_dim=text_dim)
    )
    has_text = reference_config(preset)["cross_attention_dim"] is not None
    reference = SPATIAL | dict(cross_attention_dim=text_dim if has_text else None)
    return unet, ReferenceNet(**reference_config(preset) | reference)


def published(key_map: KeyMap, *parts: torch.nn.Module) -> dict[str, Tensor]:
    own = {
        f"{name}.{key}": tensor
        for seed, (name, part) in enumerate(zip(("unet", "reference_net"), parts, strict=True))
        for key, tensor in part.state_dict().items()
        | randomise({k: t for k, t in part.state_dict().items() if not k.endswith(".pe")}, seed).items()
    }
    return {key_map.published[name]: tensor for name, tensor in own.items()}


def write_helpers(folder: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(4, 8, 12),
            norm_num_groups=4,
        ).save_pretrained(folder / "sd-vae-ft-mse")


def write_hallo(folder: Path) -> None:
    """`pretrained_models`, as Hallo's instructions lay it out."""
    parts = networks(
        "hallo",
        6,
        audio_feature_dim=3 * WAV2VEC2_DIM,
        audio_hidden_dim=9,
        audio_tokens=3,
        audio_dim=11,
        identity_dim=13,
        identity_tokens=2,
    )
    (folder / "hallo").mkdir(parents=True)
    torch.save(published(hallo.key_map(*parts), *parts), folder / "hallo" / "net.pth")
    write_helpers(folder)
    write_wav2vec2(folder / "wav2vec" / "wav2vec2-base-960h")


def write_wav2vec2(folder: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        speech = Wav2Vec2Model(
            Wav2Vec2Config(
                hidden_size=WAV2VEC2_DIM,
                conv_dim=(6, 8),
                conv_stride=(20, 16),
                conv_kernel=(30, 18),
                num_feat_extract_layers=2,
                num_conv_pos_embeddings=6,
                num_conv_pos_embedding_groups=2,
                num_hidden_layers=3,
                intermediate_size=10,
                num_attention_heads=2,
                vocab_size=7,
            )
        )
    speech.save_pretrained(folder)


def write_echomimic(folder: Path) -> None:
    """`pretrained_weights`, as EchoMimic's instructions lay it out, with the accelerated weights."""
    parts = networks("echomimic", WHISPER_DIM, audio_feature_dim=WHISPER_DIM)
    tensors = published(echomimic.key_map(*parts), *parts)
    (folder / "audio_processor").mkdir(parents=True)
    files: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        network, _, key = name.partition("/")
        stem = "motion_module" if ".motion_modules." in key else network
        files.setdefault(stem, {})[key] = tensor
    for stem, state in files.items():
        torch.save(state, folder / f"{stem}.pth")
        if stem in ("denoising_unet", "motion_module"):
            torch.save(state, folder / f"{stem}_acc.pth")
    write_helpers(folder)
    write_openai_whisper(
        folder / "audio_processor" / "whisper_tiny.pt", width=WHISPER_DIM, layers=4, positions=1500
    )


def shrink(model: Path) -> None:
    """Fewer pixels, frames and steps than the published settings, for a fast test."""
    index = json.loads((model / "model_index.json").read_text())
    index["pipeline"] |= SMALL
    (model / "model_index.json").write_text(json.dumps(index))
    checkpoints.write_hashes(model)


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    times_s = np.arange(5_120) / 16_000  # 8 frames at 25 per second
    with wave.open(str(tmp_path / "voice.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((9_000 * np.sin(2 * np.pi * 190 * times_s)).astype("<i2").tobytes())
    return tmp_path / "voice.wav"


def animate(model: str, portrait: Path, voice: Path, output: Path) -> None:
    options = ("--model", model, "--framing", "crop", "--size-px", "64")
    assert main(["animate", str(portrait), str(voice), "-o", str(output), *options]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hallo", "echomimic", "echomimic-acc"])
def test_import_then_animate_by_name(
    name: str,
    embedded_dir: Path,
    portrait_path: Path,
    voice: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, weights = tmp_path / "published", tmp_path / "weights"
    (write_hallo if name == "hallo" else write_echomimic)(source)
    monkeypatch.setenv("OPENEMO_WEIGHTS", str(weights))
    assert main(["weights", "import", name, str(source), "-o", str(weights / name)]) == 0
    assert main(["weights", "verify", str(weights / name)]) == 0
    family: Any = name.replace("-", "_")
    assert EmoPipeline.from_pretrained(name).config == pipeline_config(family)
    shrink(weights / name)
    animate(name, portrait_path, voice, tmp_path / "out.mp4")
    info = probe(tmp_path / "out.mp4")
    frames = 8  # 0.32 s are 7.68 frames at 24 per second, EchoMimic's
    assert (info.width, info.height, info.num_frames, info.has_audio) == (64, 64, frames, True)


def test_networks_alone_are_parts_and_no_model(tmp_path: Path) -> None:
    write_hallo(tmp_path / "published")
    import_weights("hallo", tmp_path / "published" / "hallo" / "net.pth", tmp_path / "out")
    assert set(verify(tmp_path / "out")) == {"unet", "reference_net"}
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        EmoPipeline.from_pretrained(tmp_path / "out")


@pytest.mark.slow
def test_sd15_by_name_is_emo(
    sd15_folder: Path,
    motion_state: Any,
    embedded_dir: Path,
    portrait_path: Path,
    voice: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENEMO_WEIGHTS", str(tmp_path / "weights"))
    torch.save({"state_dict": motion_state(mid=True, max_frames=24)}, tmp_path / "mm.ckpt")
    write_wav2vec2(tmp_path / "wav2vec2")
    parts = {"sd15": sd15_folder, "animatediff": tmp_path / "mm.ckpt", "wav2vec2": tmp_path / "wav2vec2"}
    for form, path in parts.items():
        import_weights(form, path, tmp_path / "parts" / form)
    sd15, animatediff, speech = (tmp_path / "parts" / form for form in parts)
    model = tmp_path / "weights" / "sd15"
    combine(sd15, animatediff, speech, embedded_dir / "face", model)
    pipeline = EmoPipeline.from_pretrained("sd15")
    assert pipeline.unet.config.audio_feature_dim == pipeline.speech_encoder.feature_dim
    assert (pipeline.config.crop_px, pipeline.config.speech_window_tokens) == (512, 5)
    shrink(model)
    animate("sd15", portrait_path, voice, tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").num_frames == 8
