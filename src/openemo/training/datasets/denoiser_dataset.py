"""Clips of latents with their conditions: data of the image, video and speed stages.

Shape letters: B clips, N motion frames, F frames of the clip, C x H x W latents, S side of the crop, T audio
tokens of one frame, D their width, M masks of the face locator, K motion conditions, G channels of the
expression guide.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openemo.audio.speech_features import SpeechFeatures
from openemo.behaviour.motion_conditions import MOTION_CONDITIONS, motion_conditions
from openemo.errors import TrainingError
from openemo.face.landmarks import BROWS, LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from openemo.face.masks import part_masks
from openemo.face.region_weights import region_weight
from openemo.models.motion_autoencoder import MotionAutoencoder
from openemo.timing import parse_fps
from openemo.training.datasets.behaviour_augmentation import add_behaviour, head_speed, random_behaviour
from openemo.training.datasets.latent_coders import LatentCoder
from openemo.training.datasets.latent_sequences import LatentSequence, encode_sequences
from openemo.training.datasets.voice_files import load_voices, pick_voice
from openemo.training.recipes import DenoiserRecipe

__all__ = ["ClipBatch", "DenoiserDataset", "loss_weight"]

log = logging.getLogger(__name__)

_FPS = parse_fps(25)
_REST_DECAY: Final = 0.6  # of the remaining motion from one frame to the next, after the voice has ended
_MAX_QUIET_START: Final = 50  # frames; audio without a voice starts at any of these


@dataclass(frozen=True)
class ClipBatch:
    """Shapes as the networks take them. `face_BK2`: landmarks of the references, in units of the side."""

    latents_BCFHW: Tensor
    motion_BCNHW: Tensor
    features_BCHW: Tensor
    audio_BFTD: Tensor
    locator_BMHW: Tensor
    speed_BF: Tensor
    motion_conditions_BFK: Tensor
    expression_guide_BFGHW: Tensor
    weight_BC1HW: Tensor
    face_BK2: Tensor

    def to(self, device: torch.device | str) -> ClipBatch:
        return ClipBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


class DenoiserDataset:
    """Clips from the coded sequences. Codes the sequences that are not coded yet.

    Attributes:
        groups: sequences by kind: "driven", "real", "quiet", "spoken".

    Raises:
        TrainingError: there are no driven portraits.
    """

    def __init__(
        self, recipe: DenoiserRecipe, coder: LatentCoder, *, network: Any, frames_are_consecutive: bool
    ) -> None:
        """
        Args:
            network: config of the `EmoUNet`.
            frames_are_consecutive: False draws frames anywhere in a sequence, as the image stage reads them.
        """
        self.recipe, self.coder = recipe, coder
        self.frames_are_consecutive = frames_are_consecutive
        self.audio_window = int(network.audio_window or network.audio_tokens)
        self.has_part_masks = network.locator_in_channels > 1
        self.groups = _load_sequences(recipe, coder)
        self.voices = load_voices(recipe.data / "voices")

    def draw(self, generator: torch.Generator) -> ClipBatch:
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        clips = [self._clip(rng) for _ in range(self.recipe.clips)]
        return ClipBatch(*(torch.stack(parts) for parts in zip(*clips, strict=True)))

    def _clip(self, rng: np.random.Generator) -> tuple[Tensor, ...]:
        """One clip's tensors, in the order of `ClipBatch`."""
        recipe, n = self.recipe, self.recipe.motion_frames
        group = self._draw_group(rng)
        is_silenced = group == "silenced"
        sequences = self.groups.get(group) or self.groups["driven"]
        sequence = sequences[int(rng.integers(len(sequences)))]
        indices = self._draw_frames(sequence, rng)
        latents = torch.from_numpy(sequence.latents[indices]).float().transpose(0, 1)
        is_first = not self.frames_are_consecutive or rng.random() < recipe.first_clip_share
        if is_silenced:
            latents = self._silence(latents, sequence, is_first, rng)
        latents, conditions, guide, speed_rad_s = self._behave(latents, sequence, indices, rng)
        motion, clean = latents[:, :n].clone(), latents[:, n:]
        if is_first:
            motion.zero_()
        else:
            noise = rng.standard_normal(motion.shape) * recipe.motion_noise * rng.random()
            motion += torch.from_numpy(noise).float()
        frames = indices[n:]
        return (
            clean,
            motion,
            torch.from_numpy(sequence.features).float(),
            self._audio("" if is_silenced else sequence.clip, sequence.first_frame, frames, rng),
            self._locator(sequence, frames, clean.shape[-1] * self.coder.autoencoder.stride, rng),
            torch.from_numpy(speed_rad_s[n:]),
            torch.from_numpy(conditions[n:]),
            guide[n:],
            loss_weight(sequence.face, clean.shape[-1], recipe.mouth_weight, recipe.eye_weight),
            torch.from_numpy(sequence.face[:, :2]),
        )

    def _draw_group(self, rng: np.random.Generator) -> str:
        """ "quiet", "real", "silenced", "spoken" or "driven": in this order; a share of 0 changes no draw."""
        shares = {
            "quiet": self.recipe.quiet_share,
            "real": self.recipe.real_share,
            "silenced": self.recipe.silence_augmentation_share,
            "spoken": self.recipe.spoken_share,
        }
        ends = np.cumsum(list(shares.values()))
        return [*shares, "driven"][int(np.searchsorted(ends, rng.random(), side="right"))]

    def _draw_frames(self, sequence: LatentSequence, rng: np.random.Generator) -> NDArray[np.int64]:
        """Indices of N motion frames and F frames."""
        available = len(sequence.latents)
        wanted = self.recipe.motion_frames + self.recipe.clip_frames
        if self.frames_are_consecutive:
            return np.asarray(int(rng.integers(available - wanted + 1)) + np.arange(wanted))
        return rng.choice(available, wanted, replace=False)

    def _silence(
        self,
        latents_CFHW: Tensor,
        sequence: LatentSequence,
        is_first: bool,
        rng: np.random.Generator,
    ) -> Tensor:
        """Silence augmentation: the portrait after the voice has ended. It returns to rest, or rests already.

        A corpus has few quiet clips, of few faces, but every portrait can rest. The first clip of a video
        starts at rest: no motion frame shows a motion to return from, and the network would learn to jump.
        """
        n, f = self.recipe.motion_frames, self.recipe.clip_frames
        motion = 0.0 if is_first else float(rng.integers(2))
        gain_F = torch.tensor([motion] * n + [motion * _REST_DECAY**time for time in range(1, f + 1)])
        features = torch.from_numpy(sequence.features).float()[None]
        rest = self.coder.autoencoder.still_latents(features, 1)[0]
        last_F = torch.arange(n + f).clamp(max=max(n - 1, 0))
        return torch.lerp(rest, latents_CFHW[:, last_F], gain_F[:, None, None])

    def _behave(
        self,
        latents_CFHW: Tensor,
        sequence: LatentSequence,
        indices: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> tuple[Tensor, NDArray[np.float32], Tensor, NDArray[np.float32]]:
        """Adds head, brows and expressions where latents are flow.

        Returns:
            Latents, motion conditions (F, K), expression guide (F, G, H, W), speed (F,).
        """
        autoencoder = self.coder.autoencoder
        if not isinstance(autoencoder, MotionAutoencoder):
            none = np.zeros((len(indices), len(MOTION_CONDITIONS)), np.float32)
            no_guide = latents_CFHW.new_zeros(len(indices), 0, *latents_CFHW.shape[-2:])
            return latents_CFHW, none, no_guide, sequence.speed_rad_s[indices]
        behaviour = random_behaviour(len(indices), rng, is_smooth=self.frames_are_consecutive)
        moved, guide = add_behaviour(autoencoder, latents_CFHW.transpose(0, 1), sequence, behaviour)
        speed_rad_s = head_speed(behaviour, float(_FPS))
        return moved.transpose(0, 1), motion_conditions(behaviour), guide, speed_rad_s

    def _locator(
        self, sequence: LatentSequence, frames: NDArray[np.int64], size_px: int, rng: np.random.Generator
    ) -> Tensor:
        """(M, S, S) mask of the face region, and of the portrait's parts where the network reads them."""
        region = _face_region(sequence.boxes[frames], size_px, self.recipe.locator_dropout, rng)
        if not self.has_part_masks:
            return region
        return torch.cat([region, torch.from_numpy(part_masks(sequence.face[:, :2], size_px))])

    def _audio(
        self, clip: str, first_frame: int, frames: NDArray[np.int64], rng: np.random.Generator
    ) -> Tensor:
        """(F, T, D) windows of one of the clip's voices; zeros in a part of the clips, for guidance."""
        values = pick_voice(self.voices, clip, rng)
        first = first_frame if clip else int(rng.integers(_MAX_QUIET_START))
        speech = SpeechFeatures(values) if self.recipe.speech == "whisper" else SpeechFeatures(values, _FPS)
        windows = speech.windows((first + frames).tolist(), _FPS, self.audio_window)
        if self.recipe.audio_noise:
            noise = torch.from_numpy(rng.standard_normal(windows.shape, np.float32))
            windows = windows + self.recipe.audio_noise * windows.std((0, 1)) * noise
        return windows * float(rng.random() >= self.recipe.audio_dropout)


def loss_weight(face: NDArray[np.float32], size: int, mouth_weight: float, eye_weight: float) -> Tensor:
    """(1, 1, size, size) for all channels and frames: 1, and more at its mouth, eyes and brows."""
    weight, points = torch.ones(1, 1, size, size), torch.from_numpy(face[:, :2])[None]
    half = len(BROWS) // 2
    right, left = (*RIGHT_EYE, *BROWS[:half]), (*LEFT_EYE, *BROWS[half:])
    for part, strength in ((OUTER_LIPS, mouth_weight), (right, eye_weight), (left, eye_weight)):
        weight += strength * region_weight(points, size, part, sigma_ratio=0.45, min_sigma=0.05)
    return weight


def _load_sequences(recipe: DenoiserRecipe, coder: LatentCoder) -> dict[str, list[LatentSequence]]:
    """Coded sequences by kind, of those that are long enough."""
    groups: dict[str, list[LatentSequence]] = {}
    shortest = recipe.motion_frames + recipe.clip_frames
    folder = recipe.output.parent / ("latents" if recipe.latents == "motion" else "latents-image")
    for path in encode_sequences(recipe.data / "sequences", coder, folder):
        sequence = LatentSequence.load(path)
        if len(sequence.latents) >= shortest:
            groups.setdefault(path.name.split("-")[0], []).append(sequence)
    if "driven" not in groups:
        raise TrainingError(
            f"no driven portraits in {recipe.data}",
            fix="Run `openemo data prepare` first, with the same folder",
        )
    log.info("sequences: %s", {kind: len(group) for kind, group in groups.items()})
    return groups


def _face_region(
    boxes: NDArray[np.float32], size: int, white_share: float, rng: np.random.Generator
) -> Tensor:
    """(1, S, S) mask: the enlarged union of the clip's face boxes; or all white."""
    if rng.random() < white_share:
        return torch.ones(1, size, size)
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    grow = (high - low) * rng.uniform(0.15, 0.35)
    x0, y0, x1, y1 = (np.concatenate([low - grow, high + grow]) * size).round().clip(0, size).astype(int)
    mask = torch.zeros(1, size, size)
    mask[:, y0:y1, x0:x1] = 1
    return mask
