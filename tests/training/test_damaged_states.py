"""Damaged states and recipes: one clear error that names the file, at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from openemo.errors import CheckpointError, ConfigError
from openemo.models.motion_autoencoder import MotionAutoencoder
from openemo.models.sync_embedder import SyncEmbedder
from openemo.settings import load_recipe
from openemo.training.new_networks import new_network
from openemo.training.recipes import AutoencoderRecipe, LoopRecipe
from openemo.training.training_state import TrainingState

RECIPE = LoopRecipe(output=Path("out"), data=Path("data"), steps=3, learning_rate=0.1)
MINIMAL = "data: somewhere\noutput: there\nsteps: 7\nlearning_rate: 0.1\n"


def state_of(seed: int) -> TrainingState:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TrainingState({"net": nn.Linear(3, 2)}, RECIPE)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A state after one step."""
    state = state_of(0)
    for parameter in state.parameters.values():
        parameter.grad = torch.ones_like(parameter)
    state.update(0.1)
    state.save(tmp_path)
    return tmp_path / "state.safetensors"


def without(name: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors.pop(name)


def with_value(name: str, value: Tensor) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors.update({name: value})


@pytest.mark.parametrize(
    "change",
    [
        without("weight/net.bias"),
        without("ema/net.bias"),
        without("optimizer/0/step"),
        without("optimizer/1/exp_avg"),
        lambda tensors: [tensors.pop(name) for name in list(tensors) if name.startswith("optimizer/")],
        with_value("weight/net.bias", torch.zeros(2, 1)),
        with_value("weight/net.bias", torch.zeros(1)),
        with_value("ema/net.weight", torch.zeros(2, 3, dtype=torch.int64)),
        with_value("optimizer/0/exp_avg", torch.zeros(4)),
        with_value("optimizer/0/step", torch.tensor(torch.nan)),
        with_value("optimizer/0/step", torch.tensor(torch.inf)),
        with_value("optimizer/0/step", torch.tensor(-1.0)),
        with_value("optimizer/0/step", torch.zeros(5)),
        with_value("optimizer/x/step", torch.tensor(1.0)),
        with_value("optimizer/7/step", torch.tensor(1.0)),
        with_value("optimizer/0", torch.tensor(1)),
        with_value("optimizer/0/a/b/c", torch.tensor(1.0)),
        with_value("other", torch.zeros(1, dtype=torch.int64)),
        with_value("evil\x1b[2J\u202e", torch.zeros(1)),
    ],
)
def test_a_state_that_lacks_a_part_or_has_one_too_many(
    saved: Path, change: Callable[[dict[str, Tensor]], object]
) -> None:
    tensors = load_file(saved)
    change(tensors)
    save_file(tensors, saved)
    state = state_of(1)
    before = [parameter.clone() for parameter in state.parameters.values()]
    with pytest.raises(CheckpointError, match=r"state\.safetensors") as refused:
        state.resume(saved.parent)
    assert str(refused.value).isprintable()
    assert all(torch.equal(a, b) for a, b in zip(before, state.parameters.values(), strict=True))


def test_a_state_that_is_no_file_of_weights(saved: Path) -> None:
    whole = saved.read_bytes()
    rng = np.random.default_rng(6)
    damaged = [whole[:length] for length in (0, 5, 8, 100, len(whole) - 1)] + [b"\xff" * 100, whole + b"x"]
    for _ in range(50):
        changed = bytearray(whole)
        changed[int(rng.integers(500))] = int(rng.integers(256))
        damaged.append(bytes(changed))
    outcomes = set()
    for content in damaged:
        saved.write_bytes(content)
        try:
            state_of(1).resume(saved.parent)
            outcomes.add("read")
        except CheckpointError:
            outcomes.add("refused")
    assert "refused" in outcomes
    saved.unlink()
    for make in (os.mkfifo, os.mkdir):
        make(saved)
        with pytest.raises(CheckpointError, match="no ordinary file"):
            state_of(1).resume(saved.parent)
        saved.rmdir() if saved.is_dir() else saved.unlink()


LAUGHS = "a: &a [lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 8)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
RECIPES = {
    "aliases without end": LAUGHS,
    "an alias of itself": "data: &a [*a]\n",
    "a tag of Python": "data: !!python/object/apply:os.mkdir [was_run]\n",
    "a name of Python": "data: !!python/name:os.system\n",
    "deep": "data: " + "[" * 50_000 + "]" * 50_000 + "\n",
    "deep mappings": "data: " + "{a: " * 20_000,
    "a date that is none": "data: 2020-99-99\n",
    "a timestamp that is none": "data: !!timestamp 'x'\n",
    "a number that is none": "steps: !!float ''\n",
    "a truth that is none": "steps: !!bool 'maybe'\n",
    "digits without end": "steps: " + "9" * 5000 + "\n",
    "keys that are no texts": MINIMAL + "1: 2\n3.5: 4\nnull: 5\ntrue: 6\n",
    "a list as a key": "? [a, b]\n: 1\n",
    "a key twice": MINIMAL + "steps: 8\n",
    "too large": MINIMAL + "# " + "x" * 300_000,
    "control characters": MINIMAL + '"nul\\0\\e[2J": 1\n',
    "not text": MINIMAL + "\udcff\n",
    "two documents": MINIMAL + "---\n" + MINIMAL,
    "nothing": "",
    "a text": "recipe",
    "steps without end": MINIMAL.replace("7", "2000000000000000000"),
    "no steps": MINIMAL.replace("7", "0"),
    "negative": MINIMAL.replace("7", "-7"),
    "not a number": MINIMAL.replace("0.1", ".nan"),
    "infinite": MINIMAL.replace("0.1", ".inf"),
    "threads without end": MINIMAL + "num_threads: 1000000000\n",
    "never written": MINIMAL + "save_every: 0\n",
    "never told": MINIMAL + "log_every: 0\n",
    "a negative seed": MINIMAL + "seed: -1\n",
    "a huge seed": MINIMAL + "seed: 99999999999999999999999\n",
    "frames without end": MINIMAL + "frames: 1000000000\n",
    "windows without end": MINIMAL + "window_px: 1000000000\n",
}


@pytest.mark.parametrize("kind", RECIPES)
def test_damaged_and_hostile_recipes(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "recipe.yaml"
    path.write_bytes(RECIPES[kind].encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError) as refused:
        load_recipe(AutoencoderRecipe, path, [])
    assert len(str(refused.value)) < 2000
    assert all(line.isprintable() for line in str(refused.value).split("\n"))
    assert [found.name for found in tmp_path.iterdir()] == ["recipe.yaml"]


@pytest.mark.parametrize(
    "override", ["data=!!python/name:os.system", "data=[*a]", "steps=!!bool maybe", f"data={'[' * 9999}"]
)
def test_hostile_overrides(override: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(MINIMAL)
    with pytest.raises(ConfigError):
        load_recipe(LoopRecipe, tmp_path / "recipe.yaml", [override])


def test_recipes_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", Path("/dev/zero"), tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_recipe(LoopRecipe, path, [])


@pytest.mark.parametrize(
    "arguments",
    [
        {"no_such_argument": 1},
        {"decoder_blocks": 30_000_000},
        {"decoder_blocks": "two"},
        {"decoder_channels": [1_000_000, 1_000_000, 1_000_000]},
        {"decoder_channels": [8] * 1_000_000},
        {"sample_size": 2**19},
        {"flow_scale": 0},
    ],
)
def test_arguments_of_a_network_in_a_recipe(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="`model` of the recipe"):
        new_network(MotionAutoencoder, arguments, 0)


def test_a_new_network_depends_on_the_seed_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (new_network(SyncEmbedder, {}, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
