"""Face embeddings from a recognition network that the user provides.

Published models were trained with InsightFace's ArcFace networks, whose licence forbids commercial use.
openemo neither contains nor downloads one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.errors import CheckpointError
from openemo.face.analyzer import Face
from openemo.face.landmarks import LEFT_IRIS, RIGHT_IRIS
from openemo.face.onnx_session import ONNX_ERRORS, OnnxSession, open_session, run_session
from openemo.face.similarity import fit_similarity

__all__ = ["FaceEmbedder", "align_face"]

_SIZE_PX: Final = 112
# Where ArcFace's networks expect eyes, tip of the nose and corners of the mouth in their 112 x 112 pixels;
# left and right as in the image.
_TEMPLATE_PX: Final = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
_NOSE_TIP, _MOUTH_RIGHT, _MOUTH_LEFT = 1, 61, 291


class FaceEmbedder:
    """An ONNX network from an aligned face (1, 3, 112, 112), RGB in [-1, 1], to an embedding (1, D)."""

    def __init__(self, session: OnnxSession) -> None:
        self._session = session

    @classmethod
    def from_onnx(cls, path: str | Path) -> FaceEmbedder:
        """Loads a network such as InsightFace's glintr100.onnx. Raises CheckpointError if unreadable."""
        try:
            session = open_session(Path(path))
        except ONNX_ERRORS as error:
            raise CheckpointError(
                f"the face embedder {path} cannot be read",
                got=(str(error) or type(error).__name__).splitlines()[0],
            ) from error
        shape = session.get_inputs()[0].shape
        if len(session.get_inputs()) != 1 or list(shape[1:]) != [3, _SIZE_PX, _SIZE_PX]:
            raise CheckpointError(
                f"{path} is no face embedder",
                got=f"input {shape}",
                expected=f"(1, 3, {_SIZE_PX}, {_SIZE_PX})",
            )
        return cls(session)

    def __call__(self, image: NDArray[np.uint8], face: Face) -> NDArray[np.float32]:
        """(D,) embedding of a face in an RGB image (height, width, 3); not normalised."""
        aligned = align_face(image, face).astype(np.float32)
        batch = ((aligned - 127.5) / 127.5).transpose(2, 0, 1)[None]
        return np.asarray(run_session(self._session, np.ascontiguousarray(batch))[0][0], np.float32)


def align_face(image: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
    """The face (112, 112, 3), rotated, scaled and shifted to fit its five points to ArcFace's template."""
    points = face.points_px[:, :2].astype(np.float64)
    own = np.stack(
        [
            points[list(RIGHT_IRIS)].mean(axis=0),
            points[list(LEFT_IRIS)].mean(axis=0),
            points[_NOSE_TIP],
            points[_MOUTH_RIGHT],
            points[_MOUTH_LEFT],
        ]
    )
    fit = fit_similarity(own, _TEMPLATE_PX)
    matrix = np.concatenate([fit.matrix, fit.shift[:, None]], axis=1)
    return np.asarray(cv2.warpAffine(image, matrix, (_SIZE_PX, _SIZE_PX)), np.uint8)
