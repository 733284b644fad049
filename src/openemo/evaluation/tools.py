"""The networks that an evaluation needs, loaded once in each process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from openemo.evaluation.features import MobileNetV2
from openemo.evaluation.frechet import (
    FrechetFeatures,
    blendshape_features,
    expression_features,
    frame_features,
    reference_frame_features,
    reference_video_features,
)
from openemo.evaluation.jobs import Settings
from openemo.evaluation.observation import Observer

if TYPE_CHECKING:
    from openemo.pipeline import EmoPipeline

__all__ = ["Tools", "load_tools", "set_features"]


@dataclass(frozen=True)
class Tools:
    """`pipeline` is None where finished videos are measured."""

    observer: Observer
    features: tuple[FrechetFeatures, ...]
    pipeline: EmoPipeline | None


@lru_cache(maxsize=1)
def load_tools(settings: Settings) -> Tools:
    """Raises CheckpointError where a network is missing, damaged, or not the one it should be."""
    return Tools(Observer.from_pretrained(), set_features(settings), _pipeline(settings))


def set_features(settings: Settings) -> tuple[FrechetFeatures, ...]:
    """Of the distances between sets of clips: those that need no file, and those whose file is given."""
    features = [frame_features(MobileNetV2.from_pretrained()), blendshape_features()]
    if settings.fid_weights is not None:
        features.append(reference_frame_features(settings.fid_weights))
    if settings.fvd_weights is not None:
        features.append(reference_video_features(settings.fvd_weights))
    if settings.efid_weights is not None:
        features.append(expression_features(settings.efid_weights))
    return tuple(features)


def _pipeline(settings: Settings) -> EmoPipeline | None:
    if settings.model is None:
        return None
    from openemo.pipeline import EmoPipeline

    return EmoPipeline.from_pretrained(
        settings.model, device=settings.device, dtype=getattr(torch, settings.dtype)
    )
