"""One portrait with many voices: the networks are loaded once.

    python examples/batch_of_voices.py portrait.jpg out_folder voice1.wav voice2.mp3 ...

A voice that cannot be used is reported and skipped. The exit code is 1 where one was skipped.
"""

from __future__ import annotations

import sys
from pathlib import Path

from openemo import EmoPipeline, OpenEmoError


def animate_all(portrait: Path, folder: Path, voices: list[Path]) -> list[Path]:
    """Write one video per voice into `folder`; return the voices that could not be used."""
    pipeline = EmoPipeline.from_pretrained("embedded")
    folder.mkdir(parents=True, exist_ok=True)
    skipped = []
    for voice in voices:
        try:
            print(pipeline(portrait, voice, framing="crop", size_px=256).save(folder / f"{voice.stem}.mp4"))
        except OpenEmoError as error:
            print(f"{voice}: {error}", file=sys.stderr)
            skipped.append(voice)
    return skipped


if __name__ == "__main__":
    portrait, folder, *voices = map(Path, sys.argv[1:])
    sys.exit(1 if animate_all(portrait, folder, voices) else 0)
