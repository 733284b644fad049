"""The identity network, and the figures of its embeddings."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from openemo.errors import CheckpointError, FaceError
from openemo.evaluation.metrics.identity import cosine, score_identity
from openemo.evaluation.networks.face_identity import FaceIdentity
from openemo.evaluation.networks.weights import FILE_NAME, load_weights, shipped
from openemo.evaluation.observation import Observation, Observer
from openemo.video.images import read_image

Clip = Callable[[NDArray[np.float64]], Observation]


def test_network_agrees_with_plain_layers_and_the_source_weights(shared_dir: Path) -> None:
    """The layers in the order of dlib's network, with the affine layers that are folded in here."""
    from safetensors.torch import load_file

    weights = load_file(shared_dir / "data/weights/face-identity/model.safetensors")
    weights = {name: tensor.float() for name, tensor in weights.items()}
    functional = torch.nn.functional

    def conv(x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        filters = weights[f"{name}/conv/filters"].permute(3, 2, 0, 1)
        pad = filters.shape[2] // 2 if stride == 1 else 0
        y = functional.conv2d(x, filters, weights[f"{name}/conv/bias"], stride, pad)
        scale, bias = (weights[f"{name}/scale/{part}"][:, None, None] for part in ("weights", "biases"))
        return y * scale + bias

    def block(x: torch.Tensor, name: str, down: bool) -> torch.Tensor:
        y = conv(conv(x, f"{name}/conv1", 2 if down else 1).relu(), f"{name}/conv2")
        if not down:
            return (y + x).relu()
        short = functional.avg_pool2d(x, 2)
        total = torch.zeros(len(x), y.shape[1], *short.shape[2:])
        total[:, :, : y.shape[2], : y.shape[3]] += y
        total[:, : short.shape[1]] += short
        return total.relu()

    generator = torch.Generator().manual_seed(3)
    chips = torch.rand((2, 3, 150, 150), generator=generator) * 255
    x = (chips - torch.tensor([122.782, 117.001, 104.298])[:, None, None]) / 256
    x = functional.max_pool2d(conv(x, "conv32_down", 2).relu(), 3, 2)
    names = ["conv32_1", "conv32_2", "conv32_3", "conv64_down", "conv64_1", "conv64_2", "conv64_3"]
    names += ["conv128_down", "conv128_1", "conv128_2", "conv256_down", "conv256_1", "conv256_2"]
    for name in [*names, "conv256_down_out"]:
        x = block(x, name, "down" in name)
    expected = x.mean((2, 3)) @ weights["fc"]
    # Half precision of the folded weights: 0.0005 measured, where two people are 0.75 apart.
    assert (FaceIdentity.from_pretrained()(chips) - expected).norm(dim=1).max() < 0.003


def test_one_person_is_nearer_than_two(observer: Observer, shared_dir: Path) -> None:
    """Same picture mirrored, darker and smaller, against other people; dlib's threshold is 0.6."""
    paths = sorted((shared_dir / "data/portraits/congress").iterdir())[3:300:60]
    images = [read_image(path) for path in paths]
    changed = [np.ascontiguousarray((image[::2, ::-2] * 0.8).astype(np.uint8)) for image in images]
    first, second = (
        np.concatenate([observer([image], 25.0, None).embeddings for image in some])
        for some in (images, changed)
    )
    distances = np.linalg.norm(first[:, None] - second[None], axis=-1)
    same = np.eye(len(paths), dtype=bool)
    assert distances[same].max() < 0.6
    assert distances[~same].min() > distances[same].max()
    assert np.median(distances[~same]) > 0.6
    assert cosine(first, second).min() > cosine(first, np.roll(second, 1, axis=0)).max()


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    shutil.copytree(shipped("face_identity"), tmp_path / "copy")
    path = tmp_path / "copy" / FILE_NAME
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged or was changed"):
        load_weights(FaceIdentity(), tmp_path / "copy")


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(CheckpointError, match="do not fit FaceIdentity"):
        load_weights(FaceIdentity(), shipped("mobilenet_v2"))


def test_figures_of_embeddings_with_known_angles(clip: Clip) -> None:
    seen = clip(np.zeros(3))
    vectors = np.zeros((3, 128), np.float32)
    vectors[0, 0] = vectors[1, 0] = 2
    vectors[2, 1] = 2
    made, portrait = replace(seen, embeddings=vectors), replace(seen, embeddings=vectors[:1])
    assert score_identity(made, portrait) == pytest.approx(
        {"identity_cosine": 2 / 3, "identity_distance": 2 * np.sqrt(2) / 3, "f_sim": 0.5}
    )
    vectors[1] = np.nan
    figures = score_identity(made, portrait)
    assert figures["identity_cosine"] == pytest.approx(0.5)
    assert np.isnan(figures["f_sim"])  # no two neighbours are left
    with pytest.raises(FaceError, match="no face"):
        score_identity(made, replace(seen, embeddings=vectors[1:2]))
