"""What a checkpoint fixes about generation, and what a call may change."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from openemo.errors import ConfigError

__all__ = ["PipelineConfig"]


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
        speed: head-rotation speed in rad/s asked of every clip; None leaves it to the network.
        crop_scale: side of the animated square over the longer side of the face.
        locator_margin: how far the face locator's mask reaches beyond the face, in face sizes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    fps: float = Field(25.0, ge=1, le=120)
    clip_frames: int = Field(12, ge=1)
    motion_frames: int = Field(4, ge=0)
    speech_window_tokens: int = Field(10, ge=1)
    num_steps: int = Field(10, ge=1, le=1000)
    guidance_scale: float = Field(1.0, ge=0, le=30)
    speed: float | None = Field(None, ge=0, le=10)
    crop_scale: float = Field(1.6, gt=1, le=4)
    locator_margin: float = Field(0.25, ge=0, le=2)

    @model_validator(mode="after")
    def _clip_feeds_the_next(self) -> Self:
        if self.motion_frames > self.clip_frames:
            raise ValueError(
                f"motion_frames ({self.motion_frames}) must not exceed clip_frames ({self.clip_frames})"
            )
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
