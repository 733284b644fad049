"""The watermark is invisible, is found after what is done to videos, and nowhere else."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from openemo.arrays import Image
from openemo.provenance.badge import Badge
from openemo.provenance.frame_marker import FrameMarker
from openemo.provenance.marking import Marking
from openemo.provenance.watermark import Watermark
from openemo.provenance.watermark_detection import LEAST_SCORE, find_watermark
from openemo.provenance.watermark_pattern import NUM_PATTERNS, TILE_PX, mark_tile, patterns
from openemo.provenance.watermark_payload import from_symbols, to_symbols

MARK_ID = 0xC0FFEE17


@pytest.fixture(scope="module")
def frames(portrait_path: Path) -> list[Image]:
    """Twelve frames of 512 px: a face that moves before a wall that does not."""
    photo = np.array(Pillow.open(portrait_path).convert("RGB").resize((512, 512), Pillow.Resampling.LANCZOS))
    face = (slice(120, 400), slice(150, 370))
    made = []
    for step in range(12):
        frame = photo.copy()
        frame[face] = np.roll(photo, (step % 3, step % 5), (0, 1))[face]
        made.append(frame)
    return made


@pytest.fixture(scope="module")
def marked(frames: list[Image]) -> list[Image]:
    watermark = Watermark(MARK_ID)
    return [watermark.mark(frame) for frame in frames]


def h264(frames: Sequence[Image], crf: int, fps: int) -> list[Image]:
    """The frames, compressed and decoded."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": str(crf)})
        height, width = frames[0].shape[:2]
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as source:
        return [np.asarray(one.to_ndarray(format="rgb24"), np.uint8) for one in source.decode(video=0)]


def half(frame: Image) -> Image:
    return np.asarray(cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def test_the_mark_is_weak_and_leaves_colours_alone(frames: list[Image], marked: list[Image]) -> None:
    change = marked[0].astype(int) - frames[0]
    assert 10 * np.log10(255**2 / np.mean(change**2.0)) > 40
    assert np.abs(change).max() < 20
    corner = change[:60, :60]  # a plain wall
    assert corner.std() < 0.9
    for frame, other in zip(frames, marked, strict=True):
        inner = ((frame > 20) & (frame < 235)).all(2)  # where nothing is clipped
        assert not np.ptp((other.astype(int) - frame)[inner], axis=1).any()


def test_what_moves_takes_its_mark_along() -> None:
    """Curls hide a strong mark; on the wall that they leave it would be seen."""
    wall = np.full((256, 256, 3), 128, np.uint8)
    curls = np.random.default_rng(0).integers(0, 255, (256, 90, 3), np.uint8)
    watermark, strengths = Watermark(MARK_ID), []
    for step in range(13):
        frame = wall.copy()
        frame[:, 6 * step : 6 * step + 90] = curls
        change = watermark.mark(frame).astype(int) - frame
        strengths.append(change[:, :30].std())
    assert strengths[0] > 2
    assert strengths[-1] < 0.9


def test_one_id_makes_one_mark(frames: list[Image], marked: list[Image]) -> None:
    assert np.array_equal(Watermark(MARK_ID).mark(frames[0]), marked[0])
    assert not np.array_equal(Watermark(MARK_ID + 1).mark(frames[0]), marked[0])


def test_opacity_stays(frames: list[Image], marked: list[Image]) -> None:
    opacity = np.full((512, 512, 1), 77, np.uint8)
    with_opacity = Watermark(MARK_ID).mark(np.concatenate([frames[0], opacity], 2))
    assert np.array_equal(with_opacity[..., :3], marked[0])
    assert (with_opacity[..., 3] == 77).all()


def test_it_is_found_after_compression_half_size_crop_and_other_timing(marked: list[Image]) -> None:
    """All at once, and mirrored; the tile tells how much smaller it became."""
    retimed = [marked[index * 25 // 30] for index in range(14)]
    cut = [np.ascontiguousarray(half(frame)[10:246, 14:250, :]) for frame in retimed]
    reading = find_watermark(frame[:, ::-1] for frame in h264(cut, 28, 30))
    assert (reading.mark_id, reading.is_mirrored) == (MARK_ID, True)
    assert reading.tile_px == pytest.approx((TILE_PX / 2, TILE_PX / 2), rel=0.01)


def test_one_picture_is_enough(marked: list[Image]) -> None:
    jpeg = io.BytesIO()
    Pillow.fromarray(marked[0]).resize((384, 384), Pillow.Resampling.BICUBIC).save(jpeg, "JPEG", quality=75)
    reading = find_watermark([np.array(Pillow.open(jpeg))])
    assert (reading.mark_id, reading.is_mirrored) == (MARK_ID, False)
    assert reading.score > LEAST_SCORE


def test_none_is_found_where_none_is(frames: list[Image]) -> None:
    assert find_watermark(frames[:2]).mark_id is None
    assert find_watermark([np.full((300, 200, 3), 90, np.uint8)]).mark_id is None
    assert find_watermark([]).mark_id is None


def test_a_payload_is_read_back_and_a_wrong_one_is_not() -> None:
    symbols = to_symbols(MARK_ID)
    assert from_symbols(symbols) == MARK_ID
    wrong = [(*symbols[:place], symbols[place] ^ 1, *symbols[place + 1 :]) for place in range(len(symbols))]
    assert [from_symbols(one) for one in wrong] == [None] * len(symbols)


def test_patterns_are_unlike_each_other_and_never_change() -> None:
    """Files of today must be recognised by every later version."""
    flat = patterns().reshape(NUM_PATTERNS, -1)
    alike = np.abs(flat @ flat.conj().T) / np.count_nonzero(flat[0])
    assert np.diag(alike) == pytest.approx(np.ones(NUM_PATTERNS))
    assert (alike - np.eye(NUM_PATTERNS)).max() < 0.15
    tile = mark_tile(to_symbols(MARK_ID), TILE_PX)
    assert tile.std() == pytest.approx(1)
    assert tile[3, 5:8] == pytest.approx(EXPECTED, abs=1e-9)
    # Larger tiles are the same waves.
    assert mark_tile(to_symbols(MARK_ID), 2 * TILE_PX)[::2, ::2] == pytest.approx(tile, abs=1e-6)


EXPECTED = [-0.8109662796053074, -0.462612840294854, -0.03981717978560203]


def test_the_badge_is_shown_at_the_start_and_again(frames: list[Image]) -> None:
    fps = Fraction(10)
    badge = Badge(fps)
    shown = [number for number in range(700) if badge.is_shown(number)]
    assert shown == [*range(40), *range(300, 340), *range(600, 640)]
    marker = FrameMarker(Marking(watermark=False, badge=True), mark_id=0, fps=fps)
    drawn = [marker.mark(frames[0]) for _ in range(41)]
    changed = np.argwhere((drawn[39] != frames[0]).any(2))
    assert changed.min(0)[0] > 512 * 0.9
    assert 60 < np.ptp(changed[:, 1]) < 256
    assert np.array_equal(drawn[40], frames[0])


@pytest.mark.parametrize("side_px", [8, 33, 96])
def test_tiny_pictures_fail_neither_mark_nor_badge(side_px: int) -> None:
    frame = np.random.default_rng(3).integers(0, 256, (side_px, side_px + 5, 3), np.uint8)
    marker = FrameMarker(Marking(badge=True), mark_id=MARK_ID, fps=Fraction(25))
    assert marker.mark(frame).shape == frame.shape
    assert find_watermark([frame]).mark_id is None
