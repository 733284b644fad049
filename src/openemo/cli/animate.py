"""`openemo animate`. The options have the names of the pipeline's arguments."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from openemo.cli.options import (
    MODEL_NAMES,
    MODELS_OWN,
    Certificate,
    Device,
    DTypeOrBest,
    Engine,
    GuidanceScale,
    Machine,
    Model,
    NumInferenceSteps,
    PrivateKey,
    TimestampServer,
    WithBadge,
    WithCredentials,
    WithWatermark,
    load_pipeline,
)
from openemo.decoding_limits import DEFAULT_LIMITS, DecodingLimits
from openemo.errors import OutputError
from openemo.threads import share_cores

__all__ = ["animate"]

_Framing = Literal["full", "crop"]
_Offload = Literal["none", "model", "sequential"]
_Motion = partial(Option, rich_help_panel="Motion")
_Picture = partial(Option, rich_help_panel="Picture")
_Reading = partial(Option, rich_help_panel="Reading of files")

_SPEED = "Speed of head rotation in rad/s: 0.1 to 1.0 for speech, 1.0 to 1.3 for song."
_EMOTION = (
    "happy, sad, angry, surprised, disgusted, afraid, smug or neutral. Over time: 0:happy,2.5:sad:0.8 is "
    "happy from the start, and sad, 0.8 of the strength, from 2.5 s on."
)
_OFFLOAD = (
    "Keep the networks in main memory. One network (model) or layer (sequential) at a time is on the device."
)


def animate(
    portrait: Annotated[Path, Argument(help="Photo, painting or drawing.", metavar="PORTRAIT")],
    audio: Annotated[Path, Argument(help="Speech or song. A video gives its sound.", metavar="AUDIO")],
    output: Annotated[Path, Option("--output", "-o", help="The video to write.", metavar="OUT.mp4")],
    audio_track: Annotated[
        int | None, Option(help="Which sound track. 0 is the first.", show_default="the file's default track")
    ] = None,
    seed: Annotated[int, _Motion(help="Same seed, same video. -1 draws one.")] = 0,
    speed: Annotated[float | None, _Motion(help=_SPEED, show_default=MODELS_OWN)] = None,
    blinks_per_minute: Annotated[float | None, _Motion(help="0 for none.", show_default=MODELS_OWN)] = None,
    lip_motion: Annotated[
        float | None, _Motion(help="Amplitude of the mouth. 1 is that of people.", show_default=MODELS_OWN)
    ] = None,
    head_motion: Annotated[
        float | None,
        _Motion(help="Of head and shoulders. 1 is a person who talks, 0 is still.", show_default=MODELS_OWN),
    ] = None,
    gaze: Annotated[
        float | None, _Motion(help="Of eye movements. 0 looks straight on.", show_default=MODELS_OWN)
    ] = None,
    brows: Annotated[float | None, _Motion(help="Of the brows. 0 is still.", show_default=MODELS_OWN)] = None,
    expression: Annotated[
        float | None,
        _Motion(help="Of what the voice carries. 1 is subtle, 0 is none.", show_default=MODELS_OWN),
    ] = None,
    emotion: Annotated[str, _Motion(help=_EMOTION, metavar="NAME")] = "neutral",
    emotion_strength: Annotated[float, _Motion(help="0 to 1.")] = 0.6,
    motion_from: Annotated[
        Path | None,
        _Motion(help="A video of somebody: its head, gaze, brows and blinks are taken over.", metavar="CLIP"),
    ] = None,
    motion_style_from: Annotated[
        Path | None,
        _Motion(help="A video of somebody: how far and how fast they move is taken over.", metavar="CLIP"),
    ] = None,
    framing: Annotated[_Framing, _Picture(help="Whole picture, or square around the face.")] = "full",
    size_px: Annotated[
        int | None,
        _Picture(help="Longest side of the picture, or of the crop.", show_default="up to 1920, crop 512"),
    ] = None,
    fps: Annotated[
        str | None, _Picture(help="Such as 25, 29.97 or 30000/1001.", show_default=MODELS_OWN)
    ] = None,
    face_index: Annotated[
        int | None, _Picture(help="Which face. 0 is the leftmost.", show_default="the largest")
    ] = None,
    transparent: Annotated[
        bool, _Picture("--transparent", help="Leave the portrait's transparent background out.")
    ] = False,
    watermark: WithWatermark = True,
    credentials: WithCredentials = True,
    badge: WithBadge = False,
    certificate: Certificate = None,
    private_key: PrivateKey = None,
    timestamp_server: TimestampServer = None,
    model: Annotated[str, Model(help=MODEL_NAMES)] = "embedded",
    num_inference_steps: NumInferenceSteps = None,
    guidance_scale: GuidanceScale = None,
    face_embedder: Annotated[
        Path | None, Model(help="Face recognition network (ONNX), for hallo.", metavar="FILE")
    ] = None,
    device: Device = "cpu",
    dtype: DTypeOrBest = None,
    engine: Engine = "auto",
    offload: Annotated[_Offload, Machine(help=_OFFLOAD)] = "none",
    attention_slice: Annotated[
        int | None, Machine(help="Frames per attention call. Fewer need less memory.", show_default="all")
    ] = None,
    decode_frames: Annotated[int, Machine(help="Frames decoded together.")] = 4,
    max_pixels: Annotated[int, _Reading(help="Largest portrait.")] = DEFAULT_LIMITS.max_pixels,
    max_seconds: Annotated[float, _Reading(help="Longest sound.")] = DEFAULT_LIMITS.max_seconds,
    sandbox: Annotated[
        bool,
        _Reading("--sandbox/--no-sandbox", help="Decode the files in processes that can do nothing else."),
    ] = True,
) -> None:
    """Make a video of the person in PORTRAIT speaking or singing AUDIO.

    The video is as long as AUDIO.
    """
    share_cores()  # before anything loads torch
    from openemo.behaviour.emotion_names import read_emotions
    from openemo.cli.progress import Stopwatch, print_notes, save_with_bar
    from openemo.pipeline.inputs import check_clips, start_inputs, to_seed
    from openemo.provenance.marking import Marking
    from openemo.provenance.sealing import check_identity
    from openemo.video.video_target import check_output_path

    # The cheap checks come before the networks are loaded.
    watch = Stopwatch()
    kind = check_output_path(output, transparent=transparent)
    marking = Marking(
        watermark=watermark,
        credentials=credentials,
        badge=badge,
        certificate=certificate,
        private_key=private_key,
        timestamp_server=timestamp_server,
    )
    check_identity(marking)
    chosen_seed = to_seed(seed)
    emotions = read_emotions(emotion)
    clips = [clip for clip in (motion_from, motion_style_from) if clip is not None]
    limits = DecodingLimits(max_pixels=max_pixels, max_seconds=max_seconds)
    with (
        start_inputs(
            portrait, audio, transparent=transparent, audio_track=audio_track, limits=limits, sandbox=sandbox
        ) as inputs,
        check_clips(clips, limits=limits, sandbox=sandbox) as check,
    ):
        import openemo.pipeline.emo  # noqa: F401  # takes seconds, in which the files are decoded

        image, sound = inputs()
        check()
    given = [portrait, audio, *clips]
    if output.exists() and any(path.exists() and output.samefile(path) for path in given):
        raise OutputError("the output would replace the input", got=output, fix="Choose another name")

    pipeline = load_pipeline(
        model,
        device=device,
        dtype=dtype,
        engine=engine,
        offload=offload,
        attention_slice=attention_slice,
        decode_frames=decode_frames,
    )
    if face_embedder is not None:
        from openemo.face.face_embedder import FaceEmbedder

        pipeline.face_embedder = FaceEmbedder.from_onnx(face_embedder)
    watch.loaded()
    animation = pipeline(
        image,
        sound,
        seed=chosen_seed,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        speed=speed,
        blinks_per_minute=blinks_per_minute,
        lip_motion=lip_motion,
        head_motion=head_motion,
        gaze=gaze,
        brows=brows,
        expression=expression,
        emotion=emotions,
        emotion_strength=emotion_strength,
        motion_from=motion_from,
        motion_style_from=motion_style_from,
        fps=fps,
        size_px=size_px,
        framing=framing,
        face_index=face_index,
        transparent=transparent,
        limits=limits,
        sandbox=sandbox,
    )
    animation = replace(animation, origin=animation.origin.with_files(portrait, audio))
    print_notes(animation.warnings + kind.notes)
    save_with_bar(animation, output, marking)
    size = f"{animation.width}x{animation.height}"
    print(f"{output}: {animation.duration_s:.2f} s of video, {animation.num_frames} frames, {size}")
    if seed == -1:
        print(f"seed {animation.seed}")
    print(watch.summary(animation))
