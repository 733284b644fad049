"""All stages, from synthetic sequences to networks that load, with recipes as a person would write them."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from time import sleep

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes

from openemo import training
from openemo.behaviour import EMOTIONS
from openemo.data.sequences import FrameSequence
from openemo.errors import ConfigError
from openemo.face.landmarks import BROWS, LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from openemo.face.region_weights import region_weight
from openemo.image_tensors import images_to_tensor
from openemo.models import EmoUNet, ReferenceNet, reference_config, unet_config
from openemo.models.audio_layers import AudioProjection, AudioTimeEmbedding
from openemo.models.conditioning import SpeedEncoder
from openemo.models.motion_autoencoder import MotionAutoencoder
from openemo.models.temporal import TemporalModule
from openemo.training.audio_exports import AUDIO_LAYERS_NAME, is_audio_layer
from openemo.training.datasets.denoiser_dataset import loss_weight
from openemo.training.datasets.latent_coders import motion_coder
from openemo.training.datasets.latent_sequences import LatentSequence, encode_sequences
from openemo.training.recipes import AutoencoderRecipe, DenoiserRecipe
from openemo.training.stages.autoencoder_stage import AutoencoderStage
from openemo.training.stages.denoiser_stage import DenoiserStage, StageName, is_trained_in
from tests.pair import joined
from tests.training.losses import draw_losses

AUTOENCODER = """
steps: 3
learning_rate: 1.0e-3
lr_warmup_steps: 1
sequences: 1
frames: 2
num_threads: 1
model: {sample_size: 64, fine_channels: 8, middle_channels: 16, head_flow_scale: 0.03}
"""
SMALL = {"sample_size": 64, "fine_channels": 8, "middle_channels": 16, "head_flow_scale": 0.03}
DENOISER = """
steps: 9
learning_rate: 1.0e-3
lr_warmup_steps: 1
clips: 2
clip_frames: 3
motion_frames: 2
num_threads: 1
"""


def _run(stage: str, folder: Path, data: Path, recipe: str, **settings: object) -> Path:
    """Trains two steps into `folder`/`stage`; returns what it exported."""
    path = folder / f"{stage}.yaml"
    lines = {"data": data, "output": folder / stage} | settings
    path.write_text(recipe + "".join(f"{key}: {value}\n" for key, value in lines.items()))
    training.run(stage, path, ["steps=2"])
    rows = [json.loads(line) for line in (folder / stage / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2]
    assert all(math.isfinite(value) for value in rows[0].values())
    return folder / stage / "export"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def autoencoder(folder: Path, data_dir: Path) -> Path:
    return _run("autoencoder", folder, data_dir, AUTOENCODER) / "autoencoder"


@pytest.fixture(scope="module")
def image(folder: Path, data_dir: Path, autoencoder: Path) -> Path:
    return _run("image", folder, data_dir, DENOISER, autoencoder=autoencoder)


@pytest.fixture(scope="module")
def video(folder: Path, data_dir: Path, autoencoder: Path, image: Path) -> Path:
    return _run("video", folder, data_dir, DENOISER, autoencoder=autoencoder, initial_weights=image)


@pytest.fixture(scope="module")
def speed(folder: Path, data_dir: Path, autoencoder: Path, video: Path) -> Path:
    return _run(
        "speed", folder, data_dir, DENOISER, autoencoder=autoencoder, initial_weights=video, speed_dropout=0.0
    )


def test_the_autoencoder_stage_exports_what_a_pipeline_loads(autoencoder: Path) -> None:
    network = MotionAutoencoder.from_pretrained(autoencoder)
    assert (network.latent_channels, network.flow_size) == (40, 16)
    assert network.decoder.conv_out.weight.any()  # it started at zero, and learnt


def test_an_untrained_stage_is_the_same_for_a_seed_and_leaves_other_randomness_alone(data_dir: Path) -> None:
    recipe = AutoencoderRecipe(
        data=data_dir, output=data_dir, steps=1, learning_rate=1, frames=2, model=SMALL
    )
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = AutoencoderStage(recipe)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    losses = [draw_losses(stage, 4)["loss"] for stage in (first, first, AutoencoderStage(recipe))]
    assert losses[0] == losses[1] == losses[2]
    assert draw_losses(first, 5)["loss"] != losses[0]


def _changed(before: Path, after: Path, network: str) -> set[str]:
    old, new = (load_file(path / network / "diffusion_pytorch_model.safetensors") for path in (before, after))
    assert old.keys() == new.keys()
    return {name for name in old if not torch.equal(old[name], new[name])}


def test_exports_load_as_a_pipeline_loads_them(speed: Path) -> None:
    unet = EmoUNet.from_pretrained(speed / "unet")
    reference_net = ReferenceNet.from_pretrained(speed / "reference_net")
    assert unet.config.in_channels == 40
    assert reference_net.config.in_channels == 64 + 40
    assert (speed / "scheduler" / "scheduler_config.json").is_file()


def test_the_image_stage_leaves_audio_and_temporal_layers_at_zero(image: Path) -> None:
    weights = load_file(image / "unet" / "diffusion_pytorch_model.safetensors")
    silent = [
        name for name in weights if "attn_audio.to_out" in name or "temporal_transformer.proj_out" in name
    ]
    assert silent
    assert not any(weights[name].any() for name in silent)
    assert weights["face_locator.conv_out.weight"].any()


def test_the_video_stage_trains_audio_and_temporal_layers_alone(image: Path, video: Path) -> None:
    changed = _changed(image, video, "unet")
    assert any("motion_modules" in name for name in changed)
    assert any("attn_audio" in name for name in changed)
    assert all("motion_modules" in name or "audio" in name for name in changed)
    assert not any("speed" in name for name in changed)
    assert not _changed(image, video, "reference_net")


def test_the_speed_stage_trains_temporal_and_speed_layers_alone(video: Path, speed: Path) -> None:
    changed = _changed(video, speed, "unet")
    assert any("attn_speed" in name for name in changed)
    assert any(name.startswith("speed_encoder") for name in changed) or "speed_encoder" not in changed
    assert all("motion_modules" in name or "speed" in name for name in changed)
    assert not any("audio" in name for name in changed)
    assert not _changed(video, speed, "reference_net")


@pytest.fixture
def recipe(folder: Path, data_dir: Path, autoencoder: Path, image: Path) -> DenoiserRecipe:
    return DenoiserRecipe(
        data=data_dir,
        output=folder / "unused",
        steps=1,
        learning_rate=1,
        autoencoder=autoencoder,
        initial_weights=image,
        clips=1,
        clip_frames=3,
        motion_frames=2,
    )


def test_an_autoencoder_with_other_latents_is_refused(recipe: DenoiserRecipe, tmp_path: Path) -> None:
    MotionAutoencoder(sample_size=64).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"do not fit the networks; got 32 channels; expected 40 channels"):
        DenoiserStage("image", recipe.model_copy(update={"autoencoder": tmp_path}))


def test_audio_layers_of_a_pupil_keep_what_reads_them(
    recipe: DenoiserRecipe, image: Path, tmp_path: Path
) -> None:
    """Other layers set their readers to zero, because these do not know them."""
    start = tmp_path / "start"
    shutil.copytree(image, start)
    network = EmoUNet.from_pretrained(start / "unet")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.5)
    network.save_pretrained(start / "unet")
    own = network.state_dict()
    layers = {name: value + 1 for name, value in own.items() if is_audio_layer(name)}
    save_file(layers, tmp_path / AUDIO_LAYERS_NAME)
    for is_kept in (False, True):
        changes = {"initial_weights": start, "audio": tmp_path, "keep_audio_readers": is_kept}
        state = DenoiserStage("video", recipe.model_copy(update=changes)).unet.state_dict()
        differing = {name for name, value in state.items() if not value.equal(own[name])}
        assert (differing == set(layers)) == is_kept
        assert set(layers) <= differing


def test_the_error_of_the_mouths_shape_is_added_to_the_loss(recipe: DenoiserRecipe) -> None:
    plain, shaped = (
        draw_losses(DenoiserStage("video", recipe.model_copy(update={"mouth_shape_weight": weight})), 3)
        for weight in (0.0, 0.5)
    )
    assert "mouth_shape" not in plain
    assert shaped["mouth_shape"] > 0
    torch.testing.assert_close(shaped["loss"], plain["loss"] + 0.5 * shaped["mouth_shape"])


def test_a_network_that_predicts_noise_has_no_shape_to_compare(recipe: DenoiserRecipe) -> None:
    noise = {"mouth_shape_weight": 0.5, "prediction_type": "flow_prediction"}
    with pytest.raises(ConfigError, match="`mouth_shape_weight` needs a network that predicts latents"):
        DenoiserStage("video", recipe.model_copy(update=noise))


def test_batches_and_losses_of_a_stage_follow_from_the_generator(recipe: DenoiserRecipe) -> None:
    stage = DenoiserStage("video", recipe)
    with torch.no_grad():
        losses = [draw_losses(stage, seed)["loss"] for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("name", ["image", "video"])
def test_frames_are_consecutive_in_clips_alone_and_each_has_its_own_audio(
    recipe: DenoiserRecipe, name: StageName
) -> None:
    exact = dict(motion_noise=0, audio_dropout=0, quiet_share=0, real_share=0, clip_frames=5)
    stage = DenoiserStage(name, recipe.model_copy(update=exact))
    sequence = stage.dataset.groups["driven"][0]
    numbers = np.arange(len(sequence.latents), dtype=np.float16)[:, None, None, None]
    # Behaviour is added to the clips; without expressions it leaves the first channels as they are.
    stage.dataset.groups["driven"] = [
        replace(sequence, latents=numbers + 0 * sequence.latents, expressions=0 * sequence.expressions)
    ]
    width = stage.unet.config.audio_feature_dim
    assert width is not None
    tokens = np.arange(400, dtype=np.float16)[:, None].repeat(width, 1)
    stage.dataset.voices = {sequence.clip: [tokens]}
    steps = set()
    for seed in range(6):
        batch = stage.dataset.draw(torch.Generator().manual_seed(seed))
        frames = batch.latents_BCFHW[0, 0, :, 0, 0]
        assert len(set(frames.tolist())) == len(frames)
        steps |= set(frames.diff().tolist())
        middle = batch.audio_BFTD[0, :, 4:6].mean((1, 2))  # of ten tokens, two per frame
        torch.testing.assert_close(middle, 2 * (frames + sequence.first_frame) + 1.5, atol=1, rtol=0)
    assert (steps == {1}) == (name == "video")


@pytest.mark.parametrize("first_clip_share", [0.0, 1.0])
def test_silence_augmentation_returns_a_portrait_to_rest(
    recipe: DenoiserRecipe, first_clip_share: float
) -> None:
    exact = dict(first_clip_share=first_clip_share, motion_noise=0, audio_dropout=0, clip_frames=5)
    silenced = dict(silence_augmentation_share=1, quiet_share=0, real_share=0)
    stage = DenoiserStage("video", recipe.model_copy(update=exact | silenced))
    stage.dataset.groups["driven"] = [
        replace(sequence, expressions=0 * sequence.expressions) for sequence in stage.dataset.groups["driven"]
    ]
    stage.dataset.voices = {"": [torch.full((400, 16), 7.0).numpy()]}  # no clip's voice is there to be taken
    was_at_rest = set()
    for seed in range(12):
        batch = stage.dataset.draw(torch.Generator().manual_seed(seed))
        face = slice(32)  # the channels behind them are those of the head
        before, clean = batch.motion_BCNHW[:, face, -1], batch.latents_BCFHW[:, face]
        for time in range(5):  # the rest of the motion shrinks with every frame
            torch.testing.assert_close(clean[:, :, time], before * 0.6 ** (time + 1))
        # A person who is silent goes on moving the head.
        assert batch.latents_BCFHW[:, 32:].any()
        assert batch.motion_conditions_BFK.any()
        assert (batch.audio_BFTD == 7).any()
        was_at_rest.add(not before.any())
    # The first clip of a video starts at rest: no motion frame shows a motion to return from.
    assert was_at_rest == ({True} if first_clip_share else {True, False})


def _names(module: nn.Module, *kinds: type[nn.Module]) -> set[str]:
    """Parameters inside modules of these kinds."""
    return {
        f"{prefix}.{name}"
        for prefix, part in module.named_modules()
        if isinstance(part, kinds)
        for name, _ in part.named_parameters()
    }


@pytest.fixture(scope="module")
def parameters() -> dict[str, set[str]]:
    """Names of the shipped network's parameters, by what their modules are and not what they are called."""
    with torch.device("meta"):
        unet, reference_net = EmoUNet(**unet_config("embedded")), ReferenceNet(**reference_config("embedded"))
    audio = {name for name, _ in unet.named_parameters() if "attn_audio." in name or "norm_audio." in name}
    speed = {name for name, _ in unet.named_parameters() if "attn_speed." in name or "norm_speed." in name}
    assert audio
    assert speed
    return {
        "speed": speed | _names(unet, SpeedEncoder),
        "temporal": _names(unet, TemporalModule) - speed,
        "audio": audio | _names(unet, AudioProjection, AudioTimeEmbedding),
        "all": {name for name, _ in unet.named_parameters()},
        "reference": {name for name, _ in reference_net.named_parameters()},
    }


@pytest.mark.parametrize("train_backbone", [False, True])
def test_each_stage_trains_what_emo_says(
    parameters: dict[str, set[str]], data_dir: Path, train_backbone: bool
) -> None:
    recipe = DenoiserRecipe(
        data=data_dir,
        output=data_dir,
        steps=1,
        learning_rate=1,
        autoencoder=data_dir,
        train_backbone=train_backbone,
    )

    def trained(stage: StageName, names: str = "all") -> set[str]:
        return set(filter(is_trained_in(stage, recipe), parameters[names]))

    audio, time, speed = (parameters[name] for name in ("audio", "temporal", "speed"))
    backbone = parameters["all"] - audio - time - speed
    assert {"conv_in.weight", "face_locator.conv_out.weight"} <= backbone
    assert trained("image") == backbone
    assert trained("image", "reference") == parameters["reference"]
    assert trained("video") == audio | time | (backbone if train_backbone else set())
    assert trained("video", "reference") == (parameters["reference"] if train_backbone else set())
    assert trained("speed") == time | speed
    assert not trained("speed", "reference")
    assert trained("image") | trained("video") | trained("speed") == parameters["all"]


def test_with_trained_audio_layers_the_image_stage_has_audio_conditioning(
    parameters: dict[str, set[str]], data_dir: Path
) -> None:
    recipe = DenoiserRecipe(
        data=data_dir, output=data_dir, steps=1, learning_rate=1, autoencoder=data_dir, audio=data_dir
    )
    trained = set(filter(is_trained_in("image", recipe), parameters["all"]))
    frozen = set(filter(is_audio_layer, parameters["all"]))
    assert frozen < parameters["audio"]
    assert trained == parameters["all"] - parameters["temporal"] - parameters["speed"] - frozen


def test_coded_sequences_are_relative_to_the_reference_and_made_once(
    tmp_path: Path, data_dir: Path, autoencoder: Path
) -> None:
    network = MotionAutoencoder.from_pretrained(autoencoder)
    paths = encode_sequences(data_dir / "sequences", motion_coder(network), tmp_path)
    assert [path.name for path in paths] == ["driven-a.npz", "driven-b.npz", "quiet-a.npz", "real-c1.npz"]
    source, coded = FrameSequence.load(data_dir / "sequences" / "driven-a.npz"), LatentSequence.load(paths[0])
    channels = network.latent_channels
    assert coded.latents.shape == (7, channels, 4, 4)
    assert coded.features.shape == (64, 4, 4)
    assert (coded.boxes.shape, coded.face.shape, coded.depth.shape) == ((7, 4), (478, 3), (8, 8))
    assert coded.expressions.shape == (1 + len(EMOTIONS), channels, 4, 4)
    assert (coded.clip, coded.first_frame) == ("c1", 2)
    assert not coded.latents[0].any()  # the first frame has the reference's landmarks: no flow
    assert coded.latents[1].any()
    low, high = coded.boxes[:, :2], coded.boxes[:, 2:]
    points = source.points_px[1:] / 64
    assert (points >= low[:, None] - 1e-6).all()
    assert (points <= high[:, None] + 1e-6).all()

    times = {path: path.stat().st_mtime_ns for path in paths}
    encode_sequences(data_dir / "sequences", motion_coder(network), tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == times


def _code_as_one_of_two(rank: int, folder: Path, data: Path, autoencoder: Path) -> None:
    """Keeps a list of what this process coded; the second one is slow."""
    whole, own = LatentSequence.save, []

    def save(coded: LatentSequence, path: Path) -> None:
        sleep(0.3 * rank)
        whole(coded, path)
        own.append(path.name)

    with pytest.MonkeyPatch.context() as patch, joined(rank, folder):
        patch.setattr(LatentSequence, "save", save)
        coder = motion_coder(MotionAutoencoder.from_pretrained(autoencoder))
        paths = encode_sequences(data, coder, folder / "coded")
        assert all(path.exists() for path in paths)
    (folder / f"own {rank}").write_text("\n".join(own))


def test_two_processes_code_each_a_part_and_go_on_with_all(
    data_dir: Path, autoencoder: Path, tmp_path: Path
) -> None:
    arguments = (tmp_path, data_dir / "sequences", autoencoder)
    start_processes(_code_as_one_of_two, arguments, nprocs=2)
    first, second = ((tmp_path / f"own {rank}").read_text().splitlines() for rank in range(2))
    assert first == ["driven-a.npz", "quiet-a.npz"]
    assert second == ["driven-b.npz", "real-c1.npz"]


def test_coded_frames_decode_to_the_warp_and_what_was_coded(
    data_dir: Path, autoencoder: Path, tmp_path: Path
) -> None:
    network = MotionAutoencoder.from_pretrained(autoencoder)
    source = FrameSequence.load(data_dir / "sequences" / "driven-a.npz")
    coded = LatentSequence.load(encode_sequences(data_dir / "sequences", motion_coder(network), tmp_path)[0])
    image = images_to_tensor([source.picture(0)])
    latents = torch.from_numpy(coded.latents).float().transpose(0, 1)[None]
    with torch.no_grad():
        reference = network.encode_reference(image)
        frames = network.decode(latents, reference)
        residual = network.decoder(reference.pyramid, network.unpack(latents[:, :, 0]))
    torch.testing.assert_close(
        reference.pyramid.coarse[0], torch.from_numpy(coded.features).float(), atol=2e-3, rtol=1e-3
    )
    # Frame 0 has no flow: the picture itself, and what the decoder learnt in two steps.
    assert residual.any()
    torch.testing.assert_close(frames[:, :, 0], (image + residual).clamp(-1, 1), atol=1e-4, rtol=0)


def test_the_weight_of_a_region_is_at_the_region() -> None:
    points = torch.full((2, 478, 2), 0.5)
    points[0, 5], points[0, 7] = torch.tensor([0.7, 0.2]), torch.tensor([0.8, 0.3])
    points[1, 5], points[1, 7] = torch.tensor([0.1, 0.6]), torch.tensor([0.3, 0.6])
    weight: Tensor = region_weight(points, 101, (5, 7))
    assert weight.shape == (2, 1, 101, 101)
    for item, (x, y) in zip(weight[:, 0], ((0.75, 0.25), (0.2, 0.6)), strict=True):
        row, column = divmod(int(item.argmax()), 101)
        assert (column + 0.5) / 101 == pytest.approx(x, abs=0.5 / 101 + 1e-6)
        assert (row + 0.5) / 101 == pytest.approx(y, abs=0.5 / 101 + 1e-6)
        assert float(item.max()) == pytest.approx(1, abs=0.05)  # the middle lies between pixels


def test_the_loss_weighs_mouth_and_eyes_with_brows_as_the_recipe_says() -> None:
    face = np.zeros((478, 2), np.float32)
    # At the centres of cells 10 and 15, 14 and 6, 6 and 6.
    for part, centre in (
        (OUTER_LIPS, (0.525, 0.775)),
        ((*LEFT_EYE, *BROWS[10:]), (0.725, 0.325)),
        ((*RIGHT_EYE, *BROWS[:10]), (0.325, 0.325)),
    ):
        face[list(part)] = np.linspace(-0.05, 0.05, len(part))[:, None] + centre
    weight = loss_weight(face, 20, 12.0, 3.0)[0, 0]
    assert float(weight[15, 10]) == pytest.approx(13, abs=0.01)
    assert weight[6, [6, 14]].tolist() == pytest.approx([4, 4], abs=0.01)
    assert float(weight[0, 10]) < 1.1
    assert torch.equal(loss_weight(face, 20, 0.0, 0.0), torch.ones(1, 1, 20, 20))
