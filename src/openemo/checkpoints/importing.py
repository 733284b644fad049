"""Imports published weights: `openemo weights import FORMAT PATH -o DIR`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from openemo import __version__
from openemo.checkpoints import EMBEDDED, resolve
from openemo.checkpoints.catalogue import LICENCES, Format, Licence
from openemo.checkpoints.completing import NETWORKS, complete
from openemo.checkpoints.families.published_folders import read_echomimic, read_echomimic_acc, read_hallo
from openemo.checkpoints.folder import file_sha256, write_hashes
from openemo.checkpoints.formats.animatediff import read_animatediff
from openemo.checkpoints.formats.sd15 import read_sd15
from openemo.checkpoints.formats.speech_encoders import read_wav2vec2, read_whisper
from openemo.checkpoints.parts import Imported, SourceRecord, write_parts
from openemo.errors import CheckpointError, ConfigError
from openemo.models import EmoUNet, ReferenceNet
from openemo.models.image_autoencoder import ImageAutoencoder
from openemo.network_settings import check_arguments
from openemo.pipeline_presets import Family

__all__ = ["Origin", "import_weights"]

_READERS: dict[Format, Callable[[Path], Imported]] = {
    "sd15": read_sd15,
    "animatediff": read_animatediff,
    "wav2vec2": read_wav2vec2,
    "whisper": read_whisper,
    "hallo": read_hallo,
    "echomimic": read_echomimic,
    "echomimic-acc": read_echomimic_acc,
}
# Formats whose published folder has all networks of a model.
_FAMILIES: dict[str, Family] = {
    "hallo": "hallo",
    "echomimic": "echomimic",
    "echomimic-acc": "echomimic_acc",
}
_NETWORKS: dict[str, type[Any]] = {cls.__name__: cls for cls in (EmoUNet, ReferenceNet, ImageAutoencoder)}


@dataclass(frozen=True)
class Origin:
    """Where the files came from, if from a hub: "owner/name" and the commit."""

    hub: str | None = None
    revision: str | None = None


def import_weights(
    form: str,
    path: Path,
    output: Path,
    *,
    dtype: torch.dtype | None = None,
    licence: Licence | None = None,
    origin: Origin | None = None,
) -> SourceRecord:
    """Reads published weights strictly and writes them under the names used here, with record and hashes.

    The complete published folder of Hallo or EchoMimic becomes a model that `EmoPipeline` loads, with the
    embedded face networks. Networks alone stay parts.

    Args:
        form: one of the formats.
        path: the file or folder.
        output: a folder that does not exist, or is empty. An error leaves nothing in it.
        dtype: of the written weights; None keeps the source's.
        licence: of the weights; None is the licence of the format's published weights.

    Raises:
        CheckpointError: the files are damaged, of another format, or have tensors that nothing uses.
        ConfigError: no such format. OutputError: the folder exists or cannot be written.
    """
    reader = _READERS.get(form)  # type: ignore[call-overload]
    if reader is None:
        raise ConfigError("there is no such format", got=form, expected=", ".join(_READERS))
    if not path.exists():
        raise CheckpointError("there is no such file or folder", got=path, fix="Check the path")
    found: Imported = reader(path)
    for part in found.parts:
        if part.kind in _NETWORKS:  # what is written can be loaded
            check_arguments(_NETWORKS[part.kind], part.config, path)
    terms = licence or LICENCES[form]
    record = SourceRecord(
        format=form,
        components={part.folder: part.kind for part in found.parts},
        licence=terms.name,
        commercial=terms.commercial,
        hub=origin.hub if origin else None,
        revision=origin.revision if origin else None,
        files={_name(file, path): file_sha256(file) for file in found.files},
        left_over=dict(sorted(found.left_over.items())),
        version=__version__,
    )
    write_parts(output, found.parts, record, dtype=dtype, finish=_finish(record))
    return record


def _finish(record: SourceRecord) -> Callable[[Path], None]:
    family = _FAMILIES.get(record.format)
    if family is None or not record.components.keys() >= set(NETWORKS):
        return write_hashes
    return partial(complete, family=family, face=resolve(EMBEDDED) / "face", licence=record.licence)


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if root.is_dir() else file.name
