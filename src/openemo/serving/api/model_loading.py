"""Loads the networks of a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openemo.serving.api.api_settings import ModelSettings

if TYPE_CHECKING:
    from openemo.pipeline import EmoPipeline

__all__ = ["load_model"]


def load_model(model: ModelSettings) -> EmoPipeline:
    """Takes seconds; torch is imported here."""
    from openemo.devices import find_device, find_dtype
    from openemo.pipeline.emo import EmoPipeline

    return EmoPipeline.from_pretrained(
        model.model,
        device=find_device(model.device),
        dtype=None if model.dtype is None else find_dtype(model.dtype),
        engine=model.engine,  # type: ignore[arg-type]
    )
