"""The same portrait and voice under several schedulers and numbers of steps.

    python examples/custom_scheduler.py portrait.jpg voice.wav

Any scheduler of diffusers fits that can predict what the networks were trained for. The embedded networks
predict the clean latents ("sample"), and were trained under zero terminal SNR. Both stay when the scheduler
is made from the present one's config.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from diffusers import DDIMScheduler, DDPMScheduler

from openemo import EmoPipeline


def frames(pipeline: EmoPipeline, portrait: Path, voice: Path, num_inference_steps: int) -> np.ndarray:
    """(F, height, width, 3) uint8."""
    animation = pipeline(
        portrait, voice, num_inference_steps=num_inference_steps, framing="crop", size_px=128
    )
    return np.stack(list(animation))


def compare(portrait: Path, voice: Path) -> dict[str, float]:
    """Name of a setting -> mean difference of its frames to one step of DDIM, grey levels."""
    pipeline = EmoPipeline.from_pretrained("embedded")
    own = pipeline.scheduler.config
    settings = {
        "DDIM, 1 step": (DDIMScheduler.from_config(own), 1),
        "DDIM, 4 steps": (DDIMScheduler.from_config(own), 4),
        "DDPM, 4 steps": (DDPMScheduler.from_config(own), 4),
    }
    made = {}
    for name, (scheduler, steps) in settings.items():
        pipeline.scheduler = scheduler
        made[name] = frames(pipeline, portrait, voice, steps).astype(np.float32)
    base = made["DDIM, 1 step"]
    return {name: float(np.abs(frames - base).mean()) for name, frames in made.items()}


if __name__ == "__main__":
    for name, difference in compare(*map(Path, sys.argv[1:])).items():
        print(f"{name}: {difference:.2f} grey levels from one step of DDIM")
