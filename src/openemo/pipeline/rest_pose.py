"""The pose that a video starts from and comes back to: shut lips, no smile. Hidden lips are left alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Image
from openemo.face import Face, FaceAnalyzer
from openemo.face.covered_mouth import is_mouth_covered
from openemo.face.landmarks import face_width_px, mouth_opening
from openemo.rendering.mouth_closing import are_lips_apart, close_mouth, read_mouth_pose
from openemo.rendering.neutral_face import move_face, read_smile, relaxing_motion
from openemo.rendering.smile_teeth import read_own_teeth

__all__ = ["RestPose", "find_rest_pose"]

_MAX_OPENING: Final = 0.03  # of a mouth that was closed, see `mouth_opening`
# Least strength of a smile without teeth, and of one where landmarks alone see them: lips that are apart tell
# it from the shape of a mouth. Of ten neutral faces nine are under 0.12, one reads 0.47.
_LEAST_SMILE, _LEAST_WITH_TEETH = 0.55, 0.15
_FACE_PX: Final = 250.0  # width of a face that is large enough for the landmark network
_TEETH: Final = 0.015  # opening of a mouth that shows its teeth in a smile
_PARTED: Final = 0.007  # of one that shows something between its lips
_COVERED: Final = (
    "something covers the mouth, so it stays still: nothing is drawn on what covers it; use a picture in "
    "which the whole mouth can be seen"
)
_CLOSED: Final = (
    "the mouth stands open in the picture; it was closed first, so the video starts with the lips shut"
)
_STAYS_OPEN: Final = (
    "the mouth stands wide open in the picture, and could not be closed first; the lips may never meet in "
    "the video; use a picture with the mouth shut"
)


@dataclass(frozen=True, slots=True)
class RestPose:
    """A portrait at rest.

    Attributes:
        image: the picture, with another mouth if the photo's stood open or smiled.
        face: its landmarks.
        is_mouth_covered: the mouth cannot be seen.
        own_smile: strength of `happy` that was taken out of the photo.
        warnings: one sentence each.
        own_teeth: (4, *TEETH_SIZE) of a mouth that was shut, see `read_own_teeth`; None if it showed none.
    """

    image: Image
    face: Face
    is_mouth_covered: bool = False
    warnings: tuple[str, ...] = ()
    own_smile: float = 0.0
    own_teeth: NDArray[np.float32] | None = None


def find_rest_pose(image: Image, face: Face, analyzer: FaceAnalyzer) -> RestPose:
    """The rest pose of one face of a picture; a face without a smile, lips shut, leaves it as it is."""
    if is_mouth_covered(image, face.points_px):
        return RestPose(image, face, True, (_COVERED,))
    pose = read_mouth_pose(image, face.points_px)
    if pose == "rest":
        return _without_smile(image, face, analyzer)
    closed = _closed(image, face, analyzer) if pose == "open" else None
    if closed is None:
        return RestPose(image, face, warnings=(_STAYS_OPEN,))
    return RestPose(*closed, warnings=(_CLOSED,), own_teeth=read_own_teeth(image, face.points_px))


def _without_smile(image: Image, face: Face, analyzer: FaceAnalyzer) -> RestPose:
    """The face with its smile taken out, and the lips shut if it shows teeth; as it is if that fails."""
    smile = read_smile(face.points_px)
    opening = mouth_opening(face.points_px)
    is_parted = opening >= _TEETH and smile.strength >= _LEAST_WITH_TEETH
    is_parted = is_parted or (opening >= _PARTED and are_lips_apart(image, face.points_px))
    if not is_parted and smile.strength < _LEAST_SMILE:
        return RestPose(image, face)
    if is_parted:
        small, scale = _shrunk(image, face_width_px(face.points_px))
        closed = _closed(small, Face.of(face.points_px * scale, face.score), analyzer)
        if closed is None:
            return RestPose(image, face)
        motion = relaxing_motion(closed[1].points_px / scale, smile)
        relaxed = close_mouth(image, face.points_px, motion)
    else:
        relaxed = move_face(image, face.points_px, relaxing_motion(face.points_px, smile))
    found = analyzer.track(relaxed, face)
    if found is None or mouth_opening(found.points_px) > _MAX_OPENING:
        return RestPose(image, face)
    own_smile = min(max(smile.strength - read_smile(found.points_px).strength, 0.0), 1.0)
    own_teeth = read_own_teeth(image, face.points_px) if is_parted else None
    return RestPose(relaxed, found, own_smile=own_smile, own_teeth=own_teeth)


def _shrunk(image: Image, face_px: float) -> tuple[Image, float]:
    """The picture in the size at which landmarks are read, and its scale."""
    scale = min(1.0, _FACE_PX / face_px)
    if scale == 1:
        return image, scale
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), scale


def _closed(image: Image, face: Face, analyzer: FaceAnalyzer) -> tuple[Image, Face] | None:
    """The picture with its mouth shut, and the face found there; None if it is not shut."""
    closed = close_mouth(image, face.points_px)
    found = analyzer.track(closed, face)
    if found is None or mouth_opening(found.points_px) > _MAX_OPENING:
        return None
    return closed, found
