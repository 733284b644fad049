"""Goals of the rows about life, and what was measured elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

INFINITY = float("inf")


@dataclass(frozen=True)
class Row:
    """Attributes:
    key: of the figure. goal: from and to.
    stages, emo: medians over 12 public clips of speakers on stages and over EMO's published demos, by another
        program with other definitions, so that they compare in size only.
    """

    key: str
    title: str
    goal: tuple[float, float] | None = None
    stages: str = ""
    emo: str = ""


ROWS = (
    Row("head_yaw_range_deg", "yaw range, degrees", (6, 12), "10-19", "7.7"),
    Row("head_pitch_range_deg", "pitch range, degrees", (6, 12), "9-12", "8.9"),
    Row("head_roll_range_deg", "roll range, degrees", (4, 8), "9-11", "5.3"),
    Row("head_translation", "head translation range, face widths", (0.12, 0.25), ".23-.31", ".21"),
    Row("head_speed_deg_s", "head speed, degrees per second", None, "15-22", "8.9"),
    Row("torso_motion", "torso motion, face widths per second", (0.01, 0.05), "", ".045"),
    Row("hair_motion", "hair motion, face widths per second", None, "", ".104"),
    Row("face_motion", "face motion, face widths per second", None, "", ".127"),
    Row("brow_spread", "brows, spread", (0.004, 0.008), ".011-.012", ".0050"),
    Row("gaze_x_spread", "gaze, horizontal spread", (0.010, 0.020), ".012-.021", ".015"),
    Row("gaze_y_spread", "gaze, vertical spread"),
    Row("mouth_width_spread", "mouth width, spread", (0.018, INFINITY), ".025", ".026"),
    Row("mouth_corner_spread", "mouth corners up and down, spread", (0.010, INFINITY), ".011-.012", ".015"),
    Row("jaw_spread", "chin up and down, spread", (0.015, INFINITY), ".018-.019", ".019"),
    Row("cheek_spread", "cheeks, spread", (0.004, INFINITY), ".005", ".005"),
    Row("fold_spread", "nasolabial folds, spread", (0.006, INFINITY), ".009-.010", ".010"),
    Row("mouth_spread", "mouth opening, spread", None, ".033-.034", ".029"),
    Row("blinks_per_min", "blinks per minute, all clips together", (12, 30), "20-36", "26"),
    Row("blink_first_s", "first blink, s"),
    Row("blink_first_spread_s", "first blink, spread between videos, s", (0.0, INFINITY)),
    Row("blink_duration_s", "duration of a blink, s"),
    Row("blink_interval_cv", "blink intervals, spread over mean"),
    Row("blink_interval_log_skew", "blink intervals, skewness of their logarithm"),
    Row("blink_near_phrase_ends", "blinks near ends of phrases, over chance", (1.0, INFINITY)),
)


def shown_goal(row: Row) -> str:
    """The goal as the table shows it."""
    if row.goal is None:
        return ""
    low, high = row.goal
    if high != INFINITY:
        return f"{low:g}-{high:g}"
    return f"over {low:g}"


def is_reached(row: Row, value: float) -> str:
    """Whether a figure lies in its goal, as the table shows it; empty without a goal or a figure."""
    if row.goal is None or value != value:
        return ""
    return "yes" if row.goal[0] < value <= row.goal[1] else "no"
