"""Shapes of the face for tests of spoken sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.data.mouth_shapes import load_shapes


@pytest.fixture(scope="session")
def shapes_path(shared_dir: Path) -> Path:
    path = shared_dir / "data/expressions/ict_basis.npz"
    if not path.is_file():
        pytest.skip("the data folder has no face shapes")
    return path


@pytest.fixture(scope="session")
def shapes(shapes_path: Path) -> dict[str, NDArray[np.float64]]:
    return load_shapes(shapes_path)


@pytest.fixture(scope="session")
def neutral_face(shapes_path: Path) -> NDArray[np.float64]:
    """(478, 3) landmarks of the face that the shapes were made on, 200 wide; lips nearly shut."""
    with np.load(shapes_path) as arrays:
        return np.asarray(arrays["neutral"], np.float64) * 200 + (256, 256, 0)
