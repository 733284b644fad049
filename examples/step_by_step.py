"""What `EmoPipeline.__call__` does, step by step: the same frames as the call.

    python examples/step_by_step.py portrait.jpg voice.wav

Change a step here to try an idea: other behaviour, edited latents, another order of frames.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from openemo import EmoPipeline
from openemo.audio import Audio, read_audio
from openemo.pipeline.sampling import ClipPlan
from openemo.timing import parse_fps
from openemo.video.images import read_image


def animate(
    pipeline: EmoPipeline, image: NDArray[np.uint8], audio: Audio, *, seed: int = 0, size_px: int = 256
) -> Iterator[NDArray[np.uint8]]:
    """Frames (size_px, size_px, 3) uint8 of the square around the face."""
    config = pipeline.config
    fps = parse_fps(config.fps)
    num_frames = pipeline.num_frames(audio, fps)
    plan = ClipPlan.of(num_frames, config)

    # --8<-- [start:steps]
    # Once per video.
    portrait = pipeline.prepare_portrait(image, framing="crop", size_px=size_px)  # 1
    speech = pipeline.encode_audio(audio)  # 2
    articulation = pipeline.hear_articulation(speech, num_frames)
    reference = pipeline.encode_reference(portrait)  # 3
    behaviour = pipeline.prepare_behaviour(audio, portrait, seed=seed)  # 4
    reference = pipeline.prepare_lip_motion(audio, portrait, speech, reference)

    # Once per clip of 12 frames.
    generator = torch.Generator("cpu").manual_seed(seed)
    latents_BCFHW = None
    for clip in plan.clips:
        frames = range(clip.start, clip.start + plan.clip_frames)
        motion_frames_BCNHW = pipeline.prepare_motion_frames(reference, latents_BCFHW)  # 5
        conditions = pipeline.prepare_conditions(
            reference, speech, frames, motion_frames_BCNHW=motion_frames_BCNHW, behaviour=behaviour
        )  # 6
        latents_BCFHW = pipeline.denoise_clip(
            conditions, motion_frames_BCNHW, generator=generator, plan=plan
        )  # 7
        # A few frames at a time bound the memory. The last clip may be longer than the video.
        for first in range(clip.start, clip.stop, pipeline.decode_frames):
            part = slice(first, min(first + pipeline.decode_frames, clip.stop))
            part_BCFHW = latents_BCFHW[:, :, part.start - clip.start : part.stop - clip.start]
            acts = behaviour.frames(part.start, part.stop)
            heard = None if articulation is None else articulation.frames(part.start, part.stop)
            crops_B3FHW = pipeline.decode(part_BCFHW, reference, acts, heard)  # 8
            head_motion = pipeline.head_motion(part_BCFHW, acts)
            yield from pipeline.composite(crops_B3FHW, portrait, head_motion)  # 9
    # --8<-- [end:steps]


if __name__ == "__main__":
    portrait, voice = map(Path, sys.argv[1:])
    number = 0
    for number, _ in enumerate(
        animate(EmoPipeline.from_pretrained("embedded"), read_image(portrait), read_audio(voice)), start=1
    ):
        print(f"\rframe {number}", end="", flush=True)
    print()
