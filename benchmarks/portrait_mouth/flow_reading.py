"""The mouth as the denoiser means it, read from the flow: a quarter of the time of a video, no drawing."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.portrait_life.bench import SIZE_PX, Bench
from benchmarks.portrait_life.motion import SEED
from benchmarks.portrait_mouth.people import Stranger
from openemo.arrays import Doubles
from openemo.audio.audio_reader import Audio
from openemo.files import whole_file
from openemo.models.motion_autoencoder import MotionAutoencoder
from openemo.pipeline.sampling import ClipPlan
from openemo.timing import parse_fps
from openemo.training.mouth_shape_loss import mouth_shape


def meant_shapes(bench: Bench, person: Stranger, name: str, voice: Audio) -> Doubles:
    """(F, K) `MOUTH_MEASURES` of a stranger with one voice, less the mouth at rest; kept as `name`."""
    note = bench.output / "flows" / f"{person[0].stem}-{name}.npy"
    if not note.exists():
        note.parent.mkdir(parents=True, exist_ok=True)
        shapes = torch.cat(_clips(bench, person, voice)).double().numpy()
        with whole_file(note) as file:
            np.save(file, shapes)
    return np.asarray(np.load(note))


@torch.no_grad()
def _clips(bench: Bench, person: Stranger, voice: Audio) -> list[torch.Tensor]:
    """Steps 1 to 7 of the pipeline; the measures of each clip's frames."""
    pipeline, autoencoder = bench.pipeline, bench.pipeline.autoencoder
    assert isinstance(autoencoder, MotionAutoencoder)
    portrait = pipeline.prepare_portrait(person[1], framing="crop", size_px=SIZE_PX)
    speech, reference = pipeline.encode_audio(voice), pipeline.encode_reference(portrait)
    behaviour = pipeline.prepare_behaviour(voice, portrait, seed=SEED)
    plan = ClipPlan.of(pipeline.num_frames(voice, parse_fps(pipeline.config.fps)), pipeline.config)
    generator, latents, shapes = torch.Generator("cpu").manual_seed(SEED), None, []
    face_BK2 = torch.from_numpy(np.asarray(portrait.points, np.float32))[None]
    for clip in plan.clips:
        frames = range(clip.start, clip.start + plan.clip_frames)
        before = pipeline.prepare_motion_frames(reference, latents)
        conditions = pipeline.prepare_conditions(
            reference, speech, frames, motion_frames_BCNHW=before, behaviour=behaviour
        )
        latents = pipeline.denoise_clip(conditions, before, generator=generator, plan=plan)
        shapes.append(mouth_shape(autoencoder, latents, face_BK2)[0, : len(clip)].float().cpu())
    return shapes
