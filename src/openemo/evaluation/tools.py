"""The networks of an evaluation, loaded once per process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from openemo.devices import find_device, find_dtype
from openemo.evaluation.jobs import EvaluationSettings
from openemo.evaluation.metrics.frechet import (
    FrechetFeatures,
    blendshape_features,
    expression_features,
    frame_features,
    reference_frame_features,
    reference_video_features,
)
from openemo.evaluation.metrics.sync_own import score_sync_own
from openemo.evaluation.metrics.sync_published import score_sync_published
from openemo.evaluation.networks.mobilenet_v2 import MobileNetV2
from openemo.evaluation.networks.own_sync_network import OwnSyncNetwork
from openemo.evaluation.networks.published_syncnet import PublishedSyncNet
from openemo.evaluation.observation import Observation, Observer

if TYPE_CHECKING:
    from openemo.pipeline import EmoPipeline

__all__ = ["Tools", "load_tools", "set_features"]


Sync = Callable[[Observation], dict[str, float]]


@dataclass(frozen=True)
class Tools:
    """All networks. `pipeline` is None if finished videos are measured."""

    observer: Observer
    features: tuple[FrechetFeatures, ...]
    sync: Sync
    pipeline: EmoPipeline | None


@lru_cache(maxsize=1)
def load_tools(settings: EvaluationSettings) -> Tools:
    """Load them. Raises CheckpointError if one is missing, damaged, or another network."""
    return Tools(Observer.from_pretrained(), set_features(settings), _sync(settings), _pipeline(settings))


def set_features(settings: EvaluationSettings) -> tuple[FrechetFeatures, ...]:
    """Features for distances between sets of clips: those that need no file, and those with a given file.

    Raises:
        CheckpointError: a file is missing, damaged, or another network.
        ConfigError: a file is TorchScript, and that is not allowed.
    """
    allowed = settings.allow_torchscript
    features = [frame_features(MobileNetV2.from_pretrained()), blendshape_features()]
    if settings.fid_weights is not None:
        features.append(reference_frame_features(settings.fid_weights, allow_torchscript=allowed))
    if settings.fvd_weights is not None:
        features.append(reference_video_features(settings.fvd_weights, allow_torchscript=allowed))
    if settings.efid_weights is not None:
        features.append(expression_features(settings.efid_weights, allow_torchscript=allowed))
    return tuple(features)


def _sync(settings: EvaluationSettings) -> Sync:
    """Scores Sync-own, and Sync-C and Sync-D if the published weights are given."""
    own = OwnSyncNetwork.from_pretrained()
    weights = settings.sync_weights
    published = None if weights is None else PublishedSyncNet.from_pretrained(weights)

    def sync(made: Observation) -> dict[str, float]:
        figures = score_sync_own(own.embed(made))
        return figures if published is None else figures | score_sync_published(published.embed(made))

    return sync


def _pipeline(settings: EvaluationSettings) -> EmoPipeline | None:
    if settings.model is None:
        return None
    from openemo.pipeline import EmoPipeline

    return EmoPipeline.from_pretrained(
        settings.model, device=find_device(settings.device), dtype=find_dtype(settings.dtype)
    )
