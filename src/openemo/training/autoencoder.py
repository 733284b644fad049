"""Trains the motion-compensated autoencoder on pairs of pictures whose flow is known from landmarks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from openemo.data.motion import face_flow
from openemo.data.sequences import Sequence
from openemo.errors import TrainingError
from openemo.face.geometry import LEFT_EYE, OUTER_LIPS, RIGHT_EYE, mouth_opening
from openemo.face.gestures import lid_gap
from openemo.models.autoencoder import MotionAutoencoder
from openemo.models.flow import source_area, warp
from openemo.models.places import region_weight
from openemo.training.exports import load_export
from openemo.training.objective import arithmetic
from openemo.training.recipe import AutoencoderRecipe

__all__ = [
    "WINDOWS",
    "AutoencoderStage",
    "cut_window",
    "draw_frames",
    "flow_between",
    "to_tensor",
]

_EYES = (*LEFT_EYE, *RIGHT_EYE)
WINDOWS = {"mouth": OUTER_LIPS, "eyes": _EYES, "eyes and mouth": (*OUTER_LIPS, *_EYES)}
# Within the mouth, what is drawn out to more than twice its size is an opening.
_TORN, _TORN_EDGE = 0.45, 0.3
_WITHIN_MOUTH = 0.1  # of `region_weight`; beyond it what is drawn out is skin


def to_tensor(pictures: list[NDArray[np.uint8]]) -> Tensor:
    """(N, 3, S, S) in [-1, 1]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def flow_between(
    reference: NDArray[np.float32], target: NDArray[np.float32], size_px: int, stride: int
) -> Tensor:
    """(2, S/stride, S/stride) backward flow between landmarks (478, 2) in pixels, in units of the side."""
    return torch.from_numpy(face_flow(reference / size_px, target / size_px, size_px // stride))


class AutoencoderStage:
    """Reconstruction of frames from reference and flow."""

    def __init__(self, recipe: AutoencoderRecipe) -> None:
        self.recipe = recipe
        self.paths = sorted((recipe.data / "sequences").glob("*.npz"))
        if not self.paths:
            raise TrainingError(
                f"no sequences in {recipe.data}",
                fix="Run `openemo data prepare` first, with the same output folder",
            )
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(recipe.seed)
            self.model = MotionAutoencoder(**recipe.model)
        if recipe.start is not None:
            self.model = load_export(MotionAutoencoder, recipe.start)
        if (recipe.data / "teeth.npy").exists():
            teeth = np.load(recipe.data / "teeth.npy")
            if teeth.shape != self.model.teeth.shape:
                raise TrainingError(
                    f"the row of teeth in {recipe.data / 'teeth.npy'} has another size",
                    got=str(teeth.shape),
                    expected=str(tuple(self.model.teeth.shape)),
                    fix="Remove it and run `openemo data prepare` again",
                )
            self.model.teeth.copy_(torch.from_numpy(teeth))
        self._flow_stride = int(self.model.config.flow_stride)
        self.model.to(memory_format=torch.channels_last)
        if recipe.decoder_only:
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad_(name.startswith("decoder."))
        self.modules: Mapping[str, nn.Module] = {"autoencoder": self.model}

    def loss(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Huber's loss of pixels and of their gradients, weighted towards mouth and eyes."""
        recipe = self.recipe
        on_eyes = float(torch.rand((), generator=generator)) < recipe.eye_share
        frames, references, flow, points = self._batch(generator, "eyes" if on_eyes else recipe.window_on)
        with arithmetic(recipe.compute, "cpu"):
            pyramid = self.model.encode_reference(references).expand_frames(recipe.frames)
            residual = self.model.decoder(pyramid, flow)
        warped = warp(references.repeat_interleave(recipe.frames, 0), flow)
        made = warped + residual
        mouth = region_weight(points, frames.shape[-1], OUTER_LIPS)
        eyes = region_weight(points, frames.shape[-1], RIGHT_EYE) + region_weight(
            points, frames.shape[-1], LEFT_EYE
        )
        # What shows where lips open is not the decoder's to draw, see `models.inside`.
        area = F.interpolate(source_area(flow), size=frames.shape[-2:], mode="bilinear")
        opened = ((_TORN - area) / _TORN_EDGE + 0.5).clamp(0, 1) * (mouth > _WITHIN_MOUTH)
        weight = (1 + recipe.mouth_weight * mouth + recipe.eye_weight * eyes) * (1 - opened)
        weight = weight / weight.mean((1, 2, 3), keepdim=True)
        error = (weight * _robust(made - frames)).mean()
        gradient = sum(
            (w * _robust(a - b)).mean()
            for (a, b, w) in zip(_gradients(made), _gradients(frames), _cut(weight), strict=True)
        )
        mouth = mouth * (1 - opened)
        share = mouth.sum()
        with torch.no_grad():
            mouth_error = (mouth * (made - frames).abs()).sum() / (3 * share)
            warp_error = (mouth * (warped - frames).abs()).sum() / (3 * share)
        return {
            "loss": error + recipe.gradient_weight * gradient,
            "huber": error,
            "mouth": mouth_error,
            "mouth_of_warp": warp_error,
        }

    def export(self, modules: Mapping[str, nn.Module], folder: Path) -> None:
        """Writes the autoencoder as a pipeline loads it."""
        self.model.save_pretrained(folder / "autoencoder")

    def _batch(self, generator: torch.Generator, part: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Frames (BF,3,S,S), references (B,3,S,S), flow (BF,2,h,w), points (BF,478,2) in sides."""
        recipe = self.recipe
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        frames, references, flows, points = [], [], [], []
        for index in rng.integers(len(self.paths), size=recipe.references):
            sequence = Sequence.load(self.paths[index])
            reference = 0 if rng.random() < 0.7 else int(rng.integers(1, sequence.num_frames + 1))
            chosen = draw_frames(sequence, recipe.frames, recipe.open_share, rng, on_eyes=part == "eyes")
            pictures = to_tensor([sequence.picture(int(i)) for i in (reference, *chosen)])
            places = sequence.points_px[[reference, *chosen]].copy()
            if rng.random() < 0.5:
                pictures = pictures.flip(-1)
                places[..., 0] = sequence.size_px - places[..., 0]
            flow = torch.stack(
                [flow_between(places[0], place, sequence.size_px, self._flow_stride) for place in places[1:]]
            )
            marks = torch.from_numpy(places[1:] / sequence.size_px).float()
            if recipe.window_px is not None:
                pictures, flow, marks = cut_window(
                    pictures, flow, marks, recipe.window_px, WINDOWS[part], rng
                )
            pictures = _jitter(pictures, rng)
            references.append(pictures[0])
            frames.append(pictures[1:])
            flows.append(flow)
            points.append(marks)
        layout = torch.channels_last
        return (
            torch.cat(frames).contiguous(memory_format=layout),
            torch.stack(references).contiguous(memory_format=layout),
            torch.cat(flows),
            torch.cat(points),
        )


def draw_frames(
    sequence: Sequence, count: int, share: float, rng: np.random.Generator, *, on_eyes: bool = False
) -> NDArray[np.int64]:
    """Indices 1..F; about `share` of them from the third with the widest mouths, or the tenth with the
    narrowest eyes: blinks are short."""
    frames = sequence.points_px[1:]
    if on_eyes:
        order, part = np.argsort([lid_gap(points) for points in frames]), 10
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
    """A square of `side_px` around landmarks, on the latent grid; flow and points in units of its side.

    Nearly all that a warp cannot show is at eyes and mouth, at a quarter of the work where the side is half.
    """
    size_px = pictures.shape[-1]
    centre = points[:, list(part)].mean((0, 1)).numpy() * size_px
    corner = centre - side_px / 2 + rng.uniform(-16, 16, 2)
    x, y = (int(np.clip(round(c / 16) * 16, 0, size_px - side_px)) for c in corner)
    scale = size_px / side_px
    stride = size_px // flow.shape[-1]
    cells = slice(y // stride, (y + side_px) // stride), slice(x // stride, (x + side_px) // stride)
    return (
        pictures[..., y : y + side_px, x : x + side_px],
        flow[(..., *cells)] * scale,
        (points - torch.tensor([x / size_px, y / size_px])) * scale,
    )


def _jitter(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """The same random exposure, contrast and white balance for all pictures of a person; some people grey."""
    gain = torch.from_numpy(rng.uniform(0.8, 1.2, (1, 3, 1, 1)) * rng.uniform(0.8, 1.15)).float()
    pictures = ((pictures + 1) * gain - 1 + float(rng.uniform(-0.1, 0.1))).clamp(-1, 1)
    return pictures if rng.random() < 0.75 else pictures.mean(1, keepdim=True).expand_as(pictures)


def _robust(error: Tensor) -> Tensor:
    """Huber's loss with its knee at a tenth of the grey scale, error^2 / 0.2 below.

    Plain L1 does not learn here: its gradient is as large for the noise of the whole background as for the
    inside of the mouth, and noise has the larger area.
    """
    return F.smooth_l1_loss(error, torch.zeros_like(error), beta=0.1, reduction="none")


def _gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def _cut(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:], x[..., 1:, :]
