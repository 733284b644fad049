"""`openemo live`. The options have the names of the stream's arguments."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from openemo.cli.options import (
    MODEL_NAMES,
    MODELS_OWN,
    Device,
    DTypeOrBest,
    Engine,
    Machine,
    Model,
    WithBadge,
    WithWatermark,
    load_pipeline,
)
from openemo.decoding_limits import DEFAULT_LIMITS, DecodingLimits
from openemo.threads import share_cores

__all__ = ["live"]

_Source = Literal["stdin", "microphone"]
_Target = Literal["stdout", "window", "camera"]
_Format = Literal["mpegts", "mp4", "rgb24"]
_Framing = Literal["full", "crop"]
_Motion = partial(Option, rich_help_panel="Motion")

_SOURCE = "stdin reads raw PCM: 16 bit, little endian, one channel."
_TARGET = "A window and a virtual camera show the picture alone."
_FORMAT = "Of stdout: H.264 and AAC in MPEG-TS or fragmented MP4, or raw frames of 8-bit RGB without sound."
_REALTIME = "Keep to the clock, with silence where no sound comes. Otherwise go as fast as the sound comes."


def live(
    portrait: Annotated[Path, Argument(help="Photo, painting or drawing.", metavar="PORTRAIT")],
    source: Annotated[_Source, Option("--from", help=_SOURCE)] = "stdin",
    target: Annotated[_Target, Option("--to", help=_TARGET)] = "stdout",
    output_format: Annotated[_Format, Option("--format", help=_FORMAT)] = "mpegts",
    sample_rate_hz: Annotated[int, Option(help="Of the sound.")] = 16_000,
    realtime: Annotated[bool, Option("--realtime/--no-realtime", help=_REALTIME)] = True,
    lookahead_s: Annotated[
        float, Option(help="Sound after a frame that is heard before it is made: 0.08 to 1.")
    ] = 0.1,
    clip_frames: Annotated[
        int | None, Option(help="Frames made together. Fewer come earlier and cost more.", show_default="4")
    ] = None,
    max_queue_s: Annotated[
        float | None,
        Option(help="Longest queue of sound; pauses are shortened.", show_default="microphone 0.25"),
    ] = None,
    seed: Annotated[int, _Motion(help="Of the motion. -1 draws one.")] = 0,
    blinks_per_minute: Annotated[float | None, _Motion(help="0 for none.", show_default=MODELS_OWN)] = None,
    lip_motion: Annotated[
        float | None, _Motion(help="Amplitude of the mouth.", show_default=MODELS_OWN)
    ] = None,
    head_motion: Annotated[
        float | None, _Motion(help="Of head and shoulders.", show_default=MODELS_OWN)
    ] = None,
    gaze: Annotated[float | None, _Motion(help="Of eye movements.", show_default=MODELS_OWN)] = None,
    brows: Annotated[float | None, _Motion(help="Of the brows.", show_default=MODELS_OWN)] = None,
    expression: Annotated[
        float | None,
        _Motion(help="Of what the voice carries.", show_default=MODELS_OWN),
    ] = None,
    emotion: Annotated[
        str,
        _Motion(
            help="happy, sad, angry, surprised, disgusted, afraid, smug or neutral.",
            metavar="NAME",
        ),
    ] = "neutral",
    emotion_strength: Annotated[float, _Motion(help="0 to 1.")] = 0.6,
    framing: Annotated[_Framing, Option(help="Whole picture, or square around the face.")] = "crop",
    size_px: Annotated[
        int | None, Option(help="Longest side of the picture, or of the crop.", show_default="512")
    ] = None,
    fps: Annotated[str | None, Option(help="Frames per second.", show_default=MODELS_OWN)] = None,
    face_index: Annotated[
        int | None, Option(help="Which face. 0 is the leftmost.", show_default="the largest")
    ] = None,
    watermark: WithWatermark = True,
    badge: WithBadge = False,
    model: Annotated[str, Model(help=MODEL_NAMES)] = "embedded",
    device: Device = "cpu",
    dtype: DTypeOrBest = None,
    engine: Engine = "torch",
    max_pixels: Annotated[int, Machine(help="Largest portrait.")] = DEFAULT_LIMITS.max_pixels,
    sandbox: Annotated[
        bool, Machine("--sandbox/--no-sandbox", help="Decode the portrait in a process of its own.")
    ] = True,
) -> None:
    """Make the person in PORTRAIT speak what comes in, while it comes. In silence the person lives on.

    arecord -t raw -f S16_LE -r 16000 | openemo live PORTRAIT | ffplay -fflags nobuffer -
    """
    share_cores()  # before anything loads torch
    from openemo.cli.live_devices import Source, open_target
    from openemo.cli.progress import print_notes
    from openemo.provenance.marking import Marking

    with Source.open(source, sample_rate_hz) as sound, open_target(target, output_format) as show:
        pipeline = load_pipeline(model, device=device, dtype=dtype, engine=engine)
        stream = pipeline.stream(
            portrait,
            sample_rate_hz=sample_rate_hz,
            realtime=realtime or source == "microphone",
            lookahead_s=lookahead_s,
            clip_frames=clip_frames,
            max_queue_s=0.25 if max_queue_s is None and source == "microphone" else max_queue_s,
            seed=seed,
            blinks_per_minute=blinks_per_minute,
            lip_motion=lip_motion,
            head_motion=head_motion,
            gaze=gaze,
            brows=brows,
            expression=expression,
            emotion=emotion,
            emotion_strength=emotion_strength,
            fps=fps,
            size_px=512 if size_px is None else size_px,
            framing=framing,
            face_index=face_index,
            marking=Marking(watermark=watermark, badge=badge),
            limits=DecodingLimits(max_pixels=max_pixels),
            sandbox=sandbox,
        )
        print_notes(stream.warnings)
        count = 0
        with stream, sound.sending_to(stream), show.showing(stream) as write:
            for frame in stream:
                if not write(frame):
                    break
                count += 1
    seconds = count / float(stream.fps)
    behind = f", {stream.behind_s:.2f} s behind the sound" if stream.behind_s else ""
    print(f"{seconds:.2f} s of video, {count} frames{behind}", file=sys.stderr)
