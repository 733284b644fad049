"""`openemo train`, `openemo average`, `openemo assemble` and `openemo data prepare`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Argument, BadParameter

from openemo.cli.notes import show_log
from openemo.cli.options import Folder, GuidanceScale, NumInferenceSteps, Output, Overrides, Recipe
from openemo.errors import ConfigError
from openemo.training import STAGES

__all__ = ["assemble", "average", "prepare", "train"]

_Part = partial(Folder, rich_help_panel="Either a model to start from, or all parts")


def _known_stage(stage: str) -> str:
    if stage not in STAGES:
        raise BadParameter(f"{stage!r} is not one of {', '.join(STAGES)}")
    return stage


def train(
    stage: Annotated[
        str, Argument(help=f"Stage: {', '.join(STAGES)}.", metavar="STAGE", callback=_known_stage)
    ],
    recipe: Recipe,
    overrides: Overrides = None,
) -> None:
    """Train one stage of the networks.

    The same command again resumes where training stopped.
    """
    from openemo import training

    show_log()
    training.run(stage, recipe, overrides)


def prepare(recipe: Recipe, overrides: Overrides = None) -> None:
    """Turn a folder of videos into training data.

    What an earlier run made is kept.
    """
    from openemo import data

    show_log()
    data.run(recipe, overrides)


def average(
    networks: Annotated[
        list[Path],
        Argument(help="Exports of denoising stages; one given twice counts twice.", metavar="DIR..."),
    ],
    output: Annotated[Path, Output(help="The mean, as an export.")],
) -> None:
    """Average the weights of several trainings that began from the same networks."""
    from openemo.training.averaging import average

    average(networks, output)


def assemble(
    networks: Annotated[Path, Folder(help="Export of a denoising stage.")],
    output: Annotated[Path, Output(help="The checkpoint to write.")],
    base: Annotated[str | None, _Part(help="Take all else from this model.", metavar="MODEL")] = None,
    autoencoder: Annotated[Path | None, _Part(help="Export of the autoencoder stage.")] = None,
    speech_weights: Annotated[Path | None, _Part(help="The speech encoder.")] = None,
    face_weights: Annotated[Path | None, _Part(help="The face networks.")] = None,
    audio: Annotated[
        Path | None, _Part(help="Export of the audio stage, instead of the networks' own audio layers.")
    ] = None,
    num_inference_steps: NumInferenceSteps = None,
    guidance_scale: GuidanceScale = None,
) -> None:
    """Make a checkpoint of trained networks."""
    from openemo.pipeline_presets import EMBEDDED
    from openemo.training import assemble as assembling

    changes = {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale}
    parts = (autoencoder, speech_weights, face_weights)
    given = len(parts) - parts.count(None)
    if base is not None and audio is not None:
        raise ConfigError(
            "other audio layers may need another speech encoder than the base's",
            got="--base and --audio",
            fix="Give --autoencoder, --speech-weights and --face-weights instead of --base",
        )
    if base is not None and given == 0:
        assembling.assemble_on(base, networks, output, **changes)
    elif base is None and autoencoder is not None and speech_weights is not None and face_weights is not None:
        config = EMBEDDED.override(**changes)
        assembling.assemble(networks, autoencoder, speech_weights, face_weights, output, config, audio=audio)
    else:
        raise ConfigError(
            "the checkpoint has no or several sources",
            got=f"{'a' if base else 'no'} base, {given} of {len(parts)} parts",
            fix="Give --base, or all of --autoencoder, --speech-weights and --face-weights",
        )
