"""A program that embeds the pipeline may have set torch's and numpy's defaults. The frames stay."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from openemo.audio import Audio
from openemo.pipeline import EmoPipeline


@contextmanager
def double_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def strict() -> Iterator[None]:
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def frames(folder: Path, portrait: Path) -> np.ndarray:
    pipeline = EmoPipeline.from_pretrained(folder)
    tone = np.asarray(np.sin(np.arange(5000) / 9)[None] / 3, np.float32)
    return np.stack(list(pipeline(portrait, Audio(tone, 16_000), framing="crop", size_px=64)))


@pytest.fixture(scope="module")
def expected(tiny_dir: Path, portrait_path: Path) -> np.ndarray:
    return frames(tiny_dir, portrait_path)


@pytest.mark.parametrize(
    "defaults",
    [double_by_default(), torch.device("meta"), torch.inference_mode(), torch.enable_grad(), strict()],
    ids=["float64", "another device", "inference mode", "gradients", "numpy raises"],
)
def test_defaults_of_the_program_change_nothing(
    defaults: AbstractContextManager[None], tiny_dir: Path, portrait_path: Path, expected: np.ndarray
) -> None:
    with defaults:
        got = frames(tiny_dir, portrait_path)
    # Kernels of inference mode add in another order.
    assert np.abs(got.astype(int) - expected).max() <= 1
