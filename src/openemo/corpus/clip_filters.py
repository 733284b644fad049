"""What is kept of the clips: each filter compares one score with one limit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from openemo.corpus.build_settings import BuildSettings

__all__ = ["CLIP_FILTERS", "SET_REASONS", "Filter", "failed_filters"]


@dataclass(frozen=True, slots=True)
class Filter:
    """A clip passes where its score is at least (or at most) the limit. A score that is not known passes.

    Attributes:
        reason: why a clip is left out, as the report says it.
        score: name among the scores of a clip. setting: name of the limit.
        is_least: the limit is the least value that passes, else the largest one.
        unit: of both.
    """

    reason: str
    score: str
    setting: str
    is_least: bool
    unit: str = ""

    def limit(self, settings: BuildSettings) -> float:
        return float(getattr(settings, self.setting))

    def passes(self, scores: Mapping[str, float | None], settings: BuildSettings) -> bool:
        value, limit = scores.get(self.score), self.limit(settings)
        if value is None or math.isnan(value):
            return True
        return value >= limit if self.is_least else value <= limit


CLIP_FILTERS: Final = (
    # Known from the landmarks alone: what fails here is not cut out at all.
    Filter("small face", "face_px", "min_face_px", is_least=True, unit="px"),
    Filter("turned away", "yaw_deg", "max_yaw_deg", is_least=False, unit="degrees"),
    Filter("head cut off", "head_cut", "max_head_cut", is_least=False),
    Filter("another face in the crop", "others", "max_others", is_least=False),
    Filter("missed cut", "jump", "max_jump", is_least=False, unit="face widths"),
    # Measured in the clip.
    Filter("blurred", "sharpness", "min_sharpness", is_least=True),
    Filter("covered mouth", "covered", "max_covered", is_least=False),
    Filter("still picture", "motion", "min_motion", is_least=True, unit="grey levels"),
    Filter("burnt-in text", "text", "max_text", is_least=False),
    Filter("silence", "loudness_dbfs", "min_loudness_dbfs", is_least=True, unit="dBFS"),
    Filter("nobody speaking", "sync", "min_sync", is_least=True),
    Filter("out of step", "remaining_frames", "max_shift_frames", is_least=False, unit="frames"),
)
SET_REASONS: Final = ("duplicate", "person of another split")
"""Why clips are left out once all of them are known."""


def failed_filters(scores: Mapping[str, float | None], settings: BuildSettings) -> list[str]:
    """Reasons to leave a clip out, in the order of the filters."""
    return [one.reason for one in CLIP_FILTERS if not one.passes(scores, settings)]
