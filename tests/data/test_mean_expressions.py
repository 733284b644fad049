"""The displacements that ship are those that the corpora give."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np

from openemo.data.mean_expressions import main


def test_the_shipped_file_is_made_again(shared_dir: Path, tmp_path: Path) -> None:
    folder, made = shared_dir / "data/expressions", tmp_path / "made.npz"
    main(folder / "landmarks.npz", folder / "ict_basis.npz", made)
    with np.load(made) as here, np.load(str(files("openemo") / "assets/expressions.npz")) as shipped:
        assert set(here) == set(shipped)
        for name in here:
            assert here[name].dtype == np.float16
            np.testing.assert_allclose(here[name], shipped[name], atol=2e-3)
