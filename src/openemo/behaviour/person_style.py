"""Habits in which people differ: how far and how fast they move, how often they blink, where they look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

__all__ = ["DIRECTIONS", "PersonStyle", "draw_style"]

DIRECTIONS: Final = 8
"""Of gaze: from right of the picture clockwise in steps of 45 degrees."""

# Straight directions are twice as usual as oblique ones (Lee, Badler, Badler 2002), to the sides most.
_USUAL_DIRECTIONS: Final = (0.31, 0.06, 0.09, 0.06, 0.31, 0.055, 0.06, 0.055)
_BLINKS_PER_MINUTE: Final = (12.0, 30.0)
_USUAL_BLINKS: Final = 19.0
_BREATHS_PER_MINUTE: Final = (12.0, 18.0)


@dataclass(frozen=True, slots=True)
class PersonStyle:
    """1 is the mean of people where no unit is given.

    Attributes:
        head_range: of yaw, pitch and roll.
        tempo: of head movements.
        nods: share of accents that the head marks.
        nod_axes: how often a mark is a nod, a turn, a tilt; together 1.
        pitch_to_head: degrees of nodding up for a semitone of the voice.
        turn_to_lean: degrees of roll for a degree of yaw.
        sway: range of the head's translation.
        brows: range of the brows.
        brow_accents: share of accents that raise the brows.
        pitch_to_brows: face widths for a semitone of the voice.
        blinks_per_minute: in the mean.
        camera_hold_s: mean time of one look at the camera while talking.
        away_hold_s: mean time of one look elsewhere.
        gaze_size: of looks elsewhere.
        gaze_directions: (8,) how often they go where, in the order of `DIRECTIONS`; together 1.
        breaths_per_minute: in the mean.
    """

    head_range: tuple[float, float, float]
    tempo: float
    nods: float
    nod_axes: tuple[float, float, float]
    pitch_to_head: float
    turn_to_lean: float
    sway: float
    brows: float
    brow_accents: float
    pitch_to_brows: float
    blinks_per_minute: float
    camera_hold_s: float
    away_hold_s: float
    gaze_size: float
    gaze_directions: tuple[float, ...]
    breaths_per_minute: float


def draw_style(rng: np.random.Generator) -> PersonStyle:
    """Habits of somebody."""

    def near(mean: float, spread: float) -> float:
        return float(mean * np.exp(spread * rng.standard_normal()))

    everything = near(1, 0.12)
    head_range = tuple(everything * near(1, 0.15) for _ in range(3))
    directions = rng.dirichlet(8 * DIRECTIONS * np.array(_USUAL_DIRECTIONS))
    nod, turn, tilt = rng.dirichlet((6, 2.5, 2))
    return PersonStyle(
        head_range=(head_range[0], head_range[1], head_range[2]),
        tempo=near(1, 0.12),
        nods=float(rng.uniform(0.3, 0.6)),
        nod_axes=(float(nod), float(turn), float(tilt)),
        pitch_to_head=float(rng.normal(0.06, 0.12)),
        turn_to_lean=float(rng.normal(0, 0.15)),
        sway=everything * near(1, 0.15),
        brows=near(1, 0.2),
        brow_accents=float(rng.uniform(0.1, 0.22)),
        pitch_to_brows=float(rng.normal(0.0001, 0.0003)),
        blinks_per_minute=float(np.clip(near(_USUAL_BLINKS, 0.25), *_BLINKS_PER_MINUTE)),
        camera_hold_s=near(1.45, 0.2),
        away_hold_s=near(1.0, 0.2),
        gaze_size=near(1.3, 0.12),
        gaze_directions=tuple(float(share) for share in directions),
        breaths_per_minute=float(rng.uniform(*_BREATHS_PER_MINUTE)),
    )
