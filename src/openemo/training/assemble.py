"""Puts trained networks, a speech encoder and the face networks into one checkpoint folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openemo.audio import WhisperEncoder
from openemo.checkpoints.components import load_network, load_scheduler
from openemo.config import PipelineConfig
from openemo.face import FaceAnalyzer
from openemo.models import EmoUNet, ReferenceNet
from openemo.models.motion_autoencoder import MotionAutoencoder
from openemo.pipeline import EmoPipeline
from openemo.pipeline_presets import EMBEDDED
from openemo.training.audio_exports import swap_audio_layers

__all__ = ["assemble", "assemble_on"]


def assemble(
    networks: Path,
    autoencoder: Path,
    speech_weights: Path,
    face_weights: Path,
    output: Path,
    config: PipelineConfig = EMBEDDED,
    *,
    audio: Path | None = None,
) -> None:
    """Writes a checkpoint that `EmoPipeline.from_pretrained` reads: float16 weights, hashes, config.

    Args:
        networks: export of a denoising stage (unet, reference_net, scheduler).
        autoencoder: export of the autoencoder stage.
        audio: export of an audio stage with these networks as its teacher; replaces their audio layers.
    """
    EmoPipeline(
        *_denoiser(networks, load_network(MotionAutoencoder, autoencoder), audio),
        WhisperEncoder.from_pretrained(speech_weights),
        FaceAnalyzer.from_pretrained(face_weights),
        config,
    ).save_pretrained(output)


def assemble_on(base: str, networks: Path, output: Path, **changes: Any) -> None:
    """Writes the model `base` with other networks, and those `changes` to its settings that are not None.

    For stages with `base` as their initial weights, such as the output of `openemo weights combine`.

    Args:
        base: name or folder of a model. networks: export of a denoising stage.
    """
    start = EmoPipeline.from_pretrained(base)
    EmoPipeline(
        *_denoiser(networks, start.autoencoder, None),
        start.speech_encoder,
        start.face_analyzer,
        start.config.override(**changes),
    ).save_pretrained(output)


def _denoiser(networks: Path, autoencoder: Any, audio: Path | None) -> tuple[EmoUNet, ReferenceNet, Any, Any]:
    """The first four arguments of a pipeline."""
    unet = load_network(EmoUNet, networks / "unet")
    if audio is not None:
        swap_audio_layers(unet, audio)
    return (
        unet,
        load_network(ReferenceNet, networks / "reference_net"),
        autoencoder,
        load_scheduler(networks / "scheduler"),
    )
