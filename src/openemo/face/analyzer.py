"""Find faces and their landmarks with MediaPipe's networks, run by onnxruntime on the CPU."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    RuntimeException,
)

from openemo.errors import CheckpointError, FaceError, ImageError
from openemo.face.detection import INPUT_PX, FaceBox, anchors, decode, suppress
from openemo.face.geometry import NUM_POINTS, face_width_px, head_pose
from openemo.face.sampling import rotation, sample_square

__all__ = ["Face", "FaceAnalyzer", "FaceBox", "select_face"]

Floats = NDArray[np.floating]
Image = NDArray[np.uint8]

DETECTOR, LANDMARKER, BLENDSHAPES = (
    "face_detection_full_range.onnx",
    "face_landmarks_detector.onnx",
    "face_blendshapes.onnx",
)
_FILES: Final = (DETECTOR, LANDMARKER, BLENDSHAPES)
_ONNX_ERRORS: Final = (InvalidProtobuf, InvalidGraph, Fail, RuntimeException, InvalidArgument)
_MESH_PX: Final = 256  # input of the landmark network
_REGION_SCALE: Final = 1.5  # its region over the longer side of the face box, as in MediaPipe's graph
_MIN_PRESENCE: Final = 0.5
_SMALL_FACE: Final = 0.2  # faces below this part of the searched square are searched again in tiles
MIN_FACE_PX: Final = 40.0
MAX_YAW_DEG: Final = 50.0

# The 146 landmarks the blendshape network reads, in its order.
_BLENDSHAPE_POINTS: Final = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67,
    70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146,
    148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181,
    185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293,
    295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361,
    362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398,
    400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Face:
    """A face with its landmarks.

    box_px: (4,) tight box of the landmarks, x0, y0, x1, y1, in image pixels; may leave the image.
    points_px: (478, 3) float32 landmarks in image pixels; z in the scale of x, smaller is nearer.
    score: probability that the region holds a face.
    """

    box_px: Floats
    points_px: NDArray[np.float32]
    score: float


class FaceAnalyzer:
    """Detector, landmarks, blendshapes. Images are uint8 RGB (H, W, 3), coordinates are their pixels."""

    def __init__(self, detector: Any, landmarker: Any, blendshaper: Any, folder: Path) -> None:
        self.folder = folder
        self._detector, self._landmarker, self._blendshaper = detector, landmarker, blendshaper
        self._anchors = anchors()

    @classmethod
    def from_pretrained(cls, folder: str | Path, num_threads: int = 1) -> FaceAnalyzer:
        """Load the three ONNX files of `folder`. Raises CheckpointError when one is missing or damaged."""
        folder = Path(folder)
        detector, landmarker, blendshaper = (_session(folder / name, num_threads) for name in _FILES)
        return cls(detector, landmarker, blendshaper, folder)

    def save_pretrained(self, folder: str | Path) -> None:
        """Copy the three ONNX files to `folder`, which is made if needed."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            shutil.copyfile(self.folder / name, Path(folder) / name)

    def detect(self, image: Image, min_score: float = 0.5) -> list[FaceBox]:
        """Faces, largest first; empty when there is none.

        The whole image is searched first. Where that finds nothing, or only small faces, the search goes on:
        with a wide border (a face that fills the picture) and in ever smaller overlapping tiles (a small face
        in a large picture).
        """
        _check_image(image)
        found: list[FaceBox] = []
        for side_px, origins in _search_plan(image.shape[0], image.shape[1]):
            for origin_px in origins:
                found += self._detect_square(image, origin_px, side_px, min_score)
            found = suppress(found)
            if found and max(box.side_px for box in found) >= _SMALL_FACE * side_px:
                break
        return sorted(found, key=lambda box: -box.side_px)

    def landmarks(self, image: Image, box: FaceBox) -> Face:
        """Landmarks of the face in `box`, upright by the line of its eyes."""
        _check_image(image)
        across = box.keypoints_px[1] - box.keypoints_px[0]
        centre = (box.box_px[:2] + box.box_px[2:]) / 2
        return self._mesh(image, centre, box.side_px * _REGION_SCALE, float(np.arctan2(across[1], across[0])))

    def track(self, image: Image, previous: Face) -> Face | None:
        """The face of the previous frame in this one; None when it is gone (presence under 0.5)."""
        _check_image(image)
        points = previous.points_px[:, :2].astype(np.float64)
        across = points[263] - points[33]
        angle = float(np.arctan2(across[1], across[0]))
        upright = points @ rotation(angle)  # rows times R is R^T times columns: the roll is taken out
        low, high = upright.min(axis=0), upright.max(axis=0)
        centre = rotation(angle) @ ((low + high) / 2)
        face = self._mesh(image, centre, float((high - low).max()) * _REGION_SCALE, angle)
        return face if face.score >= _MIN_PRESENCE else None

    def find_all(self, image: Image) -> list[Face]:
        """All faces with landmarks, largest first, each refined once from its own landmarks."""
        coarse = [self.landmarks(image, box) for box in self.detect(image)]
        faces = [self.track(image, face) for face in coarse if face.score >= _MIN_PRESENCE]
        return sorted((face for face in faces if face is not None), key=lambda face: -_area(face))

    def find(self, image: Image) -> Face:
        """The largest face, usable or not (`select_face` checks that). FaceError when there is none."""
        faces = self.find_all(image)
        if not faces:
            raise _no_face((image.shape[1], image.shape[0]))
        return faces[0]

    def blendshapes(self, face: Face) -> NDArray[np.float32]:
        """(52,) expression weights in [0, 1], in the order of MediaPipe (0 neutral, 25 jawOpen)."""
        points = face.points_px[list(_BLENDSHAPE_POINTS), :2].astype(np.float32)
        return np.asarray(_run(self._blendshaper, points[None])[0], np.float32).reshape(52)

    def _detect_square(self, image: Image, origin: Floats, side_px: float, min_score: float) -> list[FaceBox]:
        pixels = sample_square(image, origin + side_px / 2, side_px, 0.0, INPUT_PX, cv2.BORDER_CONSTANT)
        regressors, logits = _run(self._detector, pixels[None].astype(np.float32) / 127.5 - 1.0)
        return decode(regressors[0], logits[0, :, 0], self._anchors, origin, side_px, min_score)

    def _mesh(self, image: Image, centre: Floats, side_px: float, angle: float) -> Face:
        pixels = sample_square(image, centre, side_px, angle, _MESH_PX, cv2.BORDER_REPLICATE)
        values, presence = _run(self._landmarker, pixels[None].astype(np.float32) / 255.0)[:2]
        mesh = values.reshape(NUM_POINTS, 3).astype(np.float64)
        scale = side_px / _MESH_PX
        xy = (mesh[:, :2] - _MESH_PX / 2) @ rotation(angle).T * scale + centre
        points = np.concatenate([xy, mesh[:, 2:] * scale], axis=1).astype(np.float32)
        box = np.concatenate([points[:, :2].min(axis=0), points[:, :2].max(axis=0)])
        return Face(box, points, float(1.0 / (1.0 + np.exp(-presence.ravel()[0]))))


def select_face(faces: list[Face], index: int | None, image_size: tuple[int, int]) -> Face:
    """The face to animate.

    Args:
        faces: as `FaceAnalyzer.find_all` gives them.
        index: None for the largest; otherwise the place from left to right in the picture, 0 the leftmost.
        image_size: (width, height) in pixels, for the message.

    Raises:
        FaceError: no face, no such index, narrower than 40 px, or turned away more than 50 degrees.
    """
    if not faces:
        raise _no_face(image_size)
    if index is None:
        face = max(faces, key=_area)
    elif 0 <= index < len(faces):
        face = sorted(faces, key=lambda item: float(item.box_px[0] + item.box_px[2]))[index]
    else:
        raise FaceError(
            "there is no face with this number",
            got=index,
            expected=f"0 to {len(faces) - 1}, counted from the left of the picture",
            fix="Choose one of these, or leave the choice out to take the largest face",
        )
    width_px = face_width_px(face.points_px)
    yaw_deg = abs(head_pose(face.points_px).yaw_deg)
    if yaw_deg > MAX_YAW_DEG:
        raise FaceError(
            "the face is turned away",
            got=f"{yaw_deg:.0f} degrees from the camera",
            expected=f"at most {MAX_YAW_DEG:.0f}",
            fix="Use a picture in which both eyes and the whole mouth can be seen",
        )
    if width_px < MIN_FACE_PX:
        raise FaceError(
            "the face is too small",
            got=f"{width_px:.0f} px wide",
            expected=f"at least {MIN_FACE_PX:.0f} px",
            fix="Use a larger picture, or one taken from nearer",
        )
    return face


def _no_face(image_size: tuple[int, int]) -> FaceError:
    return FaceError(
        "no face found in the picture",
        got=f"{image_size[0]}x{image_size[1]} px without a face",
        expected="one human face, seen from the front",
        fix="Use a portrait that is upright and shows the whole face",
    )


def _area(face: Face) -> float:
    return float(np.prod(face.box_px[2:] - face.box_px[:2]))


def _check_image(image: Image) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ImageError(
            "the picture has the wrong form",
            got=f"shape {image.shape}, {image.dtype}",
            expected="uint8 RGB of shape (height, width, 3)",
            fix="Read it with openemo.video.images.read_image",
        )


def _search_plan(height: int, width: int) -> Iterator[tuple[float, list[Floats]]]:
    """Square side and square origins of each round of the search, in pixels."""
    whole = float(max(height, width))
    for side_px in (whole, 1.6 * whole):
        yield side_px, [np.array([width - side_px, height - side_px]) / 2]
    for parts in (2, 4):
        side_px = whole / parts
        if side_px < INPUT_PX / 2:  # nothing to gain from enlarging so few pixels
            return
        yield side_px, [np.array([x, y]) for y in _starts(height, side_px) for x in _starts(width, side_px)]


def _starts(length: int, side_px: float) -> list[float]:
    """Starts of tiles that cover [0, length) and overlap by half; one centred tile where it is shorter."""
    if length <= side_px:
        return [(length - side_px) / 2]
    steps = int(np.ceil((length - side_px) / (side_px / 2)))
    return [float(start) for start in np.linspace(0.0, length - side_px, steps + 1)]


def _session(path: Path, num_threads: int) -> Any:
    if not path.is_file():
        raise CheckpointError(
            "a face network is missing", got=f"no file {path}", fix="Install the package again"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that wait in a busy loop would take the cores from the generator.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _ONNX_ERRORS as error:
        raise CheckpointError(
            "a face network is damaged", got=f"{path}: {error}", fix="Install the package again"
        ) from error


def _run(session: Any, values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    outputs: list[NDArray[np.float32]] = session.run(None, {session.get_inputs()[0].name: values})
    return outputs
