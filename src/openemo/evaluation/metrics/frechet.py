"""Fréchet distances between sets of made and real clips, named after the network whose features they compare.

The distance is biased upwards, and more so with fewer samples (Chong and Forsyth 2020). Compare only rows
with the same clips and the same number of frames.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from openemo.arrays import Floats
from openemo.checkpoints.folder import file_sha256
from openemo.errors import CheckpointError, ConfigError
from openemo.evaluation.alignment import face_chip
from openemo.evaluation.networks.mobilenet_v2 import MobileNetV2
from openemo.evaluation.observation import Observation

__all__ = [
    "FrechetDistance",
    "FrechetFeatures",
    "blendshape_features",
    "check_torchscript",
    "expression_features",
    "frame_features",
    "frechet_distance",
    "reference_distance",
    "reference_frame_features",
    "reference_video_features",
]


FRAMES_PER_CLIP: Final = 16  # neighbours are nearly equal: more frames add little
FVD_FRAMES: Final = 16
# The files behind published figures: TorchScript builds of StyleGAN2-ADA's Inception and StyleGAN-V's I3D.
# Another build would give another figure under the same name.
INCEPTION_SHA256: Final = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
I3D_SHA256: Final = "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2"


@dataclass(frozen=True)
class FrechetFeatures:
    """The features that one distance compares.

    Attributes:
        key: of the figure, in METRICS.
        extract: gives (N, D) float32 of one clip; no rows if nothing can be measured.
        distance: of all rows of the made clips and all rows of the real ones.
    """

    key: str
    extract: Callable[[Observation], NDArray[np.float32]]
    distance: Callable[[Floats, Floats], float]


class FrechetDistance:
    """Collects the clips of one row of the table."""

    def __init__(self, features: FrechetFeatures) -> None:
        self.features = features
        self._made: list[Floats] = []
        self._real: list[Floats] = []

    def add(self, made: Floats, real: Floats) -> None:
        """The features (N, D) of a made clip and of its real one."""
        self._made.append(made)
        self._real.append(real)

    def distance(self, clips: Sequence[int] | None = None) -> float:
        """Over all clips, or over those with these numbers in the order added. NaN under two feature rows."""
        chosen = range(len(self._made)) if clips is None else clips
        made, real = ([rows[index] for index in chosen] for rows in (self._made, self._real))
        if sum(map(len, made)) < 2 or sum(map(len, real)) < 2:
            return float("nan")
        return self.features.distance(np.concatenate(made), np.concatenate(real))


def frechet_distance(made: Floats, real: Floats) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of features (N, D) and (M, D) (Heusel et al. 2017, Eq. 6).

    Exact with fewer samples than dimensions too. With C = R^T R, the trace of the root is the sum of the
    singular values of R1 R2^T, so no root of a singular matrix is needed.
    """
    a, b = (np.asarray(rows, np.float64) for rows in (made, real))
    gap = a.mean(axis=0) - b.mean(axis=0)
    roots = [np.linalg.qr(rows - rows.mean(axis=0), "r") / np.sqrt(len(rows) - 1) for rows in (a, b)]
    shared = float(np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum())
    total = float(gap @ gap) + sum(float((root**2).sum()) for root in roots) - 2 * shared
    return max(total, 0.0)


def reference_distance(made: Floats, real: Floats) -> float:
    """The same distance by torchmetrics, for FID and FVD. Raises ConfigError if torchmetrics is missing."""
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance
    except ModuleNotFoundError as error:
        raise ConfigError("FID and FVD need torchmetrics", fix="pip install 'openemo[evaluate]'") from error
    features = torch.nn.Identity()
    features.num_features = made.shape[1]
    metric = FrechetInceptionDistance(feature=features).set_dtype(torch.float64)
    for rows, real_rows in ((made, False), (real, True)):
        metric.update(torch.from_numpy(np.asarray(rows, np.float64)), real=real_rows)
    return float(metric.compute())


def frame_features(network: MobileNetV2) -> FrechetFeatures:
    """FD-MobileNetV2, of 16 evenly spaced frames of each clip."""
    return FrechetFeatures(
        "fd_mobilenetv2", lambda seen: network.embed(_evenly(seen.frames)), frechet_distance
    )


def blendshape_features() -> FrechetFeatures:
    """E-FD-blendshapes, of the 52 blendshapes of every frame with a face.

    EMO's E-FID compares expression parameters of a 3D reconstruction. This is the same distance in another
    space, so its figures do not compare with E-FID.
    """
    return FrechetFeatures("e_fd_blendshapes", lambda seen: seen.blendshapes[seen.has_face], frechet_distance)


def reference_frame_features(path: Path, *, allow_torchscript: bool = False) -> FrechetFeatures:
    """FID (Heusel et al. 2017) of 16 frames of each clip, with the reference Inception network at `path`.

    Args:
        allow_torchscript: the file is a program, which is run.

    Raises:
        ConfigError: TorchScript is not allowed.
        CheckpointError: the file is missing, or another network, whose figure would not be FID.
    """
    check_torchscript(path, allowed=allow_torchscript)
    network = _reference(path, INCEPTION_SHA256, "FID", "inception-2015-12-05.pt of StyleGAN2-ADA")

    def extract(seen: Observation) -> NDArray[np.float32]:
        images = torch.from_numpy(np.stack(_evenly(seen.frames))).permute(0, 3, 1, 2)
        with torch.inference_mode():
            return np.asarray(network(images, return_features=True).numpy(), np.float32)

    return FrechetFeatures("fid", extract, reference_distance)


def reference_video_features(path: Path, *, allow_torchscript: bool = False) -> FrechetFeatures:
    """FVD (Unterthiner et al. 2018) of consecutive windows of 16 frames, with the reference I3D at `path`.

    Args:
        allow_torchscript: the file is a program, which is run.

    Raises:
        ConfigError: TorchScript is not allowed.
        CheckpointError: the file is missing, or another network, whose figure would not be FVD.
    """
    check_torchscript(path, allowed=allow_torchscript)
    network = _reference(path, I3D_SHA256, "FVD", "i3d_torchscript.pt of StyleGAN-V")

    def extract(seen: Observation) -> NDArray[np.float32]:
        return video_windows(
            seen, lambda video: network(video, rescale=True, resize=True, return_features=True)
        )

    return FrechetFeatures("fvd", extract, reference_distance)


def video_windows(seen: Observation, network: Callable[[torch.Tensor], torch.Tensor]) -> NDArray[np.float32]:
    """(N, D) of the whole windows of 16 frames. Frames left at the end are not measured."""
    rows: list[NDArray[np.float32]] = []
    for start in range(0, len(seen) - FVD_FRAMES + 1, FVD_FRAMES):
        frames = np.stack(seen.frames[start : start + FVD_FRAMES])
        video = torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float()
        with torch.inference_mode():
            rows.append(network(video).numpy())
    return np.concatenate(rows) if rows else np.zeros((0, 1), np.float32)


def expression_features(path: Path, *, allow_torchscript: bool = False) -> FrechetFeatures:
    """E-FID (EMO 4.2), of the expression parameters that a 3D face model finds in every frame with a face.

    Args:
        path: TorchScript of the model: from faces (N, 3, 150, 150) in [0, 1], cut by `face_chip`, to
            expression parameters (N, D). The figure depends on the model, so name the model beside it.
        allow_torchscript: the file is a program, which is run.

    Raises:
        ConfigError: TorchScript is not allowed. CheckpointError: the file cannot be read.
    """
    check_torchscript(path, allowed=allow_torchscript)
    network = _script(path)

    def extract(seen: Observation) -> NDArray[np.float32]:
        chips = [face_chip(seen.frames[i], seen.points_px[i]) for i in np.flatnonzero(seen.has_face)]
        if not chips:
            return np.zeros((0, 1), np.float32)
        faces = torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            return np.asarray(network(faces).numpy(), np.float32)

    return FrechetFeatures("e_fid", extract, frechet_distance)


def check_torchscript(path: Path, *, allowed: bool) -> None:
    """Raises ConfigError unless the user allows it."""
    if not allowed:
        raise ConfigError(
            f"{path} is TorchScript: a program, which could do anything that you can do",
            fix="If you trust where it is from, say so with --allow-torchscript (`allow_torchscript=True`)",
        )


def _reference(path: Path, sha256: str, name: str, expected: str) -> Any:
    if not path.is_file():
        raise CheckpointError(f"{name} needs its reference network", got=f"no file {path}", expected=expected)
    found = file_sha256(path)
    if found != sha256:
        raise CheckpointError(
            f"a distance by {path.name} is not {name}",
            got=f"sha256 {found[:12]}...",
            expected=f"{sha256[:12]}..., {expected}",
            fix="Give that file, or read FD-MobileNetV2, which needs none",
        )
    return _script(path)


def _script(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # The reference networks are published as TorchScript, which torch has deprecated.
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path} cannot be read as TorchScript", got=reason) from error


def _evenly(frames: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    count = min(FRAMES_PER_CLIP, len(frames))
    return [frames[round(index)] for index in np.linspace(0, len(frames) - 1, count)]
