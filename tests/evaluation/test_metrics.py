"""Faults planted into a real clip: each changes its own figures and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.evaluation.alignment import onto
from openemo.evaluation.metrics.registry import METRICS
from openemo.evaluation.metrics.registry import score as score_all
from openemo.evaluation.observation import Observation, Observer
from openemo.face.landmarks import INNER_LIPS, OUTER_LIPS

Clip = Callable[[NDArray[np.float64]], Observation]
FRAMES = 60


@pytest.fixture(scope="module")
def real(observer: Observer, shared_dir: Path) -> Observation:
    """60 frames of a speaker that no training used."""
    return _part(observer.file(shared_dir / "data/grid/others/s2-pwij3p.mp4"), list(range(FRAMES)))


@pytest.fixture(scope="module")
def truth(real: Observation) -> dict[str, float]:
    """The ground truth against itself."""
    return score(real, real)


def score(made: Observation, real: Observation, silence: Observation | None = None) -> dict[str, float]:
    """All figures but those of a synchronisation network."""
    return score_all(made, real, portrait=real.first(), silence=silence, sync=lambda _: {})


def _part(seen: Observation, indices: list[int]) -> Observation:
    return replace(
        seen,
        frames=tuple(seen.frames[index] for index in indices),
        points_px=seen.points_px[indices],
        blendshapes=seen.blendshapes[indices],
        embeddings=seen.embeddings[indices],
    )


def _unchanged(figures: dict[str, float], truth: dict[str, float], *but: str) -> None:
    """All figures are the ground truth's within 2 %, but those that begin with one of `but`."""
    for key, value in figures.items():
        if not key.startswith(but):
            assert value == pytest.approx(truth[key], rel=0.02, abs=1e-4, nan_ok=True), key


def test_every_figure_is_registered_and_every_registered_one_is_given(
    clip: Clip, speech: NDArray[np.float64]
) -> None:
    made = clip(speech[:12])
    figures = score_all(
        made,
        made,
        portrait=made.first(),
        silence=made,
        sync=lambda seen: {"sync_own_distance": float(len(seen))},
    )
    assert figures["sync_own_distance"] == 12
    computed = {key for key, metric in METRICS.items() if metric.function is not None}
    assert figures.keys() == computed | {"sync_own_distance"}
    assert all(isinstance(value, float) for value in figures.values())
    assert not any(key.startswith("silence") for key in score(made, made))
    for key, metric in METRICS.items():
        assert metric.key == key
        assert metric.title
        assert metric.source


def test_a_video_at_another_rate_is_read_at_the_clips(clip: Clip, speech: NDArray[np.float64]) -> None:
    real = clip(speech[:15])
    double = replace(clip(np.repeat(speech[:15], 2)), fps=50.0)
    figures = score(double, real)
    assert figures["lip_r"] == pytest.approx(1)
    assert figures["lip_lag_frames"] == 0
    assert figures["lost_frames"] == 0


@pytest.mark.slow
def test_ground_truth_is_perfect(truth: dict[str, float]) -> None:
    figures = truth
    expected = {"lip_r": 1, "lip_lag_frames": 0, "lip_spread_ratio": 1, "ssim": 1, "no_face_share": 0}
    assert {key: figures[key] for key in expected} == pytest.approx(expected)
    assert figures["lmd_mouth"] == pytest.approx(0, abs=1e-6)
    assert 0.9 < figures["sharpness"] < 1.1
    assert figures["identity_cosine"] > 0.97
    assert 0 < figures["f_sim"] < 1


@pytest.mark.slow
@pytest.mark.parametrize("late", [1, 2, 5, -1, -2, -5])
def test_planted_shift_is_found_exactly(real: Observation, truth: dict[str, float], late: int) -> None:
    shifted = _part(real, np.clip(np.arange(FRAMES) - late, 0, FRAMES - 1).tolist())
    figures = score(shifted, real)
    assert figures["lip_lag_frames"] == late
    assert figures["lip_lag_r"] == pytest.approx(1)
    assert figures["lip_r"] < 0.98
    # Frames are lost at one end and repeated at the other, a few per cent of all.
    for key in ("identity_cosine", "f_sim", "sharpness", "new_skin_share", "new_writing_share"):
        assert figures[key] == pytest.approx(truth[key], rel=0.03), key


@pytest.mark.slow
def test_planted_identity_swap(
    real: Observation, truth: dict[str, float], observer: Observer, shared_dir: Path
) -> None:
    """The second half has another speaker's identity. The landmarks stay."""
    other = observer.file(shared_dir / "data/grid/others/uA-sbwe5n.mp4")
    half = FRAMES // 2
    embeddings = np.concatenate([real.embeddings[:half], other.embeddings[:half]])
    figures = score(replace(real, embeddings=embeddings), real)
    assert figures["identity_cosine"] < truth["identity_cosine"] - 0.03
    assert figures["identity_distance"] > truth["identity_distance"] + 0.15
    assert figures["f_sim"] < truth["f_sim"] - 0.001
    _unchanged(figures, truth, "identity", "f_sim")


@pytest.mark.slow
def test_planted_blur(real: Observation, observer: Observer) -> None:
    blurred = [np.asarray(cv2.GaussianBlur(frame, (0, 0), 1.5), np.uint8) for frame in real.frames]
    figures = score(observer(blurred, real.fps, real.audio), real)
    assert figures["sharpness"] < 0.5
    assert figures["psnr_db"] < 40
    assert figures["ssim"] < 0.97
    # The blurred mouth moves as before, and the person is the same.
    assert figures["lip_r"] > 0.95
    assert figures["lip_lag_frames"] == 0
    assert figures["lmd_mouth"] < 0.02
    assert figures["identity_distance"] < 0.5
    assert figures["no_face_share"] == figures["new_skin_share"] == figures["new_writing_share"] == 0


@pytest.mark.slow
def test_frozen_photo(real: Observation, observer: Observer) -> None:
    frozen = observer(real.frames[:1] * FRAMES, real.fps, real.audio)
    figures = score(frozen, real, silence=frozen)
    assert figures["lip_r"] == 0
    assert np.isnan(figures["lip_lag_frames"])
    assert figures["lip_spread"] == figures["silence_spread"] == 0
    assert figures["lmd_mouth"] > 0.02
    assert figures["f_sim"] == pytest.approx(1)
    assert figures["head_speed_deg_s"] == figures["expression_spread"] == figures["blinks_per_min"] == 0
    # A frozen photo is perfect in these.
    assert figures["identity_cosine"] == pytest.approx(1)
    assert figures["sharpness"] == pytest.approx(1)
    assert figures["flicker_grey"] == 0


@pytest.mark.slow
def test_frozen_mouth_in_a_moving_face(real: Observation, truth: dict[str, float]) -> None:
    """The mouth landmarks keep their first shape while head and eyes move on."""
    mouth = [*OUTER_LIPS, *INNER_LIPS]
    points = real.points_px.copy()
    rest = real.points_px[0]
    for index in range(FRAMES):
        points[index, mouth, :2] = onto(rest, real.points_px[index])(rest[mouth, :2])
    figures = score(replace(real, points_px=points), real)
    assert figures["lip_spread_ratio"] < 0.1
    # r ignores amplitude, and the rest follows the head's nod. That is why the spread is beside it.
    assert figures["lip_r"] < 0.6
    assert figures["lmd_mouth"] > 0.02
    # The head pose uses two of the mouth landmarks.
    _unchanged(figures, truth, "lip_", "lmd_mouth", "mouth_", "closure_", "false_closure_", "jaw_", "head_")
