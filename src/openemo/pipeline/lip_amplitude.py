"""How far a mouth moves with a voice, measured before the first frame.

A small network predicts the mean of plausible motions. For a voice unlike those of the training it is less
sure, and its mean is smaller; with some faces it moves less than with others. So each mouth is brought to the
amplitude of people who talk.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from openemo.arrays import Floats
from openemo.audio import Audio, SpeechFeatures
from openemo.behaviour import Behaviour
from openemo.config import PipelineConfig
from openemo.face.landmarks import face_width_px
from openemo.models.motion_autoencoder import MotionAutoencoder, MotionReference
from openemo.pipeline.conditions import ReferenceConditions
from openemo.pipeline.portrait import PreparedPortrait
from openemo.pipeline.sampling import ClipPlan

if TYPE_CHECKING:
    from openemo.pipeline.emo import EmoPipeline

__all__ = ["LiveLipGain", "lip_gain", "loud_clips", "scale_lip_motion"]

# Spreads in face widths: of what is no speech, and of what surely is.
_NO_SPEECH, _SPEECH = 0.004, 0.010
_DEFAULT_GAIN: Final = 1.2  # for what is no speech: what the corpus' own voices need
_GAINS: Final = (0.8, 1.8)
_LIVE_FRAMES, _USUAL_FRAMES = 500, 150  # of speech; the usual gain weighs as much as so many


def lip_gain(parting: Floats, spread: float) -> float:
    """Factor that brings the parting of the lips to a spread, within 0.8 to 1.8.

    Args:
        parting: of the lips, in face widths, in the loud parts of a voice.
        spread: standard deviation, in face widths.
    """
    found = float(np.std(parting))
    wanted = float(np.clip(spread / max(found, 1e-6), *_GAINS))
    sure = float(np.clip((found - _NO_SPEECH) / (_SPEECH - _NO_SPEECH), 0, 1))
    return _DEFAULT_GAIN + sure * (wanted - _DEFAULT_GAIN)


class LiveLipGain:
    """The same gain for a voice that comes bit by bit, from the lips of the last 20 s of speech.

    Args:
        spread: see `lip_gain`.
        width: of the face, in units of the crop's side.
    """

    def __init__(self, spread: float, width: float) -> None:
        self._spread, self._width = spread, width
        self._partings: deque[float] = deque(maxlen=_LIVE_FRAMES)

    @property
    def gain(self) -> float:
        """At first the usual one; after some seconds of speech that of this voice and face."""
        count = len(self._partings)
        if not count:
            return _DEFAULT_GAIN
        found = lip_gain(np.array(self._partings), self._spread)
        return (_USUAL_FRAMES * _DEFAULT_GAIN + count * found) / (_USUAL_FRAMES + count)

    def add(self, parting: Floats) -> None:
        """Frames (F,) of speech: how far lips are apart without gain, in units of the side."""
        self._partings.extend((parting / self._width).tolist())


def loud_clips(audio: Audio, num_frames: int, clip_frames: int, fps: Fraction, count: int = 6) -> list[int]:
    """First frames of at most `count` clips, in order, spread over the louder half of a sound."""
    starts = np.arange(0, max(num_frames - clip_frames, 0) + 1, clip_frames)
    edges = np.array([[first, first + clip_frames] for first in starts]) * float(audio.sample_rate_hz / fps)
    power = np.square(audio.samples).mean(axis=0, dtype=np.float64)
    total = np.concatenate([[0.0], np.cumsum(power)])
    first, last = total[np.minimum(edges.astype(int), len(power))].T
    loud = np.sort(np.argsort(first - last, kind="stable")[: -(-len(starts) // 2)])
    chosen = loud[np.unique(np.linspace(0, len(loud) - 1, min(count, len(loud))).round().astype(int))]
    return [int(starts[index]) for index in chosen]


def scale_lip_motion(
    pipeline: EmoPipeline,
    audio: Audio,
    portrait: PreparedPortrait,
    speech: SpeechFeatures,
    reference: ReferenceConditions,
    *,
    fps: Fraction,
    config: PipelineConfig,
) -> ReferenceConditions:
    """See `EmoPipeline.prepare_lip_motion`."""
    autoencoder, encoded = pipeline.autoencoder, reference.encoded
    if config.lip_spread is None or not isinstance(autoencoder, MotionAutoencoder):
        return reference
    assert isinstance(encoded, MotionReference)
    plan = ClipPlan.of(pipeline.num_frames(audio, fps), config)
    motion_frames_BCNHW = pipeline.prepare_motion_frames(reference, config=config)
    generator = torch.Generator("cpu").manual_seed(0)  # the same for all seeds of a video
    partings = []
    for first in loud_clips(audio, plan.num_frames, config.clip_frames, fps):
        conditions = pipeline.prepare_conditions(
            reference,
            speech,
            range(first, first + config.clip_frames),
            motion_frames_BCNHW=motion_frames_BCNHW,
            behaviour=Behaviour.neutral(plan.num_frames),
            fps=fps,
            config=config,
        )
        latents_BCFHW = pipeline.denoise_clip(
            conditions, motion_frames_BCNHW, generator=generator, config=config
        )
        partings.append(autoencoder.lip_parting(latents_BCFHW, encoded))
    width = face_width_px(portrait.points)
    gain = lip_gain(torch.cat(partings).cpu().numpy() / width, config.lip_spread)
    return replace(reference, encoded=encoded.with_lip_motion(gain))
