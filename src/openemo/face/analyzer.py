"""Finds faces and their landmarks with MediaPipe's networks, run by onnxruntime on the CPU."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats, Image
from openemo.errors import CheckpointError, FaceError, ImageError
from openemo.face.detection import (
    DETECTOR_INPUT_PX,
    FaceBox,
    anchor_centres,
    decode_boxes,
    weighted_nms,
)
from openemo.face.landmarks import NUM_POINTS, face_width_px, head_pose
from openemo.face.onnx_session import ONNX_ERRORS, OnnxSession, open_session, run_session
from openemo.face.square_sampling import rotation_matrix, sample_square

__all__ = ["Face", "FaceAnalyzer", "FaceBox", "left_to_right", "select_face"]


_LANDMARK_INPUT_PX: Final = 256  # side of the landmark network's input
_REGION_SCALE: Final = 1.5  # the square that it reads, over the longer side of the face box; as in MediaPipe
_MIN_DETECTION_SCORE: Final = 0.5
_MIN_LANDMARK_SCORE: Final = 0.5
_SMALL_FACE: Final = 0.2  # if all faces are smaller than this part of the searched square, tiles are searched
# Quarter turns, and rounds of the search. Where no face is found, large tiles are searched turned as well.
_SEARCHES: Final = ((0, None), (1, 2), (2, 2), (3, 2), (1, 3), (2, 3), (3, 3))
_LAST_RESORT_ROUNDS: Final = 3
# Sides of squares, in the longer side of the landmark box. The mean of the detector's scores in both was
# higher by 0.12 or more for 250 upright portraits than for the same ones turned. In one square it was not.
_TRY_SCALES: Final = (2.0, 3.2)
_TRY_MARGIN, _MIN_TRY_SCORE = 0.05, 0.6
_MIN_TURNED_SCORE: Final = 0.7  # of a face that only a turned search sees, in one square at least
_MAX_TRIED: Final = 8
_MAX_READS, _SETTLED_DEG = 4, 3.0
_SURE_SCORE: Final = 0.85  # above this the detector sees no upright face in one that is not
_MIN_FACE_PX: Final = 40.0
_MAX_YAW_DEG: Final = 50.0

# The 146 landmarks that the blendshape network reads, in its order.
_BLENDSHAPE_POINTS: Final = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67,
    70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146,
    148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181,
    185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293,
    295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361,
    362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398,
    400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
)  # fmt: skip
# Files of the networks: shape of the input after the batch, and numbers in each output that is read.
_FILES: Final[dict[str, tuple[list[int], list[int]]]] = {
    "face_detection_full_range.onnx": ([DETECTOR_INPUT_PX] * 2 + [3], [2304 * 16, 2304]),
    "face_landmarks_detector.onnx": ([_LANDMARK_INPUT_PX] * 2 + [3], [NUM_POINTS * 3, 1]),
    "face_blendshapes.onnx": ([len(_BLENDSHAPE_POINTS), 2], [52]),
}


@dataclass(frozen=True, slots=True)
class Face:
    """A face with its landmarks.

    Attributes:
        box_px: (4,) tight box of the landmarks, x0, y0, x1, y1, in image pixels; may leave the image.
        points_px: (478, 3) float32 landmarks in image pixels; z in the scale of x, smaller is nearer.
        score: probability that there is a face, 0 to 1.
    """

    box_px: Floats
    points_px: NDArray[np.float32]
    score: float

    @classmethod
    def of(cls, points_px: NDArray[np.float32], score: float) -> Self:
        """The face with these landmarks."""
        return cls(
            np.concatenate([points_px[:, :2].min(axis=0), points_px[:, :2].max(axis=0)]), points_px, score
        )

    def holds(self, other: Face) -> bool:
        """If the middle of the other face's box lies in the box of this one."""
        middle = (other.box_px[:2] + other.box_px[2:]) / 2
        return bool(np.all((self.box_px[:2] <= middle) & (middle <= self.box_px[2:])))


class FaceAnalyzer:
    """Face detector, landmark network and blendshape network.

    Images are (height, width, 3) uint8 RGB; coordinates are their pixels.
    """

    def __init__(
        self, detector: OnnxSession, landmarker: OnnxSession, blendshaper: OnnxSession, folder: Path
    ) -> None:
        self.folder = folder
        self._detector, self._landmarker, self._blendshaper = detector, landmarker, blendshaper
        self._anchors = anchor_centres()

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> FaceAnalyzer:
        """Loads the three ONNX files of `folder`. Raises CheckpointError if one is missing or damaged."""
        folder = Path(folder)
        detector, landmarker, blendshaper = (_load(folder / name) for name in _FILES)
        return cls(detector, landmarker, blendshaper, folder)

    def save_pretrained(self, folder: str | Path) -> None:
        """Copies the three ONNX files to `folder` and creates it if needed."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            shutil.copyfile(self.folder / name, Path(folder) / name)

    def detect(self, image: Image, *, angle: float = 0.0, max_rounds: int | None = None) -> list[FaceBox]:
        """Faces that stand upright or lean to a side, largest first; an empty list if there is none.

        The whole image is searched first. If this finds nothing or only small faces, the search continues:
        with a wide border, for a face that fills the image; then in smaller and smaller overlapping tiles,
        for a small face in a large image.

        Args:
            angle: radians, clockwise: how upright faces stand.
            max_rounds: of this search; None for all.
        """
        _check_image(image)
        found: list[FaceBox] = []
        plan = _search_plan(image.shape[0], image.shape[1])
        for side_px, origins in islice(plan, max_rounds):
            for origin_px in origins:
                found += self._detect_square(image, origin_px + side_px / 2, side_px, angle)
            found = weighted_nms(found)
            if found and max(box.side_px for box in found) >= _SMALL_FACE * side_px:
                break
        return sorted(found, key=lambda box: -box.side_px)

    def landmarks(self, image: Image, box: FaceBox) -> Face:
        """Landmarks of the face in `box`, which is turned upright by the line of its eyes."""
        _check_image(image)
        across = box.keypoints_px[1] - box.keypoints_px[0]
        centre = (box.box_px[:2] + box.box_px[2:]) / 2
        return self._read_square(
            image, centre, box.side_px * _REGION_SCALE, float(np.arctan2(across[1], across[0]))
        )

    def track(self, image: Image, previous: Face) -> Face | None:
        """The face of the previous frame in this one; None if its score is under 0.5."""
        _check_image(image)
        points = previous.points_px[:, :2].astype(np.float64)
        across = points[263] - points[33]
        angle = float(np.arctan2(across[1], across[0]))
        upright = points @ rotation_matrix(angle)  # without roll: points are rows, so this is the inverse
        low, high = upright.min(axis=0), upright.max(axis=0)
        centre = rotation_matrix(angle) @ ((low + high) / 2)
        face = self._read_square(image, centre, float((high - low).max()) * _REGION_SCALE, angle)
        return face if face.score >= _MIN_LANDMARK_SCORE else None

    def find_all(self, image: Image) -> list[Face]:
        """All faces at any roll, largest first. Landmarks are computed a second time from the first ones.

        The detector knows faces within about 60 degrees of upright. In others it sees a face that is not
        there, and landmarks follow. So faces are also looked for sideways and upside down, and one that the
        detector is not sure of is tried in eight positions; in a crowd the largest few are.
        """
        faces: list[Face] = []
        num_tried = 0
        for quarters, max_rounds in _SEARCHES:
            if max_rounds == _LAST_RESORT_ROUNDS and faces:
                break
            for box in self.detect(image, angle=quarters * np.pi / 2, max_rounds=max_rounds):
                face = self._read_box(image, box)
                if face is None or _is_known(face, faces):
                    continue
                if quarters or (box.score < _SURE_SCORE and num_tried < _MAX_TRIED):
                    num_tried += 1
                    face = self._righted(image, face, min_score=_MIN_TURNED_SCORE if quarters else 0.0)
                if face is not None and not _is_known(face, faces):
                    faces.append(face)
        return sorted(faces, key=lambda face: -_area(face))

    def _read_box(self, image: Image, box: FaceBox) -> Face | None:
        coarse = self.landmarks(image, box)
        return self.track(image, coarse) if coarse.score >= _MIN_LANDMARK_SCORE else None

    def _righted(self, image: Image, face: Face, min_score: float) -> Face | None:
        """The face, or the one that the detector is surer of when the image is turned around it.

        Args:
            min_score: below this there is none.
        """
        centre = (face.box_px[:2] + face.box_px[2:]) / 2
        side_px = float((face.box_px[2:] - face.box_px[:2]).max())
        roll = float(np.radians(head_pose(face.points_px).roll_deg))
        turns = [
            [self._detect_square(image, centre, scale * side_px, roll + turn) for scale in _TRY_SCALES]
            for turn in np.arange(8) * np.pi / 4
        ]
        scores = np.array(
            [[max((box.score for box in boxes), default=0) for boxes in turn] for turn in turns]
        )
        means = scores.mean(1)
        best = int(np.argmax(means))
        if scores[best].max() < min_score:
            return None
        if means[best] < max(means[0] + _TRY_MARGIN, _MIN_TRY_SCORE):
            return self._settled(image, face)
        box = max((box for boxes in turns[best] for box in boxes), key=lambda box: box.score)
        righted = self._read_box(image, box)
        return None if righted is None else self._settled(image, righted)

    def _settled(self, image: Image, face: Face) -> Face:
        """The face, read again until its roll no longer changes."""
        for _ in range(_MAX_READS):
            again = self.track(image, face)
            if again is None or _roll_change_deg(face, again) < _SETTLED_DEG:
                return face
            face = again
        return face

    def find(self, image: Image) -> Face:
        """The largest face. Raises FaceError if there is none; `select_face` checks if a face is usable."""
        faces = self.find_all(image)
        if not faces:
            raise _no_face((image.shape[1], image.shape[0]))
        return faces[0]

    def blendshapes(self, face: Face) -> NDArray[np.float32]:
        """(52,) expression weights in [0, 1], in the order of MediaPipe (0 neutral, 25 jawOpen)."""
        points = face.points_px[list(_BLENDSHAPE_POINTS), :2].astype(np.float32)
        return np.asarray(run_session(self._blendshaper, points[None])[0], np.float32).reshape(52)

    def _detect_square(self, image: Image, centre: Floats, side_px: float, angle: float) -> list[FaceBox]:
        """Faces in a square of the image, turned by `angle` radians."""
        pixels = sample_square(image, centre, side_px, angle, DETECTOR_INPUT_PX, cv2.BORDER_CONSTANT)
        regressors, logits = run_session(self._detector, pixels[None].astype(np.float32) / 127.5 - 1.0)
        origin = centre - side_px / 2
        boxes = decode_boxes(
            regressors[0], logits[0, :, 0], self._anchors, origin, side_px, _MIN_DETECTION_SCORE
        )
        return [box.turned(centre, angle) for box in boxes] if angle else boxes

    def _read_square(self, image: Image, centre: Floats, side_px: float, angle: float) -> Face:
        """Landmarks in a square of the image, turned by `angle` radians."""
        pixels = sample_square(image, centre, side_px, angle, _LANDMARK_INPUT_PX, cv2.BORDER_REPLICATE)
        values, presence = run_session(self._landmarker, pixels[None].astype(np.float32) / 255.0)[:2]
        mesh = values.reshape(NUM_POINTS, 3).astype(np.float64)
        scale = side_px / _LANDMARK_INPUT_PX
        xy = (mesh[:, :2] - _LANDMARK_INPUT_PX / 2) @ rotation_matrix(angle).T * scale + centre
        points = np.concatenate([xy, mesh[:, 2:] * scale], axis=1).astype(np.float32)
        return Face.of(points, float(1.0 / (1.0 + np.exp(-presence.ravel()[0]))))


def left_to_right(faces: list[Face]) -> list[Face]:
    """In the order in which their numbers count."""
    return sorted(faces, key=lambda face: float(face.box_px[0] + face.box_px[2]))


def select_face(faces: list[Face], index: int | None, image_size: tuple[int, int]) -> Face:
    """The face to animate.

    Args:
        faces: as `FaceAnalyzer.find_all` gives them.
        index: None for the largest; else the number from left to right in the image, 0 is the leftmost.
        image_size: (width, height) in pixels, for the message.

    Raises:
        FaceError: no face, no such index, narrower than 40 px, or turned away by more than 50 degrees.
    """
    if not faces:
        raise _no_face(image_size)
    if index is None:
        face = max(faces, key=_area)
    elif 0 <= index < len(faces):
        face = left_to_right(faces)[index]
    else:
        raise FaceError(
            "there is no face with this number",
            got=index,
            expected=f"0 to {len(faces) - 1}, counted from the left of the picture",
            fix="Choose one of these, or leave the choice out to take the largest face",
        )
    width_px = face_width_px(face.points_px)
    yaw_deg = abs(head_pose(face.points_px).yaw_deg)
    if yaw_deg > _MAX_YAW_DEG:
        raise FaceError(
            "the face is turned away",
            got=f"{yaw_deg:.0f} degrees from the camera",
            expected=f"at most {_MAX_YAW_DEG:.0f}",
            fix="Use a picture in which both eyes and the whole mouth can be seen",
        )
    if width_px < _MIN_FACE_PX:
        raise FaceError(
            "the face is too small",
            got=f"{width_px:.0f} px wide",
            expected=f"at least {_MIN_FACE_PX:.0f} px",
            fix="Use a larger picture, or one taken from nearer",
        )
    return face


def _no_face(image_size: tuple[int, int]) -> FaceError:
    return FaceError(
        "no face found in the picture",
        got=f"{image_size[0]}x{image_size[1]} px without a face",
        expected="one human face, seen from the front",
        fix="Use a portrait that shows the whole face",
    )


def _roll_change_deg(face: Face, other: Face) -> float:
    change = head_pose(other.points_px).roll_deg - head_pose(face.points_px).roll_deg
    return abs((change + 180) % 360 - 180)


def _is_known(face: Face, faces: list[Face]) -> bool:
    return any(face.holds(other) or other.holds(face) for other in faces)


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
    """Side and origins of the squares in each round of the search, in pixels."""
    whole = float(max(height, width))
    for side_px in (whole, 1.6 * whole):
        yield side_px, [np.array([width - side_px, height - side_px]) / 2]
    for parts in (2, 4):
        side_px = whole / parts
        if side_px < DETECTOR_INPUT_PX / 2:  # a larger scale adds no detail
            return
        yield side_px, [np.array([x, y]) for y in _starts(height, side_px) for x in _starts(width, side_px)]


def _starts(length: int, side_px: float) -> list[float]:
    """Starts of tiles that cover [0, length) and overlap by half; one centred tile if length is shorter."""
    if length <= side_px:
        return [(length - side_px) / 2]
    steps = int(np.ceil((length - side_px) / (side_px / 2)))
    return [float(start) for start in np.linspace(0.0, length - side_px, steps + 1)]


def _load(path: Path) -> OnnxSession:
    if not path.is_file():
        raise CheckpointError(
            "a face network is missing", got=f"no file {path}", fix="Install the package again"
        )
    try:
        session = open_session(path)
    except ONNX_ERRORS as error:
        raise CheckpointError(
            "a face network is damaged", got=f"{path}: {error}", fix="Install the package again"
        ) from error
    inputs, outputs = _FILES[path.name]
    found = [list(one.shape[1:]) for one in session.get_inputs()]
    numbers = [math.prod(n for n in one.shape if isinstance(n, int)) for one in session.get_outputs()]
    types = {one.type for one in (*session.get_inputs(), *session.get_outputs())}
    if found != [inputs] or numbers[: len(outputs)] != outputs or types != {"tensor(float)"}:
        raise CheckpointError(
            f"{path} is another network",
            got=f"inputs {found}, {numbers} numbers in the outputs",
            expected=f"{[inputs]} and {outputs}",
            fix="Install the package again",
        )
    return session
