"""Training: objective, stages, datasets, loop, recipes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openemo.training.loop import TrainingStage
    from openemo.training.recipes import LoopRecipe

__all__ = ["STAGES", "run"]

STAGES = ("autoencoder", "audio", "image", "video", "speed", "sync", "articulation")


def run(stage: str, recipe: Path, overrides: list[str] | None = None) -> None:
    """Runs a stage of a recipe file, from where it stopped last.

    Args:
        stage: one of `STAGES`.

    Raises:
        ConfigError: unknown stage or setting, or no accelerate.
        TrainingError: no data.
        NonFiniteLossError: the run diverged.
    """
    from openemo.errors import ConfigError

    if stage not in STAGES:
        raise ConfigError("there is no such stage", got=stage, expected=" or ".join(STAGES))

    try:
        import accelerate  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError("training needs accelerate", fix="pip install 'openemo[train]'") from error

    import torch

    from openemo.settings import load_recipe
    from openemo.training.loop import train
    from openemo.training.processes import joined_processes

    logging.getLogger(__name__).info("stage %s from %s", stage, recipe)
    settings_type, make_stage = _table()[stage]
    settings = load_recipe(settings_type, recipe, overrides or [])
    with joined_processes(on_cpu=settings.on_cpu):  # also while sequences are coded
        made = make_stage(settings)
        torch.set_num_threads(settings.num_threads)
        train(made, settings, settings.output)


def _table() -> dict[str, tuple[type[LoopRecipe], Callable[[Any], TrainingStage[Any]]]]:
    """Recipe and class of each stage."""
    from openemo.training.recipes import (
        ArticulationRecipe,
        AudioRecipe,
        AutoencoderRecipe,
        DenoiserRecipe,
        SyncRecipe,
    )
    from openemo.training.stages.articulation_stage import ArticulationStage
    from openemo.training.stages.audio_stage import AudioStage
    from openemo.training.stages.autoencoder_stage import AutoencoderStage
    from openemo.training.stages.denoiser_stage import DenoiserStage
    from openemo.training.stages.sync_stage import SyncStage

    return {
        "autoencoder": (AutoencoderRecipe, AutoencoderStage),
        "audio": (AudioRecipe, AudioStage),
        "image": (DenoiserRecipe, partial(DenoiserStage, "image")),
        "video": (DenoiserRecipe, partial(DenoiserStage, "video")),
        "speed": (DenoiserRecipe, partial(DenoiserStage, "speed")),
        "sync": (SyncRecipe, SyncStage),
        "articulation": (ArticulationRecipe, ArticulationStage),
    }
