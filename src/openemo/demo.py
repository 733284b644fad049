"""The main job on the bundled portrait and voice: a video, and a contact sheet of what it shows."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

from openemo.audio import read_audio
from openemo.console import Stopwatch, save_with_bar
from openemo.errors import OutputError
from openemo.pipeline import EmoPipeline
from openemo.video.images import contact_sheet, read_image, write_image
from openemo.video.reading import read_frames
from openemo.video.writing import check_output_path

__all__ = ["run"]

_SIZE_PX = 512
_SHEET_FRAMES, _SHEET_COLUMNS, _SHEET_CELL_PX = 24, 6, 320


def run(folder: Path) -> None:
    """Write demo.mp4 and demo.png into `folder`, which is made if needed, and print how long it took."""
    watch = Stopwatch()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the folder {folder} cannot be made", got=error.strerror) from error
    video, sheet = folder / "demo.mp4", folder / "demo.png"
    check_output_path(video)
    with as_file(files("openemo") / "assets") as assets:
        portrait, voice = read_image(assets / "demo_portrait.jpg"), read_audio(assets / "demo_voice.flac")
    pipeline = EmoPipeline.from_pretrained()
    watch.loaded()
    animation = pipeline(portrait, voice, size_px=_SIZE_PX)
    save_with_bar(animation, video)
    seconds = watch.summary(animation)

    # From the file that was written, not from memory: the sheet shows what a viewer sees.
    every = -(-animation.num_frames // _SHEET_FRAMES)
    shown = [image for number, image in enumerate(read_frames(video)) if number % every == 0]
    write_image(sheet, contact_sheet(shown, _SHEET_COLUMNS, _SHEET_CELL_PX))
    print(f"{video}: {animation.duration_s:.2f} s of video, {animation.num_frames} frames")
    print(f"{sheet}: one frame in {every}")
    print(seconds)
