"""Options of a live stream, and the stream that they ask for."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Final, TypedDict

from openemo.audio.audio_reader import check_sample_rate
from openemo.audio.mel import SAMPLE_RATE_HZ
from openemo.behaviour.expression import NEUTRAL
from openemo.config import OPTIONS_OF_A_VIDEO, PipelineConfig
from openemo.decoding_limits import DEFAULT_LIMITS, DecodingLimits
from openemo.errors import ConfigError
from openemo.pipeline.compositing import Framing
from openemo.pipeline.controls import check_controls
from openemo.pipeline.inputs import to_image, to_integer, to_seed
from openemo.pipeline.streaming import LiveStream
from openemo.pipeline.streaming_speech_encoder import check_live_encoder
from openemo.provenance.frame_marker import FrameMarker
from openemo.provenance.marking import Marking
from openemo.provenance.origin import Origin
from openemo.timing import parse_fps

if TYPE_CHECKING:
    from openemo.pipeline.emo import EmoPipeline
    from openemo.pipeline.inputs import Portrait
    from openemo.pipeline.streaming import Chunk

__all__ = ["LOOKAHEAD_S", "StreamOptions", "start_stream"]

LOOKAHEAD_S: Final = 0.1
_LEAST_LOOKAHEAD_S, _MOST_LOOKAHEAD_S = 0.08, 1.0
_CLIP_FRAMES: Final = 4


class StreamOptions(TypedDict, total=False):
    """Options of a stream. Those of a video have the same names and defaults, see `EmoPipeline.__call__`.

    Attributes:
        sample_rate_hz: of the chunks, 16000 by default.
        realtime: frames come at their time by the clock, and silence takes the place of sound that is late.
            Otherwise they come as fast as the sound does, and the stream waits for it.
        lookahead_s: sound after a frame that the networks hear before they make it, 0.08 to 1.
        clip_frames: frames that are made together; they wait for the last one's sound.
        max_queue_s: longest queue of sound. For a microphone, whose clock is not that of the frames, a
            quarter of a second: pauses are shortened to keep it. None keeps all that is sent.
        marking: watermark and badge of the frames; credentials are for files.
    """

    sample_rate_hz: int
    realtime: bool
    lookahead_s: float
    clip_frames: int | None
    max_queue_s: float | None
    seed: int
    num_inference_steps: int | None
    guidance_scale: float | None
    speed: float | None
    blinks_per_minute: float | None
    lip_motion: float | None
    head_motion: float | None
    gaze: float | None
    brows: float | None
    expression: float | None
    emotion: str
    emotion_strength: float
    fps: int | float | str | Fraction | None
    size_px: int | None
    framing: Framing
    face_index: int | None
    transparent: bool
    marking: Marking
    limits: DecodingLimits
    sandbox: bool


def start_stream(
    pipeline: EmoPipeline, portrait: Portrait, chunks: Iterable[Chunk] | None, options: StreamOptions
) -> LiveStream:
    """See `EmoPipeline.stream`."""
    given = dict(options)
    unknown = sorted(set(given) - set(StreamOptions.__annotations__))
    if unknown:
        known = ", ".join(StreamOptions.__annotations__)
        raise ConfigError("a stream has no such option", got=", ".join(unknown), expected=f"one of {known}")
    emotion, transparent = options.get("emotion", NEUTRAL), options.get("transparent", False)
    config = _live_config(pipeline, options)
    wanted = {
        "transparency": transparent,
        "emotion": emotion != NEUTRAL,
        "motion from a clip": False,
        "motion style from a clip": False,
    }
    check_controls(config, wanted, unet=pipeline.unet, autoencoder=pipeline.autoencoder)
    asked_fps = options.get("fps")
    fps = parse_fps(config.fps if asked_fps is None else asked_fps)
    seed = to_seed(options.get("seed", 0))
    image = to_image(
        portrait,
        transparent=transparent,
        limits=options.get("limits", DEFAULT_LIMITS),
        sandbox=options.get("sandbox", True),
    )
    prepared = pipeline.prepare_portrait(
        image,
        framing=options.get("framing", "full"),
        size_px=options.get("size_px"),
        face_index=options.get("face_index"),
        config=config,
    )
    origin = Origin.of(pipeline.model_name, pipeline.weights_sha256, seed, image, None)
    stream = LiveStream(
        pipeline,
        prepared,
        chunks,
        config=config,
        fps=fps,
        seed=seed,
        sample_rate_hz=_checked_rate(options.get("sample_rate_hz", SAMPLE_RATE_HZ)),
        realtime=options.get("realtime", False),
        lookahead_s=options.get("lookahead_s", LOOKAHEAD_S),
        max_queue_s=options.get("max_queue_s"),
        transparent=transparent,
        marker=FrameMarker(options.get("marking", Marking()), mark_id=origin.mark_id, fps=fps),
    )
    stream.set_emotion(emotion, options.get("emotion_strength", 0.6))
    return stream


def _live_config(pipeline: EmoPipeline, options: StreamOptions) -> PipelineConfig:
    """The settings of a stream, checked."""
    check_live_encoder(pipeline.speech_encoder)
    if pipeline.config.window_overlap is not None or not pipeline.autoencoder.moves_portrait:
        raise ConfigError("this model cannot stream", fix="Take the model `embedded`")
    lookahead_s = options.get("lookahead_s", LOOKAHEAD_S)
    if not _LEAST_LOOKAHEAD_S <= lookahead_s <= _MOST_LOOKAHEAD_S:
        expected = f"{_LEAST_LOOKAHEAD_S} to {_MOST_LOOKAHEAD_S:g} s"
        raise ConfigError("`lookahead_s` is out of range", got=lookahead_s, expected=expected)
    own = pipeline.config
    usual = min(own.clip_frames, max(own.motion_frames, _CLIP_FRAMES))
    clip_frames = to_integer("clip_frames", options.get("clip_frames"))
    return own.override(
        clip_frames=usual if clip_frames is None else clip_frames,
        num_inference_steps=to_integer("num_inference_steps", options.get("num_inference_steps")),
        **{name: options.get(name) for name in OPTIONS_OF_A_VIDEO},
    )


def _checked_rate(sample_rate_hz: int) -> int:
    rate_hz = to_integer("sample_rate_hz", sample_rate_hz)
    check_sample_rate(rate_hz, "the stream")
    return rate_hz
