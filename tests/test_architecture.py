"""The map of docs/architecture.md holds: floors, circles, one thing per file name, networks in models."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest
from torch import nn

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "openemo"
SETTINGS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]

# Files of `models` without a network of their own.
NO_NETWORK = {"__init__", "network_presets", "unet_spec"}


def test_imports_keep_the_rules() -> None:
    """Floors and circles, by import-linter, with the contracts of pyproject.toml."""
    command = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [command, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def test_the_document_shows_the_floors_that_are_checked() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    drawn = re.search(r"```text\n(cli .*?)```", text, re.DOTALL)
    assert drawn is not None
    shown = [line.split("  ")[0].strip() for line in drawn[1].splitlines()]
    (layers,) = (contract["layers"] for contract in SETTINGS["contracts"] if "layers" in contract)
    assert shown == layers


def test_a_file_name_stands_for_one_thing() -> None:
    names = Counter(path.stem for path in PACKAGE.rglob("*.py") if path.stem != "__init__")
    assert not {name: count for name, count in names.items() if count > 1}


@pytest.mark.parametrize("name", sorted(path.stem for path in (PACKAGE / "models").glob("*.py")))
def test_models_holds_networks_only(name: str) -> None:
    module = import_module(f"openemo.models.{name}")
    networks = [
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, nn.Module) and one.__module__ == module.__name__
    ]
    assert networks or name in NO_NETWORK


def test_files_that_the_document_names_exist() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:[\w-]+/)+(?:[\w-]+\.py)?|[\w-]+\.py)`", text))
    roots = (PACKAGE, PACKAGE / "checkpoints", REPOSITORY)
    assert len(named) > 30
    assert not sorted(name for name in named if not any((root / name).exists() for root in roots))
