"""The pose that a video starts from and comes back to: with shut lips; hidden ones are left alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from openemo.arrays import Image
from openemo.face import Face, FaceAnalyzer
from openemo.face.covered_mouth import is_mouth_covered
from openemo.face.landmarks import mouth_opening
from openemo.rendering.mouth_closing import close_mouth, read_mouth_pose

__all__ = ["RestPose", "find_rest_pose"]

_MAX_OPENING: Final = 0.03  # of a mouth that was closed, see `mouth_opening`
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
        image: the picture, with another mouth if the photo's stood open.
        face: its landmarks.
        is_mouth_covered: the mouth cannot be seen.
        warnings: one sentence each.
    """

    image: Image
    face: Face
    is_mouth_covered: bool = False
    warnings: tuple[str, ...] = ()


def find_rest_pose(image: Image, face: Face, analyzer: FaceAnalyzer) -> RestPose:
    """The rest pose of one face of a picture; a mouth that is shut or smiles leaves the picture as it is."""
    if is_mouth_covered(image, face.points_px):
        return RestPose(image, face, True, (_COVERED,))
    pose = read_mouth_pose(image, face.points_px)
    if pose == "rest":
        return RestPose(image, face)
    if pose == "open":
        closed = close_mouth(image, face.points_px)
        found = analyzer.track(closed, face)
        if found is not None and mouth_opening(found.points_px) <= _MAX_OPENING:
            return RestPose(closed, found, warnings=(_CLOSED,))
    return RestPose(image, face, warnings=(_STAYS_OPEN,))
