"""Settings of a build, and the limits of its filters."""

from __future__ import annotations

import hashlib
from typing import Final

from pydantic import Field, ValidationError

from openemo.errors import ConfigError
from openemo.settings import StrictModel, parse_override, wrong_setting

__all__ = ["FORMAT", "FPS", "BuildSettings", "read_settings"]

FPS: Final = 25
FORMAT: Final = 1
"""Goes up when what a part holds changes: parts of another format are made again."""


class BuildSettings(StrictModel, allow_inf_nan=False):
    """What becomes a clip, how it is stored, and where each filter begins.

    Parts that were made with other settings are made again.
    """

    size_px: int = Field(512, ge=64, le=2048, multiple_of=2, description="side of the crops")
    crop_scale: float = Field(2.0, ge=1.2, le=4, description="side of the crop over that of the face box")
    min_clip_s: float = Field(3.0, ge=2.8, le=60, description="shorter stretches are left out")
    max_clip_s: float = Field(12.0, ge=3, le=60, description="longer stretches are cut into equal clips")
    part_s: float = Field(300.0, ge=20, le=1500, description="of a file that one worker takes at a time")
    max_people: int = Field(4, ge=1, le=32, description="faces followed at a time, largest first")
    loudness_dbfs: float = Field(-23.0, ge=-40, le=-6, description="to which the sound is brought")

    min_face_px: float = Field(80.0, ge=0, description="width of the face in the source")
    min_sharpness: float = Field(8.0, ge=0, description="variance of the Laplacian of the face at 150 px")
    max_yaw_deg: float = Field(40.0, ge=0, le=180, description="95th percentile of the turn to a side")
    max_covered: float = Field(0.34, ge=0, le=1, description="share of looks at the mouth that see a cover")
    max_others: float = Field(0.1, ge=0, le=1, description="share of frames with another face in the crop")
    max_head_cut: float = Field(0.15, ge=0, le=1, description="part of the head that is outside the picture")
    min_motion: float = Field(0.25, ge=0, description="change of the face between frames, grey levels")
    max_jump: float = Field(0.3, ge=0, description="step of the face between frames, face widths: a cut")
    max_text: float = Field(0.34, ge=0, le=1, description="share of looks that see lines of text")
    min_loudness_dbfs: float = Field(-50.0, ge=-120, le=0, description="of the sound without its pauses")
    min_sync: float = Field(0.06, ge=-1, le=2, description="how much better the voice fits in step than not")
    max_shift_frames: int = Field(2, ge=0, le=15, description="that remain after the file's is taken out")

    max_same_person: float = Field(0.5, gt=0, le=2, description="distance of faces that are one person")
    max_same_sound: float = Field(0.25, gt=0, lt=0.5, description="share of bits by which one sound differs")
    val_share: float = Field(0.02, ge=0, le=0.5, description="share of the people held out for validation")
    shard_mb: float = Field(500.0, gt=0, le=20_000, description="size at which a shard is full")

    def key(self) -> str:
        """Stands for what parts depend on; people, duplicates, splits and shards come after them."""
        later = {"max_same_person", "max_same_sound", "val_share", "shard_mb"}
        told = f"{FORMAT} {self.model_dump_json(exclude=later)}"
        return hashlib.sha256(told.encode()).hexdigest()


def read_settings(overrides: list[str]) -> BuildSettings:
    """The usual settings with changes "key=value". Raises ConfigError."""
    try:
        settings = BuildSettings.model_validate(dict(parse_override(one) for one in overrides))
    except ValidationError as error:
        wrong = wrong_setting(error)
        raise ConfigError(
            f"there is a wrong setting `{wrong.name}`",
            got=wrong.got,
            expected=wrong.expected,
            fix=f"Settings of a build: {', '.join(BuildSettings.model_fields)}",
        ) from error
    if settings.max_clip_s < settings.min_clip_s:
        raise ConfigError(
            "the longest clip is shorter than the shortest",
            got=f"max_clip_s {settings.max_clip_s:g}, min_clip_s {settings.min_clip_s:g}",
        )
    return settings
