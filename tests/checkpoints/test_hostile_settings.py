"""Settings that others wrote: each kind of damage is one clear error, at once and without memory."""

from __future__ import annotations

import json
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from safetensors.torch import load_file, save_file

from openemo.audio import WhisperEncoder
from openemo.checkpoints import EMBEDDED, read_index, resolve, verify_hashes, write_hashes
from openemo.checkpoints.combining import combine
from openemo.checkpoints.components import load_components, load_network, load_scheduler
from openemo.checkpoints.importing import import_weights
from openemo.checkpoints.upgrading import upgrade
from openemo.checkpoints.verifying import verify
from openemo.errors import CheckpointError, OpenEmoError
from openemo.models import EmoUNet
from openemo.models.motion_autoencoder import MotionAutoencoder
from openemo.pipeline import EmoPipeline

HUGE = 30_000_000
MOST_S, MOST_MB = 3.0, 400  # a load of these tiny models takes 0.3 s, on a busy machine up to 2 s
# Parsed from text, because Python's own writer makes none of these.
BROKEN = {
    "no object": "[1, 2]",
    "a number": "7",
    "nothing": "",
    "not JSON": "{",
    "too deep": '{"a": ' * 100_000,
    "deep lists": '{"in_channels": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "not a number": '{"norm_eps": NaN}',
    "infinite": '{"norm_eps": Infinity}',
    "infinite by size": '{"norm_eps": 1e999}',
    "twice": '{"in_channels": 4, "in_channels": 5}',
    "digits without end": '{"in_channels": ' + "9" * 10_000 + "}",
    "not text": "\udcff\udcfe",
}
UNET: dict[str, list[Any]] = {
    "layers_per_block": [HUGE, 2_000_000_000, -1, 1000, "2", 2.5, None, True],
    "temporal_blocks": [HUGE, 5000, -3],
    "temporal_attentions": [HUGE, 5000],
    "block_out_channels": [[8] * 1_000_000, [-8, 16], [2**62], ["8"], 8, [], [0, 0], [[8]]],
    "num_attention_heads": [0, -2, [2] * 1_000_000, "two"],
    "norm_num_groups": [0, -4, HUGE],
    "in_channels": [-4, 2**63, 10**30, {"a": 1}],
    "attention_levels": [["yes", "no"], [True] * 1_000_000],
    "locator_downscale": [0, 2**40, 3],
    "locator_channels": [[4] * 1_000_000],
    "max_frames": [2**40, -1],
    "audio_attention": ["nowhere", 5],
    "no_such_setting": [1],
    "norm_eps": ["small"],
    "speed_centres_rad_s": [[0.1] * 1_000_000, [], "fast"],
    "speed_window": [2**30, -2],
}
AUTOENCODER: dict[str, list[Any]] = {
    "sample_size": [2**20, 2**40, 0, -64, "64"],
    "decoder_blocks": [HUGE, -1],
    "decoder_channels": [[8] * 1_000_000, [8]],
    "flow_scale": [0, -1.0, "x"],
    "flow_stride": [0, 3],
}
WHISPER: dict[str, list[Any]] = {
    "encoder_layers": [HUGE, 5000, -1, "many"],
    "d_model": [HUGE, -8, 7, "wide"],
    "encoder_attention_heads": [0, -1, HUGE],
    "encoder_ffn_dim": [2**62],
    "max_source_positions": [2_000_000_000, 0],
    "num_mel_bins": [2**50, 81],
    "activation_function": ["no_such_function", 7],
}
SCHEDULER: dict[str, list[Any]] = {
    "num_train_timesteps": [2_000_000_000, -5, 0, "1000", 1.5, None],
    "beta_schedule": ["no_such_schedule", 3],
    "trained_betas": [[0.1] * 1_000_000, ["a"], "betas"],
    "_class_name": ["NoSuchScheduler", "UNet2DModel", 5, None, ["DDIMScheduler"]],
    "beta_start": ["small", None],
}
INDEX: dict[str, list[Any]] = {
    "pipeline": [{"clip_frames": 2_000_000_000}, {"speech_window_tokens": 10**12}, {"fps": "fast"}, 7, []],
    "speech": [{"layers": [2] * 1_000_000, "window_tokens": 10}, {"layers": ["a"]}, None],
    "components": [{"unet": "EmoUNet\x1b[2J"}, [], {"../../unet": "EmoUNet"}],
    "licence": [5, None],
}


@contextmanager
def within_limits() -> Iterator[None]:
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.process_time() - started < MOST_S
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MOST_MB


@pytest.fixture
def folder(tiny_dir: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_dir, tmp_path / "model"))


def load_unet(folder: Path) -> object:
    return load_network(EmoUNet, folder / "unet")


def load_autoencoder(folder: Path) -> object:
    return load_network(MotionAutoencoder, folder / "autoencoder")


def load_speech_encoder(folder: Path) -> object:
    return WhisperEncoder.from_pretrained(folder / "speech_encoder", layers=(1,))


def load_ddim(folder: Path) -> object:
    return load_scheduler(folder / "scheduler")


def load_index(folder: Path) -> object:
    index = read_index(folder)
    load_components(folder, index, device="cpu", dtype=torch.float32)
    return index.config()


PARTS: dict[str, tuple[Callable[[Path], object], str, dict[str, list[Any]]]] = {
    "unet": (load_unet, "unet/config.json", UNET),
    "autoencoder": (load_autoencoder, "autoencoder/config.json", AUTOENCODER),
    "speech encoder": (load_speech_encoder, "speech_encoder/config.json", WHISPER),
    "scheduler": (load_ddim, "scheduler/scheduler_config.json", SCHEDULER),
    "index": (load_index, "model_index.json", INDEX),
}


@pytest.fixture(scope="module")
def whole(tiny_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy in which the tests of this file damage one settings file, and mend it again."""
    folder = Path(shutil.copytree(tiny_dir, tmp_path_factory.mktemp("hostile") / "model"))
    DDIMScheduler().save_pretrained(folder / "scheduler")
    index = json.loads((folder / "model_index.json").read_text())
    index["components"]["scheduler"] = "DDIMScheduler"
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def is_refused(load: Callable[[Path], object], folder: Path, path: Path, content: bytes) -> None:
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        with within_limits(), pytest.raises(CheckpointError) as refused:
            load(folder)
    finally:
        path.write_bytes(before)
    message = str(refused.value)
    assert len(message) < 2000
    assert message.isprintable()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("kind", BROKEN)
def test_json_that_is_none_of_ours(whole: Path, part: str, kind: str) -> None:
    load, name, _ = PARTS[part]
    is_refused(load, whole, whole / name, BROKEN[kind].encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    ("part", "setting"), [(part, setting) for part, (_, _, settings) in PARTS.items() for setting in settings]
)
def test_settings_that_are_wrong_or_absurd(whole: Path, part: str, setting: str) -> None:
    load, name, settings = PARTS[part]
    load(whole)
    values = json.loads((whole / name).read_text())
    for wrong in settings[setting]:
        is_refused(load, whole, whole / name, json.dumps(values | {setting: wrong}).encode())


@pytest.mark.parametrize(
    "name", ["attn_implementation", "_attn_implementation", "_attn_implementation_internal"]
)
def test_a_folder_cannot_ask_transformers_for_code(folder: Path, name: str) -> None:
    """transformers would download a repository of kernels of this name, and run it."""
    path = folder / "speech_encoder" / "config.json"
    asks = {name: "someone/kernel", "auto_map": {"AutoModel": "code.py"}, "quantization_config": {"a": 1}}
    path.write_text(json.dumps(json.loads(path.read_text()) | asks))
    encoder: Any = EmoPipeline.from_pretrained(folder, verify=False).speech_encoder.encoder
    assert not encoder.config.model_dump().keys() & asks.keys()


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation", "auto_map"])
def test_verify_cannot_either(wav2vec2_folder: Path, tmp_path: Path, name: str) -> None:
    import_weights("wav2vec2", wav2vec2_folder, tmp_path / "speech")
    path = tmp_path / "speech" / "speech_encoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: "someone/kernel"}))
    write_hashes(tmp_path / "speech")
    assert "names and shapes" in verify(tmp_path / "speech")["speech_encoder"]


def test_weights_that_fit_no_setting_are_not_read(folder: Path) -> None:
    """A sparse file of 6 GB beside settings for a small network: refused by its header alone."""
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [1_500_000_000], "data_offsets": [0, 6_000_000_000]}})
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header.encode())
        file.truncate(8 + len(header) + 6_000_000_000)
    with within_limits(), pytest.raises(CheckpointError, match="do not fit"):
        EmoPipeline.from_pretrained(folder, verify=False)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_weights_that_are_no_real_numbers(folder: Path, dtype: torch.dtype) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor.to(dtype) for name, tensor in load_file(path).items()}, path)
    with pytest.raises(CheckpointError, match="real numbers"):
        EmoPipeline.from_pretrained(folder, verify=False)


@pytest.mark.parametrize(
    "name", ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "SHA256SUMS"]
)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "dangling"])
def test_files_that_are_no_files(folder: Path, name: str, kind: str) -> None:
    path = folder / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else folder / "nowhere")
    with within_limits(), pytest.raises(CheckpointError):
        verify_hashes(folder)
    if name != "SHA256SUMS":
        with within_limits(), pytest.raises(CheckpointError):
            EmoPipeline.from_pretrained(folder, verify=False)


def test_names_with_control_characters_do_not_reach_the_terminal(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file(load_file(path) | {"evil\x1b[2J\u202e\x07": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError) as refused:
        EmoPipeline.from_pretrained(folder, verify=False)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("model_index.json", lambda values: values.pop("components")),
        ("model_index.json", lambda values: values.update(components=7)),
        ("model_index.json", lambda values: values.update(components={"unet": []})),
        ("model_index.json", lambda values: values.update(pipeline=[1])),
        ("unet/config.json", lambda values: values.update(reference_norm={"a": 1})),
    ],
)
def test_upgrading_what_is_damaged(folder: Path, name: str, change: Callable[[Any], object]) -> None:
    (folder / "SHA256SUMS").unlink()
    path = folder / name
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    try:
        upgrade(folder, folder.parent / "new")
    except CheckpointError:
        assert not (folder.parent / "new").exists()


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("sd15/unet", {"block_out_channels": [HUGE]}),
        ("sd15/unet", {"block_out_channels": None}),
        ("sd15/unet", {"layers_per_block": HUGE}),
        ("motion/motion_modules", {"temporal_blocks": HUGE}),
        ("motion/motion_modules", {"max_frames": "x"}),
        ("speech/speech_encoder", {"num_hidden_layers": HUGE}),
        ("speech/speech_encoder", {"hidden_size": 2**19}),
        ("speech/speech_encoder", {"hidden_size": "wide"}),
    ],
)
def test_combining_parts_with_absurd_settings(
    combinable: dict[str, Path], tmp_path: Path, part: str, change: dict[str, Any]
) -> None:
    for name, source in combinable.items():
        shutil.copytree(source, tmp_path / name)
    path = tmp_path / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    write_hashes(path.parent.parent)
    with within_limits(), pytest.raises(OpenEmoError):
        combine(
            tmp_path / "sd15",
            tmp_path / "motion",
            tmp_path / "speech",
            resolve(EMBEDDED) / "face",
            tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="session")
def combinable(
    sd15_folder: Path,
    wav2vec2_folder: Path,
    motion_state: Callable[..., dict[str, torch.Tensor]],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """Imports that `combine` takes."""
    root = tmp_path_factory.mktemp("combinable")
    save_file(motion_state(mid=True, max_frames=32), root / "motion.safetensors")
    import_weights("sd15", sd15_folder, root / "sd15")
    import_weights("animatediff", root / "motion.safetensors", root / "motion")
    import_weights("wav2vec2", wav2vec2_folder, root / "speech")
    return {name: root / name for name in ("sd15", "motion", "speech")}
