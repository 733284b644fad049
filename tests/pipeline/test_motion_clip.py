"""A video as a source of motion: the time of each frame counts, whatever rate the file declares."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.arrays import Doubles, Floats
from openemo.face import FaceAnalyzer
from openemo.face.landmarks import NUM_POINTS
from openemo.pipeline.motion_clip import at_constant_rate, read_motion_clip
from openemo.video.images import read_image

WIDTH_PX = 60.0  # of the portrait's face in a picture of 128 px, about


def landmarks(places_px: Doubles) -> NDArray[np.float32]:
    """(F, 478, 3) a face of WIDTH_PX at these places."""
    face = np.random.default_rng(0).uniform(-20, 20, (NUM_POINTS, 3))
    face[[234, 454], 0] = -WIDTH_PX / 2, WIDTH_PX / 2
    face[[234, 454], 1] = 0
    return np.asarray(face + np.multiply.outer(places_px, (1.0, 0.0, 0.0))[:, None], np.float32)


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001), Fraction(12)])
def test_frames_at_a_constant_rate_stay_what_they_are(fps: Fraction) -> None:
    points = landmarks(np.linspace(0, 30, 40))
    exact_s = np.arange(40) / float(fps)
    for times_s in (exact_s, np.round(exact_s, 3)):  # Matroska counts milliseconds
        clip = at_constant_rate(points, times_s)
        np.testing.assert_array_equal(clip.points_px_FK3, points)
        assert float(clip.fps) == pytest.approx(float(fps), rel=1e-3)
    assert at_constant_rate(points, exact_s).fps == fps


def test_frames_at_other_times_show_the_same_motion() -> None:
    """A phone that takes 25 and then 8 frames per second, and leaves some out."""
    times_s = np.concatenate([np.arange(30) / 25, 1.2 + np.arange(1, 9) / 8])
    times_s = np.delete(times_s, [4, 5, 17])

    def place_px(times_s: Doubles) -> Doubles:
        return 20 * times_s

    clip = at_constant_rate(landmarks(place_px(times_s)), times_s)
    assert clip.fps == 25
    shown_s = np.arange(len(clip.points_px_FK3)) / 25
    assert shown_s[-1] == pytest.approx(times_s[-1], abs=0.04)
    np.testing.assert_allclose(clip.points_px_FK3, landmarks(place_px(shown_s)), atol=1e-3)


def test_nothing_is_mixed_across_a_cut_or_a_missing_face() -> None:
    times_s = np.array((0, 0.04, 0.08, 0.28, 0.32, 0.36, 0.6))
    points = landmarks(np.array((0.0, 0, 0, 100, 100, 100, 100)))
    points[-1] = np.nan
    clip = at_constant_rate(points, times_s)
    assert clip.fps == 25
    places_px = clip.points_px_FK3[:, [234, 454], 0].mean(1)
    np.testing.assert_allclose(places_px[:5], 0, atol=1e-4)
    np.testing.assert_allclose(places_px[5:12], 100, atol=1e-4)
    assert np.isnan(clip.points_px_FK3[-1]).all()


def test_a_file_of_variable_rate_is_read_at_its_times(
    portrait_path: Path, face_analyzer: FaceAnalyzer, tmp_path: Path
) -> None:
    """A face that goes to the right by 20 px a second, in frames that come late and early."""
    picture = cv2.resize(read_image(portrait_path), (160, 160), interpolation=cv2.INTER_AREA)
    times_ms = [0, 40, 80, 120, 400, 440, 480, 900, 940, 980, 1020]
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 224, 160, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for time_ms in times_ms:
            shift = np.array(((1, 0, 10 + 0.02 * time_ms), (0, 1, 0)))
            moved = cv2.warpAffine(picture, shift, (224, 160), borderMode=cv2.BORDER_REPLICATE)
            frame = av.VideoFrame.from_ndarray(moved, format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    clip = read_motion_clip(tmp_path / "a.mp4", face_analyzer, duration_s=2.0)
    assert clip.fps == 25
    middle_px: Floats = clip.points_px_FK3[..., 0].mean(1)
    assert len(middle_px) == 26
    np.testing.assert_allclose(middle_px - middle_px[0], 20 * np.arange(26) / 25, atol=1.0)
