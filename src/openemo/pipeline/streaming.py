"""A person who speaks what is sent, while it is sent, and lives in between: `EmoPipeline.stream`.

The steps are those of a video. What differs is what needs the whole sound there: hearing, behaviour and lip
amplitude know the last seconds of it, and a bounded time ahead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openemo.arrays import Samples
from openemo.audio import Audio
from openemo.audio.articulatory_features import ArticulatoryFeatures
from openemo.audio.sound_queue import SoundQueue, fade_out
from openemo.behaviour import Behaviour
from openemo.behaviour.live_behaviour import LiveBehaviour
from openemo.config import PipelineConfig
from openemo.errors import AudioError
from openemo.face.landmarks import face_width_px
from openemo.models.motion_autoencoder import MotionAutoencoder, MotionReference
from openemo.pipeline.compositing import HeadMotion
from openemo.pipeline.conditions import ReferenceConditions
from openemo.pipeline.controls import behaviour_settings, style_of_person
from openemo.pipeline.frame_clock import FrameClock
from openemo.pipeline.inputs import to_audio
from openemo.pipeline.lip_amplitude import LiveLipGain
from openemo.pipeline.output import Frame
from openemo.pipeline.portrait import PreparedPortrait
from openemo.pipeline.streaming_speech_encoder import StreamingSpeechEncoder, check_live_encoder
from openemo.pipeline.working_ahead import working_ahead
from openemo.provenance.frame_marker import FrameMarker
from openemo.timing import frame_to_sample, num_frames

if TYPE_CHECKING:
    from openemo.pipeline.emo import EmoPipeline

    Chunk = bytes | bytearray | memoryview | NDArray[Any] | Audio

__all__ = ["LiveFrame", "LiveStream"]

# A resampler holds back this much, so that the window of a clip is full.
_RESAMPLING_S: Final = 0.005
_PATIENCE_S: Final = 0.04  # that sound may be late, as of a network, before silence takes its place
_AHEAD_S: Final = 0.1  # that sound which is there already is worked on ahead of its time
_PCM16: Final = 2.0**15


@dataclass(frozen=True, slots=True, eq=False)
class LiveFrame:
    """One frame with its sound.

    Attributes:
        number: from 0.
        time_s: when it appears, in seconds of the stream: number / fps.
        image: (height, width, 3 or 4) uint8, with watermark and badge as the stream's `marking` asks.
        samples: (num_samples,) float32, mono at the stream's rate, until the next frame appears.
    """

    number: int
    time_s: float
    image: Frame
    samples: Samples


class LiveStream:
    """Frames of somebody who speaks the sound that is sent. They are made while they are read, once.

        with pipeline.stream("portrait.jpg", sample_rate_hz=24_000, realtime=True) as stream:
            ...  # in other threads: stream.send(chunk), stream.interrupt(), stream.end()
            for frame in stream:
                show(frame.image), play(frame.samples)

    `send`, `interrupt`, `set_emotion`, `end` and `close` may be called from any thread.

    Attributes:
        width, height, fps, sample_rate_hz, transparent, seed, warnings: as of an `Animation`.
        lookahead_s, clip_frames: as they are used.
    """

    def __init__(
        self,
        pipeline: EmoPipeline,
        portrait: PreparedPortrait,
        chunks: Iterable[Chunk] | None,
        *,
        config: PipelineConfig,
        fps: Fraction,
        seed: int,
        sample_rate_hz: int,
        realtime: bool,
        lookahead_s: float,
        max_queue_s: float | None,
        transparent: bool,
        marker: FrameMarker,
    ) -> None:
        self.width, self.height = portrait.width, portrait.height
        self.warnings = portrait.warnings
        self.fps, self.sample_rate_hz, self.seed = fps, sample_rate_hz, seed
        self.transparent = transparent
        self.lookahead_s, self.clip_frames = lookahead_s, config.clip_frames
        self._pipeline, self._portrait, self._config = pipeline, portrait, config
        self._marker = marker
        self._reference = pipeline.encode_reference(portrait, config=config)
        self._chunks = None if chunks is None else iter(chunks)
        self._clock = FrameClock(fps, config.clip_frames / float(fps) + lookahead_s) if realtime else None
        self._queue = SoundQueue(sample_rate_hz, max_queue_s=max_queue_s)
        encoder = check_live_encoder(pipeline.speech_encoder)
        self._hearing = StreamingSpeechEncoder(encoder, sample_rate_hz, fps=fps, lookahead_s=lookahead_s)
        self._behaviour = LiveBehaviour(
            fps,
            seed=seed,
            person=portrait.points.tobytes(),
            settings=behaviour_settings(config),
            style=style_of_person(portrait.points),
            own_smile=portrait.own_smile * config.expression,
        )
        self._pending: Samples = np.zeros(0, np.float32)  # heard, and not yet given with a frame
        self._taken = 0
        self._end: int | None = None  # where the sound ends, once it is known
        self._is_interrupted = threading.Event()
        self._failure: Exception | None = None
        self._frames = self._make()

    def send(self, chunk: Chunk) -> None:
        """Sound to speak, of any length: 16-bit PCM as bytes, an array (num_samples,) or `Audio`.

        Raises:
            AudioError: something else, or another sample rate.
        """
        self._queue.send(_to_samples(chunk, self.sample_rate_hz))

    def interrupt(self) -> None:
        """Drop all sound that was sent. The person falls silent within the clip that is being made."""
        self._queue.clear()
        self._is_interrupted.set()

    def set_emotion(self, emotion: str, strength: float = 0.6) -> None:
        """An emotion from now on; it comes within 0.6 s.

        Raises:
            ConfigError: an unknown name, or a strength beyond 0 to 1.
        """
        self._behaviour.set_emotion(emotion, strength)

    def end(self) -> None:
        """No more sound will come: the frames end with it."""
        self._queue.end()

    def close(self) -> None:
        """Stop now. Whoever reads gets no further frame."""
        self._queue.close()

    @property
    def queued_s(self) -> float:
        """Sound that was sent and is not yet spoken."""
        return len(self._queue) / self.sample_rate_hz

    @property
    def behind_s(self) -> float:
        """How long after its sound could be there a frame comes; 0 unless in real time."""
        return 0.0 if self._clock is None else self._clock.behind_s

    def __enter__(self) -> LiveStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._frames.close()

    def __iter__(self) -> Iterator[LiveFrame]:
        return self._frames

    def _make(self) -> Generator[LiveFrame]:
        """Frames with their sound, each at its time."""
        number = 0
        if self._clock is not None and self._chunks is not None:
            threading.Thread(target=self._feed, name="openemo-feed", daemon=True).start()
        clips = working_ahead(self._crops())
        try:
            for crops_B3FHW, heads, pieces in clips:
                images = self._pipeline.composite(crops_B3FHW, self._portrait, heads)
                for image, samples in zip(images, pieces, strict=True):
                    if self._clock is not None:
                        self._queue.wait_until(self._clock.due_s(number))
                    if self._queue.is_closed:
                        return
                    marked = self._marker.mark(image)
                    yield LiveFrame(number, float(number / self.fps), marked, samples)
                    number += 1
            if self._failure is not None:
                raise self._failure
        finally:
            self.close()
            clips.close()

    def _feed(self) -> None:
        """Sends the chunks as they come."""
        assert self._chunks is not None
        try:
            for chunk in self._chunks:
                if self._queue.is_closed:
                    return
                self.send(chunk)
        except Exception as error:  # raised where the frames are read
            self._failure = error
        self.end()

    @torch.no_grad()
    def _crops(self) -> Generator[tuple[Tensor, list[HeadMotion] | None, list[Samples]]]:
        """Steps 2 and 4 to 8, clip after clip without an end."""
        pipeline, config, reference = self._pipeline, self._config, self._reference
        lips = _lips(pipeline, self._portrait, config)
        generator = torch.Generator("cpu").manual_seed(self.seed)
        latents_BCFHW: Tensor | None = None
        first = 0
        while shown := self._listen(first):
            frames = range(first, first + config.clip_frames)
            heard = self._hearing.voice(self._behaviour.times_s(len(frames)))
            behaviour = self._behaviour.advance(len(frames), heard)
            speech, places = self._hearing.speech(frames, is_talking=heard.is_talking)
            motion_frames_BCNHW = pipeline.prepare_motion_frames(reference, latents_BCFHW, config=config)
            conditions = pipeline.prepare_conditions(
                reference,
                speech,
                places,
                motion_frames_BCNHW=motion_frames_BCNHW,
                behaviour=behaviour.after(places.start),
                fps=self.fps,
                config=config,
            )
            latents_BCFHW = pipeline.denoise_clip(
                conditions, motion_frames_BCNHW, generator=generator, config=config
            )
            scaled = _with_gain(pipeline, reference, lips, latents_BCFHW, is_talking=heard.is_talking)
            articulation = pipeline.hear_articulation(speech, places.stop, fps=self.fps, config=config)
            if articulation is not None:
                articulation = articulation.frames(places.start, places.stop)
            yield from self._decode(first, latents_BCFHW[:, :, :shown], scaled, behaviour, articulation)
            first += len(frames)

    def _decode(
        self,
        first: int,
        latents_BCFHW: Tensor,
        reference: ReferenceConditions,
        behaviour: Behaviour,
        articulation: ArticulatoryFeatures | None,
    ) -> Iterator[tuple[Tensor, list[HeadMotion] | None, list[Samples]]]:
        pipeline, start = self._pipeline, 0
        for part_BCFHW in torch.split(latents_BCFHW, pipeline.decode_frames, dim=2):
            stop = start + part_BCFHW.shape[2]
            part = behaviour.frames(start, stop)
            told = None if articulation is None else articulation.frames(start, stop)
            crops = pipeline.decode(part_BCFHW, reference, part, told)
            pieces = [self._sound(first + index) for index in range(start, stop)]
            yield crops, pipeline.head_motion(part_BCFHW, part), pieces
            start = stop

    def _sound(self, frame: int) -> Samples:
        """The sound of a frame, which leaves what is pending."""
        start, stop = (frame_to_sample(one, self.fps, self.sample_rate_hz) for one in (frame, frame + 1))
        piece, self._pending = self._pending[: stop - start], self._pending[stop - start :]
        return piece

    def _listen(self, first: int) -> int:
        """Hears the sound of a clip and what comes after it. Returns how many of its frames are shown."""
        rate_hz, stop = self.sample_rate_hz, first + self.clip_frames
        if self._is_interrupted.is_set():
            self._is_interrupted.clear()
            self._pending = fade_out(self._pending, rate_hz)
            self._hearing.silence_after(first)
        ahead = round((self.lookahead_s + _RESAMPLING_S) * rate_hz)
        needed = frame_to_sample(stop, self.fps, rate_hz) + ahead
        samples = self._take(needed - self._taken, needed / rate_hz)
        if self._queue.is_closed:
            return 0
        if self._end is None and self._queue.is_ended and len(samples) < needed - self._taken:
            self._end = self._taken + len(samples)
        missing = np.zeros(needed - self._taken - len(samples), np.float32)
        self._taken = needed
        self._hearing.push(np.concatenate([samples, missing]))
        self._pending = np.concatenate([self._pending, samples, missing])
        if self._end is None:
            return self.clip_frames
        return min(max(num_frames(self._end, rate_hz, self.fps) - first, 0), self.clip_frames)

    def _take(self, count: int, until_s: float) -> Samples:
        """The next samples: fewer where the sound ends, or does not come by its time of the stream."""
        if self._clock is not None:
            self._queue.wait_until(self._clock.moment_s(until_s) - _AHEAD_S)
            deadline_s = self._clock.moment_s(until_s) + _PATIENCE_S
            samples = self._queue.take(count, deadline_s)
            self._clock.give_way(time.monotonic() - deadline_s)
            return samples
        while self._chunks is not None and len(self._queue) < count and not self._queue.is_ended:
            chunk = next(self._chunks, None)
            if chunk is None:
                self.end()
            else:
                self.send(chunk)
        return self._queue.take(count)


def _to_samples(chunk: Chunk, sample_rate_hz: int) -> Samples:
    """Mono samples of a chunk. Raises AudioError."""
    if isinstance(chunk, (bytes, bytearray, memoryview)):
        if len(chunk) % 2:
            raise AudioError(
                "the chunk ends within a sample", got=f"{len(chunk)} bytes", expected="2 bytes a sample"
            )
        return np.frombuffer(chunk, "<i2").astype(np.float32) / np.float32(_PCM16)
    sound = to_audio(chunk if isinstance(chunk, Audio) else (sample_rate_hz, chunk))
    if sound.sample_rate_hz != sample_rate_hz:
        raise AudioError(
            "the chunk has another sample rate",
            got=f"{sound.sample_rate_hz} Hz",
            expected=f"{sample_rate_hz} Hz",
        )
    samples: Samples = sound.mono().samples[0]
    return samples


def _lips(pipeline: EmoPipeline, portrait: PreparedPortrait, config: PipelineConfig) -> LiveLipGain | None:
    if config.lip_spread is None or not isinstance(pipeline.autoencoder, MotionAutoencoder):
        return None
    return LiveLipGain(config.lip_spread, face_width_px(portrait.points))


def _with_gain(
    pipeline: EmoPipeline,
    reference: ReferenceConditions,
    lips: LiveLipGain | None,
    latents_BCFHW: Tensor,
    *,
    is_talking: bool,
) -> ReferenceConditions:
    """The reference with lip motion scaled as it is known by now."""
    encoded, autoencoder = reference.encoded, pipeline.autoencoder
    if lips is None or not isinstance(encoded, MotionReference):
        return reference
    assert isinstance(autoencoder, MotionAutoencoder)
    if is_talking:
        lips.add(autoencoder.lip_parting(latents_BCFHW, encoded).cpu().numpy())
    return replace(reference, encoded=encoded.with_lip_motion(lips.gain))
