"""The synchronisation stage: its data and their augmentation, its losses, its export."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from openemo import training
from openemo.audio import Audio
from openemo.checkpoints.components import load_network
from openemo.data.data_recipe import DataRecipe
from openemo.errors import ConfigError, TrainingError
from openemo.models.sync_embedder import MEL_BINS, SyncEmbedder, rows_of_frames
from openemo.timing import parse_fps
from openemo.training.datasets.sync_augmentation import augment_audio, augment_pictures
from openemo.training.datasets.sync_data import MARGIN_PX, SyncData, pack_sync_data
from openemo.training.recipes import SyncRecipe
from openemo.training.stages.sync_stage import SyncStage, shift_similarity
from openemo.video.video_writer import VideoWriter
from tests.training.losses import draw_losses

HEIGHT, WIDTH, FRAMES, CLIPS, VARIANTS = 32, 48, 37, 5, 2
MODEL = {
    "height": HEIGHT,
    "width": WIDTH,
    "picture_channels": [8, 16, 24],
    "audio_channels": [6, 8, 10, 12],
    "frame_dim": 14,
    "hidden_dim": 36,
    "embedding_dim": 20,
}


def _synthetic(seed: int = 2) -> SyncData:
    """Bright bars whose height is the loudness of the audio: a network learns that in a few steps."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(-1, 1, (CLIPS, FRAMES + 3))
    height, width = HEIGHT + 2 * MARGIN_PX, WIDTH + 2 * MARGIN_PX
    crops = rng.uniform(40, 70, (2 * CLIPS, FRAMES + 3, height, width))
    rows_of_picture = np.abs(np.arange(height) - height / 2 + 0.5)[:, None]
    crops += 120 * (rows_of_picture < 6 + 5 * np.repeat(level, 2, 0)[..., None, None])
    rows = np.repeat(level, 4, 1)[:, :, None] * 0.5 + rng.normal(0, 0.05, (CLIPS, 4 * FRAMES + 12, MEL_BINS))
    rows = np.concatenate([rows, rows[:, -1:]], 1)
    return SyncData(
        crops.astype(np.uint8).reshape(-1, *crops.shape[2:]),
        np.arange(2 * CLIPS + 1) * (FRAMES + 3),
        np.repeat(np.arange(CLIPS), 2),
        np.zeros(2 * CLIPS, np.int64),
        np.arange(2 * CLIPS) % 2 == 1,
        np.repeat(rows[:, None], VARIANTS, 1).astype(np.float16),
    )


def _recipe(folder: Path, **changes: object) -> SyncRecipe:
    (folder / "data.yaml").write_text(
        "clips: clips\nportraits: []\nface_weights: face\nspeech_weights: speech\noutput: elsewhere\n"
    )
    settings = {
        "output": folder / "run",
        "data": folder / "data",
        "data_recipe": folder / "data.yaml",
        "mouths": folder / "mouths.npz",
        "steps": 30,
        "learning_rate": 0.003,
        "lr_warmup_steps": 5,
        "sequences": 3,
        "frames": FRAMES,
        "model": MODEL,
        "num_threads": 1,
    }
    return SyncRecipe.model_validate(settings | changes)


def test_the_stage_learns_which_audio_belongs_and_exports_a_network_that_loads(tmp_path: Path) -> None:
    _synthetic().save(tmp_path / "mouths.npz")
    recipe = _recipe(tmp_path, log_every=10)
    path = tmp_path / "sync.yaml"
    path.write_text(recipe.model_dump_json())  # JSON is YAML
    training.run("sync", path)
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20, 30]
    # From chance (3.5) to about 1.8: far more than one batch differs from another.
    assert rows[-1]["within"] < rows[0]["within"] - 1
    network = load_network(SyncEmbedder, tmp_path / "run/export/sync")
    assert (network.config.height, network.config.width) == (HEIGHT, WIDTH)


def test_losses_follow_from_the_generator_and_start_at_chance(tmp_path: Path) -> None:
    _synthetic().save(tmp_path / "mouths.npz")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    stage = SyncStage(_recipe(tmp_path))
    assert torch.equal(torch.get_rng_state(), before)
    losses = [draw_losses(stage, seed) for seed in (1, 1, 2)]
    assert losses[0]["loss"] == losses[1]["loss"] != losses[2]["loss"]
    windows = FRAMES - 4
    # Similarities of an untrained network are nearly equal; the scale of 10 enlarges the difference.
    assert float(losses[0]["within"].detach()) == pytest.approx(np.log(windows), abs=0.5)
    assert float(losses[0]["between"].detach()) == pytest.approx(np.log(3 * windows), abs=0.5)


def test_a_step_has_no_two_sequences_of_one_clip_and_too_few_clips_are_an_error(tmp_path: Path) -> None:
    data = _synthetic()
    data.save(tmp_path / "mouths.npz")
    with pytest.raises(TrainingError, match="got 5; expected 6"):
        SyncStage(_recipe(tmp_path, sequences=6))
    stage = SyncStage(_recipe(tmp_path, sequences=5, driven_share=0.5))
    batch = stage.dataset.draw(torch.Generator().manual_seed(1))
    crops, rows = batch.crops_BFHW, batch.rows_BTM
    assert crops.shape == (5, FRAMES, HEIGHT, WIDTH)
    assert rows.shape == (5, rows_of_frames(FRAMES), MEL_BINS)
    loudness = rows[:, :-1].mean(2).reshape(-1, FRAMES, 4).mean(2)
    brightness = crops.mean((2, 3))
    r = np.corrcoef(np.concatenate([brightness, loudness]))[:5, 5:]
    assert (np.diag(r) > 0.5).all()  # each mouth with its own voice, after all augmentation
    assert np.abs(r - np.diag(np.diag(r))).max() < 0.5


def test_shift_similarity_reads_the_diagonals() -> None:
    similarity = torch.zeros(2, 9, 9)
    similarity[0] += torch.diag(torch.full((7,), 0.5), 2)  # sound of two windows later
    similarity[1] += torch.diag(torch.full((8,), 0.25), -1)
    found = shift_similarity(similarity, 3)
    assert found.shape == (2, 7)
    assert found[0].tolist() == [0, 0, 0, 0, 0, 0.5, 0]
    assert found[1].tolist() == [0, 0, 0.25, 0, 0, 0, 0]


def test_augmented_pictures_keep_content_and_time() -> None:
    rng = np.random.default_rng(8)
    crops = rng.integers(60, 90, (11, HEIGHT + 16, WIDTH + 16), np.uint8)
    crops[6] += 100
    for _ in range(12):
        found = augment_pictures(crops, (HEIGHT, WIDTH), rng)
        assert found.shape == (11, HEIGHT, WIDTH)
        assert float(found.min()) >= 0
        assert float(found.max()) <= 255
        assert int(found.mean((1, 2)).argmax()) == 6


def test_augmented_audio_keeps_content_and_time() -> None:
    rng = np.random.default_rng(8)
    rows = rng.uniform(-1, -0.8, (21, MEL_BINS)).astype(np.float16)
    rows[13] = 0.9
    for _ in range(12):
        found = augment_audio(rows, rng)
        assert found.shape == (21, MEL_BINS)
        assert int(found.mean(1).argmax()) == 13


def test_nothing_prepared_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    with pytest.raises(TrainingError, match="openemo data prepare"):
        pack_sync_data(_data_recipe(tmp_path), tmp_path / "mouths.npz", (HEIGHT, WIDTH), 1, 0)


def _data_recipe(folder: Path) -> DataRecipe:
    return DataRecipe(
        clips=folder / "clips",
        portraits=[],
        face_weights=folder,
        speech_weights=folder,
        output=folder / "data",
        held_out_clips=1,
    )


def test_training_clips_are_packed_once_and_held_out_ones_are_not(tmp_path: Path) -> None:
    recipe = _data_recipe(tmp_path)
    (tmp_path / "clips").mkdir()
    recipe.tracks.mkdir(parents=True)
    rng = np.random.default_rng(3)
    for name in ("one", "two", "three"):
        frames = rng.integers(0, 256, (7, 48, 64, 3), np.uint8)
        sound = Audio(rng.normal(0, 0.1, (1, 4480)).astype(np.float32), 16_000)
        path = tmp_path / f"clips/{name}.mp4"
        with VideoWriter(path, fps=parse_fps(25), width=64, height=48, audio=sound) as writer:
            for frame in frames:
                writer.write(frame)
        np.save(recipe.tracks / f"{name}.npy", rng.uniform(10, 40, (7, 478, 3)).astype(np.float32))
    path = tmp_path / "packed/mouths.npz"
    data = pack_sync_data(recipe, path, (HEIGHT, WIDTH), VARIANTS, 0)
    assert len(data.clips) == 2  # of three
    assert data.crops.shape == (14, HEIGHT + 2 * MARGIN_PX, WIDTH + 2 * MARGIN_PX)
    assert data.voices.shape == (2, VARIANTS, rows_of_frames(7), MEL_BINS)
    assert data.starts.tolist() == [0, 7, 14]
    assert data.clips.tolist() == [0, 1]
    assert not data.driven.any()
    assert not np.array_equal(data.voices[:, 0], data.voices[:, 1])
    written = path.stat().st_mtime_ns
    again = pack_sync_data(recipe, path, (HEIGHT, WIDTH), VARIANTS, 0)
    assert path.stat().st_mtime_ns == written
    np.testing.assert_array_equal(again.voices, data.voices)


def test_too_short_sequences_are_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="greater than or equal to 36"):
        _recipe(tmp_path, frames=35)
    (tmp_path / "sync.yaml").write_text("data: data\nfames: 40\n")
    with pytest.raises(ConfigError, match=r"sync\.yaml"):
        training.run("sync", tmp_path / "sync.yaml")
