"""What a checkpoint fixes about generation, and what a call may change."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from openemo.errors import ConfigError

__all__ = ["PipelineConfig"]

Weight = Annotated[float, Field(ge=0, le=10)]


class PipelineConfig(BaseModel):
    """How a checkpoint is meant to be used. Saved in `model_index.json`; unknown keys are errors.

    Attributes:
        fps: frames per second that the networks were trained at. Other rates work, for what a frame hears is
            placed in time, but head motion, learnt frame by frame, is then faster or slower.
        clip_frames: frames that are denoised together (EMO 3.3: f = 12).
        motion_frames: last frames of the previous clip that the ReferenceNet reads (EMO 3.2: n = 4).
        speech_window_tokens: speech tokens that one frame hears (EMO 3.2: A(f) with m = 2 is 10 of 20 ms).
        num_steps: denoising steps.
        guidance_scale: classifier-free guidance over the sound; 1 is none, and costs half as much.
        guidance_over: what the unconditional run of guidance lacks: the "sound"; or "all" that is specific to
            this video: sound, reference attention, face region, identity. Motion frames stay (Hallo).
        first_motion: motion frames of the first clip: "zeros" (EMO 3.3), or the "reference" again (Hallo).
        motion_source: motion frames of the other clips: the "latents" as they were denoised, or the
            "frames" that were decoded from them, coded anew (Hallo).
        window_overlap: None makes clips, one after the other, tied by motion frames. A number denoises the
            whole video at once, in windows of `clip_frames` that share so many frames (EchoMimic); then
            there are no motion frames.
        window_shift: frames that the windows move on at each step.
        noise_limit: the starting noise is clamped to it on both sides; None leaves it.
        region_weights: how strongly the sound moves the whole picture, the face and the lips, for networks
            that hear by regions.
        speed: head-rotation speed in rad/s asked of every clip; None leaves it to the network.
        crop: the square that is animated. "around": `crop_scale` faces wide around the face, beyond the
            picture's edge if need be; "inside": the same, but cut to a square inside the picture
            (EchoMimic); "largest": the picture's largest square, as near to the face as can be (Hallo).
        crop_px: side of that square for the networks; None is what the autoencoder was trained at.
        crop_scale: side of the animated square over the longer side of the face.
        resampling: how the square is brought to `crop_px`: "area" (averaging, bicubic when it grows),
            "antialiased" (averaging bilinear, Pillow's), "bilinear" (without averaging, OpenCV's).
        blinks_per_minute: how often the person blinks, for autoencoders that move the portrait itself.
        lip_motion: how far the mouth moves, 1 as the network says, for the same autoencoders. A small network
            says the mean of what may be, and means move less.
        head_motion: how far the head moves, 1 as people do who speak while they sit, for networks with
            gesture layers.
        locator: mask of the face locator. "soft": the landmarks' box with its covered parts of pixels;
            "parts": the same, then masks of the lips, of the gap between them and of the eyes;
            "box": that box in whole pixels; "landmarks": the face contour's box, shifted into the picture.
        locator_margin: how far the face locator's mask reaches beyond the face, in face sizes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    fps: float = Field(25.0, ge=1, le=120)
    clip_frames: int = Field(12, ge=1)
    motion_frames: int = Field(4, ge=0)
    speech_window_tokens: int = Field(10, ge=1)
    num_steps: int = Field(10, ge=1, le=1000)
    guidance_scale: float = Field(1.0, ge=0, le=30)
    guidance_over: Literal["sound", "all"] = "sound"
    first_motion: Literal["zeros", "reference"] = "zeros"
    motion_source: Literal["latents", "frames"] = "latents"
    window_overlap: int | None = Field(None, ge=0)
    window_shift: int = Field(2, ge=0)
    noise_limit: float | None = Field(None, gt=0)
    region_weights: tuple[Weight, Weight, Weight] = (1.0, 1.0, 1.0)
    speed: float | None = Field(None, ge=0, le=10)
    blinks_per_minute: float = Field(0.0, ge=0, le=60)
    lip_motion: float = Field(1.0, ge=0, le=3)
    head_motion: float = Field(0.0, ge=0, le=5)
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
                raise ValueError("there are no motion_frames between windows; set them to 0")
        return self

    @classmethod
    def parse(cls, values: dict[str, Any]) -> PipelineConfig:
        """Checked settings. Raises ConfigError with the first wrong key, its value and what it may be."""
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"]) or "settings"
            fix = (
                f"The settings are {', '.join(cls.model_fields)}"
                if first["type"] == "extra_forbidden"
                else None
            )
            raise ConfigError(
                f"`{name}` of the pipeline is wrong",
                got=repr(first["input"]),
                expected=_rule(first["msg"]),
                fix=fix,
            ) from error

    def override(self, **changes: Any) -> PipelineConfig:
        """The same settings with those of `changes` that are not None. Raises ConfigError."""
        return self.parse(
            self.model_dump() | {key: value for key, value in changes.items() if value is not None}
        )


def _rule(message: str) -> str:
    """pydantic's "Input should be less than or equal to 120" as the end of "expected ..."."""
    for opening in ("Input should be ", "Value error, "):
        message = message.removeprefix(opening)
    return message[:1].lower() + message[1:]
