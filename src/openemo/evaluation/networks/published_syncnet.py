"""The published SyncNet on a video, when its weights file is given by path.

The sampling is that of the published evaluation: 25 fps, sound of 16 kHz, every window but the last. Only the
face box differs: it comes from landmarks. The crop was made for the boxes of the S3FD detector.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Self

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import medfilt
from torch import Tensor

from openemo.arrays import Floats
from openemo.audio.mfcc import SAMPLE_RATE_HZ, mfcc
from openemo.checkpoints.tensor_files import unpickle
from openemo.errors import CheckpointError
from openemo.evaluation.networks.own_sync_network import TrackedVideo
from openemo.evaluation.networks.syncnet import CROP_PX, MFCC_ROWS, SyncNet
from openemo.models.sync_embedder import ROWS_PER_FRAME, SYNC_FPS, WINDOW_FRAMES
from openemo.timing import frames_at_rate, parse_fps
from openemo.weight_files import map_weights

__all__ = ["PublishedSyncNet", "face_crops"]


_BATCH: Final = 10
_SMOOTHING_FRAMES: Final = 13
_MARGIN: Final = 0.4  # of half a face box, on each side; twice that below
_BORDER_GREY: Final = 110
_MIN_SEEN: Final = 0.5  # share of frames with a face
_EXPECTED = "the state dict of the published SyncNet, second version (syncnet_v2.model)"


class PublishedSyncNet:
    """The published network with its crops and cepstra. `network` has its weights already."""

    def __init__(self, network: SyncNet) -> None:
        self.network = network.eval()

    @classmethod
    def from_pretrained(cls, path: Path) -> Self:
        """Load a state dict strictly, from safetensors or from a torch file, whose code is not run.

        Raises:
            CheckpointError: missing, unreadable, or the weights of another network.
        """
        weights = _read_weights(path)
        with torch.device("meta"):  # leaves the global random state alone
            network = SyncNet()
        network.to_empty(device="cpu")
        try:
            network.load_state_dict(weights, strict=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(
                f"{path} does not fit the published SyncNet", got=reason, expected=_EXPECTED
            ) from error
        return cls(network)

    @torch.inference_mode()
    def embed(self, video: TrackedVideo) -> tuple[Tensor, Tensor] | None:
        """(W, 1024) of the pictures and of the sound, in windows of five frames, one window per frame.

        None without sound, with fewer than 6 frames, or with a face in under half of them.
        """
        if video.audio is None:
            return None
        samples = 32768 * video.audio.mono().resample(SAMPLE_RATE_HZ).samples[0]
        indices = frames_at_rate(len(video.frames), parse_fps(video.fps), Fraction(SYNC_FPS))
        num_frames = min(len(indices), len(samples) * SYNC_FPS // SAMPLE_RATE_HZ)
        # The published evaluation leaves out the last whole window.
        num_windows = num_frames - WINDOW_FRAMES
        points = video.points_px[indices]
        if num_windows < 1 or np.isfinite(points[..., :2]).all((1, 2)).mean() < _MIN_SEEN:
            return None
        crops = np.stack(list(face_crops([video.frames[index] for index in indices], points)))
        faces_3FHW = torch.from_numpy(crops).movedim(-1, 0)
        rows_CT = torch.from_numpy(mfcc(samples).T).float()
        pictures, sounds = [], []
        for start in range(0, num_windows, _BATCH):
            batch = range(start, min(start + _BATCH, num_windows))
            windows = torch.stack([faces_3FHW[:, i : i + WINDOW_FRAMES] for i in batch]).float()
            pictures.append(self.network.embed_pictures(windows))
            rows = [rows_CT[:, ROWS_PER_FRAME * i :][:, :MFCC_ROWS] for i in batch]
            sounds.append(self.network.embed_sound(torch.stack(rows)[:, None]))
        return torch.cat(pictures), torch.cat(sounds)


def face_crops(frames: list[NDArray[np.uint8]], points_px: Floats) -> Iterator[NDArray[np.uint8]]:
    """(224, 224, 3) of each frame, in the order blue, green, red: the face box with a margin, larger below.

    A median over 13 frames smooths the box. Boxes of frames without a face are interpolated.
    """
    low, high = points_px[..., :2].min(1), points_px[..., :2].max(1)
    boxes = np.column_stack([(low + high) / 2, (high - low).max(1) / 2])
    seen = np.isfinite(boxes).all(1)
    numbers = np.arange(len(boxes))
    smooth = [_median(np.interp(numbers, numbers[seen], column[seen])) for column in boxes.T]
    for frame, x, y, half in zip(frames, *smooth, strict=True):
        side = 2 * half * (1 + _MARGIN)
        corner = np.array([x - side / 2, y - half])
        step = side / CROP_PX
        shift = corner + (step - 1) / 2  # centres of pixels on centres of pixels
        crop = cv2.warpAffine(
            frame,
            np.array([[step, 0, shift[0]], [0, step, shift[1]]]),
            (CROP_PX, CROP_PX),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(_BORDER_GREY,) * 3,
        )
        yield np.ascontiguousarray(np.asarray(crop, np.uint8)[..., ::-1])


def _median(values: Floats) -> Floats:
    """Running median. The first and the last value are repeated beyond the ends."""
    reach = _SMOOTHING_FRAMES // 2
    return np.asarray(medfilt(np.pad(values, reach, "edge"), _SMOOTHING_FRAMES)[reach:-reach])


def _read_weights(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}", expected=_EXPECTED, fix="Check the path")
    weights: Any = map_weights(path) if path.suffix == ".safetensors" else unpickle(path)
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(
            f"{path} holds something else than weights", got=type(weights).__name__, expected=_EXPECTED
        )
    return weights
