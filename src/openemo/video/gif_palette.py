"""256 colours for a GIF, chosen from its first frames."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Final, cast

import av
from av.filter import Graph
from av.filter.context import FilterContext

__all__ = ["GifPalette"]

_PALETTE_SIDE_PX: Final = 16
# Frames are held until the palette is known, then not any more. 7 s of 512x512 at 25 fps.
_HELD_BYTES: Final = 192 * 2**20
# An ordered dither stays where it is. Error diffusion flickers around what moves, and tints the skin there.
_DITHER: Final = "bayer:bayer_scale=4"


class GifPalette:
    """Reduces frames to one palette, so that what stands still in the video stays as it is.

    Args:
        transparent: pixels of under half opacity become transparent, all others opaque.
    """

    def __init__(self, width: int, height: int, fps: Fraction, *, transparent: bool) -> None:
        self._size = (width, height)
        self._time_base = 1 / fps
        self._transparent = transparent
        self._pixels = av.VideoFormat("bgra" if transparent else "bgr0", width, height)
        self._held: list[av.VideoFrame] = []
        self._max_held = max(1, _HELD_BYTES // (4 * width * height))
        self._graph: Graph | None = None  # its filters do not keep it alive
        self._source: FilterContext | None = None
        self._sink: FilterContext | None = None

    def add(self, frame: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """The frames that are ready."""
        prepared = frame.reformat(format=self._pixels.name)
        prepared.pts, prepared.time_base = frame.pts, self._time_base
        if self._source is not None:
            self._source.push(prepared)
            yield from self._ready()
            return
        self._held.append(prepared)
        if len(self._held) >= self._max_held:
            yield from self._choose()

    def finish(self) -> Iterator[av.VideoFrame]:
        """All other frames."""
        if self._held:
            yield from self._choose()
        if self._source is not None:
            self._source.push(None)
            yield from self._ready()

    def _choose(self) -> Iterator[av.VideoFrame]:
        """Chooses the palette, and reduces the frames that were held for it."""
        held, self._held = self._held, []
        self._open(self._palette_of(held))
        assert self._source is not None
        for frame in held:
            self._source.push(frame)
            yield from self._ready()

    def _palette_of(self, frames: list[av.VideoFrame]) -> av.VideoFrame:
        graph = Graph()
        source, sink = self._buffer(graph), graph.add("buffersink")
        chooser = graph.add("palettegen", f"stats_mode=full:reserve_transparent={int(self._transparent)}")
        source.link_to(chooser)
        chooser.link_to(sink)
        graph.configure()
        for frame in frames:
            source.push(frame)
        source.push(None)
        return cast(av.VideoFrame, sink.pull())

    def _open(self, palette: av.VideoFrame) -> None:
        """Opens the graph that reduces frames to the palette."""
        graph = Graph()
        source, sink = self._buffer(graph), graph.add("buffersink")
        colours = graph.add_buffer(
            width=_PALETTE_SIDE_PX, height=_PALETTE_SIDE_PX, format=palette.format, time_base=self._time_base
        )
        reducer = graph.add("paletteuse", f"dither={_DITHER}")
        source.link_to(reducer, 0, 0)
        colours.link_to(reducer, 0, 1)
        reducer.link_to(sink)
        graph.configure()
        colours.push(palette)
        colours.push(None)
        self._graph, self._source, self._sink = graph, source, sink

    def _buffer(self, graph: Graph) -> FilterContext:
        width, height = self._size
        return graph.add_buffer(width=width, height=height, format=self._pixels, time_base=self._time_base)

    def _ready(self) -> Iterator[av.VideoFrame]:
        assert self._sink is not None
        while True:
            try:
                yield cast(av.VideoFrame, self._sink.pull())
            except (av.BlockingIOError, av.EOFError):
                return
