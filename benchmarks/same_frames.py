"""Compares the frames of two states of the program: record them before a change, compare after it.

    python benchmarks/same_frames.py record before.npz PORTRAIT ...
    python benchmarks/same_frames.py compare before.npz PORTRAIT ...

For each portrait, at 512 px and at 1920, frames of two clips are made from the demo's voice with an emotion,
so that every layer is drawn. Printed are the largest difference in grey levels, and how many values differ at
all and by more than 1.
"""

from __future__ import annotations

import argparse
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.audio import Audio, read_audio
from openemo.pipeline import EmoPipeline
from openemo.video.images import read_image

_SIZES_PX = (512, 1920)
_FRAMES, _EVERY = 24, 5


def frames_of(pipeline: EmoPipeline, portrait: Path, size_px: int) -> NDArray[np.uint8]:
    """Some frames of a video, (N, height, width, 3)."""
    image = read_image(portrait)
    scale = size_px / max(image.shape[:2])
    image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)
    voice = read_audio(Path(str(files("openemo") / "assets" / "demo_voice.flac")))
    samples = round(_FRAMES / 25 * voice.sample_rate_hz)
    start = voice.sample_rate_hz  # the first second is quiet
    audio = Audio(voice.samples[:, start : start + samples], voice.sample_rate_hz)
    animation = pipeline(image, audio, size_px=size_px, emotion="surprised")
    return np.stack([frame for number, frame in enumerate(animation) if number % _EVERY == 0])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("portraits", type=Path, nargs="+")
    given = parser.parse_args()
    pipeline = EmoPipeline.from_pretrained()
    made = {
        f"{portrait.stem} {size_px}": frames_of(pipeline, portrait, size_px)
        for portrait in given.portraits
        for size_px in _SIZES_PX
    }
    if given.what == "record":
        np.savez(given.file, allow_pickle=False, **made)
        return
    with np.load(given.file) as before:
        for name, frames in made.items():
            difference = np.abs(frames.astype(np.int16) - before[name])
            shares = [f"{100 * float((difference >= levels).mean()):.4f} %" for levels in (1, 2)]
            print(f"{name}: at most {difference.max()}, {shares[0]} differ, {shares[1]} by 2 or more")  # noqa: T201


if __name__ == "__main__":
    main()
