"""Classifier-free guidance, CFG (Ho and Salimans 2022): what the second run drops, and how both combine.

Shape letters as in `emo.py`; L identity tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from openemo.errors import ConfigError
from openemo.models import EmoUNet, ReferenceFeatures, ReferenceNet
from openemo.models.autoencoder import Engine, torch_engine

__all__ = ["combine", "hallo_halves", "reference_features", "unconditional_run", "without_conditions"]


def combine(unconditional: Tensor, conditional: Tensor, guidance_scale: float) -> Tensor:
    """The prediction that goes `guidance_scale` times as far as the conditions say; 1 is `conditional`."""
    return unconditional + guidance_scale * (conditional - unconditional)


def unconditional_run(
    conditions: Mapping[str, Any], changes: Mapping[str, Any] | None, guidance_scale: float
) -> dict[str, Any] | None:
    """Arguments of the network's second run; None where guidance is off.

    Args:
        conditions: arguments of the first run.
        changes: those that differ; None replaces the audio by zeros and keeps the rest.
    """
    if guidance_scale == 1:
        return None
    return {
        **conditions,
        **({"audio_BFTD": _zeros(conditions["audio_BFTD"])} if changes is None else changes),
    }


def without_conditions(
    unet: EmoUNet, audio_BFTD: Tensor, reference: ReferenceFeatures, identity_2LD: Tensor | None
) -> dict[str, Any]:
    """What differs in a run without all that is specific to this video: audio, reference attention, face
    region, identity. Motion frames stay (Hallo).

    Args:
        reference: features for this run.
        identity_2LD: identity tokens, row 0 unconditional, row 1 of the person.
    """
    changes: dict[str, Any] = {
        "audio_BFTD": None,
        "audio_tokens_BFTA": _zeros(unet.encode_audio(audio_BFTD)),
        "reference": reference.without_reference(),
        "locator_features_BCHW": None,
    }
    if identity_2LD is not None:
        changes["encoder_hidden_states"] = identity_2LD[:1]
    return changes


def reference_features(
    reference_net: ReferenceNet,
    reference_input_BCNHW: Tensor,
    identity_2LD: Tensor | None,
    *,
    is_guided: bool,
    num_frames: int,
    engine: Engine = torch_engine,
) -> tuple[ReferenceFeatures, ReferenceFeatures]:
    """Features for the conditional and for the unconditional run.

    They are the same, unless the ReferenceNet reads identity tokens: then both halves of guidance go through
    it together, nobody first.
    """
    run: Callable[..., ReferenceFeatures] = engine(reference_net)
    if identity_2LD is None:
        features = run(reference_input_BCNHW)
        return features, features
    if not is_guided:
        features = run(reference_input_BCNHW, encoder_hidden_states=identity_2LD[1:])
        return features, features
    both = run(torch.cat([reference_input_BCNHW] * 2), encoder_hidden_states=identity_2LD)
    if reference_net.config.tile_text:
        unconditional, conditional = hallo_halves(both, num_frames)
    else:
        unconditional, conditional = (_half(both, index) for index in (0, 1))
    return conditional, unconditional


def hallo_halves(features: ReferenceFeatures, num_frames: int) -> tuple[ReferenceFeatures, ReferenceFeatures]:
    """What the two halves of a guided step of Hallo read of the reference, the unconditional half first.

    The unconditional half has no reference attention, but its motion frames. Hallo tiles the features of both
    halves over the frames of both. So every other frame of the conditional half reads the reference as it was
    encoded with the unconditional identity tokens.

    Args:
        features: of two clips, the same pictures with unconditional and conditional identity tokens.
        num_frames: of a half.

    Raises:
        ConfigError: not two clips.
    """
    clips = len(features.attention[0])
    if clips != 2:
        raise ConfigError("guidance has two halves", got=f"features of {clips} clips", expected="2")
    unconditional, conditional = (_half(features, index).motion for index in range(clips))
    rows = tuple((num_frames + frame) % clips for frame in range(num_frames))
    return ReferenceFeatures(motion=unconditional), ReferenceFeatures(features.attention, conditional, rows)


def _half(features: ReferenceFeatures, index: int) -> ReferenceFeatures:
    """One of the clips."""
    attention, motion = (
        tuple(feature[index : index + 1] for feature in part)
        for part in (features.attention, features.motion)
    )
    return ReferenceFeatures(attention, motion)


def _zeros(like: Tensor) -> Tensor:
    return torch.zeros_like(like)
