"""Training sequences: a reference picture, frames of the same person, and their landmarks.

One .npz per sequence. Pictures are JPEG: a few gigabytes instead of tens.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.array_files import REPAIR, ArrayKind, read_arrays
from openemo.arrays import Image
from openemo.data.driven import drive_frame
from openemo.data.retargeting import retarget
from openemo.errors import TrainingError
from openemo.face.analyzer import Face
from openemo.face.crop import CropRegion
from openemo.face.landmarks import NUM_POINTS, head_pose, mouth_opening
from openemo.files import whole_file

__all__ = [
    "FrameSequence",
    "driven_sequence",
    "quiet_span",
    "real_sequence",
    "sequence_paths",
    "spoken_paths",
    "still_sequence",
]

_JPEG_QUALITY = 93
_NO_PICTURES: Final = "spoken-"  # how files of sequences without pictures of their frames are called
_KINDS: Final = {
    "jpeg": ArrayKind(np.uint8, (None,)),
    "ends": ArrayKind(np.int64, (None,)),
    "points_px": ArrayKind(np.float32, (None, NUM_POINTS, 2)),
    "depth_px": ArrayKind(np.float32, (NUM_POINTS,)),
    "size_px": ArrayKind(np.int64, ()),
    "clip": ArrayKind(np.str_, ()),
    "first_frame": ArrayKind(np.int64, ()),
    "speed_rad_s": ArrayKind(np.float32, (None,)),
}


@dataclass(frozen=True)
class FrameSequence:
    """A clip as training reads it.

    Attributes:
        jpegs: picture 0 is the reference, pictures 1..F the frames in order; empty where nobody filmed them.
        points_px: (1 + F, 478, 2) float32 landmarks in the crop.
        depth_px: (478,) float32 depth of the reference's landmarks, in the same scale.
        size_px: side of the pictures.
        clip: the clip with its audio; "" if the person does not speak.
        first_frame: frame of the clip that belongs to picture 1.
        speed_rad_s: (F,) head rotation speed.
    """

    jpegs: tuple[bytes, ...]
    points_px: NDArray[np.float32]
    depth_px: NDArray[np.float32]
    size_px: int
    clip: str
    first_frame: int
    speed_rad_s: NDArray[np.float32]

    @property
    def num_frames(self) -> int:
        return len(self.jpegs) - 1

    def picture(self, index: int) -> Image:
        """(S, S, 3) uint8 RGB; picture 0 is the reference. Raises TrainingError if it is damaged."""
        data = np.frombuffer(self.jpegs[index], np.uint8)
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
        if decoded is None or decoded.shape != (self.size_px, self.size_px, 3):
            raise TrainingError(
                f"picture {index} of a sequence of {self.clip or 'nobody'} is damaged", fix=REPAIR
            )
        return np.ascontiguousarray(np.asarray(decoded, np.uint8)[..., ::-1])

    def save(self, path: Path) -> None:
        """Writes one .npz, complete or not at all."""
        with whole_file(path) as file:
            np.savez(
                file,
                jpeg=np.frombuffer(b"".join(self.jpegs), np.uint8),
                ends=np.cumsum([len(jpeg) for jpeg in self.jpegs]),
                points_px=self.points_px,
                depth_px=self.depth_px,
                size_px=self.size_px,
                clip=self.clip,
                first_frame=self.first_frame,
                speed_rad_s=self.speed_rad_s,
            )

    @classmethod
    def load(cls, path: Path) -> FrameSequence:
        """Raises TrainingError if the file is damaged."""
        data = read_arrays(path, _KINDS)
        blob, ends = data["jpeg"].tobytes(), data["ends"]
        starts = np.concatenate([[0], ends[:-1]])
        if len(ends) < 2 or len(data["points_px"]) != len(ends) or len(data["speed_rad_s"]) != len(ends) - 1:
            raise TrainingError(f"the arrays in {path} do not belong together", fix=REPAIR)
        if (starts > ends).any() or ends[-1] > len(blob):
            raise TrainingError(f"{path} does not hold the pictures that it names", fix=REPAIR)
        return cls(
            tuple(blob[a:b] for a, b in zip(starts, ends, strict=True)),
            data["points_px"],
            data["depth_px"],
            int(data["size_px"]),
            str(data["clip"]),
            int(data["first_frame"]),
            data["speed_rad_s"],
        )


def spoken_paths(folder: Path) -> list[Path]:
    """Files of the sequences without pictures of their frames, in which synthetic voices speak."""
    return sorted(folder.glob(f"{_NO_PICTURES}*.npz"))


def sequence_paths(folder: Path, *, with_pictures: bool) -> list[Path]:
    """Files of all sequences in a folder, or of those that have pictures of their frames."""
    paths = sorted(folder.glob("*.npz"))
    return [path for path in paths if not (with_pictures and path.name.startswith(_NO_PICTURES))]


def _jpeg(picture: Image) -> bytes:
    _, encoded = cv2.imencode(
        ".jpg", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    return bytes(encoded.tobytes())


def _speed(track: NDArray[np.float32], fps: float, strength: float) -> NDArray[np.float32]:
    """Head rotation speed of each frame, rad/s: norm of the change of (yaw, pitch, roll)."""
    poses = [head_pose(points) for points in track]
    angles = np.radians([(pose.yaw_deg, pose.pitch_deg, pose.roll_deg) for pose in poses])
    smooth = np.stack([np.convolve(np.pad(a, 2, "edge"), np.ones(5) / 5, "valid") for a in angles.T], 1)
    return np.asarray(strength * fps * np.linalg.norm(np.gradient(smooth, axis=0), axis=1), np.float32)


def _to_crop(points: NDArray[np.floating], region: CropRegion, size_px: int) -> NDArray[np.float64]:
    x0, y0, x1, _ = region.box_px
    return np.asarray((points[..., :2] - (x0, y0)) * (size_px / (x1 - x0)), np.float64)


def _depth(points: NDArray[np.floating], region: CropRegion, size_px: int) -> NDArray[np.float32]:
    x0, _, x1, _ = region.box_px
    return np.asarray(points[:, 2] * (size_px / (x1 - x0)), np.float32)


def quiet_span(track: NDArray[np.float32], length: int) -> int:
    """Start of the `length` frames in which the mouth is most closed and still."""
    openings = np.array([mouth_opening(points) for points in track])
    spreads = [
        openings[i : i + length].std() + openings[i : i + length].mean()
        for i in range(len(track) - length + 1)
    ]
    return int(np.argmin(spreads))


def driven_sequence(
    picture: Image,
    face: Face,
    clip: str,
    frames: list[Image],
    track: NDArray[np.float32],
    span: range,
    *,
    size_px: int,
    crop_scale: float,
    head_strength: float,
    fps: float = 25.0,
    quiet: bool = False,
) -> FrameSequence:
    """A portrait with the motion of the frames `span` of a clip. The portrait itself is the reference.

    Args:
        picture, face: the portrait and its face. frames, track: the whole clip.
        quiet: the sequence has no clip; the span then runs forwards and backwards.
    """
    region = CropRegion.around(face, crop_scale)
    crop = region.extract(picture, size_px)
    points = _to_crop(face.points_px, region, size_px)
    moved, _ = retarget(track, points, head_strength)
    order = [*span, *reversed(span)] if quiet else list(span)
    made = {i: drive_frame(crop, points, moved[i], frames[i], track[i]) for i in span}
    return FrameSequence(
        (_jpeg(crop), *(_jpeg(made[i]) for i in order)),
        np.concatenate([points[None], moved[order]]).astype(np.float32),
        _depth(face.points_px, region, size_px),
        size_px,
        "" if quiet else clip,
        span.start,
        _speed(track, fps, head_strength)[order],
    )


def real_sequence(
    clip: str,
    frames: list[Image],
    track: NDArray[np.float32],
    reference: int,
    *,
    size_px: int,
    crop_scale: float,
    fps: float = 25.0,
) -> FrameSequence:
    """A real clip, cropped around the face of its frame `reference`."""
    points = track[reference]
    box = np.concatenate([points[:, :2].min(0), points[:, :2].max(0)])
    region = CropRegion.around(Face(box, points, 1.0), crop_scale)
    pictures = [_jpeg(region.extract(frame, size_px)) for frame in frames]
    moved = _to_crop(track, region, size_px)
    return FrameSequence(
        (pictures[reference], *pictures),
        np.concatenate([moved[reference : reference + 1], moved]).astype(np.float32),
        _depth(points, region, size_px),
        size_px,
        clip,
        0,
        _speed(track, fps, 1.0),
    )


def still_sequence(
    picture: Image,
    face: Face,
    clip: str,
    moved_px: NDArray[np.float32],
    *,
    size_px: int,
    crop_scale: float,
) -> FrameSequence:
    """A portrait whose landmarks move and whose head does not; its frames have no pictures.

    Args:
        moved_px: (F, 478, 2) landmarks of the frames in the picture.
    """
    region = CropRegion.around(face, crop_scale)
    points = np.concatenate([face.points_px[None, :, :2], moved_px])
    return FrameSequence(
        (_jpeg(region.extract(picture, size_px)), *[b""] * len(moved_px)),
        _to_crop(points, region, size_px).astype(np.float32),
        _depth(face.points_px, region, size_px),
        size_px,
        clip,
        0,
        np.zeros(len(moved_px), np.float32),
    )
