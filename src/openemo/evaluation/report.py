"""Which clips are measured, and how the result is shown and kept."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from openemo.errors import ConfigError, OutputError
from openemo.evaluation.lips import LipScore, summary

__all__ = ["check_report_path", "find_clips", "lip_table", "write_report"]

_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg")
_COLUMNS = {
    "correlation": "r",
    "best_lag_frames": "lag",
    "speech_spread": "speech",
    "silence_spread": "silence",
    "real_spread": "real",
}


def find_clips(folder: Path, limit: int | None = None) -> list[Path]:
    """The video files of a folder by name, the first `limit` of them.

    Raises:
        ConfigError: no folder, no clips in it, or a limit below 1.
    """
    if limit is not None and limit < 1:
        raise ConfigError("the number of clips is too small", got=limit, expected="1 or more")
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}", fix="Give a folder of video clips with sound")
    clips = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not clips:
        raise ConfigError(f"no video clips in {folder}", expected=f"files that end in {', '.join(_SUFFIXES)}")
    return clips[:limit]


def lip_table(scores: Sequence[LipScore]) -> str:
    """A line per clip, then the means; spreads in thousandths of a face width, lags in frames."""
    width = max(len("clip"), *(len(score.clip) for score in scores))
    lines = [f"{'clip':<{width}}" + "".join(f"{title:>9}" for title in _COLUMNS.values())]
    for score in scores:
        values = asdict(score)
        cells = (values[name] * (1000 if name.endswith("spread") else 1) for name in _COLUMNS)
        lines.append(f"{score.clip:<{width}}" + "{:9.2f}{:9d}{:9.1f}{:9.1f}{:9.1f}".format(*cells))
    lines += ["", *(f"{name}: {value:.3g}" for name, value in summary(list(scores)).items())]
    return "\n".join(lines)


def check_report_path(path: Path) -> None:
    """Before the work starts. Raises OutputError: no such folder, or the path is one."""
    if not path.parent.is_dir():
        raise OutputError(f"there is no folder {path.parent}", fix=f"Make it: mkdir -p {path.parent}")
    if path.is_dir():
        raise OutputError(f"{path} is a folder", expected="the name of a file")


def write_report(path: Path, scores: Sequence[LipScore]) -> None:
    """JSON: `clips`, a list, and `summary`; what is not a number is null. Raises OutputError."""
    means = {name: None if math.isnan(mean) else mean for name, mean in summary(list(scores)).items()}
    report = {"clips": [asdict(score) for score in scores], "summary": means}
    try:
        path.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise OutputError(f"the report {path} cannot be written", got=error.strerror) from error
