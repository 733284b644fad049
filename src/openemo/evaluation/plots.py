"""Pictures that stand in the HTML itself: curves as SVG, frames as JPEG, a short video."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Mapping, Sequence
from fractions import Fraction
from html import escape
from itertools import islice, pairwise
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from openemo.audio.reading import Audio, read_audio
from openemo.evaluation.report import figure
from openemo.video.images import contact_sheet
from openemo.video.reading import probe, read_frames
from openemo.video.writing import VideoWriter

__all__ = ["curves_svg", "intervals_svg", "jpeg_uri", "sheet", "side_by_side_uri"]

Image = NDArray[np.uint8]
Curve = Sequence[float | None]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 720, 150, 44, 22, 8
_SHEET_FRAMES: Final = 8
_CELL_PX: Final = 150
_VIDEO_HEIGHT_PX: Final = 288
_VIDEO_S: Final = 4
_CRF: Final = 26  # the page stays small; the figures come from the files themselves


def curves_svg(curves: Mapping[str, tuple[Curve, float]], title: str) -> str:
    """Mouth opening over time; each curve with its frames per second. Gaps where there is no face.

    Args:
        curves: by the CSS class of the line.
    """
    duration_s = max(len(curve) / fps for curve, fps in curves.values())
    values = [value for curve, _ in curves.values() for value in curve if value is not None]
    top = max([*values, 0.02]) * 1.05
    right, base = _WIDTH - 8, _HEIGHT - _BOTTOM

    def place(time_s: float, value: float) -> str:
        x = _LEFT + (right - _LEFT) * time_s / duration_s
        return f"{x:.1f},{base - (base - _TOP) * value / top:.1f}"

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">']
    for value in np.arange(0, top, _tick(top)):
        start, stop = place(0, float(value)), place(duration_s, float(value))
        parts.append(f'<polyline class="grid" points="{start} {stop}"/>')
        parts.append(
            f'<text class="y" x="{_LEFT - 6}" y="{float(start.split(",")[1]) + 4}">{value:.2f}</text>'
        )
    for time_s in np.arange(0, duration_s + 1e-9, _tick(duration_s)):
        x = place(float(time_s), 0).split(",")[0]
        parts.append(f'<text class="x" x="{x}" y="{_HEIGHT - 6}">{time_s:g} s</text>')
    for name, (curve, fps) in curves.items():
        parts += [
            f'<polyline class="{escape(name)}" points="{" ".join(run)}"/>'
            for run in _runs([None if v is None else place(i / fps, v) for i, v in enumerate(curve)])
        ]
    return "".join([*parts, "</svg>"])


def intervals_svg(bars: dict[str, tuple[float, float, float]], title: str) -> str:
    """One line per row: a dot at the figure, a bar for its interval. `bars` holds (value, low, high)."""
    low = min(0.0, *(bar[1] for bar in bars.values()))
    high = max(bar[2] for bar in bars.values())
    span = (high - low) or 1.0
    step, left, right = 22, 96, 396

    def x(value: float) -> float:
        return left + (right - left) * (value - low) / span

    height = step * len(bars) + 6
    parts = [f'<svg class="bars" viewBox="0 0 460 {height}" role="img" aria-label="{escape(title)}">']
    parts.append(f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="0" y2="{height}"/>')
    for index, (row, (value, start, stop)) in enumerate(bars.items()):
        y = step * index + step / 2 + 3
        parts.append(f'<text class="y" x="{left - 10}" y="{y + 4}">{escape(row)}</text>')
        parts.append(
            f'<line class="bar {escape(row)}" x1="{x(start):.1f}" x2="{x(stop):.1f}" y1="{y}" y2="{y}"/>'
        )
        parts.append(f'<circle class="dot {escape(row)}" cx="{x(value):.1f}" cy="{y}" r="4"/>')
        parts.append(f'<text x="{right + 12}" y="{y + 4}">{figure(value)}</text>')
    return "".join([*parts, "</svg>"])


def sheet(videos: Sequence[Path], num_frames: int = _SHEET_FRAMES) -> Image:
    """Frames of one moment above each other, a row for each video, evenly over the first one's length."""
    count = probe(videos[0]).num_frames
    wanted = np.unique(np.linspace(0, max(count - 1, 0), num_frames).round().astype(int))
    cells: list[Image] = []
    for path in videos:
        shown = {i: frame for i, frame in enumerate(read_frames(path)) if i in wanted}
        last = shown[max(shown)]
        cells += [shown.get(int(index), last) for index in wanted]
    return contact_sheet(cells, len(wanted), _CELL_PX)


def jpeg_uri(image: Image) -> str:
    """A data URI of the picture."""
    data = io.BytesIO()
    Pillow.fromarray(image).save(data, format="JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def side_by_side_uri(left: Path, right: Path) -> str:
    """The first seconds of two videos beside each other with the sound of the first, as a data URI (MP4)."""
    fps = probe(left).fps
    count = min(int(_VIDEO_S * fps), probe(left).num_frames, probe(right).num_frames)
    sound = read_audio(left)
    length = round(Fraction(count * sound.sample_rate_hz) / fps)
    # A file's own count of its frames may be too high: the shorter of the two ends the picture.
    pairs = (
        np.concatenate([_at_height(a), _at_height(b)], axis=1)
        for a, b in zip(islice(read_frames(left), count), islice(read_frames(right), count), strict=False)
    )
    first = next(pairs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "side.mp4"
        with VideoWriter(
            path,
            fps=fps,
            width=first.shape[1],
            height=first.shape[0],
            audio=Audio(sound.samples[:, :length], sound.sample_rate_hz),
            crf=_CRF,
        ) as video:
            video.write(first)
            for pair in pairs:
                video.write(pair)
        return "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()


def _at_height(frame: Image) -> Image:
    """Scaled to one height, with an even width, which H.264 wants."""
    width = round(frame.shape[1] * _VIDEO_HEIGHT_PX / frame.shape[0] / 2) * 2
    return np.asarray(cv2.resize(frame, (width, _VIDEO_HEIGHT_PX), interpolation=cv2.INTER_AREA), np.uint8)


def _runs(points: list[str | None]) -> list[list[str]]:
    """Points between gaps."""
    gaps = [-1, *(index for index, point in enumerate(points) if point is None), len(points)]
    runs = [[point for point in points[a + 1 : b] if point is not None] for a, b in pairwise(gaps)]
    return [run for run in runs if run]


def _tick(span: float) -> float:
    """A round step that divides the span into two to five parts."""
    scale = 10.0 ** np.floor(np.log10(span))
    return float(next(step * scale for step in (0.2, 0.5, 1, 2) if span / (step * scale) <= 5))
