"""Devices and number types by the names that a command line takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from openemo.errors import ConfigError

if TYPE_CHECKING:
    import torch

__all__ = ["DTYPES", "DTypeName", "find_device", "find_dtype"]

DTypeName = Literal["float32", "bfloat16", "float16"]
DTYPES: tuple[DTypeName, ...] = get_args(DTypeName)


def find_device(name: str) -> torch.device:
    """Raises ConfigError where there is no such device; never falls back to another one."""
    import torch

    expected = "cpu, cuda, cuda:N or mps"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    # RuntimeError: an unknown name, or no driver. AssertionError: torch's own for a build without CUDA.
    # NotImplementedError: a backend that this build does not have.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            "the device cannot be used", got=f"{name!r}: {reason}", expected=expected
        ) from error
    return device


def find_dtype(name: str) -> torch.dtype:
    """One of `DTYPES`."""
    import torch

    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
