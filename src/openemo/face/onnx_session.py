"""Opens and runs ONNX networks on the CPU, behind a typed protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from openemo.errors import CheckpointError
from openemo.onnx_library import onnxruntime

__all__ = ["ONNX_ERRORS", "OnnxInput", "OnnxSession", "open_session", "run_session"]

_library = onnxruntime.capi.onnxruntime_pybind11_state
ONNX_ERRORS: Final[tuple[type[Exception], ...]] = (
    *(kind for kind in vars(_library).values() if isinstance(kind, type) and issubclass(kind, Exception)),
    OSError,
    ValueError,
    RuntimeError,
    IndexError,
)
"""What `open_session` raises for files that are missing or are no network."""


class OnnxInput(Protocol):
    """One input or output of a network. Unnamed dimensions are None, named ones their names."""

    name: str
    shape: list[int | str | None]
    type: str


class OnnxSession(Protocol):
    """The methods of `onnxruntime.InferenceSession` that are used here."""

    def get_inputs(self) -> Sequence[OnnxInput]: ...

    def get_outputs(self) -> Sequence[OnnxInput]: ...

    def run(
        self, output_names: None, input_feed: Mapping[str, NDArray[np.float32]], /
    ) -> list[NDArray[np.float32]]: ...


def open_session(path: Path) -> OnnxSession:
    """A network from a file, on one CPU thread. Raises one of `ONNX_ERRORS`."""
    options = onnxruntime.SessionOptions()
    # The cores are for the diffusion network, so no more threads and no busy waiting.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    # Without a second try, which prints a line of its own before it fails as well.
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
    )
    return cast(OnnxSession, session)


def run_session(session: OnnxSession, values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """All outputs of a network with one input. Raises CheckpointError if they are no numbers."""
    outputs = session.run(None, {session.get_inputs()[0].name: values})
    if not all(np.isfinite(output).all() for output in outputs):
        raise CheckpointError(
            "a network is damaged: it gives no numbers", got="NaN or infinity", fix="Get its file again"
        )
    return outputs
