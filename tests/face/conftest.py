"""Face networks and pictures with faces for these tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.face import FaceAnalyzer
from openemo.video.images import read_image

_REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def face_weights_dir() -> Path:
    """The shipped face networks, or those of the data folder beside the repository."""
    candidates = (
        _REPOSITORY / "src/openemo/checkpoints/embedded/face",
        _REPOSITORY.parent / "shared/data/weights/face",
    )
    for folder in candidates:
        if (folder / "face_landmarks_detector.onnx").is_file():
            return folder
    pytest.skip("the face networks are neither in the package nor in ../shared/data/weights/face")


@pytest.fixture(scope="session")
def analyzer(face_weights_dir: Path) -> FaceAnalyzer:
    return FaceAnalyzer.from_pretrained(face_weights_dir)


@pytest.fixture(scope="session")
def portraits(shared_dir: Path) -> list[Path]:
    """A fixed choice: six colour photographs, six old photographs, engravings or paintings."""
    folders = (shared_dir / "data/portraits/congress", shared_dir / "data/portraits/historic")
    return [path for folder in folders for path in sorted(folder.iterdir())[3:300:50]]


@pytest.fixture(scope="session")
def portrait(portraits: list[Path]) -> NDArray[np.uint8]:
    return read_image(portraits[0])
