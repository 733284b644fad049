"""Training data from the corpora: landmarks, sequences, teeth, voices, songs."""

from __future__ import annotations

from pathlib import Path

__all__ = ["run"]


def run(recipe: Path, overrides: list[str] | None = None) -> None:
    """Runs the data preparation of a recipe file. Files of an earlier run are kept.

    Raises:
        ConfigError: the recipe has unknown or wrong settings.
    """
    from openemo.data.data_recipe import DataRecipe
    from openemo.data.prepare import prepare
    from openemo.settings import load_recipe

    prepare(load_recipe(DataRecipe, recipe, overrides or []))
