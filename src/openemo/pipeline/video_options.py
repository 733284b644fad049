"""Options of a video as text and numbers, for programs that take them from files and requests."""

from __future__ import annotations

from typing import Any, Final, Literal

from openemo.behaviour.emotion_names import read_emotions
from openemo.behaviour.expression import NEUTRAL, check_emotions
from openemo.config import OPTIONS_OF_A_VIDEO, PipelineConfig
from openemo.pipeline.inputs import to_seed
from openemo.settings import StrictModel
from openemo.timing import parse_fps

__all__ = ["VideoOptions"]

_IN_CONFIG: Final = ("num_inference_steps", *OPTIONS_OF_A_VIDEO)


class VideoOptions(StrictModel):
    """Names and defaults are those of `EmoPipeline.__call__`; files have fields of their own.

    Attributes:
        emotion: as on the command line: a name, or TIME:NAME:STRENGTH and so on.
    """

    seed: int = 0
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    speed: float | None = None
    blinks_per_minute: float | None = None
    lip_motion: float | None = None
    head_motion: float | None = None
    gaze: float | None = None
    brows: float | None = None
    expression: float | None = None
    emotion: str = "neutral"
    emotion_strength: float = 0.6
    fps: str | float | None = None
    size_px: int | None = None
    framing: Literal["full", "crop"] = "full"
    face_index: int | None = None
    transparent: bool = False
    audio_track: int | None = None

    def check(self) -> None:
        """Raises ConfigError for what no model could do; model and portrait are not known yet."""
        to_seed(self.seed)
        read_emotions(self.emotion)
        check_emotions([(0.0, NEUTRAL, self.emotion_strength)])
        PipelineConfig().override(**{name: getattr(self, name) for name in _IN_CONFIG})
        if self.fps is not None:
            parse_fps(self.fps)

    def arguments(self) -> dict[str, Any]:
        """Of a call of the pipeline. Raises ConfigError for an unknown emotion."""
        given = {name: getattr(self, name) for name in VideoOptions.model_fields}
        return given | {"emotion": read_emotions(self.emotion)}
