"""Which pixels of a picture are a person: MediaPipe's selfie segmentation, run by onnxruntime."""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Image
from openemo.face.onnx_session import OnnxSession, open_session, run_session

__all__ = ["person_mask"]

_INPUT_PX: Final = 256
# Objects that touch a person come out as 0.1 to 0.5.
_LOW, _RANGE = 0.2, 0.6


def person_mask(image: Image) -> NDArray[np.float32]:
    """(256, 256) probability of a person over the whole picture, squeezed to a square.

    Outlines are good to 1 or 2 of these pixels; single hairs are lost. Flat drawings and dark engravings may
    come out empty.

    Args:
        image: (height, width, 3) uint8 RGB of any size.
    """
    small = cv2.resize(image, (_INPUT_PX, _INPUT_PX), interpolation=cv2.INTER_AREA)
    mask = run_session(_network(), np.asarray(small[None], np.float32) / np.float32(255))[0]
    stretched = np.clip((mask.reshape(_INPUT_PX, _INPUT_PX) - _LOW) / _RANGE, 0, 1)
    return np.asarray(stretched, np.float32)


@cache
def _network() -> OnnxSession:
    with as_file(files("openemo") / "assets" / "person_mask.onnx") as path:
        return open_session(path)
