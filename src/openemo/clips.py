"""Clip after clip: hear, remember the last frames, denoise (EMO 3.3).

Shape letters as in `pipeline.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import torch
from torch import Tensor

from openemo.audio import SpeechFeatures
from openemo.conditions import MovedPicture, Sight, clip_conditions
from openemo.config import PipelineConfig
from openemo.models import EmoUNet, ReferenceNet
from openemo.models.autoencoder import MotionAutoencoder
from openemo.models.vae import ImageAutoencoder
from openemo.sampling import Windows, sample_clip
from openemo.timing import ClipSpan, plan_clips

__all__ = ["ClipMaker", "Division"]


@dataclass(frozen=True, slots=True)
class Division:
    """How a video is divided: clips one after the other, or one clip in windows.

    Attributes:
        clips: of the video's frames; each is denoised at full length, also where the video ends earlier.
        windows: of a clip, None where it is denoised whole.
    """

    clips: list[ClipSpan]
    windows: Windows | None

    @classmethod
    def of(cls, num_frames: int, settings: PipelineConfig) -> Division:
        if settings.window_overlap is None:
            return cls(plan_clips(num_frames, settings.clip_frames), None)
        windows = Windows(settings.clip_frames, settings.window_overlap, settings.window_shift)
        return cls([ClipSpan(0, num_frames)], windows)

    @property
    def calls_per_step(self) -> int:
        """How often a step of one clip calls back."""
        return 1 if self.windows is None else len(self.windows.starts(self.clips[0].stop))


@dataclass(frozen=True, slots=True)
class ClipMaker:
    """The networks that make latents. Keeps nothing between calls."""

    unet: EmoUNet
    reference_net: ReferenceNet
    autoencoder: MotionAutoencoder | ImageAutoencoder
    scheduler: Any

    def clips(
        self,
        sight: Sight,
        speech: SpeechFeatures,
        settings: PipelineConfig,
        *,
        fps: Fraction,
        division: Division,
        seed: int,
        on_step: Callable[[], None],
        gestures_FG: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """Latents (1, C, F, H, W) of each clip, float32.

        Args:
            gestures_FG: of all frames that are denoised, also those beyond the video's end; None for networks
                without.
        """
        motion_BCNHW = self.autoencoder.still(sight.features, settings.motion_frames)
        if settings.first_motion == "zeros":
            motion_BCNHW = torch.zeros_like(motion_BCNHW)
        # On the CPU, so that a seed means the same on every device.
        generator = torch.Generator("cpu").manual_seed(seed)
        for clip in division.clips:
            length = settings.clip_frames if division.windows is None else len(clip)
            heard = range(clip.start, clip.start + length)
            audio_BFTD = speech.windows(heard, fps, settings.speech_window_tokens)[None]
            shape = (*motion_BCNHW.shape[:2], length, *motion_BCNHW.shape[3:])
            noise_BCFHW = torch.randn(shape, generator=generator)
            if settings.noise_limit is not None:
                noise_BCFHW = noise_BCFHW.clamp(-settings.noise_limit, settings.noise_limit)
            conditions, unconditional = clip_conditions(
                self.unet,
                self.reference_net,
                sight,
                self.autoencoder.reference_input(sight.features, motion_BCNHW),
                audio_BFTD.to(sight.image_B3SS),
                settings,
                None if gestures_FG is None else gestures_FG[clip.start : clip.start + length][None],
            )
            latents_BCFHW = sample_clip(
                self.unet,
                self.scheduler,
                noise_BCFHW,
                num_steps=settings.num_steps,
                guidance_scale=settings.guidance_scale,
                unconditional=unconditional,
                windows=division.windows,
                generator=generator,
                on_step=on_step,
                **conditions,
            )
            yield latents_BCFHW
            motion_BCNHW = latents_BCFHW[:, :, length - settings.motion_frames :]
            if settings.motion_source == "frames" and settings.motion_frames:
                motion_BCNHW = self._seen_again(motion_BCNHW, sight)

    @torch.no_grad()
    def decode(self, latents_BCFHW: Tensor, sight: Sight, pictures_F3QQ: Tensor | None = None) -> Tensor:
        """Frames (1, 3, F, height, width) in [-1, 1], at the size shown or at that of the networks.

        Args:
            pictures_F3QQ: what moves, frame by frame; None takes the picture as it is.
        """
        latents = latents_BCFHW.to(sight.image_B3SS)
        if isinstance(self.autoencoder, MotionAutoencoder):
            moved = cast(MovedPicture, sight.moved)
            decoded_B3FHW: Tensor = self.autoencoder.decode(
                latents,
                sight.image_B3SS,
                sight.features,
                picture_B3HW=moved.picture_B3QQ if pictures_F3QQ is None else pictures_F3QQ,
                size=(sight.size_px, sight.size_px),
                lips=moved.lips,
                inside=moved.inside,
            )
        else:
            decoded_B3FHW = cast(ImageAutoencoder, self.autoencoder).decode(latents)
        return decoded_B3FHW

    @torch.no_grad()
    def _seen_again(self, motion_BCNHW: Tensor, sight: Sight) -> Tensor:
        """Latents of the frames that these latents are decoded to."""
        frames_B3NSS = torch.cat([self.decode(part, sight) for part in torch.split(motion_BCNHW, 1, 2)], 2)
        return self.autoencoder.encode_frames(frames_B3NSS)
