"""Settings of the training stages. Unknown keys are errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from openemo.settings import StrictModel

__all__ = [
    "ArticulationRecipe",
    "AudioRecipe",
    "AutoencoderRecipe",
    "DenoiserRecipe",
    "LoopRecipe",
    "MixedPrecision",
    "PredictionType",
    "SyncRecipe",
]

MixedPrecision = Annotated[
    Literal["no", "bf16"], BeforeValidator(lambda value: "no" if value is False else value)
]
"""As in accelerate. YAML reads `no` without quotes as false."""
PredictionType = Literal["sample", "flow_prediction"]


class LoopRecipe(StrictModel):
    """Settings of every stage. Names are those of diffusers' training scripts where these have one."""

    model_config = ConfigDict(allow_inf_nan=False)

    output: Path = Field(description="run folder: state, metrics, exported weights")
    data: Path = Field(description="output folder of `openemo data prepare`")
    steps: int = Field(ge=1, le=10**9)
    learning_rate: float = Field(gt=0, le=100)
    lr_warmup_steps: int = Field(50, ge=0)
    lr_decay_share: float = Field(
        0.3, ge=0, le=1, description="last part of the steps, in which the learning rate falls to zero"
    )
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    ema_decay: float = Field(
        0.998, ge=0, le=1, description="of the moving average of the weights, which is exported"
    )
    seed: int = Field(0, ge=0, lt=2**63)
    log_every: int = Field(20, ge=1)
    save_every: int = Field(100, ge=1)
    num_threads: int = Field(2, ge=1, le=1000)
    num_workers: int = Field(
        0, ge=0, le=1000, description="processes that load batches ahead; 0 loads each batch before its step"
    )

    @property
    def on_cpu(self) -> bool:
        """Are the networks trained on the CPU?"""
        return True


class NetworkRecipe(LoopRecipe):
    """Settings of the stages that train whole networks."""

    mixed_precision: MixedPrecision = Field(
        "no", description="number type of the networks' activations; weights and gradients are float32"
    )


class AutoencoderRecipe(NetworkRecipe):
    """Stage 0: frames to latents and back."""

    sequences: int = Field(4, ge=1, le=10_000, description="sequences per step")
    frames: int = Field(4, ge=1, le=10_000, description="frames of each sequence")
    window_px: int | None = Field(
        None, ge=16, le=4096, description="side of the training windows; None: the whole crop"
    )
    window_on: Literal["eyes and mouth", "mouth"] = "eyes and mouth"
    eye_share: float = Field(0.0, ge=0, le=1, description="part of the steps with windows on the eyes")
    open_mouth_share: float = Field(
        0.0, ge=0, le=1, description="part of the frames drawn from the third with the widest open mouths"
    )
    model: dict[str, Any] = Field(default_factory=dict, description="arguments of MotionAutoencoder")
    initial_weights: Path | None = Field(None, description="exported autoencoder to continue from")
    decoder_only: bool = Field(
        False, description="keep the reference features, so that networks trained on them still fit"
    )
    mouth_weight: float = Field(20.0, ge=0)
    eye_weight: float = Field(2.0, ge=0)


class AudioRecipe(LoopRecipe):
    """Before the image stage: the audio layers, on landmarks of real clips."""

    preset: Literal["sd15", "embedded"] = "embedded"
    clips: int = Field(8, ge=1, le=10_000, description="clips per step, all frames of each")
    components: int = Field(12, ge=1, le=500, description="principal components of the face shape to predict")
    dropout: float = Field(0.1, ge=0, le=1, description="part of the audio features set to zero")
    quiet_share: float = Field(
        0.1, ge=0, le=1, description="part of the clips without a voice; their mouth is closed"
    )
    sung_share: float = Field(
        0.0, ge=0, le=1, description="part of the clips that are sung, of those with songs in `data`"
    )
    spoken_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="part of the clips in which a synthetic voice speaks; they have targets of their own",
    )
    teacher: Path | None = Field(
        None,
        description="exported networks: the output of their audio layers is kept, so that the other layers "
        "need no new training",
    )
    teacher_voices: Path | None = Field(
        None, description="the same voices in the features that the teacher reads; None: those of `data`"
    )
    teacher_weight: float = Field(
        0.3, ge=0, description="of the distance to the teacher's output in the loss"
    )


class ArticulationRecipe(LoopRecipe):
    """The network that hears the tongue. It needs no other stage."""

    utterances: int = Field(8, ge=1, le=10_000, description="utterances per step, each from end to end")
    dropout: float = Field(0.2, ge=0, le=1, description="part of the speech features set to zero")
    quiet_share: float = Field(0.1, ge=0, le=1, description="part of the sounds without a voice")


class DenoiserRecipe(NetworkRecipe):
    """Stages 1 (image), 2 (video) and 3 (speed) of EMO 3.3."""

    autoencoder: Path = Field(description="exported autoencoder")
    latents: Literal["motion", "image"] = Field(
        "motion",
        description="kind of that autoencoder: flow relative to the portrait, or SD-1.5's image latents",
    )
    initial_weights: Path | None = Field(
        None, description="networks of the stage before, or the output of `openemo weights combine`"
    )
    widen: bool = Field(
        False,
        description="`initial_weights` have fewer latent channels or other motion conditions: what is new "
        "starts at zero",
    )
    audio: Path | None = Field(
        None,
        description="exported layers of the audio stage. They are not trained; the image stage then has "
        "audio conditioning",
    )
    keep_audio_readers: bool = Field(
        False,
        description="`audio` had `initial_weights` as its teacher: what reads its layers starts as it is, "
        "not at zero",
    )
    preset: Literal["sd15", "embedded"] = "embedded"
    speech: Literal["whisper", "wav2vec2"] = Field(
        "whisper", description="what the voice files hold: 50 tokens per second, or one row per video frame"
    )
    device: str = Field("cpu", description="where the networks are trained")
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass: less memory, a third more time"
    )
    train_backbone: bool = Field(
        False, description="the video stage trains the backbone too; for networks without SD-1.5's weights"
    )
    clips: int = Field(8, ge=1, le=10_000, description="clips per step")
    clip_frames: int = Field(12, ge=1, le=1000)
    motion_frames: int = Field(4, ge=0, le=1000)
    first_clip_share: float = Field(0.4, ge=0, le=1, description="part of the clips without motion frames")
    motion_noise: float = Field(
        0.1, ge=0, description="noise on the motion frames, so that errors do not accumulate"
    )
    audio_noise: float = Field(
        0.0,
        ge=0,
        description="standard deviation of noise on the speech features, over their own spread in the clip; "
        "it keeps a network from knowing the sentences of a small corpus by heart",
    )
    audio_dropout: float = Field(0.1, ge=0, le=1, description="part of the clips without audio, for guidance")
    locator_dropout: float = Field(
        0.1, ge=0, le=1, description="part of the clips with an all-white face mask"
    )
    speed_dropout: float = Field(
        0.3, ge=0, le=1, description="part of the speed stage's steps without a speed"
    )
    mouth_weight: float = Field(12.0, ge=0, description="of the loss at the mouth, added to 1 everywhere")
    eye_weight: float = Field(4.0, ge=0, description="the same at each eye and its brow")
    temporal_change_weight: float = Field(
        0.0,
        ge=0,
        description="of the error's deviation from its mean over the clip, added to 1. Audio decides what "
        "changes within a clip; motion frames show the mean, which has most of the latents' power",
    )
    mouth_shape_weight: float = Field(
        0.0,
        ge=0,
        description="of the error of the mouth's width, corners, lips, jaw, cheeks and folds, each in units "
        "of its spread in speech; for motion latents and the prediction type `sample`",
    )
    prediction_type: PredictionType | None = Field(
        "sample",
        description="what the network predicts, see `make_scheduler`; None: the scheduler of "
        "`initial_weights`",
    )
    terminal_timestep_share: float = Field(
        0.0, ge=0, le=1, description="part of the clips at the noisiest timestep, for few-step sampling"
    )
    real_share: float = Field(
        0.3, ge=0, le=1, description="part of real clips; the rest are driven portraits"
    )
    quiet_share: float = Field(
        0.08, ge=0, le=1, description="part of clips in which the person does not speak"
    )
    spoken_share: float = Field(
        0.0, ge=0, le=1, description="part of the clips in which a synthetic voice speaks, in any language"
    )
    silence_augmentation_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="part of clips in which the voice has ended and a driven portrait returns to rest",
    )

    @property
    def on_cpu(self) -> bool:
        return self.device == "cpu"


class SyncRecipe(LoopRecipe):
    """The synchronisation network of the evaluation. It needs no other stage."""

    data_recipe: Path = Field(description="recipe of `data`: it says which clips are held out")
    mouths: Path = Field(description="mouth crops and voices in one file, made if missing")
    voice_variants: int = Field(7, ge=1, le=1000, description="voices of each clip; the first is its own")
    model: dict[str, Any] = Field(default_factory=dict, description="arguments of SyncEmbedder")
    sequences: int = Field(12, ge=2, le=10_000, description="sequences per step")
    frames: int = Field(
        44, ge=36, le=10_000, description="frames of each sequence; shifts of 15 frames both ways need 35"
    )
    driven_share: float = Field(0.6, ge=0, le=1, description="part of driven portraits; the rest are real")
