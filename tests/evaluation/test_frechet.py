"""Fréchet distances with known answers, and which names they may have."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from openemo.errors import CheckpointError, ConfigError
from openemo.evaluation.metrics.frechet import (
    FVD_FRAMES,
    FrechetDistance,
    FrechetFeatures,
    blendshape_features,
    expression_features,
    frame_features,
    frechet_distance,
    reference_distance,
    reference_frame_features,
    reference_video_features,
    video_windows,
)
from openemo.evaluation.networks.mobilenet_v2 import MobileNetV2
from openemo.evaluation.networks.weights import FILE_NAME, load_weights, shipped
from openemo.evaluation.observation import Observation

Clip = Callable[[NDArray[np.float64]], Observation]


def _gaussian(seed: int, count: int, dims: int = 5) -> NDArray[np.float64]:
    """Samples with exactly mean 0 and covariance 1."""
    rows = np.random.default_rng(seed).standard_normal((count, dims))
    rows -= rows.mean(axis=0)
    inverse = np.linalg.inv(np.linalg.cholesky(np.cov(rows.T))).T
    return np.asarray(rows @ inverse)


def test_distance_of_gaussians_is_the_closed_form() -> None:
    a, b = _gaussian(1, 40), _gaussian(2, 31)
    assert frechet_distance(a, b) == pytest.approx(0, abs=1e-9)
    # |m|^2 + sum of (s1 - s2)^2
    shift = np.array([3.0, 0, 4, 0, 0])
    assert frechet_distance(2 * a + shift, b) == pytest.approx(25 + 5)


def test_distance_with_fewer_samples_than_dimensions() -> None:
    rows = np.random.default_rng(3).standard_normal((7, 50))
    assert frechet_distance(rows, rows) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(rows, rows + 1) == pytest.approx(50)


def test_distance_agrees_with_torchmetrics() -> None:
    pytest.importorskip("torchmetrics")
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((60, 6)), rng.standard_normal((50, 6)) * (1, 2, 3, 1, 1, 0.5) + 0.3
    assert reference_distance(a, b) == pytest.approx(frechet_distance(a, b), rel=1e-6)


def test_distance_of_all_clips_and_of_some() -> None:
    features = FrechetFeatures("any", lambda seen: seen.blendshapes, frechet_distance)
    row = FrechetDistance(features)
    assert np.isnan(row.distance())
    made, real = ([_gaussian(seed, 9) + seed for seed in seeds] for seeds in ((1, 2), (3, 5)))
    for ours, theirs in zip(made, real, strict=True):
        row.add(ours, theirs)
    assert row.distance() == frechet_distance(np.concatenate(made), np.concatenate(real))
    assert row.distance([1, 1]) == pytest.approx(
        frechet_distance(np.tile(made[1], (2, 1)), np.tile(real[1], (2, 1)))
    )
    assert row.distance([0]) == pytest.approx(5 * (3 - 1) ** 2)


def test_blendshape_distance_sees_an_expression_that_is_too_weak(clip: Clip) -> None:
    rng = np.random.default_rng(6)
    seen = clip(np.zeros(30))
    real = replace(seen, blendshapes=rng.random((30, 52), np.float32))
    made = replace(seen, blendshapes=real.blendshapes * np.float32(0.5))
    features = blendshape_features()
    row = FrechetDistance(features)
    row.add(features.extract(made), features.extract(real))
    a, b = made.blendshapes.astype(float), real.blendshapes.astype(float)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + 0.25 * b.var(0, ddof=1).sum()
    assert row.distance() == pytest.approx(expected, rel=1e-5)
    assert row.features.key == "e_fd_blendshapes"


def test_mobilenet_tells_a_ramp_from_its_own_pixels_shuffled() -> None:
    """Features lie within ReLU6's range, do not depend on the batch, and depend on form."""
    network = MobileNetV2.from_pretrained()
    rng = np.random.default_rng(7)
    ramp = np.repeat(np.linspace(0, 255, 90).astype(np.uint8)[:, None], 70, axis=1)
    image = np.stack([ramp, ramp, ramp], axis=-1)
    shuffled = rng.permutation(image.reshape(-1, 3)).reshape(image.shape)
    features = network.embed([image, image, shuffled])
    assert features.shape == (3, 1280)
    assert np.isfinite(features).all()
    assert features.min() >= 0
    assert features.max() <= 6
    np.testing.assert_allclose(features[0], features[1], rtol=1e-5, atol=1e-6)
    assert np.linalg.norm(features[0] - features[2]) > 5


def test_frame_features_are_of_frames_over_the_whole_clip(clip: Clip) -> None:
    features = frame_features(MobileNetV2.from_pretrained())
    assert features.extract(clip(np.zeros(3))).shape == (3, 1280)
    assert features.extract(clip(np.zeros(19))).shape == (16, 1280)
    assert features.key == "fd_mobilenetv2"


def test_changed_mobilenet_is_refused(tmp_path: Path) -> None:
    shutil.copytree(shipped("mobilenet_v2"), tmp_path / "copy")
    (tmp_path / "copy" / FILE_NAME).write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="damaged or was changed"):
        load_weights(MobileNetV2(), tmp_path / "copy")


@pytest.mark.parametrize(
    ("load", "name"), [(reference_frame_features, "FID"), (reference_video_features, "FVD")]
)
def test_fid_and_fvd_refuse_another_network(
    load: Callable[..., FrechetFeatures], name: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=f"{name} needs its reference network"):
        load(tmp_path / "none.pt", allow_torchscript=True)
    with pytest.raises(CheckpointError, match=f"a distance by {FILE_NAME} is not {name}"):
        load(shipped("mobilenet_v2") / FILE_NAME, allow_torchscript=True)


@pytest.mark.parametrize("load", [reference_frame_features, reference_video_features, expression_features])
def test_torchscript_is_not_run_unless_the_user_says_so(
    load: Callable[..., FrechetFeatures], tmp_path: Path
) -> None:
    path = tmp_path / "network.pt"
    path.write_text("whatever it is")
    with pytest.raises(ConfigError, match=r"a program.*--allow-torchscript.*allow_torchscript=True"):
        load(path)


def test_video_windows_have_sixteen_frames_end_to_end(clip: Clip) -> None:
    shapes = []

    def network(video: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(video.shape))
        return video.mean((2, 3, 4))

    rows = video_windows(clip(np.zeros(2 * FVD_FRAMES + 7)), network)
    assert rows.shape == (2, 3)
    assert shapes == [(1, 3, 16, 300, 320)] * 2
    assert len(video_windows(clip(np.zeros(15)), network)) == 0


def test_expression_distance_needs_a_3d_model(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no network")
    with pytest.raises(CheckpointError, match="cannot be read as TorchScript"):
        expression_features(tmp_path / "text.pt", allow_torchscript=True)
