"""Truncated, wrong and hostile files give a clear error. Nothing is executed or written."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from openemo.checkpoints.importing import import_weights
from openemo.checkpoints.tensor_files import find_weights, read_tensors, read_weights
from openemo.checkpoints.verifying import verify
from openemo.errors import CheckpointError
from openemo.files import read_json

UNET_FILE = "diffusion_pytorch_model.safetensors"
STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.arange(2.0)}


class Touch:
    """A pickle with code: unpickling it would call os.mkdir."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, legacy: bool) -> None:
    trap = tmp_path / "was_run"
    torch.save(STATE | {"trap": Touch(trap)}, tmp_path / "net.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"could run code; got (posix|os|nt)\.mkdir"):
        read_tensors(tmp_path / "net.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Touch(trap)))
    with pytest.raises(CheckpointError):
        read_tensors(tmp_path / "plain.pth")
    assert not trap.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_both_kinds_of_torch_files_are_read(tmp_path: Path, legacy: bool) -> None:
    torch.save(
        {"state_dict": STATE, "epoch": 1}, tmp_path / "net.pth", _use_new_zipfile_serialization=not legacy
    )
    raw = read_tensors(tmp_path / "net.pth")
    assert raw.tensors.keys() == STATE.keys()
    assert all(torch.equal(raw.tensors[name], STATE[name]) for name in STATE)
    assert raw.extras == {"epoch": 1}


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors", "legacy.pth"])
def test_a_truncated_file_is_an_error_wherever_it_ends(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=name == "net.pth")
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 40, len(whole) // 2, len(whole) - 9):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=f"{length} bytes"):
            read_tensors(path)


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors", "legacy.pth"])
def test_random_damage_never_ends_in_another_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=name == "net.pth")
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(5)
    outcomes = set()
    for _ in range(300):
        damaged = whole.copy()
        places = rng.integers(len(damaged), size=rng.integers(1, 9))
        damaged[places] = rng.integers(256, size=len(places))
        path.write_bytes(damaged.tobytes())
        try:
            read_tensors(path)
            outcomes.add("read")  # the damage is in values or padding, which only a hash can detect
        except CheckpointError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_an_absurd_header_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    for length in (2**63, 2**40, 99_999_999):
        path.write_bytes(struct.pack("<Q", length) + b"{}" + b"\0" * 64)
        with pytest.raises(CheckpointError, match="cannot be read as weights"):
            read_tensors(path)


def test_a_header_that_claims_more_than_the_file_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    (tmp_path / "net.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 16)
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        read_tensors(tmp_path / "net.safetensors")


def test_a_tensor_larger_than_its_bytes_is_refused(tmp_path: Path) -> None:
    # One stored number that claims a size of 4 TB.
    torch.save({"a": torch.zeros(1).expand(2**20, 2**20)}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="claims more values than it holds"):
        read_tensors(tmp_path / "net.pth")


def test_a_packed_archive_is_refused(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "net.pth")
    with (
        zipfile.ZipFile(tmp_path / "net.pth") as archive,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in archive.infolist():
            packed.writestr(entry.filename, archive.read(entry))
    with pytest.raises(CheckpointError, match="packed archive"):
        read_tensors(tmp_path / "packed.pth")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS pointer"),
        (b"<!doctype html><title>Sign in</title>", "web page"),
        (b"", "truncated"),
    ],
)
@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_common_mishaps_of_downloads_are_named(
    tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=expected):
        read_tensors(tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [[1, 2], {"a": 1}, {1: torch.zeros(2)}, torch.zeros(2), {"a": torch.zeros(2, 2).to_sparse()}],
)
def test_a_pickle_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(CheckpointError):
        read_tensors(tmp_path / "net.pth")


def test_unknown_kinds_of_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "net.gguf").write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match="unknown kind"):
        read_tensors(tmp_path / "net.gguf")
    with pytest.raises(CheckpointError, match="no weights in"):
        find_weights(tmp_path, ("model",))


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "..\\x.safetensors", 7]
)
def test_a_shard_outside_the_folder_is_refused(tmp_path: Path, name: object) -> None:
    (tmp_path / "model").mkdir()
    save_file(STATE, tmp_path / "secret.safetensors")
    index = tmp_path / "model" / f"{UNET_FILE}.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(STATE, name)}))
    with pytest.raises(CheckpointError, match=r"index\.json (names a file outside|is wrong)"):
        read_weights(index)


def test_a_shard_must_hold_what_the_index_lists(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    index = tmp_path / f"{UNET_FILE}.index.json"
    index.write_text(json.dumps({"weight_map": {"a.weight": "a.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"not what .* lists; got a\.bias"):
        read_weights(index)
    index.write_text(json.dumps({"weight_map": {"a.weight": "b.safetensors"}}))
    with pytest.raises(CheckpointError, match="no such file"):
        read_weights(index)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_damaged_settings_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_json(tmp_path / "config.json")


def change_shape(state: dict[str, Tensor]) -> None:
    state["conv_in.bias"] = state["conv_in.bias"][:-1].clone()


def drop_one(state: dict[str, Tensor]) -> None:
    del state["up_blocks.3.resnets.2.conv2.bias"]


def add_one(state: dict[str, Tensor]) -> None:
    state["up_blocks.3.resnets.9.conv2.bias"] = torch.zeros(3)


def spoil_one(state: dict[str, Tensor]) -> None:
    state["conv_in.bias"][0] = torch.nan


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (change_shape, r"conv_in\.bias"),
        (drop_one, r"up_blocks\.3\.resnets\.2\.conv2\.bias"),
        (add_one, r"up_blocks\.3\.resnets\.9\.conv2\.bias"),
        (spoil_one, r"conv_in\.bias is not finite"),
    ],
)
def test_wrong_tensors_are_named_and_nothing_is_written(
    sd15_folder: Path, tmp_path: Path, change: Callable[[dict[str, Tensor]], None], expected: str
) -> None:
    folder = Path(shutil.copytree(sd15_folder / "unet", tmp_path / "unet"))
    state = load_file(folder / UNET_FILE)
    change(state)
    save_file(state, folder / UNET_FILE)
    with pytest.raises(CheckpointError, match=expected):
        import_weights("sd15", folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["unet"]


def test_weights_of_another_format_are_refused(
    sd15_folder: Path, wav2vec2_folder: Path, openai_whisper: Path, tmp_path: Path
) -> None:
    unet = sd15_folder / "unet" / UNET_FILE
    wrong = [
        ("sd15", wav2vec2_folder),
        ("sd15", openai_whisper),
        ("animatediff", unet),
        ("animatediff", openai_whisper),
        ("wav2vec2", sd15_folder / "unet"),
        ("wav2vec2", unet),
        ("whisper", wav2vec2_folder),
        ("whisper", unet),
    ]
    for form, path in wrong:
        with pytest.raises(CheckpointError):
            import_weights(form, path, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_settings_of_another_network_are_refused(sd15_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sd15_folder / "unet", tmp_path / "unet"))
    path = folder / "config.json"
    settings = json.loads(path.read_text())
    for change, expected in (
        ({"use_linear_projection": True}, "use_linear_projection"),
        ({"norm_num_groups": 7}, "do not divide"),
        ({"norm_num_groups": "many"}, "settings make no EmoUNet"),
        ({"attention_head_dim": 0}, "settings make no EmoUNet|do not divide"),
        ({"_class_name": "FluxTransformer"}, "no part of SD-1.5"),
    ):
        path.write_text(json.dumps(settings | change))
        with pytest.raises(CheckpointError, match=expected):
            import_weights("sd15", folder, tmp_path / "out")


def test_speech_settings_cannot_ask_for_code_or_endless_networks(
    wav2vec2_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(wav2vec2_folder, tmp_path / "wav2vec2"))
    path = folder / "config.json"
    settings = json.loads(path.read_text())
    # transformers would download and run a kernel of this name.
    asks = {"attn_implementation": "someone/kernel", "_attn_implementation": "someone/kernel", "auto_map": {}}
    path.write_text(json.dumps(settings | asks))
    import_weights("wav2vec2", folder, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "speech_encoder" / "config.json").read_text())
    assert not written.keys() & asks.keys()
    for change in ({"num_hidden_layers": 10**9}, {"hidden_size": 10**9}, {"conv_dim": [10**9] * 7}):
        path.write_text(json.dumps(settings | change))
        with pytest.raises(CheckpointError, match="absurd"):
            import_weights("wav2vec2", folder, tmp_path / "out2")
    path.write_text(json.dumps(settings | {"hidden_size": "wide"}))
    with pytest.raises(CheckpointError):
        import_weights("wav2vec2", folder, tmp_path / "out2")
    assert not (tmp_path / "out2").exists()


def test_verify_finds_each_kind_of_damage(openai_whisper: Path, tmp_path: Path) -> None:
    import_weights("whisper", openai_whisper, tmp_path / "whole")
    verify(tmp_path / "whole")

    def spoiled(change: Callable[[Path], object]) -> Path:
        folder = tmp_path / "spoiled"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", folder)
        change(folder)
        return folder

    weights = "speech_encoder/model.safetensors"
    for change, expected in (
        (lambda f: (f / weights).unlink(), "missing"),
        (lambda f: (f / weights).write_bytes((f / weights).read_bytes()[:-4]), "damaged or was changed"),
        (lambda f: (f / "source.json").write_text("{}"), r"source\.json is damaged"),
        (lambda f: (f / "source.json").unlink(), "no weights of openemo"),
        (lambda f: (f / "SHA256SUMS").write_text("nonsense"), "SHA256SUMS is damaged"),
        (lambda f: (f / "extra.safetensors").write_bytes(b""), "not listed"),
    ):
        with pytest.raises(CheckpointError, match=expected):
            verify(spoiled(change))
    with pytest.raises(CheckpointError, match="no such folder"):
        verify(tmp_path / "nowhere")
