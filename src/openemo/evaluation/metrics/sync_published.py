"""Sync-C and Sync-D, as the published SyncNet's evaluation computes them (Chung and Zisserman 2016).

Every window of the clip counts. Beyond the clip's ends the sound is zero. Shifts go from -15 to 15 frames.
The figures depend on the clip's length, so compare only clips of one length.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from openemo.evaluation.metrics.sync_own import MAX_SHIFT_FRAMES

__all__ = ["score_sync_published"]


def score_sync_published(embeddings: tuple[Tensor, Tensor] | None) -> dict[str, float]:
    """`sync_c` (confidence), `sync_d` (least distance), `sync_offset_frames` (1/25 s).

    The offset is positive when the picture is late.

    Args:
        embeddings: (W, D) of the pictures and of the sound. All figures are NaN for None.
    """
    if embeddings is None:
        return dict.fromkeys(("sync_c", "sync_d", "sync_offset_frames"), float("nan"))
    pictures, sounds = embeddings
    padded = F.pad(sounds, (0, 0, MAX_SHIFT_FRAMES, MAX_SHIFT_FRAMES))
    shifted = padded.unfold(0, 2 * MAX_SHIFT_FRAMES + 1, 1)  # (W, D, 31)
    distances = F.pairwise_distance(pictures[:, None], shifted.mT).mean(0)
    least, index = distances.min(0)
    return {
        "sync_c": float(distances.median() - least),
        "sync_d": float(least),
        "sync_offset_frames": float(MAX_SHIFT_FRAMES - int(index)),
    }
