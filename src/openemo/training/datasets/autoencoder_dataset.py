"""Pairs of a reference and frames whose flow is known from landmarks: data of the autoencoder stage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openemo.data.sequences import FrameSequence, sequence_paths
from openemo.errors import TrainingError
from openemo.face.landmarks import LEFT_EYE, OUTER_LIPS, RIGHT_EYE, mean_eye_opening, mouth_opening
from openemo.image_tensors import images_to_tensor
from openemo.rendering.landmark_flow import face_flow
from openemo.training.recipes import AutoencoderRecipe

__all__ = [
    "WINDOWS",
    "AutoencoderDataset",
    "FrameBatch",
    "cut_window",
    "draw_frames",
    "flow_between",
]

_EYES = (*LEFT_EYE, *RIGHT_EYE)
WINDOWS = {"mouth": OUTER_LIPS, "eyes": _EYES, "eyes and mouth": (*OUTER_LIPS, *_EYES)}
"""Landmarks that training windows lie around."""

_FIRST_AS_REFERENCE = 0.7  # part of the sequences with their own reference; the rest take any frame
_WINDOW_GRID_PX = 16  # the latent stride
_WINDOW_JITTER_PX = 16


@dataclass(frozen=True)
class FrameBatch:
    """R references with N / R frames each, the frames of one reference in a row.

    Attributes:
        frames_N3SS, references_R3SS: pictures in [-1, 1], channels last.
        flow_N2hw: backward flow from each frame to its reference, in units of the side.
        points_NP2: landmarks of the frames, in units of the side.
    """

    frames_N3SS: Tensor
    references_R3SS: Tensor
    flow_N2hw: Tensor
    points_NP2: Tensor


def flow_between(
    reference: NDArray[np.float32], target: NDArray[np.float32], size_px: int, stride: int
) -> Tensor:
    """(2, S/stride, S/stride) backward flow between landmarks (478, 2) in pixels, in units of the side."""
    return torch.from_numpy(face_flow(reference / size_px, target / size_px, size_px // stride))


class AutoencoderDataset:
    """Frames of random sequences, mirrored, cut to windows and changed in colour.

    Raises:
        TrainingError: there are no sequences.
    """

    def __init__(self, recipe: AutoencoderRecipe, flow_stride: int) -> None:
        self.recipe, self.flow_stride = recipe, flow_stride
        self.paths = sequence_paths(recipe.data / "sequences", with_pictures=True)
        if not self.paths:
            raise TrainingError(
                f"no sequences in {recipe.data}",
                fix="Run `openemo data prepare` first, with the same output folder",
            )

    def draw(self, generator: torch.Generator) -> FrameBatch:
        recipe = self.recipe
        on_eyes = float(torch.rand((), generator=generator)) < recipe.eye_share
        part = "eyes" if on_eyes else recipe.window_on
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        indices = rng.integers(len(self.paths), size=recipe.sequences)
        parts = [self._sequence(self.paths[index], part, rng) for index in indices]
        pictures, flows, points = zip(*parts, strict=True)
        layout = torch.channels_last
        return FrameBatch(
            torch.cat([each[1:] for each in pictures]).contiguous(memory_format=layout),
            torch.stack([each[0] for each in pictures]).contiguous(memory_format=layout),
            torch.cat(flows),
            torch.cat(points),
        )

    def _sequence(self, path: Path, part: str, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (1 + F, 3, S, S), the reference first; flow (F, 2, h, w); landmarks (F, P, 2)."""
        recipe, sequence = self.recipe, FrameSequence.load(path)
        own = rng.random() < _FIRST_AS_REFERENCE
        reference = 0 if own else int(rng.integers(1, sequence.num_frames + 1))
        chosen = draw_frames(sequence, recipe.frames, recipe.open_mouth_share, rng, on_eyes=part == "eyes")
        pictures = images_to_tensor([sequence.picture(int(i)) for i in (reference, *chosen)])
        points_px = sequence.points_px[[reference, *chosen]].copy()
        if rng.random() < 0.5:
            pictures = pictures.flip(-1)
            points_px[..., 0] = sequence.size_px - points_px[..., 0]
        flow = torch.stack(
            [flow_between(points_px[0], each, sequence.size_px, self.flow_stride) for each in points_px[1:]]
        )
        points = torch.from_numpy(points_px[1:] / sequence.size_px).float()
        if recipe.window_px is not None:
            pictures, flow, points = cut_window(pictures, flow, points, recipe.window_px, WINDOWS[part], rng)
        return _jitter_colours(pictures, rng), flow, points


def draw_frames(
    sequence: FrameSequence, count: int, share: float, rng: np.random.Generator, *, on_eyes: bool = False
) -> NDArray[np.int64]:
    """Indices of frames, 1..F.

    Args:
        share: about this part comes from the third of the frames with the widest mouths, or from the tenth
            with the narrowest eyes, because blinks are short.
    """
    frames = sequence.points_px[1:]
    if on_eyes:
        order, part = np.argsort([mean_eye_opening(points) for points in frames]), 10
    else:
        order, part = np.argsort([-mouth_opening(points) for points in frames]), 3
    wanted = 1 + order[: max(1, len(frames) // part)]
    anywhere = rng.integers(1, sequence.num_frames + 1, size=count)
    return np.where(rng.random(count) < share, rng.choice(wanted, count), anywhere)


def cut_window(
    pictures: Tensor,
    flow: Tensor,
    points: Tensor,
    side_px: int,
    part: tuple[int, ...],
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """A square of `side_px` around landmarks, on the latent grid. Flow and points are in units of its side.

    Nearly all that a warp cannot show is at the eyes and the mouth. Half the side is a quarter of the work.
    """
    size_px = pictures.shape[-1]
    centre = points[:, list(part)].mean((0, 1)).numpy() * size_px
    corner = centre - side_px / 2 + rng.uniform(-_WINDOW_JITTER_PX, _WINDOW_JITTER_PX, 2)
    x, y = (int(np.clip(round(c / _WINDOW_GRID_PX) * _WINDOW_GRID_PX, 0, size_px - side_px)) for c in corner)
    scale = size_px / side_px
    stride = size_px // flow.shape[-1]
    cells = slice(y // stride, (y + side_px) // stride), slice(x // stride, (x + side_px) // stride)
    return (
        pictures[..., y : y + side_px, x : x + side_px],
        flow[(..., *cells)] * scale,
        (points - torch.tensor([x / size_px, y / size_px])) * scale,
    )


def _jitter_colours(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """The same random exposure, contrast and white balance for all pictures; a quarter of them in grey."""
    gain = torch.from_numpy(rng.uniform(0.8, 1.2, (1, 3, 1, 1)) * rng.uniform(0.8, 1.15)).float()
    pictures = ((pictures + 1) * gain - 1 + float(rng.uniform(-0.1, 0.1))).clamp(-1, 1)
    return pictures if rng.random() < 0.75 else pictures.mean(1, keepdim=True).expand_as(pictures)
