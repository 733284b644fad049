"""Every figure of the evaluation by its key: title, unit, direction and source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from openemo.evaluation.metrics.artefacts import score_artefacts
from openemo.evaluation.metrics.identity import score_identity
from openemo.evaluation.metrics.life import score_life
from openemo.evaluation.metrics.lips import score_lips, score_silence
from openemo.evaluation.metrics.mouth_shape import score_mouth_shape
from openemo.evaluation.metrics.picture import score_picture
from openemo.evaluation.metrics.region_motion import score_region_motion
from openemo.evaluation.observation import Observation

__all__ = ["METRICS", "Better", "Metric", "MetricInputs", "score"]

Better = Literal["higher", "lower", "near_real", "info"]


@dataclass(frozen=True)
class MetricInputs:
    """The observations that the figures of one clip are computed of. `silence` is None if there is none."""

    made: Observation
    real: Observation
    portrait: Observation
    silence: Observation | None


Function = Callable[[MetricInputs], dict[str, float]]


@dataclass(frozen=True)
class Metric:
    """One figure.

    Attributes:
        better: the direction. near_real: like the real clip's. info: helps to read the other figures.
        source: paper or definition.
        function: computes the figures of its group; None if `score` does not compute it.
        average: over clips. A median, where a few lively or blurred clips would decide a mean.
    """

    key: str
    title: str
    unit: str
    better: Better
    source: str
    function: Function | None
    average: Literal["mean", "median"] = "mean"


def score(
    made: Observation,
    real: Observation,
    *,
    portrait: Observation,
    silence: Observation | None,
    sync: Callable[[Observation], dict[str, float]],
) -> dict[str, float]:
    """All figures of one clip by their keys; NaN for those that cannot be measured.

    Args:
        made, real: `made` is read at the frame rate of `real`.
        portrait: of one frame.
        silence: the model's video of digital silence; without it there are no figures of silence.
        sync: measures lip sync of the made video at its own rate, with its own sound.

    Raises:
        FaceError: the portrait has no face.
    """
    inputs = MetricInputs(made.at_fps(real.fps), real, portrait, silence)
    figures: dict[str, float] = {}
    for function in dict.fromkeys(metric.function for metric in METRICS.values()):
        if function is not None:
            figures |= function(inputs)
    return figures | sync(made)


def _lips(inputs: MetricInputs) -> dict[str, float]:
    return score_lips(inputs.made, inputs.real)


def _mouth_shape(inputs: MetricInputs) -> dict[str, float]:
    return score_mouth_shape(inputs.made, inputs.real)


def _silence(inputs: MetricInputs) -> dict[str, float]:
    return score_silence(inputs.silence) if inputs.silence is not None else {}


def _identity(inputs: MetricInputs) -> dict[str, float]:
    return score_identity(inputs.made, inputs.portrait)


def _picture(inputs: MetricInputs) -> dict[str, float]:
    return score_picture(inputs.made, inputs.real, inputs.portrait)


def _life(inputs: MetricInputs) -> dict[str, float]:
    return score_life(inputs.made)


def _region_motion(inputs: MetricInputs) -> dict[str, float]:
    return score_region_motion(inputs.made)


def _artefacts(inputs: MetricInputs) -> dict[str, float]:
    return score_artefacts(inputs.made, inputs.portrait)


def _life_metric(key: str, title: str, unit: str, source: str) -> Metric:
    return Metric(key, title, unit, "near_real", f"{source}; median over clips", _life, "median")


def _region_metric(key: str, title: str) -> Metric:
    source = "optical flow, Kroeger et al. 2016; median over clips"
    return Metric(key, title, f"{_FACE_WIDTHS}/s", "near_real", source, _region_motion, "median")


def _prosody_metrics(motion: str, title: str) -> tuple[Metric, ...]:
    """Of whole sets of clips, by `openemo.evaluation.metrics.prosody_gain`."""
    source = "ridge regression, unseen voices"
    return (
        Metric(f"{motion}_position_r", f"{title}, r from the position in the clip", "", "info", source, None),
        Metric(f"{motion}_sound_r", f"{title}, r from position and sound", "", "near_real", source, None),
        Metric(f"{motion}_other_sound_r", f"{title}, r from another clip's sound", "", "info", source, None),
        Metric(f"{motion}_prosody_gain", f"{title}, gain by the sound", "", "near_real", source, None),
    )


_FACE_WIDTHS = "face widths"
_ALL: Final = (
    Metric("lip_r", "mouth opening, correlation", "", "higher", "Pearson's r, landmarks 13-14", _lips),
    Metric("lip_concordance", "mouth opening, concordance", "", "higher", "Lin 1989", _lips),
    Metric("lip_lag_frames", "mouth, best lag", "frames", "near_real", "argmax of lagged r, +-10", _lips),
    Metric("lip_lag_r", "mouth opening, correlation at best lag", "", "higher", "Pearson's r", _lips),
    Metric(
        "lmd_mouth", "mouth-landmark distance", _FACE_WIDTHS, "lower", "Chen et al. 2018, normalised", _lips
    ),
    Metric("lip_spread", "mouth opening, spread", _FACE_WIDTHS, "near_real", "standard deviation", _lips),
    Metric("lip_spread_ratio", "mouth opening, spread over real", "", "near_real", "ratio", _lips),
    Metric("mouth_width_r", "mouth width, correlation", "", "higher", "Pearson's r, 61-291", _mouth_shape),
    Metric(
        "mouth_width_spread_ratio", "mouth width, spread over real", "", "near_real", "ratio", _mouth_shape
    ),
    Metric("mouth_corner_r", "mouth corners up and down, correlation", "", "higher", "61, 291", _mouth_shape),
    Metric("jaw_r", "chin up and down, correlation", "", "higher", "landmark 152", _mouth_shape),
    Metric("closure_share", "closures that shut", "", "higher", "opening under 0.012", _mouth_shape),
    Metric(
        "false_closure_share", "closures of an open mouth", "", "lower", "real one over 0.02", _mouth_shape
    ),
    Metric("silence_opening", "mouth opening on silence", _FACE_WIDTHS, "lower", "mean", _silence),
    Metric(
        "silence_spread", "mouth spread on silence", _FACE_WIDTHS, "lower", "standard deviation", _silence
    ),
    Metric(
        "silence_open_share", "frames with open mouth on silence", "", "lower", "opening over 0.02", _silence
    ),
    Metric(
        "sync_own_confidence",
        "Sync-own confidence",
        "",
        "near_real",
        "SyncNet's objective, own network",
        None,
    ),
    Metric("sync_own_offset_frames", "Sync-own offset", "1/25 s", "near_real", "SyncNet's objective", None),
    Metric(
        "sync_own_distance", "Sync-own distance", "", "near_real", "SyncNet's objective, own network", None
    ),
    Metric(
        "sync_own_in_step",
        "Sync-own, in step",
        "",
        "near_real",
        "median distance over shifts minus that without one; about 0 for another sound",
        None,
    ),
    Metric("sync_c", "Sync-C", "", "near_real", "Chung and Zisserman 2016, published weights", None),
    Metric("sync_d", "Sync-D", "", "near_real", "Chung and Zisserman 2016, published weights", None),
    Metric("sync_offset_frames", "SyncNet's offset", "1/25 s", "near_real", "published weights", None),
    Metric(
        "identity_cosine", "identity, cosine to portrait", "", "higher", "dlib ResNet (King 2017)", _identity
    ),
    Metric(
        "identity_distance",
        "identity, distance to portrait",
        "",
        "lower",
        "dlib ResNet (King 2017)",
        _identity,
    ),
    Metric("f_sim", "F-SIM (dlib)", "", "near_real", "EMO 4.2, with dlib's embeddings", _identity),
    Metric("psnr_db", "PSNR, aligned face", "dB", "higher", "of the aligned face, 58.9 at most", _picture),
    Metric("ssim", "SSIM, aligned face", "", "higher", "Wang et al. 2004", _picture),
    Metric(
        "sharpness", "face sharpness over portrait", "", "near_real", "Pech-Pacheco et al. 2000", _picture
    ),
    Metric(
        "flicker_grey", "background flicker", "grey levels", "near_real", "mean change per frame", _picture
    ),
    Metric("drift_colour", "colour drift, first to last second", "dE", "near_real", "CIE 1976", _picture),
    Metric("drift_sharpness", "sharpness, last over first second", "", "near_real", "ratio", _picture),
    Metric("lost_frames", "frames missing at the end", "frames", "near_real", "count", _picture),
    Metric("blinks_per_min", "blinks", "1/min", "near_real", "Soukupova and Cech 2016", _life),
    Metric("blink_first_s", "first blink", "s", "near_real", "start of the first closure", _life),
    Metric("blink_duration_s", "duration of a blink", "s", "near_real", "eye under 0.6 of its median", _life),
    Metric("blink_interval_cv", "blink intervals, spread over mean", "", "near_real", "three or more", _life),
    _life_metric("head_yaw_range_deg", "head yaw range", "deg", "smoothed over 0.2 s, windows of 8 s"),
    _life_metric("head_pitch_range_deg", "head pitch range", "deg", "smoothed over 0.2 s, windows of 8 s"),
    _life_metric("head_roll_range_deg", "head roll range", "deg", "smoothed over 0.2 s, windows of 8 s"),
    _life_metric("head_translation", "head translation range", _FACE_WIDTHS, "stable landmarks, 8 s"),
    _life_metric("head_speed_deg_s", "head rotation speed", "deg/s", "smoothed over 0.2 s"),
    _life_metric("brow_spread", "brows, spread", _FACE_WIDTHS, "brows above eyes, without the head"),
    _life_metric("gaze_x_spread", "gaze, horizontal spread", _FACE_WIDTHS, "irises between eye corners"),
    _life_metric("gaze_y_spread", "gaze, vertical spread", _FACE_WIDTHS, "irises between eye corners"),
    _life_metric("mouth_width_spread", "mouth width, spread", _FACE_WIDTHS, "landmarks 61-291"),
    _life_metric("mouth_corner_spread", "mouth corners up and down, spread", _FACE_WIDTHS, "61, 291"),
    _life_metric("jaw_spread", "chin up and down, spread", _FACE_WIDTHS, "landmark 152"),
    _life_metric("cheek_spread", "cheeks, spread", _FACE_WIDTHS, "landmarks 50, 280, 205, 425"),
    _life_metric("fold_spread", "nasolabial folds, spread", _FACE_WIDTHS, "203, 206, 216, 423, 426, 436"),
    _region_metric("torso_motion", "torso motion"),
    _region_metric("hair_motion", "hair motion"),
    _region_metric("face_motion", "face motion"),
    Metric("expression_spread", "expression spread", "", "near_real", "spread of 51 blendshapes", _life),
    *_prosody_metrics("head_speed", "head speed"),
    *_prosody_metrics("head_pitch", "head pitch"),
    *_prosody_metrics("brows", "brows"),
    *_prosody_metrics("mouth", "mouth opening"),
    Metric("no_face_share", "frames without a face", "", "lower", "face detector", _artefacts),
    Metric(
        "new_skin_share", "frames with skin in new places", "", "lower", "colour against portrait", _artefacts
    ),
    Metric(
        "new_writing_share", "frames with new strokes in a line", "", "lower", "strokes, portrait", _artefacts
    ),
    Metric("fd_mobilenetv2", "FD-MobileNetV2", "", "lower", "Heusel et al. 2017, other network", None),
    Metric("fid", "FID", "", "lower", "Heusel et al. 2017, reference Inception", None),
    Metric("fvd", "FVD, 16 frames", "", "lower", "Unterthiner et al. 2018, StyleGAN-V's I3D", None),
    Metric("e_fid", "E-FID", "", "lower", "EMO 4.2, with the given 3D face model", None),
    Metric("e_fd_blendshapes", "E-FD-blendshapes", "", "lower", "EMO 4.2, over 52 blendshapes", None),
)
METRICS: Final = {metric.key: metric for metric in _ALL}
