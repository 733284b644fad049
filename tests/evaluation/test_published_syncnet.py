"""The published SyncNet with random weights: loading, crops, and Sync-C and Sync-D by their definition."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from openemo.audio.audio_reader import Audio
from openemo.audio.mfcc import mfcc
from openemo.errors import CheckpointError
from openemo.evaluation.metrics.sync_published import score_sync_published
from openemo.evaluation.networks.published_syncnet import PublishedSyncNet, face_crops
from openemo.evaluation.networks.syncnet import SyncNet


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return SyncNet().state_dict()


@pytest.fixture(scope="module")
def path(weights: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("published") / "syncnet_v2.model"
    torch.save(weights, file)
    return file


def _video(num_frames: int = 9) -> Any:
    rng = np.random.default_rng(3)
    frames = tuple(rng.integers(0, 256, (num_frames, 60, 80, 3), np.uint8))
    points = rng.uniform((30, 15), (55, 45), (478, 2)) + np.zeros((num_frames, 1, 1))
    sound = rng.normal(0, 0.1, (1, 640 * num_frames)).astype(np.float32)
    return SimpleNamespace(
        frames=frames, fps=25.0, points_px=points.astype(np.float32), audio=Audio(sound, 16_000)
    )


def test_figures_are_those_of_the_definition(path: Path) -> None:
    published, video = PublishedSyncNet.from_pretrained(path), _video()
    found = score_sync_published(published.embed(video))
    # The definition: all windows but the last, zeros beyond the ends.
    crops = torch.from_numpy(np.stack(list(face_crops(list(video.frames), video.points_px)))).float()
    rows = torch.from_numpy(mfcc(32768 * video.audio.samples[0])).float()
    with torch.inference_mode():
        pictures = [
            published.network.embed_pictures(crops[i : i + 5].permute(3, 0, 1, 2)[None]) for i in range(4)
        ]
        sound = {i: published.network.embed_sound(rows[4 * i : 4 * i + 20].T[None, None]) for i in range(4)}
    curve = []
    for shift in range(-15, 16):
        steps = [
            torch.linalg.norm(pictures[i] - sound.get(i + shift, torch.zeros(1, 1024)) + 1e-6)
            for i in range(4)
        ]
        curve.append(float(torch.stack(steps).mean()))
    # float32 norms over 1024 numbers, in batches of another size.
    assert found["sync_d"] == pytest.approx(min(curve), rel=1e-4)
    assert found["sync_c"] == pytest.approx(float(np.median(curve)) - min(curve), abs=1e-4 * max(curve))
    assert found["sync_offset_frames"] == 15 - int(np.argmin(curve))


def test_weights_without_counters_and_as_safetensors_load_too(
    weights: dict[str, torch.Tensor], path: Path, tmp_path: Path
) -> None:
    # The published file is older than the counters of batch norm.
    old = {name: value for name, value in weights.items() if "num_batches" not in name}
    torch.save(old, tmp_path / "old.model")
    save_file(weights, tmp_path / "new.safetensors")
    for file in (path, tmp_path / "old.model", tmp_path / "new.safetensors"):
        network = PublishedSyncNet.from_pretrained(file).network
        for name, value in old.items():
            assert torch.equal(network.state_dict()[name], value)
        assert not network.training


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this must not run",)


def test_other_files_than_the_published_one_are_refused(
    weights: dict[str, torch.Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CheckpointError, match="there is no file"):
        PublishedSyncNet.from_pretrained(tmp_path / "none.model")
    file = tmp_path / "some.model"
    file.write_bytes(b"not weights at all")
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        PublishedSyncNet.from_pretrained(file)
    torch.save(_Code(), file)
    with pytest.raises(CheckpointError, match="could run code"):
        PublishedSyncNet.from_pretrained(file)
    assert "must not run" not in capsys.readouterr().out
    torch.save([1, 2], file)
    with pytest.raises(CheckpointError, match="something else than weights"):
        PublishedSyncNet.from_pretrained(file)
    torch.save({name: value for name, value in weights.items() if name != "netfcaud.3.bias"}, file)
    with pytest.raises(CheckpointError, match=r"does not fit.*netfcaud\.3\.bias"):
        PublishedSyncNet.from_pretrained(file)


def test_figures_that_cannot_be_measured_are_nan(path: Path) -> None:
    published, video = PublishedSyncNet.from_pretrained(path), _video()
    silent = SimpleNamespace(**vars(video) | {"audio": None})
    hidden = SimpleNamespace(**vars(video) | {"points_px": np.full_like(video.points_px, np.nan)})
    for bad in (silent, hidden, _video(5)):
        values = score_sync_published(published.embed(bad))
        assert set(values) == {"sync_c", "sync_d", "sync_offset_frames"}
        assert all(math.isnan(value) for value in values.values())


def test_crops_are_the_box_with_its_margin_blue_first() -> None:
    # A face box of 40x40 around (60, 50): the crop is 32..88 by 30..86, four times as large.
    points = np.full((3, 478, 2), (60.0, 50.0))
    points[:, 0], points[:, 1], points[:, 2], points[:, 3] = (40, 50), (80, 50), (60, 30), (60, 70)
    points[1] = np.nan
    frame = np.zeros((100, 120, 3), np.uint8)
    frame[..., 0] = np.arange(120)
    frame[..., 2] = np.arange(100)[:, None]
    for crop in face_crops([frame] * 3, points):
        assert crop.shape == (224, 224, 3)
        for index in (10, 112, 200):
            assert crop[100, index, 2] == pytest.approx(32 + (index + 0.5) / 4 - 0.5, abs=1)
            assert crop[index, 100, 0] == pytest.approx(30 + (index + 0.5) / 4 - 0.5, abs=1)
    outside = next(face_crops([frame], points[:1] - (50, 0)))
    assert (outside[:, :40] == 110).all()
