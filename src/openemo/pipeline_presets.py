"""Settings of the pipeline for the embedded weights and for the published weights of each family.

The families' numbers come from their inference scripts. Settings of the networks are in
`models/network_presets.py`.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from openemo.config import PipelineConfig
from openemo.errors import ConfigError

__all__ = ["EMBEDDED", "Family", "pipeline_config", "scheduler_config", "speech_options"]

EMBEDDED = PipelineConfig(
    num_inference_steps=1,
    guidance_scale=1.0,
    locator="parts",
    blinks_per_minute=None,
    gaze=1.5,
    lip_spread=0.028,
    lip_width=1.5,
    lip_corners=1.7,
    lip_closing=0.012,
    head_motion=1.0,
    brows=1.0,
    expression=1.0,
    expression_motion=1.0,
)
"""Settings for the embedded weights."""

Family = Literal["hallo", "echomimic", "echomimic_acc"]

_ECHOMIMIC: dict[str, Any] = dict(
    fps=24,
    clip_frames=12,
    window_overlap=3,
    motion_frames=0,
    noise_limit=1.5,
    speech_window_tokens=10,
    num_inference_steps=30,
    guidance_scale=2.5,
    guidance_over="all",
    crop="inside",
    crop_px=512,
    crop_scale=2.0,
    resampling="bilinear",
    locator="box",
    locator_margin=0.1,
)
_PIPELINE: dict[str, dict[str, Any]] = {
    "hallo": dict(
        fps=25,
        clip_frames=16,
        motion_frames=2,
        first_motion="reference",
        motion_source="frames",
        speech_window_tokens=5,
        num_inference_steps=40,
        guidance_scale=3.5,
        guidance_over="all",
        crop="largest",
        crop_px=512,
        resampling="antialiased",
        locator="landmarks",
        locator_margin=0.1,
    ),
    "echomimic": _ECHOMIMIC,
    # Distilled to 6 steps of plain DDIM without guidance.
    "echomimic_acc": _ECHOMIMIC | dict(num_inference_steps=6, guidance_scale=1),
}
_WHISPER: dict[str, Any] = dict(
    layers=(0, 1, 2, 3, 4),
    window_tokens=1500,
    separate_windows=True,
    final_norm=False,
    normalise=False,
    split_layers=True,
    anchor="start",
)


def pipeline_config(family: Family) -> PipelineConfig:
    """Settings of the pipeline. Raises ConfigError for an unknown name."""
    return PipelineConfig.parse(_PIPELINE[_known(family)])


def speech_options(family: Family) -> dict[str, Any]:
    """Keyword arguments of the family's speech encoder: wav2vec 2.0 for Hallo, Whisper tiny for EchoMimic."""
    return dict(layers=None, normalise=True) if _known(family) == "hallo" else dict(_WHISPER)


def scheduler_config(family: Family) -> dict[str, Any]:
    """Keyword arguments of `DDIMScheduler`, the same for all: velocity, zero terminal SNR.

    It steps from t to t - 1000 // steps. For some numbers of steps that is not the next timestep: with
    6 the last step ends at timestep 0, not at the clean image. The families' own code does the same.
    """
    _known(family)
    return dict(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="linear",
        clip_sample=False,
        steps_offset=1,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


def _known(family: str) -> str:
    if family not in get_args(Family):
        raise ConfigError("unknown family of weights", got=family, expected=" or ".join(get_args(Family)))
    return family
