"""`openemo demo`: a video of the bundled portrait and voice, and a contact sheet of its frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from typer import Option

from openemo.cli.options import WithBadge, WithCredentials, WithWatermark
from openemo.errors import OutputError
from openemo.threads import share_cores

__all__ = ["demo"]

_SIZE_PX = 512
_SHEET_FRAMES, _SHEET_COLUMNS, _SHEET_CELL_PX = 24, 6, 320


def demo(
    output: Annotated[
        Path, Option("--output", "-o", help="Gets demo.mp4 and demo.png.", metavar="FOLDER")
    ] = Path("out"),
    watermark: WithWatermark = True,
    credentials: WithCredentials = True,
    badge: WithBadge = False,
) -> None:
    """Animate the bundled portrait with the bundled voice."""
    share_cores()  # before anything loads torch
    from importlib.resources import as_file, files

    from openemo.cli.progress import Stopwatch, save_with_bar
    from openemo.video.video_target import check_output_path

    watch = Stopwatch()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the folder {output} cannot be made", got=error.strerror) from error
    video, sheet = output / "demo.mp4", output / "demo.png"
    check_output_path(video)

    from openemo.audio import read_audio
    from openemo.pipeline import EmoPipeline
    from openemo.provenance.marking import Marking
    from openemo.video.images import contact_sheet, read_image, write_image
    from openemo.video.video_reader import read_frames

    marking = Marking(watermark=watermark, credentials=credentials, badge=badge)
    with as_file(files("openemo") / "assets") as assets:
        given = assets / "demo_portrait.jpg", assets / "demo_voice.flac"
        portrait, voice = read_image(given[0]), read_audio(given[1])
        pipeline = EmoPipeline.from_pretrained(engine="auto")
        watch.loaded()
        animation = pipeline(portrait, voice, size_px=_SIZE_PX)
        animation = replace(animation, origin=animation.origin.with_files(*given))
        save_with_bar(animation, video, marking)
    seconds = watch.summary(animation)

    # The sheet is made of the written file, so it shows what a viewer sees.
    every = -(-animation.num_frames // _SHEET_FRAMES)
    shown = [image for number, image in enumerate(read_frames(video)) if number % every == 0]
    write_image(sheet, contact_sheet(shown, _SHEET_COLUMNS, _SHEET_CELL_PX))
    print(f"{video}: {animation.duration_s:.2f} s of video, {animation.num_frames} frames")
    print(f"{sheet}: one frame in {every}")
    print(seconds)
