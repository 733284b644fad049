"""Sync-own on embeddings whose answer is known, and on real clips with planted faults."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.sync_accuracy import area_under_curve, sync_accuracy
from openemo.audio.audio_reader import Audio, read_audio
from openemo.data.data_recipe import DataRecipe
from openemo.data.landmark_tracks import track_clip
from openemo.data.prepare import split_clips
from openemo.errors import CheckpointError
from openemo.evaluation.metrics.sync_own import (
    STRETCH_WINDOWS,
    score_distances,
    score_sync_own,
    shift_distances,
)
from openemo.evaluation.networks.own_sync_network import OwnSyncNetwork, SyncEmbeddings
from openemo.evaluation.networks.weights import shipped
from openemo.face import FaceAnalyzer
from openemo.face.landmarks import OUTER_LIPS
from openemo.models.sync_embedder import SyncEmbedder
from openemo.settings import load_recipe
from openemo.video.video_reader import read_frames

SHIPPED = shipped("sync")
DIM = 24
SHORTEST = STRETCH_WINDOWS + 2 * 15


@dataclass(frozen=True)
class Video:
    """As much of an observation as the network reads."""

    frames: tuple[NDArray[np.uint8], ...]
    fps: float
    points_px: NDArray[np.float32]
    audio: Audio | None


def _embeddings(num_windows: int = SHORTEST, late: int = 0, seed: int = 1) -> SyncEmbeddings:
    """Picture window w shows what sound window w - late has, a little changed."""
    rng = np.random.default_rng(seed)
    meaning = rng.standard_normal((num_windows + 40, DIM))
    pictures = meaning[20 - late : 20 - late + num_windows] + 0.5 * rng.standard_normal((num_windows, DIM))
    sound = meaning[20 : 20 + num_windows]
    return SyncEmbeddings(_unit(pictures), _unit(sound), np.ones(num_windows, bool))


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


@pytest.mark.parametrize("late", [-15, -5, -2, -1, 0, 1, 2, 5, 15])
def test_the_offset_is_positive_when_the_picture_is_late(late: int) -> None:
    score = score_distances(shift_distances(_embeddings(late=late)))
    assert score.offset_frames == late
    assert score.confidence > 0.5
    assert (score.in_step > 0.5) == (late == 0)


def test_confidence_and_distance_of_a_hand_example() -> None:
    distances = np.full((2, STRETCH_WINDOWS, 31), 1.0)
    distances[0, :, 15 + 3] = 0.4
    distances[1, :, 15 + 3] = 0.6
    distances[0, :, 15] = 0.9
    score = score_distances(distances)
    assert score.confidence == pytest.approx((0.6 + 0.4) / 2)
    assert score.distance == pytest.approx((0.4 + 0.6) / 2)
    assert score.in_step == pytest.approx((0.1 + 0) / 2)
    assert score.offset_frames == -3


def test_a_frozen_mouth_and_a_silent_sound_have_no_confidence() -> None:
    real = _embeddings()
    still = np.broadcast_to(real.pictures[:1], real.pictures.shape)
    silent = np.broadcast_to(real.sound[:1], real.sound.shape)
    for pictures, sound in ((still, real.sound), (real.pictures, silent), (still, silent)):
        score = score_distances(shift_distances(SyncEmbeddings(pictures, sound, real.seen)))
        assert score.confidence == pytest.approx(0, abs=1e-9)  # rounding
        assert score.in_step == pytest.approx(0, abs=1e-9)


def test_another_sound_is_not_in_step() -> None:
    scores = [
        score_distances(
            shift_distances(
                SyncEmbeddings(
                    _embeddings(seed=i).pictures, _embeddings(seed=i + 50).sound, np.ones(SHORTEST, bool)
                )
            )
        )
        for i in range(8)
    ]
    # The least of 31 random distances is always below the median. The one without a shift is not, on average.
    assert min(score.confidence for score in scores) > 0.03
    assert abs(np.mean([score.in_step for score in scores])) < 0.03


def test_stretches_are_of_one_length_and_within_the_video() -> None:
    assert shift_distances(_embeddings(SHORTEST - 1)).shape == (0, 36, 31)
    assert shift_distances(_embeddings(SHORTEST)).shape == (1, 36, 31)
    assert shift_distances(_embeddings(SHORTEST + 35)).shape == (1, 36, 31)
    assert shift_distances(_embeddings(SHORTEST + 36)).shape == (2, 36, 31)
    assert score_distances(shift_distances(_embeddings(250, late=4))).offset_frames == 4
    short = score_distances(shift_distances(_embeddings(SHORTEST - 1)))
    assert all(math.isnan(value) for value in (short.confidence, short.offset_frames, short.distance))


def test_windows_without_a_face_are_left_out() -> None:
    real = _embeddings(SHORTEST, late=2)
    pictures, seen = real.pictures.copy(), real.seen.copy()
    pictures[20:37], seen[20:37] = pictures[0], False
    hidden = shift_distances(SyncEmbeddings(pictures, real.sound, seen))
    assert np.isnan(hidden[0, 5:22]).all()
    assert np.isfinite(np.delete(hidden[0], range(5, 22), 0)).all()
    assert score_distances(hidden).offset_frames == 2
    seen[15:45] = False
    assert not len(shift_distances(SyncEmbeddings(pictures, real.sound, seen)))


def test_the_area_under_the_curve_of_a_hand_example() -> None:
    # Pairs: 0.1 under all three, 0.5 under one and equal to one.
    assert area_under_curve(np.array([0.1, 0.5]), np.array([0.3, 0.5, 0.9])) == pytest.approx((3 + 1.5) / 6)


def test_accuracy_of_perfect_and_of_unrelated_embeddings() -> None:
    perfect = sync_accuracy([_embeddings(seed=seed) for seed in range(4)])
    for name in ("clip_exact", "windows_1_exact", "windows_25_within_1"):
        assert perfect[name] == pytest.approx(1, abs=0.05)
    for name in ("auc_shifted", "auc_other", "auc_clip_other"):
        assert perfect[name] > 0.99
    unrelated = sync_accuracy(
        [
            SyncEmbeddings(
                _embeddings(seed=i).pictures, _embeddings(seed=i + 9).sound, np.ones(SHORTEST, bool)
            )
            for i in range(8)
        ]
    )
    # 288 windows: a standard deviation of 0.01 about 1/31, and of 0.02 about 0.5.
    assert unrelated["windows_1_exact"] == pytest.approx(1 / 31, abs=0.04)
    assert unrelated["auc_shifted"] == pytest.approx(0.5, abs=0.08)


@pytest.fixture(scope="module")
def untrained() -> OwnSyncNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return OwnSyncNetwork(SyncEmbedder(32, 48, (8, 16, 24), (6, 8, 10, 12), 14, 18, 20))


def _made_up_video(num_frames: int = 74, repeat: int = 1) -> Video:
    """25 * repeat fps, every frame shown `repeat` times."""
    rng = np.random.default_rng(6)
    frames = rng.integers(0, 256, (num_frames, 50, 70, 3), np.uint8)
    points = np.full((num_frames, 478, 2), (35.0, 20.0))
    points[:, 33, 0], points[:, 263, 0], points[:, 2, 1] = 15, 55, 30
    points[:, list(OUTER_LIPS)] = (35, 38)
    samples = rng.normal(0, 0.1, (1, round(num_frames / 25 * 22_050))).astype(np.float32)
    return Video(
        tuple(np.repeat(frames, repeat, 0)),
        25.0 * repeat,
        np.repeat(points, repeat, 0).astype(np.float32),
        Audio(samples, 22_050),
    )


def test_other_frame_rates_are_read_at_25_fps(untrained: OwnSyncNetwork) -> None:
    plain, doubled = (
        score_sync_own(untrained.embed(video)) for video in (_made_up_video(), _made_up_video(repeat=2))
    )
    assert set(plain) == {
        f"sync_own_{name}" for name in ("confidence", "offset_frames", "distance", "in_step")
    }
    assert all(math.isfinite(value) for value in plain.values())
    assert doubled == plain


def test_figures_that_cannot_be_measured_are_nan(untrained: OwnSyncNetwork) -> None:
    video = _made_up_video()
    hidden = np.full_like(video.points_px, np.nan)
    for bad in (
        Video(video.frames, 25, video.points_px, None),
        Video(video.frames, 25, hidden, video.audio),
        Video(video.frames[:69], 25, video.points_px[:69], video.audio),
        Video(video.frames[:3], 25, video.points_px[:3], video.audio),
        Video((), 25, video.points_px[:0], video.audio),
    ):
        values = score_sync_own(untrained.embed(bad))
        assert len(values) == 4
        assert all(math.isnan(value) for value in values.values())


@pytest.fixture(scope="module")
def network() -> OwnSyncNetwork:
    return OwnSyncNetwork.from_pretrained()


def test_the_shipped_weights_are_small_and_checked(network: OwnSyncNetwork, tmp_path: Path) -> None:
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 3e6
    folder = tmp_path / "sync"
    shutil.copytree(SHIPPED, folder)
    OwnSyncNetwork.from_pretrained(folder)
    weights = folder / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(CheckpointError, match="damaged or was changed"):
        OwnSyncNetwork.from_pretrained(folder)
    with pytest.raises(CheckpointError, match="SHA256SUMS"):
        OwnSyncNetwork.from_pretrained(tmp_path)


def _later(audio: Audio, num_frames: int) -> Audio:
    """The sound `num_frames` of 25 fps later; earlier when negative."""
    shift = round(num_frames / 25 * audio.sample_rate_hz)
    padded = np.pad(audio.samples, ((0, 0), (max(shift, 0), max(-shift, 0))))
    return Audio(
        np.ascontiguousarray(padded[:, max(-shift, 0) :][:, : audio.num_samples]), audio.sample_rate_hz
    )


@pytest.fixture(scope="module")
def real_clips(shared_dir: Path, face_analyzer: FaceAnalyzer) -> dict[str, list[Video]]:
    """Four clips of the training speaker that were held out, and the ten clips of other speakers."""
    recipe = load_recipe(
        DataRecipe,
        Path(__file__).parents[2] / "recipes/data.yaml",
        [f"clips={shared_dir / 'data/grid/s1'}"],
    )
    paths = {
        "s1": split_clips(recipe)[1][:4],
        "others": sorted((shared_dir / "data/grid/others").glob("*.mp4")),
    }

    def video(path: Path) -> Video:
        frames = tuple(read_frames(path))
        return Video(frames, 25.0, track_clip(frames, face_analyzer).points_px, read_audio(path))

    return {name: [video(path) for path in clips] for name, clips in paths.items()}


@pytest.mark.slow
def test_real_clips_are_in_sync_and_planted_faults_are_found(
    network: OwnSyncNetwork, real_clips: dict[str, list[Video]]
) -> None:
    scores = {
        name: [score_sync_own(network.embed(video)) for video in videos]
        for name, videos in real_clips.items()
    }
    offsets = {name: [s["sync_own_offset_frames"] for s in found] for name, found in scores.items()}
    assert all(abs(offset) <= 1 for offset in offsets["s1"])
    # The model card says how many of these ten the network gets wrong.
    assert sum(abs(offset) <= 1 for offset in offsets["others"]) >= 8
    for video, real in zip(real_clips["s1"], scores["s1"], strict=True):
        assert video.audio is not None
        for shift in (-5, -2, -1, 1, 2, 5):
            late = score_sync_own(
                network.embed(Video(video.frames, 25.0, video.points_px, _later(video.audio, shift)))
            )
            # The sound later is the picture earlier; what the clip itself is off stays.
            assert late["sync_own_offset_frames"] == real["sync_own_offset_frames"] - shift
        silence = Audio(np.zeros_like(video.audio.samples), video.audio.sample_rate_hz)
        still = (video.frames[9],) * len(video.frames)
        for faulty in (
            Video(video.frames, 25.0, video.points_px, silence),
            Video(still, 25.0, np.repeat(video.points_px[9:10], len(still), 0), video.audio),
        ):
            assert (
                score_sync_own(network.embed(faulty))["sync_own_confidence"]
                < 0.05 * real["sync_own_confidence"]
            )


@pytest.mark.slow
def test_other_sentences_are_not_in_step(network: OwnSyncNetwork, real_clips: dict[str, list[Video]]) -> None:
    videos = real_clips["s1"]
    real = [score_sync_own(network.embed(video))["sync_own_in_step"] for video in videos]
    swapped = [
        score_sync_own(network.embed(Video(video.frames, 25.0, video.points_px, videos[i - 1].audio)))[
            "sync_own_in_step"
        ]
        for i, video in enumerate(videos)
    ]
    assert np.mean(swapped) < 0.4 * np.mean(real)
