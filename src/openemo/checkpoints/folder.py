"""The files of a checkpoint folder. This module reads and writes `model_index.json` and `SHA256SUMS`.

model_index.json         classes of the components, pipeline settings, licence
SHA256SUMS               hash of every file below, in the format of `sha256sum`
unet/ reference_net/ autoencoder/
                             config.json + diffusion_pytorch_model.safetensors, as diffusers writes them
scheduler/               scheduler_config.json
speech_encoder/          config.json + model.safetensors, as transformers writes them
face/                    three ONNX files, of the component `face_analyzer`
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError

from openemo.config import PipelineConfig
from openemo.errors import CheckpointError, ConfigError
from openemo.files import read_bounded, read_json
from openemo.settings import StrictModel, wrong_setting
from openemo.timing import Anchor

__all__ = [
    "CheckpointIndex",
    "SpeechOptions",
    "Wav2VecOptions",
    "WhisperOptions",
    "file_sha256",
    "parse_speech_options",
    "read_index",
    "verify_hashes",
    "write_hashes",
    "write_index",
]

INDEX_NAME = "model_index.json"
HASHES_NAME = "SHA256SUMS"
_MOST_LAYERS = 100
_MOST_HASHES_BYTES = 2**20
_HASHED_SUFFIXES = frozenset({".json", ".safetensors", ".onnx"})
REPAIR = "Copy or install the checkpoint again"


class WhisperOptions(StrictModel):
    """Arguments of `WhisperEncoder`, explained there."""

    layers: tuple[int, ...] = Field(max_length=_MOST_LAYERS)
    window_tokens: int
    separate_windows: bool = False
    final_norm: bool = True
    normalise: bool = True
    split_layers: bool = False
    anchor: Anchor = "middle"


class Wav2VecOptions(StrictModel):
    """Arguments of `Wav2VecEncoder`, explained there."""

    layers: tuple[int, ...] | None = Field(None, max_length=_MOST_LAYERS)
    normalise: bool = True


SpeechOptions = WhisperOptions | Wav2VecOptions


def parse_speech_options(values: dict[str, Any]) -> SpeechOptions:
    """Options of the encoder that has these arguments. Raises ValidationError."""
    return TypeAdapter[SpeechOptions](SpeechOptions).validate_python(values)


class CheckpointIndex(StrictModel):
    """Contents of `model_index.json`.

    Attributes:
        components: class name of each component, by its folder's name.
        pipeline: settings, not checked yet; see `config`.
        licence: SPDX identifier of the weights' licence.
        version: of openemo that wrote the folder.
    """

    components: dict[str, str]
    speech: SpeechOptions
    pipeline: dict[str, Any]
    licence: str
    version: str

    def config(self) -> PipelineConfig:
        """The checked pipeline settings. Raises CheckpointError if one is wrong."""
        try:
            return PipelineConfig.parse(self.pipeline)
        except ConfigError as error:
            raise CheckpointError(f"{INDEX_NAME} is wrong: {error}") from error


def read_index(folder: Path) -> CheckpointIndex:
    """Raises CheckpointError if `model_index.json` is missing or wrong."""
    path = folder / INDEX_NAME
    if not path.is_file():
        raise CheckpointError("not a checkpoint", got=f"no {INDEX_NAME} in {folder}", fix="Check the path")
    values = read_json(path, fix=REPAIR)
    try:
        return CheckpointIndex.model_validate(values)
    except ValidationError as error:
        wrong = wrong_setting(error)
        if wrong.is_unknown:
            raise CheckpointError(
                f"{path} has a setting that this version does not know",
                got=wrong.name,
                fix="Run `openemo weights upgrade OLD -o NEW`, or make the checkpoint again",
            ) from error
        raise CheckpointError(
            f"{path} is damaged at `{wrong.name}`", expected=wrong.expected, fix=REPAIR
        ) from error


def write_index(folder: Path, index: CheckpointIndex) -> None:
    (folder / INDEX_NAME).write_text(json.dumps(index.model_dump(mode="json"), indent=2) + "\n")


def verify_hashes(folder: Path) -> None:
    """Compares every file with `SHA256SUMS`. Raises CheckpointError at the first difference."""
    path = folder / HASHES_NAME
    if not path.exists():
        raise CheckpointError(
            "a checkpoint cannot be checked", got=f"no {HASHES_NAME} in {folder}", fix=REPAIR
        )
    try:
        text = read_bounded(path, _MOST_HASHES_BYTES).decode(errors="surrogateescape")
        expected = {name: digest for digest, name in (line.split(maxsplit=1) for line in text.splitlines())}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged", expected="lines of hash and name", fix=REPAIR) from error
    present = _hashed_files(folder)
    for name in sorted(expected.keys() - present.keys()):
        raise CheckpointError("a file of the checkpoint is missing", got=f"no {folder / name}", fix=REPAIR)
    for name in sorted(present.keys() - expected.keys()):
        raise CheckpointError(
            f"{folder / name} is not listed in {HASHES_NAME}", fix="Delete it, or save the checkpoint again"
        )
    for name, file in present.items():
        digest = file_sha256(file)
        if digest != expected[name]:
            raise CheckpointError(
                f"{file} is damaged or was changed",
                got=f"sha256 {digest[:12]}..., {file.stat().st_size} bytes",
                expected=f"{expected[name][:12]}...",
                fix=REPAIR,
            )


def write_hashes(folder: Path) -> None:
    """Writes `SHA256SUMS` for the present files. Names keep their bytes, as `sha256sum` writes them."""
    lines = [f"{file_sha256(file)}  {name}\n" for name, file in _hashed_files(folder).items()]
    (folder / HASHES_NAME).write_text("".join(lines), encoding="utf-8", errors="surrogateescape")


def list_sha256(folder: Path) -> str | None:
    """SHA-256 of `SHA256SUMS`, which stands for all files of the checkpoint; None without that list."""
    path = folder / HASHES_NAME
    return file_sha256(path) if path.is_file() else None


def _hashed_files(folder: Path) -> dict[str, Path]:
    files = sorted(path for path in folder.rglob("*") if path.suffix in _HASHED_SUFFIXES)
    return {path.relative_to(folder).as_posix(): path for path in files}


def file_sha256(path: Path) -> str:
    """64 hexadecimal digits, as `sha256sum` prints them. Raises CheckpointError for devices and pipes."""
    if not path.is_file():
        raise CheckpointError(f"{path} is no ordinary file", fix=REPAIR)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
