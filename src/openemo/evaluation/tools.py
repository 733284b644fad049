"""The networks that an evaluation needs, loaded once in each process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from openemo.devices import find_device, find_dtype
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
from openemo.evaluation.observation import Observation, Observer
from openemo.evaluation.published_sync import PublishedSyncNet
from openemo.evaluation.sync import SyncScorer

if TYPE_CHECKING:
    from openemo.pipeline import EmoPipeline

__all__ = ["Tools", "load_tools", "set_features"]


Sync = Callable[[Observation], dict[str, float]]


@dataclass(frozen=True)
class Tools:
    """`pipeline` is None where finished videos are measured."""

    observer: Observer
    features: tuple[FrechetFeatures, ...]
    sync: Sync
    pipeline: EmoPipeline | None


@lru_cache(maxsize=1)
def load_tools(settings: Settings) -> Tools:
    """Raises CheckpointError where a network is missing, damaged, or not the one it should be."""
    return Tools(Observer.from_pretrained(), set_features(settings), _sync(settings), _pipeline(settings))


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


def _sync(settings: Settings) -> Sync:
    """Sync-own, and the published SyncNet's figures where its weights are given."""
    scorers: list[Sync] = [SyncScorer.from_pretrained()]
    if settings.sync_weights is not None:
        scorers.append(PublishedSyncNet.from_pretrained(settings.sync_weights))
    return lambda seen: {key: value for scorer in scorers for key, value in scorer(seen).items()}


def _pipeline(settings: Settings) -> EmoPipeline | None:
    if settings.model is None:
        return None
    from openemo.pipeline import EmoPipeline

    return EmoPipeline.from_pretrained(
        settings.model, device=find_device(settings.device), dtype=find_dtype(settings.dtype)
    )
