"""The displacements that ship are those that the corpora give."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np

from openemo.data.mean_expressions import main
from openemo.evaluation.metrics.expression_reading import UPPER_FACE


def test_the_shipped_file_is_made_again(shared_dir: Path, tmp_path: Path) -> None:
    folder, made = shared_dir / "data/expressions", tmp_path / "made.npz"
    main(folder / "landmarks.npz", folder / "ict_basis.npz", made)
    with np.load(made) as here, np.load(str(files("openemo") / "assets/expressions.npz")) as shipped:
        assert set(here) == set(shipped)
        for name in here:
            assert here[name].dtype == np.float16
            # Brows and eyes of "speaking" are fitted afterwards: `benchmarks/expressions.py`.
            fitted = list(UPPER_FACE) if name == "speaking" else []
            difference = np.abs(here[name].astype(np.float32) - shipped[name])
            assert difference.max() < 0.1
            if here[name].ndim == 3:
                difference = np.delete(difference, fitted, axis=1)
            assert difference.max() < 2e-3
