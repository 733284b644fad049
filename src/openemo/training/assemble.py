"""Trained networks, speech encoder and face networks -> one checkpoint folder."""

from __future__ import annotations

from pathlib import Path

from openemo.audio import SpeechEncoder
from openemo.checkpoints.components import load_network, load_scheduler
from openemo.config import PipelineConfig
from openemo.face import FaceAnalyzer
from openemo.models import EmoUNet, ReferenceNet
from openemo.models.autoencoder import MotionAutoencoder
from openemo.pipeline import EmoPipeline

__all__ = ["assemble"]


def assemble(
    networks: Path,
    autoencoder: Path,
    speech_weights: Path,
    face_weights: Path,
    output: Path,
    config: PipelineConfig | None = None,
) -> None:
    """Writes a checkpoint that `EmoPipeline.from_pretrained` reads: weights as float16, hashes, config.

    Args:
        networks: what a denoising stage exported (unet, reference_net, scheduler).
        autoencoder: what the autoencoder stage exported.
    """
    EmoPipeline(
        load_network(EmoUNet, networks / "unet"),
        load_network(ReferenceNet, networks / "reference_net"),
        load_network(MotionAutoencoder, autoencoder),
        load_scheduler(networks / "scheduler"),
        SpeechEncoder.from_pretrained(speech_weights),
        FaceAnalyzer.from_pretrained(face_weights),
        config or PipelineConfig(),
    ).save_pretrained(output)
