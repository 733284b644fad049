"""Settings of the pipeline: a checkpoint stores them, and a call may override them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from openemo.errors import ConfigError
from openemo.settings import StrictModel, wrong_setting

__all__ = ["OPTIONS_OF_A_VIDEO", "PipelineConfig"]

OPTIONS_OF_A_VIDEO: Final = (
    "guidance_scale",
    "speed",
    "blinks_per_minute",
    "lip_motion",
    "head_motion",
    "gaze",
    "brows",
    "expression",
)
"""Settings that users choose for each video or stream, and the number of steps beside them."""

Weight = Annotated[float, Field(ge=0, le=10)]


class PipelineConfig(StrictModel):
    """Pipeline settings of a checkpoint. Saved in `model_index.json`; unknown keys are errors.

    Attributes:
        fps: frames per second that the networks were trained at. Other rates work: audio windows follow time.
        clip_frames: frames that are denoised together (EMO 3.3: f = 12).
        motion_frames: last frames of the previous clip that the ReferenceNet encodes (EMO 3.2: n = 4).
        speech_window_tokens: speech tokens per frame (EMO 3.2: A(f) with m = 2 is 10 tokens of 20 ms).
        num_inference_steps: denoising steps.
        guidance_scale: classifier-free guidance on the audio; 1 turns it off and halves the cost.
        guidance_over: conditions that classifier-free guidance drops: only the "audio", or "all" conditions
            of this video (audio, reference attention, face region, identity) but motion frames (Hallo).
        first_motion: motion frames of the first clip: "zeros" (EMO 3.3), or the "reference" (Hallo).
        motion_source: motion frames of later clips: the denoised "latents", or the decoded "frames", encoded
            again (Hallo).
        window_overlap: None makes clips one after the other, connected by motion frames. A number denoises
            the whole video at once, in windows of `clip_frames` that share this many frames; then there are
            no motion frames (EchoMimic).
        window_shift: frames by which the windows move at each step.
        noise_limit: the starting noise is clamped to [-limit, limit]; None does not clamp.
        region_weights: strength of the audio on the whole image, the face and the lips, for networks with
            audio attention by regions.
        speed: head rotation speed of every clip in rad/s; None leaves it to the network.
        crop: the square that is animated. "around": `crop_scale` faces wide around the face, also beyond the
            image's edge; "inside": the same, cut to a square inside the image (EchoMimic); "largest": the
            largest square of the image, as near to the face as possible (Hallo).
        crop_px: side of that square for the networks; None is the size that the autoencoder was trained at.
        crop_scale: side of the animated square over the longer side of the face.
        resampling: how the square is resized to `crop_px`: "area" (averaging; bicubic for enlargement),
            "antialiased" (Pillow's averaging bilinear), "bilinear" (OpenCV's, without averaging).
        blinks_per_minute: blinks, for autoencoders that move the portrait itself; None is each person's own
            rate.
        gaze: gain of eye movements, for the same autoencoders; 1 has the angles of a person who talks to the
            camera. However large it is, irises keep white on both sides.
        lip_motion: gain of the mouth motion, for the same autoencoders, after `lip_spread`.
        lip_spread: standard deviation of how far lips part in speech, in face widths, to which the motion of
            the mouth is scaled for each person and voice: a small network predicts the mean of possible
            motions, which is smaller than real motion. None leaves the network's output.
        lip_width: a further gain of the motion of the mouth's width: lips that spread and round.
        lip_corners: a further gain of the motion of the mouth's corners up and down.
        lip_closing: lips that part by less than about this, in face widths, are drawn shut: a mean of motions
            that mostly shut the mouth leaves a narrow gap.
        tongue: how far the tip of the tongue is raised where the voice has l, n, d, t or th, for the same
            autoencoders and the features of Whisper base; 0 leaves it down.
        lip_pressing: how far lips are brought together where the voice has m, b or p, for the same; 0 leaves
            it to the network.
        head_motion: gain of the motion of head and shoulders, for networks with motion conditions; 1 is a
            person who talks.
        brows: gain of brow movements, for the same networks.
        expression: gain of what the voice carries in the face, for the same networks; 1 is subtle.
        expression_motion: factor on the emotions that the network is shown; 1 is as they are asked for.
        locator: mask of the face locator. "soft": the box of the landmarks, with partly covered pixels;
            "parts": the same, then masks of the lips, of the gap between them and of the eyes; "box": the
            box in whole pixels; "landmarks": the box of the face contour, shifted into the image.
        locator_margin: how far the mask extends beyond the face, in face sizes.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    fps: float = Field(25.0, ge=1, le=120)
    clip_frames: int = Field(12, ge=1, le=1000)
    motion_frames: int = Field(4, ge=0, le=1000)
    speech_window_tokens: int = Field(10, ge=1, le=1000)
    num_inference_steps: int = Field(10, ge=1, le=1000)
    guidance_scale: float = Field(1.0, ge=0, le=30)
    guidance_over: Literal["audio", "all"] = "audio"
    first_motion: Literal["zeros", "reference"] = "zeros"
    motion_source: Literal["latents", "frames"] = "latents"
    window_overlap: int | None = Field(None, ge=0)
    window_shift: int = Field(2, ge=0, le=1000)
    noise_limit: float | None = Field(None, gt=0)
    region_weights: tuple[Weight, Weight, Weight] = (1.0, 1.0, 1.0)
    speed: float | None = Field(None, ge=0, le=10)
    blinks_per_minute: float | None = Field(0.0, ge=0, le=60)
    gaze: float = Field(0.0, ge=0, le=3)
    lip_motion: float = Field(1.0, ge=0, le=3)
    lip_spread: float | None = Field(None, gt=0, le=0.1)
    lip_width: float = Field(1.0, ge=0, le=3)
    lip_corners: float = Field(1.0, ge=0, le=3)
    lip_closing: float = Field(0.0, ge=0, le=0.05)
    tongue: float = Field(0.0, ge=0, le=1)
    lip_pressing: float = Field(0.0, ge=0, le=1)
    head_motion: float = Field(0.0, ge=0, le=3)
    brows: float = Field(0.0, ge=0, le=3)
    expression: float = Field(0.0, ge=0, le=3)
    expression_motion: float = Field(1.0, ge=0, le=3)
    crop: Literal["around", "inside", "largest"] = "around"
    crop_px: int | None = Field(None, ge=16, le=4096)
    crop_scale: float = Field(1.6, gt=1, le=4)
    resampling: Literal["area", "antialiased", "bilinear"] = "area"
    locator: Literal["soft", "parts", "box", "landmarks"] = "soft"
    locator_margin: float = Field(0.25, ge=0, le=2)

    @model_validator(mode="after")
    def _clip_feeds_the_next(self) -> Self:
        if self.motion_frames > self.clip_frames:
            raise ValueError(
                f"motion_frames ({self.motion_frames}) must not exceed clip_frames ({self.clip_frames})"
            )
        if self.window_overlap is not None:
            if self.window_overlap >= self.clip_frames:
                raise ValueError(
                    f"window_overlap ({self.window_overlap}) must be under clip_frames ({self.clip_frames})"
                )
            if self.motion_frames:
                raise ValueError("windows have no motion_frames; set them to 0")
        return self

    @classmethod
    def parse(cls, values: dict[str, Any]) -> PipelineConfig:
        """Checked settings. Raises ConfigError with the first wrong key, its value and what is expected."""
        try:
            return cls(**values)
        except ValidationError as error:
            wrong = wrong_setting(error)
            raise ConfigError(
                f"`{wrong.name or 'settings'}` of the pipeline is wrong",
                got=repr(wrong.got) if wrong.name else None,
                expected=wrong.expected,
                fix=f"The settings are {', '.join(cls.model_fields)}" if wrong.is_unknown else None,
            ) from error

    def override(self, **changes: Any) -> PipelineConfig:
        """The settings with all `changes` that are not None. Raises ConfigError."""
        return self.parse(
            self.model_dump() | {key: value for key, value in changes.items() if value is not None}
        )
