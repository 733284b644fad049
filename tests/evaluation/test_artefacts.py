"""Planted hands, writing and lost faces, and harmless changes that must not count as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.errors import FaceError
from openemo.evaluation.metrics.artefacts import ArtefactDetector, score_artefacts
from openemo.evaluation.observation import Observation, Observer
from openemo.face.landmarks import face_width_px
from openemo.video.video_reader import read_frames

Image = NDArray[np.uint8]
Clip = Callable[[NDArray[np.float64]], Observation]


def _coded(frame: Image) -> Image:
    """The frame after lossy coding, roughly as in a video."""
    _, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])


def _with_hand(frame: Image, points_px: NDArray[np.float32], centre_px: tuple[int, int]) -> Image:
    """A palm with four fingers, painted with the texture of the cheek, 0.5 face widths wide."""
    palm = 0.5 * face_width_px(points_px)
    mask = np.zeros(frame.shape[:2], np.uint8)
    x, y = centre_px
    cv2.rectangle(mask, (int(x - palm / 2), y), (int(x + palm / 2), int(y + palm)), (1,), -1)
    for offset in (-0.4, -0.13, 0.13, 0.4):
        tip = (int(x + offset * 1.3 * palm), int(y - 0.6 * palm))
        cv2.line(mask, (int(x + offset * palm), y), tip, (1,), max(1, int(0.18 * palm)))
    u, v = (int(value) for value in points_px[205, :2])
    cheek = frame[v - 8 : v + 8, u - 8 : u + 8]
    tile = np.concatenate([cheek, cheek[:, ::-1]], axis=1)
    tile = np.concatenate([tile, tile[::-1]])
    height, width = frame.shape[:2]
    skin = np.tile(tile, (height // 32 + 1, width // 32 + 1, 1))[:height, :width]
    return np.where(mask[..., None] > 0, skin, frame).astype(np.uint8)


def _with_writing(frame: Image, y_px: int) -> Image:
    written = frame.copy()
    cv2.putText(
        written, "Subtitles here", (20, y_px), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 0), 5, cv2.LINE_AA
    )
    cv2.putText(
        written, "Subtitles here", (20, y_px), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255,) * 3, 2, cv2.LINE_AA
    )
    return written


def test_clean_frames_have_no_artefacts(clip: Clip, portrait: Observation) -> None:
    shares = score_artefacts(clip(np.zeros(3)), portrait)
    assert shares == {"no_face_share": 0, "new_skin_share": 0, "new_writing_share": 0}


def test_a_moving_head_and_coding_are_no_artefacts(portrait: Observation) -> None:
    detector = ArtefactDetector(portrait.frames[0], portrait.points_px[0])
    shift = round(0.06 * face_width_px(portrait.points_px[0]))
    moved = _coded(np.roll(portrait.frames[0], shift, axis=1))
    points = portrait.points_px[0] + np.array([shift, 0, 0], np.float32)
    assert not detector.has_new_skin(moved, points)
    assert not detector.has_new_writing(moved)


def test_planted_hand_is_seen_and_is_no_writing(portrait: Observation) -> None:
    image, points = portrait.frames[0], portrait.points_px[0]
    detector = ArtefactDetector(image, points)
    side = int(face_width_px(points))
    hand = _coded(_with_hand(image, points, (side // 3, 2 * side // 3)))
    assert detector.has_new_skin(hand, points)
    assert not detector.has_new_writing(hand)


def test_planted_writing_is_seen_and_is_no_skin(portrait: Observation) -> None:
    detector = ArtefactDetector(portrait.frames[0], portrait.points_px[0])
    for y_px in (40, 280):
        written = _coded(_with_writing(portrait.frames[0], y_px))
        assert detector.has_new_writing(written)
        assert not detector.has_new_skin(written, portrait.points_px[0])


def test_writing_that_the_portrait_has_is_not_new(portrait: Observation) -> None:
    written = _with_writing(portrait.frames[0], 280)
    assert not ArtefactDetector(written, portrait.points_px[0]).has_new_writing(_coded(written))


def test_shares_count_frames(clip: Clip, portrait: Observation) -> None:
    seen = clip(np.zeros(4))
    points = seen.points_px.copy()
    points[1] = np.nan
    frames = (*seen.frames[:3], _with_writing(seen.frames[3], 280))
    shares = score_artefacts(replace(seen, frames=frames, points_px=points), portrait)
    assert shares == {"no_face_share": 0.25, "new_skin_share": 0, "new_writing_share": 0.25}


def test_shares_that_cannot_be_measured_are_nan(clip: Clip, portrait: Observation) -> None:
    grey = np.repeat(portrait.frames[0].mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    shares = score_artefacts(replace(clip(np.zeros(1)), frames=(grey,)), replace(portrait, frames=(grey,)))
    assert np.isnan(shares["new_skin_share"])
    assert shares["new_writing_share"] == 0
    other_view = replace(clip(np.zeros(1)), frames=(portrait.frames[0][:200],))
    shares = score_artefacts(other_view, portrait)
    assert np.isnan([shares["new_skin_share"], shares["new_writing_share"]]).all()
    nobody = replace(portrait, points_px=np.full_like(portrait.points_px, np.nan))
    with pytest.raises(FaceError, match="no face found in the portrait"):
        score_artefacts(other_view, nobody)


@pytest.mark.slow
def test_real_clips_have_hardly_any(observer: Observer, shared_dir: Path) -> None:
    """Frames of three speakers who move. In 16 clips only one frame gave a false alarm."""
    for path in sorted((shared_dir / "data/grid/others").glob("*.mp4"))[:3]:
        seen = observer(islice(read_frames(path), 0, None, 9), 25 / 9, None)
        assert score_artefacts(seen, seen.first()) == {
            "no_face_share": 0,
            "new_skin_share": 0,
            "new_writing_share": 0,
        }
