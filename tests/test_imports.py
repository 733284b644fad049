"""What a program imports that makes one video with the embedded model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# Each costs half a second or more of every run.
HEAVY = {"transformers", "diffusers", "torch._dynamo", "sympy", "scipy.signal", "scipy.stats"}
CODE = """
import sys
from openemo import EmoPipeline
from openemo.audio import read_audio, Audio
portrait, voice = sys.argv[1:]
sound = read_audio(voice)
sound = Audio(sound.samples[:, : sound.sample_rate_hz // 5], sound.sample_rate_hz)
frames = list(EmoPipeline.from_pretrained()(portrait, sound, size_px=128, framing="crop"))
print(len(frames), *sys.modules)
"""


def test_a_video_needs_no_heavy_import(portrait_path: Path, voice_path: Path, embedded_dir: Path) -> None:
    command = [sys.executable, "-c", CODE, str(portrait_path), str(voice_path)]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    num_frames, *modules = made.stdout.split()
    assert num_frames == "5"
    assert not HEAVY & set(modules)
