"""Settings of the training stages. Unknown keys are errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from openemo.errors import ConfigError

__all__ = [
    "AudioRecipe",
    "AutoencoderRecipe",
    "Compute",
    "DenoiserRecipe",
    "LoopRecipe",
    "SyncRecipe",
    "load_recipe",
]

Compute = Literal["float32", "bfloat16"]
Recipe = TypeVar("Recipe", bound=BaseModel)


class LoopRecipe(BaseModel):
    """What every stage has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    output: Path = Field(description="run folder: state, metrics, exported weights")
    data: Path = Field(description="what `openemo data prepare` wrote")
    steps: int
    learning_rate: float
    warmup_steps: int = 50
    decay: float = Field(
        0.3, ge=0, le=1, description="part of the steps at the end in which the rate falls to zero"
    )
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    mean_decay: float = Field(
        0.998, description="of the running mean of the weights, which is what is exported"
    )
    seed: int = 0
    log_every: int = 20
    save_every: int = 100
    num_threads: int = 2


class NetworkRecipe(LoopRecipe):
    """What the stages that train whole networks have."""

    compute: Compute = Field(
        "float32", description="number type of the networks' arithmetic; their weights stay float32"
    )


class AutoencoderRecipe(NetworkRecipe):
    """Stage 0: frames to latents and back."""

    references: int = Field(4, description="sequences per step")
    frames: int = Field(4, description="frames of each")
    window_px: int | None = Field(None, description="train on windows of this side; None for the whole crop")
    window_on: Literal["eyes and mouth", "mouth"] = "eyes and mouth"
    eye_share: float = Field(0.0, ge=0, le=1, description="part of the steps whose windows lie on the eyes")
    open_share: float = Field(
        0.0, ge=0, le=1, description="part of the frames drawn from the third with the widest open mouths"
    )
    model: dict[str, Any] = Field(default_factory=dict, description="arguments of MotionAutoencoder")
    start: Path | None = Field(None, description="exported autoencoder to go on from")
    decoder_only: bool = Field(
        False, description="the reference's features stay as they are, so networks trained on them still fit"
    )
    mouth_weight: float = 20.0
    eye_weight: float = 2.0
    gradient_weight: float = 1.0


class AudioRecipe(LoopRecipe):
    """Before the video stage: the layers that hear, on landmarks of real clips."""

    preset: Literal["sd15", "embedded"] = "embedded"
    clips: int = Field(8, description="clips per step, all frames of each")
    components: int = Field(12, description="principal components of the face's shape to predict")
    dropout: float = Field(
        0.1, description="part of the speech features taken away, so that none is relied on"
    )
    quiet_share: float = Field(0.1, description="part of clips without a voice, where the mouth is closed")
    sung_share: float = Field(
        0.0, ge=0, le=1, description="part of clips that are sung, of those that `data` has songs of"
    )
    like: Path | None = Field(
        None,
        description="exported networks: what their sound layers say is kept, so that the rest need not "
        "learn to read it anew",
    )
    like_voices: Path | None = Field(
        None, description="the same voices in the features that those hear; None: they hear those of `data`"
    )
    like_weight: float = Field(0.3, ge=0, description="of that in the loss, in parts of their own variance")
    start_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="of the weights that they began with in those exported (Wortsman et al. 2022): halfway, "
        "most of what is new is there, and little of what was known is lost",
    )


class DenoiserRecipe(NetworkRecipe):
    """Stages 1 (image), 2 (video) and 3 (speed) of EMO 3.3."""

    autoencoder: Path = Field(description="exported autoencoder")
    latents: Literal["motion", "image"] = Field(
        "motion",
        description="what that autoencoder is: relative to the portrait, or SD-1.5's",
    )
    start: Path | None = Field(
        None,
        description="exported networks of the stage before, or what `openemo weights combine` wrote",
    )
    audio: Path | None = Field(
        None,
        description="exported layers of the audio stage; they stay as they are. The image stage then hears",
    )
    preset: Literal["sd15", "embedded"] = "embedded"
    speech: Literal["whisper", "wav2vec2"] = Field(
        "whisper", description="what the voices hold: 50 tokens per second; or one row per frame of the video"
    )
    device: str = Field("cpu", description="where the networks are trained")
    checkpointing: bool = Field(
        False, description="compute activations again in the backward pass: less memory, a third more time"
    )
    whole_network: bool = Field(
        False, description="the video stage trains the backbone too: for one that does not start from SD-1.5"
    )
    clips: int = Field(8, description="clips per step")
    clip_frames: int = 12
    motion_frames: int = 4
    first_clip: float = Field(0.4, description="part of the clips that have no motion frames before them")
    motion_noise: float = Field(0.1, description="noise on motion frames, so that errors do not build up")
    audio_dropout: float = Field(0.1, description="part of the clips whose sound is taken away, for guidance")
    open_locator: float = Field(0.1, description="part of the clips with an all-white face mask")
    speed_dropout: float = Field(
        0.3, description="part of the steps of the speed stage without a speed, so that it stays optional"
    )
    head_spread: float = Field(
        0.0,
        ge=0,
        description="of head movements added to a clip, at most so many times those of speakers",
    )
    gesture_dropout: float = Field(
        0.1, description="part of the steps without blinks and head given, so that they stay optional"
    )
    mouth_weight: float = Field(12.0, description="of the loss at the mouth, added to 1 elsewhere")
    eye_weight: float = Field(4.0, description="the same at each eye")
    change_weight: float = Field(
        0.0,
        ge=0,
        description="of errors that change within a clip, added to 1: that is what the sound decides, while "
        "most of the latents' power is where the mouth lies on average, which motion frames show",
    )
    target: Literal["velocity", "sample", "start"] = Field(
        "sample",
        description='what the network predicts, see `make_scheduler`; "start": by the schedule in `start`',
    )
    schedule_shift: float = Field(
        3.0, description="of the velocity's schedule; above 1: more steps at high noise"
    )
    noisiest_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="part of the clips at the schedule's noisiest timestep, for few-step sampling",
    )
    real_share: float = Field(0.3, description="part of real clips; the rest are driven portraits")
    quiet_share: float = Field(0.08, description="part of clips in which the person is quiet")
    hushed_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="part of clips in which a driven portrait has no voice any more, and comes to rest",
    )


class SyncRecipe(LoopRecipe):
    """The synchronisation network that the evaluation uses; needs no other stage."""

    data_recipe: Path = Field(description="what `data` was prepared with: it says which clips are held out")
    mouths: Path = Field(description="mouth crops and voices in one file, made where there is none")
    voice_variants: int = Field(7, ge=1, description="voices of each clip; the first is its own")
    model: dict[str, Any] = Field(default_factory=dict, description="arguments of SyncEmbedder")
    sequences: int = Field(12, ge=2, description="sequences per step")
    frames: int = Field(44, ge=36, description="frames of each; 35 are the least in which +-15 frames fit")
    driven_share: float = Field(0.6, ge=0, le=1, description="part of driven portraits; the rest are real")
    between_weight: float = Field(0.25, description="of the loss against the windows of other clips")
    shift_weight: float = Field(1.0, description="of the loss of whole clips against their shifts")


def load_recipe(kind: type[Recipe], path: Path, overrides: list[str]) -> Recipe:
    """Reads a YAML recipe; `overrides` are "key=value" strings, values in YAML.

    Raises:
        ConfigError: unreadable, unknown or wrong keys.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"the recipe {path} cannot be read", got=error, fix="Give the path of a YAML file"
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"the recipe {path} is not a mapping", got=type(values).__name__, expected="key: value lines"
        )
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise ConfigError(
                "an override is not a setting", got=override, expected="key=value, as in steps=100"
            )
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError("an override has no YAML value", got=override, expected="key=value") from error
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"the recipe {path} has a wrong setting `{place}`",
            got=first.get("input"),
            expected=first["msg"],
            fix=f"Settings of this recipe: {', '.join(kind.model_fields)}",
        ) from error
