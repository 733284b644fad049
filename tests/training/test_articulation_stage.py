"""The network that hears the tongue learns it from utterances whose phones are known."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from openemo import training
from openemo.audio.articulatory_features import FEATURE_DIM, FEATURES, ArticulatoryNet
from openemo.data.speech_synthesis import Phone, Utterance
from openemo.data.spoken import save_utterance
from openemo.errors import TrainingError
from openemo.training.recipes import ArticulationRecipe
from openemo.training.stages.articulation_stage import ArticulationStage
from openemo.weight_files import load_network_weights

RATE_HZ, SECONDS = 16_000, 1.2
SAID = {"en-us-000": ("", "m", "a", "l", "a", ""), "es-000": ("", "n", "o", "b", "o", "")}


@pytest.fixture(scope="module")
def spoken_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two utterances whose features tell which sound it is, and a sound without a voice."""
    folder = tmp_path_factory.mktemp("spoken")
    (folder / "voices").mkdir()
    (folder / "utterances").mkdir()
    edges = np.linspace(0, SECONDS, 7).tolist()
    code = np.random.default_rng(1).standard_normal((128, FEATURE_DIM))
    samples = np.zeros(round(SECONDS * RATE_HZ), np.float32)
    for name, symbols in SAID.items():
        phones = tuple(Phone(s, *ends) for s, ends in zip(symbols, pairwise(edges), strict=True))
        save_utterance(Utterance(samples, phones), folder / "utterances" / f"{name}.wav")
        tokens = [symbols[min(int(i / 50 / edges[1]), 5)] for i in range(round(SECONDS * 50))]
        features = np.stack([code[ord(symbol or " ")] for symbol in tokens])
        np.save(folder / "voices" / f"{name}.0.npy", features.astype(np.float16))
    np.save(folder / "voices" / "quiet.0.npy", np.zeros((40, FEATURE_DIM), np.float16))
    return folder


def _recipe(data: Path, output: Path) -> ArticulationRecipe:
    return ArticulationRecipe.model_validate(
        {"data": data, "output": output, "steps": 1, "learning_rate": 1e-3, "quiet_share": 0.5}
    )


def test_tongue_and_lips_are_learnt_and_exported(spoken_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "articulation.yaml"
    path.write_text(
        f"data: {spoken_data}\noutput: {tmp_path / 'run'}\nsteps: 60\nlearning_rate: 3.0e-3\n"
        "lr_warmup_steps: 1\nutterances: 2\nema_decay: 0.0\nnum_threads: 1\n"
    )
    training.run("articulation", path)
    exported = tmp_path / "run/export/articulation.safetensors"
    network = load_network_weights(ArticulatoryNet, exported).float().eval()
    features = np.load(spoken_data / "voices/en-us-000.0.npy").astype(np.float32)
    with torch.no_grad():
        heard = network(torch.from_numpy(features)[None])[0].sigmoid().numpy()
    middles = (np.arange(6) + 0.5) * SECONDS / 6 * 50
    tongue, shut = heard[middles.astype(int)].T
    assert len(FEATURES) == 2
    assert tongue.argmax() == 3  # l
    assert shut.argmax() == 1  # m
    for track in (tongue, shut):
        others = np.sort(track)
        assert others[-1] > 0.6
        assert others[-2] < 0.4


def test_batches_hold_whole_utterances_and_quiet(spoken_data: Path, tmp_path: Path) -> None:
    stage = ArticulationStage(_recipe(spoken_data, tmp_path))
    batch = stage.dataset.draw(torch.Generator().manual_seed(0))
    again = stage.dataset.draw(torch.Generator().manual_seed(0))
    assert torch.equal(batch.audio_BND, again.audio_BND)
    lengths = batch.weight_BN.sum(1)
    assert set(lengths.tolist()) == {40.0, 60.0}
    assert not batch.target_BNK[lengths == 40].any()
    assert batch.target_BNK[lengths == 60].amax((1, 2)).min() == 1


def test_without_synthetic_voices_there_is_nothing_to_learn(tmp_path: Path) -> None:
    (tmp_path / "voices").mkdir()
    with pytest.raises(TrainingError, match="spoken_sequences"):
        ArticulationStage(_recipe(tmp_path, tmp_path / "run"))
