"""Do the lips move with the voice? Mouth opening of made frames against that of the real clip."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from openemo.audio.reading import Audio, read_audio
from openemo.errors import FaceError, InputError
from openemo.face.analyzer import Face, FaceAnalyzer
from openemo.face.geometry import mouth_opening
from openemo.video.reading import probe, read_frames

if TYPE_CHECKING:
    from openemo.pipeline import EmoPipeline

__all__ = ["LipScore", "best_lag", "correlation", "evaluate_lips", "opening_curve", "summary"]

log = logging.getLogger(__name__)

Curve = NDArray[np.float64]
MAX_LAG_FRAMES = 5
SILENCE_S = 3.0


@dataclass(frozen=True)
class LipScore:
    """One clip.

    Attributes:
        clip: file name.
        correlation: Pearson's r between the mouth openings of made and real frames, -1 to 1.
        best_lag_frames: shift at which r is largest; positive when the made mouth is late.
        speech_spread, silence_spread: standard deviation of the made mouth's opening over the clip, and over
            3 s of digital silence. real_spread: of the real clip's. All in face widths.
    """

    clip: str
    correlation: float
    best_lag_frames: int
    speech_spread: float
    silence_spread: float
    real_spread: float


def opening_curve(frames: Iterable[NDArray[np.uint8]], analyzer: FaceAnalyzer) -> Curve:
    """(F,) inner-lip gap over face width; NaN in frames without a face."""
    openings: list[float] = []
    face: Face | None = None
    for frame in frames:
        face = analyzer.track(frame, face) if face is not None else None
        if face is None:
            try:
                face = analyzer.find(frame)
            except FaceError:
                openings.append(float("nan"))
                continue
        openings.append(mouth_opening(face.points_px))
    return np.array(openings)


def correlation(made: Curve, real: Curve) -> float:
    """Pearson's r over the frames that both have; 0 where one of them does not move."""
    length = min(len(made), len(real))
    a, b = made[:length], real[:length]
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    # Not the deviation: that of equal numbers need not be quite zero.
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def best_lag(made: Curve, real: Curve, max_lag: int = MAX_LAG_FRAMES) -> int:
    """Shift in frames, within +-max_lag, at which `made` follows `real` best; positive when made is late."""

    def at(lag: int) -> float:
        return correlation(made[max(lag, 0) :], real[max(-lag, 0) :])

    return max(range(-max_lag, max_lag + 1), key=lambda lag: (at(lag), -abs(lag)))


def evaluate_lips(pipeline: EmoPipeline, clips: Iterable[Path], seed: int = 0) -> list[LipScore]:
    """Animates each clip's first frame with its sound and with silence. Bad clips are left out and logged."""
    scores = []
    for clip in clips:
        try:
            score = _score(pipeline, clip, seed)
        except InputError as error:
            log.warning("left out %s: %s", clip.name, error)
            continue
        log.info("%s", asdict(score))
        scores.append(score)
    return scores


def _score(pipeline: EmoPipeline, clip: Path, seed: int) -> LipScore:
    analyzer = pipeline.face_analyzer
    real = opening_curve(read_frames(clip), analyzer)
    if _spread(real) == 0:
        raise FaceError(f"no mouth moves in {clip.name}", expected="a clip of someone who speaks")
    first = next(read_frames(clip))
    sound = read_audio(clip)
    rate_hz = sound.sample_rate_hz
    silence = Audio(np.zeros((1, round(SILENCE_S * rate_hz)), np.float32), rate_hz)
    # At the clip's own rate, so that frames of the same number belong together.
    fps, size_px = probe(clip).fps, int(pipeline.autoencoder.config.sample_size)
    made, quiet = (
        opening_curve(pipeline(first, audio, seed=seed, fps=fps, frame="crop", size_px=size_px), analyzer)
        for audio in (sound, silence)
    )
    return LipScore(
        clip.name,
        correlation(made, real),
        best_lag(made, real),
        _spread(made),
        _spread(quiet),
        _spread(real),
    )


def _spread(curve: Curve) -> float:
    """Standard deviation over the frames with a face; 0 where no frame has one."""
    seen = curve[np.isfinite(curve)]
    return float(seen.std()) if len(seen) else 0.0


def summary(scores: list[LipScore]) -> dict[str, float]:
    """Means over clips, the share with best lag within a frame, silence over speech (NaN without motion)."""
    speech = sum(s.speech_spread for s in scores)
    return {
        "clips": float(len(scores)),
        "mean_correlation": float(np.mean([s.correlation for s in scores])),
        "lag_within_1": float(np.mean([abs(s.best_lag_frames) <= 1 for s in scores])),
        "speech_over_real_spread": float(np.mean([s.speech_spread / s.real_spread for s in scores])),
        "silence_over_speech_spread": sum(s.silence_spread for s in scores) / speech
        if speech
        else float("nan"),
    }
