"""Completes the imported networks of a family to a checkpoint: schedule, face networks, settings."""

from __future__ import annotations

import shutil
from pathlib import Path

from openemo import __version__
from openemo.checkpoints.folder import CheckpointIndex, parse_speech_options, write_hashes, write_index
from openemo.ddim_scheduler import DDIMScheduler
from openemo.errors import CheckpointError
from openemo.pipeline_presets import Family, pipeline_config, scheduler_config, speech_options

__all__ = ["NETWORKS", "complete"]

NETWORKS = ("unet", "reference_net", "autoencoder", "speech_encoder")

_SPEECH = {"hallo": "Wav2VecEncoder", "echomimic": "WhisperEncoder", "echomimic_acc": "WhisperEncoder"}


def complete(folder: Path, family: Family, *, face: Path, licence: str) -> None:
    """Adds everything that the pipeline needs beside the networks, and the hashes of all files.

    Args:
        folder: already has unet/, reference_net/, autoencoder/ and speech_encoder/.
        face: folder of the face networks, as in any checkpoint of openemo.
        licence: SPDX identifier of the weights' licence.

    Raises:
        CheckpointError: a network is missing.
    """
    index = CheckpointIndex(
        components={
            "unet": "EmoUNet",
            "reference_net": "ReferenceNet",
            "autoencoder": "ImageAutoencoder",
            "scheduler": "DDIMScheduler",
            "speech_encoder": _SPEECH[family],
            "face_analyzer": "FaceAnalyzer",
        },
        speech=parse_speech_options(speech_options(family)),
        pipeline=pipeline_config(family).model_dump(mode="json"),
        licence=licence,
        version=__version__,
    )
    for name in NETWORKS:
        if not (folder / name / "config.json").is_file():
            raise CheckpointError(
                f"the weights of {family} are not complete",
                got=f"no {folder / name}",
                fix="Import the folder as it is published",
            )
    shutil.copytree(face, folder / "face", dirs_exist_ok=True)
    DDIMScheduler(**scheduler_config(family)).save_pretrained(folder / "scheduler")
    write_index(folder, index)
    write_hashes(folder)
