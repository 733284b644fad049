"""Trained networks, speech encoder and face networks -> one checkpoint folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openemo.audio import SpeechEncoder
from openemo.checkpoints.components import load_network, load_scheduler
from openemo.config import PipelineConfig
from openemo.face import FaceAnalyzer
from openemo.models import EmoUNet, ReferenceNet
from openemo.models.autoencoder import MotionAutoencoder
from openemo.pipeline import EmoPipeline
from openemo.presets import EMBEDDED
from openemo.training.audio import swap_audio_layers

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
    """Writes a checkpoint that `EmoPipeline.from_pretrained` reads: weights as float16, hashes, config.

    Args:
        networks: what a denoising stage exported (unet, reference_net, scheduler).
        autoencoder: what the autoencoder stage exported.
        audio: what an audio stage `like` these networks exported, in place of their own sound layers.
    """
    EmoPipeline(
        *_denoiser(networks, load_network(MotionAutoencoder, autoencoder), audio),
        SpeechEncoder.from_pretrained(speech_weights),
        FaceAnalyzer.from_pretrained(face_weights),
        config,
    ).save_pretrained(output)


def assemble_on(base: str, networks: Path, output: Path, **changes: Any) -> None:
    """The model `base` with other networks, and `changes` to its settings where they are not None.

    For stages that started from it, as those of full size do from what `openemo weights combine` wrote.

    Args:
        base: name or folder of a model. networks: what a denoising stage exported.
    """
    start = EmoPipeline.from_pretrained(base)
    EmoPipeline(
        *_denoiser(networks, start.autoencoder, None),
        start.speech_encoder,
        start.face_analyzer,
        start.config.override(**changes),
    ).save_pretrained(output)


def _denoiser(networks: Path, autoencoder: Any, audio: Path | None) -> tuple[EmoUNet, ReferenceNet, Any, Any]:
    """The first arguments of a pipeline."""
    unet = load_network(EmoUNet, networks / "unet")
    if audio is not None:
        swap_audio_layers(unet, audio)
    return (
        unet,
        load_network(ReferenceNet, networks / "reference_net"),
        autoencoder,
        load_scheduler(networks / "scheduler"),
    )
