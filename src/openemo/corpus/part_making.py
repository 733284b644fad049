"""One stretch of one file: scanned, planned, cut, measured and stored, or noted with what went wrong.

Nothing of a stretch is there until its record is, so whatever is killed is made again from its start, and
nothing that is there is made twice.
"""

from __future__ import annotations

import base64
import io
import logging
import math
import resource
import tarfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Final

import av
import numpy as np
from numpy.typing import NDArray

from openemo import checkpoints
from openemo.arrays import Image
from openemo.audio.audio_reader import Audio, decode_audio
from openemo.audio.loudness import normalise_loudness
from openemo.corpus.build_folder import BuildFolder, note_failure, said_of, save_record
from openemo.corpus.build_settings import FPS, BuildSettings
from openemo.corpus.clip_cutting import ClipCutter, CutClip, PictureScores, measure_picture, thumbnail
from openemo.corpus.clip_filters import failed_filters
from openemo.corpus.clip_plans import ClipPlan, plan_track
from openemo.corpus.face_scan import scan_faces
from openemo.corpus.sound_print import sound_print
from openemo.corpus.source_files import SourceFile, open_source
from openemo.corpus.steady_frames import steady_frames
from openemo.corpus.sync_shift import in_step, shift_of_clips
from openemo.decoding_limits import DEFAULT_LIMITS
from openemo.errors import OpenEmoError
from openemo.evaluation.face_tracks import face_tracks
from openemo.evaluation.networks.face_identity import FaceIdentity
from openemo.evaluation.networks.own_sync_network import OwnSyncNetwork
from openemo.face import FaceAnalyzer
from openemo.files import temporary_folder, whole_file
from openemo.sandbox.decoding import AudioDecoding, ClipDecoding, FactsDecoding
from openemo.video.clip_frames import TimedFrame, decode_clip
from openemo.video.media_facts import MediaFacts, read_facts

__all__ = ["Networks", "load_networks", "make_source"]

log = logging.getLogger(__name__)
_SOUND_MARGIN_S: Final = 1.0  # before and after a stretch, for sound that is early or late
_POINT_STEPS: Final = 16  # of a pixel, in which landmarks are stored
_PEAK: Final = 0.98


@dataclass(frozen=True)
class Networks:
    """All networks of a build, for one process."""

    faces: FaceAnalyzer
    identity: FaceIdentity
    sync: OwnSyncNetwork


@cache
def load_networks() -> Networks:
    """The shipped ones, once for a process."""
    folder = checkpoints.resolve(checkpoints.EMBEDDED) / "face"
    return Networks(
        FaceAnalyzer.from_pretrained(folder),
        FaceIdentity.from_pretrained(),
        OwnSyncNetwork.from_pretrained(),
    )


def make_source(
    source: SourceFile, folder: BuildFolder, settings: BuildSettings, *, share: int, of: int, sandbox: bool
) -> None:
    """Makes the parts of a file that are missing.

    Args:
        share, of: this call makes every `of`-th part from number `share` on: a long file is for several.
        sandbox: decode in processes of their own.
    """
    key = source.key()
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_source(source, folder.scratch))
            facts = _facts(file, source.name, sandbox)
            parts = max(1, math.ceil(round(facts.duration_s / settings.part_s, 6)))
            # A short rest goes with the part before it.
            if parts > 1 and facts.duration_s - (parts - 1) * settings.part_s < settings.min_clip_s:
                parts -= 1
        except (OpenEmoError, OSError) as error:
            note_failure(source, folder, str(error))
            return
        for part in range(share, parts, of):
            if not folder.part_record(key, part).exists():
                start_s = part * settings.part_s
                stop_s = start_s + settings.part_s if part < parts - 1 else facts.duration_s + 1
                span_s = (start_s, stop_s)
                _make_part(file, source, facts, part, span_s, folder, settings, sandbox=sandbox)
    if all(folder.part_record(key, part).exists() for part in range(parts)):
        record = {**said_of(source), "parts": parts, "error": None, "facts": asdict(facts)}
        save_record(folder.source_record(key), record)


def _processor_s() -> float:
    """Of this process and of those that decoded for it."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _make_part(
    file: BinaryIO,
    source: SourceFile,
    facts: MediaFacts,
    part: int,
    span_s: tuple[float, float],
    folder: BuildFolder,
    settings: BuildSettings,
    *,
    sandbox: bool,
) -> None:
    """Clips of a stretch as a tar, and then its record. An error becomes part of the record."""
    start_s = _processor_s()
    key = source.key()
    record: dict[str, Any] = {**said_of(source), "part": part, "span_s": span_s, "error": None, "clips": []}
    folder.scratch.mkdir(parents=True, exist_ok=True)
    try:
        with temporary_folder(folder.scratch) as scratch:
            maker = _PartMaker(file, source, facts, span_s, settings, scratch, sandbox)
            record |= maker.make()
            if maker.samples:
                path = folder.part_clips(key, part)
                path.parent.mkdir(parents=True, exist_ok=True)
                with whole_file(path) as target:
                    _write_tar(target, maker.samples)
    except OpenEmoError as error:
        record["error"] = str(error)
    except Exception as error:
        log.exception("part %d of %s", part, source.name)
        record["error"] = f"unexpected {type(error).__name__}: {error}"
    record["cpu_s"] = round(_processor_s() - start_s, 3)
    save_record(folder.part_record(key, part), record)


class _PartMaker:
    """The steps of one part, in the order in which they are made."""

    def __init__(
        self,
        file: BinaryIO,
        source: SourceFile,
        facts: MediaFacts,
        span_s: tuple[float, float],
        settings: BuildSettings,
        scratch: Path,
        sandbox: bool,
    ) -> None:
        self._file, self._source, self._facts = file, source, facts
        self._span_s, self._settings, self._scratch, self._sandbox = span_s, settings, scratch, sandbox
        self._networks = load_networks()
        self.samples: dict[str, bytes | Path] = {}

    def make(self) -> dict[str, Any]:
        settings = self._settings
        with self._frames(*self._span_s) as frames:
            scan = scan_faces(frames, self._networks.faces, settings.max_people)
        tracks = scan.tracks
        plans = [plan for track in tracks for plan in plan_track(track, scan, settings)]
        audio = self._sound() if plans else None
        clips = self._cut(plans, audio)
        planned = sum(len(plan.track.points_px) for plan in plans)
        return {
            "clips": self._stored(clips, audio),
            "scanned_s": scan.num_frames / FPS,
            "faces_s": sum(len(track.points_px) for track in tracks) / FPS,
            "short_s": (sum(len(track.points_px) for track in tracks) - planned) / FPS,
            "cuts": len(scan.cuts),
        }

    @contextmanager
    def _frames(self, start_s: float, stop_s: float) -> Iterator[Iterator[tuple[int, Image]]]:
        with self._timed(start_s, stop_s) as timed:
            yield steady_frames(timed, start_s, stop_s)

    @contextmanager
    def _timed(self, start_s: float, stop_s: float) -> Iterator[Iterator[TimedFrame]]:
        name = self._source.name
        if self._sandbox:
            with ClipDecoding(self._file, name, DEFAULT_LIMITS, max_s=stop_s, start_s=start_s) as decoding:
                yield decoding.frames()
        else:
            yield decode_clip(self._file, name, DEFAULT_LIMITS, max_s=stop_s, start_s=start_s)

    def _sound(self) -> Audio | None:
        """One channel of the stretch and a second around it; None where the file has no sound."""
        if self._facts.sound_track is None:
            return None
        start_s, stop_s = self._span_s
        span_s = (start_s - _SOUND_MARGIN_S, min(stop_s, self._facts.duration_s + 1) + _SOUND_MARGIN_S)
        if self._sandbox:
            with AudioDecoding(
                self._file, self._source.name, DEFAULT_LIMITS, track=None, span_s=span_s
            ) as decoding:
                return decoding.result().mono()
        return decode_audio(self._file, self._source.name, None, DEFAULT_LIMITS, span_s=span_s).mono()

    def _cut(self, plans: list[ClipPlan], audio: Audio | None) -> list[_Clip]:
        """Cuts and measures, in one go through the frames. What landmarks rule out is only glanced at."""
        clips = [_Clip(plan, self._name(plan, index)) for index, plan in enumerate(plans)]
        if audio is None:
            for clip in clips:
                clip.scores["loudness_dbfs"] = -math.inf
        for clip in clips:
            clip.reasons = failed_filters(clip.scores, self._settings)
        waiting = sorted(clips, key=lambda clip: clip.plan.track.first)
        active: list[_Clip] = []
        if not waiting:
            return clips
        first, stop = waiting[0].plan.track.first, max(clip.plan.track.stop for clip in clips)
        try:
            with self._frames(first / FPS, stop / FPS) as frames:
                for number, image in frames:
                    while waiting and waiting[0].plan.track.first <= number:
                        active.append(waiting.pop(0))
                    for clip in active:
                        self._show(clip, number, image, audio)
                    active = [clip for clip in active if number < clip.plan.track.stop - 1]
        finally:
            for clip in clips:
                if clip.cutter is not None:
                    clip.cutter.close()
        return clips

    def _show(self, clip: _Clip, number: int, image: Image, audio: Audio | None) -> None:
        """Gives a frame to a clip, and measures it after its last one."""
        track = clip.plan.track
        if number == (track.first + track.stop) // 2:
            clip.thumbnail = thumbnail(clip.plan.region.extract(image, None))
        if clip.reasons:
            return
        if clip.cutter is None:
            video = self._scratch / f"{clip.name}.mp4"
            clip.cutter = ClipCutter(clip.plan, self._settings.size_px, video)
        clip.cutter.add(image)
        if number == track.stop - 1 and clip.cutter.is_whole:
            cut = clip.cutter.finish()
            heard = self._heard(clip.plan, audio, 0)
            measured = measure_picture(cut, heard, self._networks.identity, self._networks.sync)
            clip.keep(cut, measured)

    def _heard(self, plan: ClipPlan, audio: Audio | None, shift_frames: int) -> Audio | None:
        """The sound of a clip, from where the file's shift has put it."""
        if audio is None:
            return None
        rate_hz = audio.sample_rate_hz
        start_s = (plan.track.first - shift_frames) / FPS - (self._span_s[0] - _SOUND_MARGIN_S)
        first, count = round(start_s * rate_hz), round(len(plan.track.points_px) / FPS * rate_hz)
        samples = np.zeros((1, count), np.float32)
        taken = audio.samples[:1, max(first, 0) : max(first + count, 0)]
        samples[:, max(-first, 0) : max(-first, 0) + taken.shape[1]] = taken
        return Audio(samples, rate_hz)

    def _stored(self, clips: list[_Clip], audio: Audio | None) -> list[dict[str, Any]]:
        """Records of all clips; the samples of those that pass all filters."""
        shift = shift_of_clips([clip.measured.curve for clip in clips if clip.measured is not None])
        records = []
        for clip in clips:
            if clip.measured is not None:
                fit = in_step(clip.measured.curve, shift)
                clip.scores |= {"sync": fit.score, "sync_confidence": fit.confidence}
                remaining = fit.remaining_frames
                clip.scores["remaining_frames"] = None if remaining is None else abs(remaining)
                clip.scores["shift_frames"] = shift
                clip.reasons = failed_filters(clip.scores, self._settings)
            elif not clip.reasons:
                clip.reasons = ["missing frames"]
            record = clip.record(self._source)
            if not clip.reasons and clip.points is not None and clip.measured is not None:
                heard = self._heard(clip.plan, audio, shift)
                assert heard is not None  # a clip without sound is silent
                sound = self._at_loudness(heard)
                self.samples[f"{clip.name}.mp4"] = clip.video
                self.samples[f"{clip.name}.flac"] = _flac(sound)
                self.samples[f"{clip.name}.npz"] = _tracks(clip.points)
                record |= {
                    "identity": _text(clip.measured.identity.astype(np.float16)),
                    "sound_print": _text(sound_print(heard)),
                }
            records.append(record)
        return records

    def _at_loudness(self, audio: Audio) -> Audio:
        """At the usual level, or as near as it comes without clipping."""
        samples = normalise_loudness(audio.samples[0], audio.sample_rate_hz, self._settings.loudness_dbfs)
        peak = float(np.abs(samples).max(initial=0.0))
        return Audio((samples * np.float32(min(1.0, _PEAK / max(peak, 1e-9))))[None], audio.sample_rate_hz)

    def _name(self, plan: ClipPlan, index: int) -> str:
        return f"{self._source.key()[:16]}-{plan.track.first:08d}-{index:02d}"


class _Clip:
    """What is known of a clip while its part is made."""

    def __init__(self, plan: ClipPlan, name: str) -> None:
        self.plan, self.name = plan, name
        self.reasons: list[str] = []
        self.cutter: ClipCutter | None = None
        self.measured: PictureScores | None = None
        self.points: NDArray[np.float32] | None = None
        self.video = Path()
        self.thumbnail = b""
        self.scores: dict[str, float | None] = {
            "face_px": plan.face_px,
            "yaw_deg": plan.yaw_deg,
            "head_cut": plan.head_cut,
            "others": plan.others,
            "jump": plan.jump,
        }

    def keep(self, cut: CutClip, measured: PictureScores) -> None:
        """Notes what was measured; the pictures can go."""
        self.measured, self.points, self.video, self.cutter = measured, cut.points_px, cut.video, None
        loudness = measured.loudness_dbfs
        self.scores |= {
            "sharpness": measured.sharpness,
            "covered": measured.covered,
            "text": measured.text,
            "motion": measured.motion,
            "loudness_dbfs": -math.inf if loudness is None else loudness,
        }

    def record(self, source: SourceFile) -> dict[str, Any]:
        track, (yaw, pitch, roll) = self.plan.track, self.plan.pose_deg
        return {
            "name": self.name,
            "source": source.name,
            "licence": source.licence,
            "start_s": track.first / FPS,
            "stop_s": track.stop / FPS,
            "fps": FPS,
            "box_px": self.plan.region.box_px,
            "pose_deg": {"yaw": round(yaw, 2), "pitch": round(pitch, 2), "roll": round(roll, 2)},
            "scores": {name: _rounded(value) for name, value in self.scores.items()},
            "reasons": self.reasons,
            "thumbnail": base64.b64encode(self.thumbnail).decode(),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 4)


def _facts(file: BinaryIO, name: str, sandbox: bool) -> MediaFacts:
    if not sandbox:
        return read_facts(file, name, DEFAULT_LIMITS)
    with FactsDecoding(file, name, DEFAULT_LIMITS) as decoding:
        return decoding.result()


def _text(values: NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _flac(audio: Audio) -> bytes:
    """One channel of 16 bits."""
    target = io.BytesIO()
    with av.open(target, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=audio.sample_rate_hz, layout="mono")
        assert isinstance(stream, av.AudioStream)
        whole = np.ascontiguousarray(np.rint(audio.samples * 32767).astype(np.int16))
        for start in range(0, whole.shape[1], 4096):
            piece = np.ascontiguousarray(whole[:, start : start + 4096])
            frame = av.AudioFrame.from_ndarray(piece, "s16", "mono")
            frame.sample_rate, frame.pts = audio.sample_rate_hz, start
            frame.time_base = Fraction(1, audio.sample_rate_hz)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue()


def _tracks(points: NDArray[np.float32]) -> bytes:
    """Landmarks and what the face does over the frames, as .npz."""
    tracks = face_tracks(points, float(FPS))
    angles = np.unwrap(np.radians(tracks.head_deg_F3), axis=0)
    speed = np.linalg.norm(np.gradient(angles, axis=0), axis=1) * FPS
    target = io.BytesIO()
    np.savez_compressed(
        target,
        points_16ths_px=np.rint(points * _POINT_STEPS).astype(np.int16),
        head_deg=tracks.head_deg_F3.astype(np.float32),
        speed_rad_s=speed.astype(np.float32),
        gaze=tracks.gaze_F2.astype(np.float32),
        brows=tracks.brows_F.astype(np.float32),
        eye_opening=tracks.eye_opening_F.astype(np.float32),
        mouth_opening=tracks.mouth_opening_F.astype(np.float32),
        mouth_width=tracks.mouth_width_F.astype(np.float32),
    )
    return target.getvalue()


def _write_tar(target: BinaryIO, samples: dict[str, bytes | Path]) -> None:
    """Members without dates or owners: the same clips are the same bytes."""
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in samples.items():
            content = data if isinstance(data, bytes) else data.read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
