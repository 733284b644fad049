"""The rule of the training data, drawn: what the shape of a mouth can be read back as at best."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.portrait_life.bench import SIZE_PX, Bench
from benchmarks.portrait_life.recordings import Followed
from benchmarks.portrait_mouth.people import Stranger
from openemo.array_files import ArrayKind, read_array
from openemo.face.landmarks import NUM_POINTS
from openemo.files import whole_file
from openemo.models.motion_autoencoder import MotionAutoencoder
from openemo.training.datasets.autoencoder_dataset import flow_between

_KIND = ArrayKind(np.float32, (None, NUM_POINTS, 3))


@torch.no_grad()
def drawn_points(
    bench: Bench, person: Stranger, name: str, moved_px: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(F, 478, 3) landmarks read in frames whose latents are the motion of landmarks, without any gain.

    No network hears a sound: the flow is coded, decoded, drawn and read as in a video. Kept as `name`.

    Args:
        moved_px: (F, 478, 2) landmarks of the person in the portrait, the head still.
    """
    note = bench.output / "drawn" / f"{person[0].stem}-{name}.npy"
    if note.exists():
        return read_array(note, _KIND)
    pipeline, autoencoder = bench.pipeline, bench.pipeline.autoencoder
    assert isinstance(autoencoder, MotionAutoencoder)
    portrait = pipeline.prepare_portrait(person[1], framing="crop", size_px=SIZE_PX)
    plain = pipeline.config.override(lip_motion=1, lip_width=1, lip_corners=1, lip_closing=0)
    reference = pipeline.encode_reference(portrait, config=plain)
    side_px, stride = portrait.crop.shape[0], int(autoencoder.config.flow_stride)
    face_px = portrait.face.points_px[:, :2]
    # From the photo's pixels to those of the crop.
    scale = np.ptp(portrait.points[:, 0]) * side_px / np.ptp(face_px[:, 0])
    rest = (portrait.points[:, :2] * side_px).astype(np.float32)
    frames = rest + scale * (moved_px - face_px)
    flow = torch.stack([flow_between(rest, each.astype(np.float32), side_px, stride) for each in frames])
    latents = autoencoder.pack(flow).transpose(0, 1)[None]
    followed = Followed(25.0, pipeline.face_analyzer)
    for part in torch.split(latents, pipeline.decode_frames, dim=2):
        for frame in pipeline.composite(pipeline.decode(part, reference), portrait):
            followed.add(frame)
    points = np.stack(followed.points).astype(np.float32)
    note.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(note) as file:
        np.save(file, points)
    return points
