"""Training sequences: saved and loaded equal, landmarks fit the pictures, order and speed are right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.data.sequences import FrameSequence, driven_sequence, quiet_span, real_sequence
from openemo.face.analyzer import Face

Floats = NDArray[np.float64]
Image = NDArray[np.uint8]
HEIGHT, WIDTH, SIZE, FACE = 120, 150, 64, 100.0


def _smooth(seed: int) -> Image:
    """(HEIGHT, WIDTH, 3), coloured, without edges."""
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    x, y = np.meshgrid(np.arange(WIDTH) / WIDTH, np.arange(HEIGHT) / HEIGHT)
    return (128 + 90 * np.stack([np.sin(4 * x + 3 * y * k + phase[k]) for k in range(3)], -1)).astype(
        np.uint8
    )


def _track(toy_face: Floats, num_frames: int, turn: float = 0.0) -> NDArray[np.float32]:
    """(F, 478, 3): the face in the middle of the picture, rotating clockwise by `turn` radians a frame."""
    points = (toy_face - (0.5, 0.5, 0)) * FACE
    angles = turn * np.arange(num_frames)
    turned = [
        np.stack(
            [
                np.cos(a) * points[:, 0] - np.sin(a) * points[:, 1],
                np.sin(a) * points[:, 0] + np.cos(a) * points[:, 1],
            ],
            1,
        )
        for a in angles
    ]
    flat = np.stack(turned) + np.array([WIDTH / 2, HEIGHT / 2])
    return np.concatenate([flat, np.repeat(points[None, :, 2:], num_frames, 0)], -1).astype(np.float32)


def _face(points: NDArray[np.float32]) -> Face:
    return Face(np.concatenate([points[:, :2].min(0), points[:, :2].max(0)]), points, 1.0)


def test_saved_and_loaded_sequences_are_equal(tmp_path: Path, toy_face: Floats) -> None:
    frames = [_smooth(seed) for seed in range(3)]
    sequence = real_sequence("clip", frames, _track(toy_face, 3, 0.05), 1, size_px=SIZE, crop_scale=1.6)
    path = tmp_path / "real-clip.npz"
    sequence.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["real-clip.npz"]
    loaded = FrameSequence.load(path)
    assert loaded.jpegs == sequence.jpegs
    assert (loaded.size_px, loaded.clip, loaded.first_frame, loaded.num_frames) == (SIZE, "clip", 0, 3)
    np.testing.assert_array_equal(loaded.points_px, sequence.points_px)
    np.testing.assert_array_equal(loaded.speed_rad_s, sequence.speed_rad_s)
    assert loaded.points_px.dtype == loaded.speed_rad_s.dtype == np.float32


def test_pictures_come_back_in_rgb_and_nearly_unchanged(toy_face: Floats) -> None:
    frame = _smooth(3)
    sequence = real_sequence("clip", [frame, frame], _track(toy_face, 2), 0, size_px=SIZE, crop_scale=0.8)
    picture = sequence.picture(1)
    assert picture.shape == (SIZE, SIZE, 3)
    # At the middle of the face; JPEG of quality 93 with halved colour loses a few grey levels.
    middle = frame[HEIGHT // 2 - 2 : HEIGHT // 2 + 2, WIDTH // 2 - 2 : WIDTH // 2 + 2].mean((0, 1))
    np.testing.assert_allclose(picture[30:34, 30:34].mean((0, 1)), middle, atol=4)


def test_a_real_sequence_starts_with_its_reference_and_keeps_all_frames_in_order(toy_face: Floats) -> None:
    frames = [_smooth(seed) for seed in range(4)]
    sequence = real_sequence("clip", frames, _track(toy_face, 4, 0.1), 2, size_px=SIZE, crop_scale=1.6)
    assert sequence.num_frames == 4
    assert sequence.jpegs[0] == sequence.jpegs[1 + 2]
    assert len(set(sequence.jpegs[1:])) == 4
    assert sequence.points_px.shape == (5, 478, 2)
    np.testing.assert_array_equal(sequence.points_px[0], sequence.points_px[3])


def test_landmarks_lie_where_they_are_seen_in_the_crop(toy_face: Floats) -> None:
    track = _track(toy_face, 2, 0.2)
    frames = []
    for points in track:
        x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
        distance = np.hypot(x - points[152, 0], y - points[152, 1])  # a light at the chin
        frames.append(np.repeat((255 * np.exp(-((distance / 2.5) ** 2)))[..., None], 3, 2).astype(np.uint8))
    sequence = real_sequence("clip", frames, track, 0, size_px=SIZE, crop_scale=1.6)
    for index in (1, 2):
        light = sequence.picture(index)[..., 1].astype(float)
        light[light < 20] = 0
        x, y = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
        seen = np.array([(light * x).sum(), (light * y).sum()]) / light.sum()
        np.testing.assert_allclose(seen, sequence.points_px[index, 152], atol=0.5)  # JPEG of a small dot


def test_head_speed_is_in_radians_per_second(toy_face: Floats) -> None:
    frames = [_smooth(0)] * 11
    sequence = real_sequence("clip", frames, _track(toy_face, 11, 0.02), 0, size_px=SIZE, crop_scale=1.6)
    assert sequence.speed_rad_s.shape == (11,)
    # 0.02 rad a frame at 25 frames per second; the ends are smoothed against a repeated pose.
    np.testing.assert_allclose(sequence.speed_rad_s[3:-3], 0.5, rtol=1e-3)  # float32 landmarks
    still = real_sequence("clip", frames, _track(toy_face, 11), 0, size_px=SIZE, crop_scale=1.6)
    np.testing.assert_allclose(still.speed_rad_s, 0, atol=1e-6)


def _driven(toy_face: Floats, track: NDArray[np.float32], span: range, *, quiet: bool) -> FrameSequence:
    frames = [_smooth(seed) for seed in range(len(track))]
    return driven_sequence(
        _smooth(9),
        _face(_track(toy_face, 1)[0]),
        "clip",
        frames,
        track,
        span,
        size_px=SIZE,
        crop_scale=1.6,
        head_strength=0.5,
        quiet=quiet,
    )


def test_a_portrait_driven_by_a_still_clip_stands_still(toy_face: Floats) -> None:
    sequence = _driven(toy_face, _track(toy_face, 5), range(1, 4), quiet=False)
    assert (sequence.num_frames, sequence.clip, sequence.first_frame) == (3, "clip", 1)
    assert set(sequence.jpegs) == {sequence.jpegs[0]}
    np.testing.assert_allclose(sequence.points_px, sequence.points_px[:1].repeat(4, 0), atol=1e-4)  # float32
    np.testing.assert_allclose(sequence.speed_rad_s, 0, atol=1e-6)


def test_a_driven_portrait_moves_half_as_fast_at_head_strength_half(toy_face: Floats) -> None:
    sequence = _driven(toy_face, _track(toy_face, 11, 0.02), range(3, 8), quiet=False)
    np.testing.assert_allclose(sequence.speed_rad_s, 0.25, rtol=1e-3)
    assert len(set(sequence.jpegs)) > 3


def test_a_quiet_portrait_goes_forwards_and_backwards_without_a_clip(toy_face: Floats) -> None:
    sequence = _driven(toy_face, _track(toy_face, 6, 0.05), range(2, 5), quiet=True)
    assert (sequence.num_frames, sequence.clip, sequence.first_frame) == (6, "", 2)
    assert sequence.jpegs[1:4] == sequence.jpegs[:3:-1]
    np.testing.assert_array_equal(sequence.points_px[1:4], sequence.points_px[:3:-1])
    np.testing.assert_array_equal(sequence.speed_rad_s[:3], sequence.speed_rad_s[:2:-1])


@pytest.mark.parametrize("start", [0, 4, 9])
def test_quiet_span_finds_the_frames_in_which_the_mouth_rests(toy_face: Floats, start: int) -> None:
    track = _track(toy_face, 12)
    opened = np.random.default_rng(5).uniform(3, 9, 12)
    opened[start : start + 3] = 0
    track[:, 14, 1] += opened
    assert quiet_span(track, 3) == start


def test_quiet_span_of_a_whole_clip_is_its_start(toy_face: Floats) -> None:
    assert quiet_span(_track(toy_face, 4), 4) == 0
