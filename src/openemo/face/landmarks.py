"""The 478 face landmarks: named index sets, how open mouth and eyes are, head pose.

Indices are those of MediaPipe's face mesh with irises. "Left" and "right" are the person's own: the right eye
is on the left of the image. Points have the shape (478, 3), in pixels: x to the right, y down, z away from
the camera in the scale of x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from openemo.arrays import Floats

__all__ = [
    "BROWS",
    "FACE_OVAL",
    "INNER_LIPS",
    "LEFT_EYE",
    "LEFT_IRIS",
    "LIDS",
    "NOSE",
    "NUM_POINTS",
    "OUTER_LIPS",
    "RIGHT_EYE",
    "RIGHT_IRIS",
    "STABLE",
    "HeadPose",
    "eye_opening",
    "face_width_px",
    "head_pose",
    "iris_offset",
    "mean_eye_opening",
    "mouth_opening",
    "neck_pivot",
]

Indices = tuple[int, ...]

NUM_POINTS: Final = 478

# Closed contours in order: corner, lower points, corner, upper points.
OUTER_LIPS: Final[Indices] = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
)  # fmt: skip
INNER_LIPS: Final[Indices] = (
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)  # fmt: skip
RIGHT_EYE: Final[Indices] = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE: Final[Indices] = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
# A ring of skin around each eye: the crease of the upper lid and the edge of the lower lid.
LIDS: Final[Indices] = (
    247, 30, 29, 27, 28, 56, 190, 243, 112, 26, 22, 23, 24, 110, 25, 130,
    467, 260, 259, 257, 258, 286, 414, 463, 341, 256, 252, 253, 254, 339, 255, 359,
)  # fmt: skip
FACE_OVAL: Final[Indices] = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip

BROWS: Final[Indices] = (
    46, 53, 52, 65, 55, 70, 63, 105, 66, 107,
    276, 283, 282, 295, 285, 300, 293, 334, 296, 336,
)  # fmt: skip
NOSE: Final[Indices] = (
    168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 97, 326, 98, 327, 64, 294, 48, 278, 115, 344, 220, 440, 45, 275,
)  # fmt: skip
RIGHT_IRIS: Final[Indices] = (468, 469, 470, 471, 472)
LEFT_IRIS: Final[Indices] = (473, 474, 475, 476, 477)

# Points that speech and blinking do not move, for similarity fits: eye corners, nose bridge, forehead.
STABLE: Final[Indices] = (33, 133, 362, 263, 168, 6, 197, 195, 8, 9, 151, 10, 67, 109, 338, 297, 103, 332)

_CHEEK_RIGHT, _CHEEK_LEFT = 234, 454
_LIP_UPPER, _LIP_LOWER = 13, 14
_FOREHEAD, _CHIN = 10, 152
# Symmetric pairs (right, left): together they give the head's x axis.
_SYMMETRIC: Final = ((234, 454), (33, 263), (127, 356), (93, 323), (61, 291))


def _distance(points: Floats, a: int, b: int) -> float:
    return float(np.linalg.norm(points[a, :2] - points[b, :2]))


def face_width_px(points: Floats) -> float:
    """Distance between the cheeks (landmarks 234 and 454) in the image plane, in the unit of the points."""
    return _distance(points, _CHEEK_RIGHT, _CHEEK_LEFT)


def neck_pivot(points: Floats) -> Floats:
    """(3,) the point that a head turns about, 0.15 face widths under the chin and 0.1 behind the ears' plane.

    Args:
        points: (478, 3) landmarks of a face that looks about straight, in any unit.
    """
    width, between = face_width_px(points), np.asarray(points[[_CHEEK_RIGHT, _CHEEK_LEFT]]).mean(0)
    return np.array([between[0], points[_CHIN, 1] + 0.15 * width, between[2] + 0.1 * width], np.float64)


def mouth_opening(points: Floats) -> float:
    """Inner-lip gap (13 to 14) over face width (234 to 454), no unit: 0 closed, about 0.05-0.15 in speech."""
    return _distance(points, _LIP_UPPER, _LIP_LOWER) / face_width_px(points)


def eye_opening(points: Floats) -> tuple[float, float]:
    """Lid gap over eye width, (right eye, left eye), no unit: about 0.3 open, under 0.12 closed."""
    right = _distance(points, 159, 145) / _distance(points, 33, 133)
    left = _distance(points, 386, 374) / _distance(points, 263, 362)
    return right, left


def iris_offset(points: Floats) -> float:
    """How far right of the middle between the corners both irises are, in eye widths, a mean of the eyes."""
    offsets = []
    for start, stop, iris in ((33, 133, RIGHT_IRIS[0]), (362, 263, LEFT_IRIS[0])):
        across = points[stop, :2] - points[start, :2]
        offsets.append((points[iris, :2] - points[start, :2]) @ across / (across @ across) - 0.5)
    return float(np.mean(offsets))


def mean_eye_opening(points: Floats) -> float:
    """Mean of both values of `eye_opening`."""
    return float(np.mean(eye_opening(points)))


@dataclass(frozen=True, slots=True)
class HeadPose:
    """Head rotation in degrees; all zero for a face that looks straight into the camera.

    Attributes:
        yaw_deg: positive if the nose points to the right of the image.
        pitch_deg: positive if the nose points up.
        roll_deg: positive if the head leans clockwise in the image.
    """

    yaw_deg: float
    pitch_deg: float
    roll_deg: float


def head_pose(points: Floats) -> HeadPose:
    """Rotation of the head: symmetric pairs of landmarks give its x axis, forehead to chin its y axis.

    R = Rz(roll) Rx(pitch) Ry(yaw), applied to a face that looks straight. The network's depth is biased: the
    mean pitch of 300 portraits is -7 degrees (yaw and roll 0).
    """
    pts = np.asarray(points, np.float64)
    right, left = np.array(_SYMMETRIC).T
    x_axis = (pts[left] - pts[right]).mean(axis=0)
    x_axis /= np.linalg.norm(x_axis)
    down = pts[_CHIN] - pts[_FOREHEAD]
    y_axis = down - (down @ x_axis) * x_axis
    y_axis /= np.linalg.norm(y_axis)
    nose = -np.cross(x_axis, y_axis)  # (0, 0, -1), towards the camera, for a head that looks straight
    # R's columns are x_axis, y_axis, -nose. The second column holds roll and pitch, the third row pitch and
    # yaw.
    pitch = -np.arcsin(np.clip(y_axis[2], -1.0, 1.0))  # chin farther away than forehead: looks down
    roll = np.arctan2(-y_axis[0], y_axis[1])
    yaw = np.arctan2(x_axis[2], -nose[2])
    return HeadPose(*(float(np.degrees(angle)) for angle in (yaw, pitch, roll)))
