"""Curves and intervals as SVG for the page. Colours are CSS variables, so that plots follow its dark mode."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from openemo.errors import printable
from openemo.evaluation import rows
from openemo.evaluation.report.report import figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["curves_svg", "histogram_svg", "intervals_svg"]

Curve = Sequence[float | None]

# The colours of the light page, by the CSS variables that replace them.
_COLOURS: Final = {
    "soft": "#6b7280",
    "line": "#e3e5e9",
    "real": "#7a7f89",
    "subject": "#0b62d6",
    "silence": "#d97706",
}
_LINE_STYLES: Final[dict[str, dict[str, Any]]] = {
    rows.REAL: {"color": _COLOURS["real"], "linestyle": "--"},
    rows.SILENCE: {"color": _COLOURS["silence"], "linewidth": 1.0},
}
_SUBJECT_STYLE: Final[dict[str, Any]] = {"color": _COLOURS["subject"]}
_CURVES_PX: Final = (560, 154)
_BARS_WIDTH_PX: Final = 460
_BAR_STEP_PX: Final = 22
_HISTOGRAM_PX: Final = (420, 130)
_HISTOGRAM_BINS: Final = 40


def curves_svg(curves: Mapping[str, tuple[Curve, float]], title: str) -> str:
    """Mouth opening over time. A curve has a gap where no face was found.

    Args:
        curves: by row, in the order of drawing: opening of each frame over the face width, and frames per
            second.
    """
    duration_s = max(len(curve) / fps for curve, fps in curves.values())
    values = [value for curve, _ in curves.values() for value in curve if value is not None]
    top = max([*values, 0.02]) * 1.05

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        for row, (curve, fps) in curves.items():
            opening = np.array(curve, np.float64)  # None becomes NaN, which is a gap
            axes.plot(np.arange(len(opening)) / fps, opening, clip_on=False, **_style(row))
        axes.set(xlim=(0, duration_s), ylim=(0, top))
        for axis, text in ((axes.xaxis, "{x:g} s"), (axes.yaxis, "{x:.2f}")):
            axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
            axis.set_major_formatter(text)
        axes.tick_params(axis="x", pad=8)
        axes.set_axisbelow(True)
        axes.grid(axis="y", color=_COLOURS["line"], linewidth=1)

    width, height = _CURVES_PX
    return _svg(title, _CURVES_PX, (44, 28, width - 60, height - 38), draw)


def intervals_svg(bars: Mapping[str, tuple[float, float, float]], title: str, subject: str) -> str:
    """One line per row: a dot at the figure, a bar for its interval.

    Args:
        bars: by row: (value, low, high).
        subject: the row that is drawn in its own colour.
    """
    low = min(0.0, *(bar[1] for bar in bars.values()))
    high = max(bar[2] for bar in bars.values())

    def draw(axes: Axes) -> None:
        axes.axvline(0, color=_COLOURS["line"], linewidth=1)
        for y, (row, (value, start, stop)) in enumerate(bars.items()):
            colour = _COLOURS["subject" if row == subject else "soft"]
            axes.plot([start, stop], [y, y], color=colour, linewidth=3, clip_on=False)
            axes.plot([value], [y], color=colour, marker="o", markersize=8, clip_on=False)
            axes.text(
                1.05,
                y,
                figure(value),
                transform=axes.get_yaxis_transform(),
                color=_COLOURS["soft"],
                va="center_baseline",
            )
        axes.set(xlim=(low, high if high > low else low + 1), ylim=(len(bars) - 0.5, -0.5), xticks=[])
        axes.set_yticks(range(len(bars)), list(bars))
        axes.tick_params(pad=10)

    height = _BAR_STEP_PX * len(bars) + 6
    return _svg(title, (_BARS_WIDTH_PX, height), (104, 3, 280, height - 6), draw)


def histogram_svg(values: Sequence[float], title: str, limit: float, *, is_least: bool) -> str:
    """How often values are found; what is beyond the limit has another colour.

    Args:
        limit: the least value that passes if `is_least`, else the largest one.
    """
    found = np.asarray(values, np.float64)
    low, high = np.percentile([*found, limit], (0.5, 99.5))
    low, high = min(low, limit), max(high, limit)
    edges = np.linspace(low, high if high > low else low + 1, _HISTOGRAM_BINS + 1)
    counts, _ = np.histogram(np.clip(found, edges[0], edges[-1]), edges)

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        middles = (edges[:-1] + edges[1:]) / 2
        passes = middles >= limit if is_least else middles <= limit
        colours = [_COLOURS["subject" if passed else "silence"] for passed in passes]
        axes.bar(middles, counts, width=0.9 * (edges[1] - edges[0]), color=colours)
        axes.axvline(limit, color=_COLOURS["real"], linewidth=1.2, linestyle="--")
        axes.set(xlim=(edges[0], edges[-1]))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))

    width, height = _HISTOGRAM_PX
    return _svg(title, _HISTOGRAM_PX, (44, 26, width - 60, height - 36), draw)


def _style(row: str) -> dict[str, Any]:
    return _LINE_STYLES.get(row, _SUBJECT_STYLE)


def _svg(
    title: str, size_px: tuple[int, int], box_px: tuple[int, int, int, int], draw: Callable[[Axes], None]
) -> str:
    """An SVG element with axes at `box_px` (left, bottom, width, height), filled by `draw`.

    The same input gives the same bytes: no date, and a fixed salt for the names of shared parts.
    """
    import matplotlib
    from matplotlib.figure import Figure

    title = printable(title)
    (width, height), (left, bottom, box_width, box_height) = size_px, box_px
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # the reader's own settings must not change the page
        matplotlib.rc("svg", fonttype="none", hashsalt=title)  # text stays text
        matplotlib.rc("font", size=12)
        matplotlib.rc("lines", linewidth=1.8)
        canvas = Figure(figsize=(width / 72, height / 72))  # SVG has 72 units per inch
        axes = canvas.add_axes(
            (left / width, bottom / height, box_width / width, box_height / height), frameon=False
        )
        axes.tick_params(length=0, labelcolor=_COLOURS["soft"])
        draw(axes)
        data = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        canvas.savefig(data, format="svg", transparent=True, metadata=nothing)
    return _for_page(data.getvalue(), title)


def _for_page(text: str, title: str) -> str:
    """A standalone SVG file as an element of an HTML page."""
    svg = text[text.index("<svg") :]
    # Every plot numbers its groups from 1, but ids must be unique in a page.
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)  # would style the page
    svg = re.sub(r"font-family: [^;]*;", "font-family: system-ui, sans-serif;", svg)
    for name, colour in _COLOURS.items():
        svg = svg.replace(colour, f"var(--{name}, {colour})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)
