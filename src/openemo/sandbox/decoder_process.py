"""The program of a decoding process: one file at stdin, its pixels or samples at stdout.

The answer is a line of JSON, then the raw numbers. The parent trusts neither.
"""

from __future__ import annotations

import encodings.ascii
import encodings.cp1252
import encodings.latin_1
import encodings.utf_16  # noqa: F401 - texts in files need them
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from openemo.decoding_limits import DecodingLimits
from openemo.errors import OpenEmoError
from openemo.sandbox.confinement import confine

__all__: list[str] = []

_Answer = tuple[dict[str, Any], NDArray[Any]]


class _Notes(logging.Handler):
    """Keeps the library's warnings, for the parent to log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.notes: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.notes.append((record.name, record.getMessage()))


def _main() -> None:
    request = json.loads(sys.argv[1])
    limits = DecodingLimits(**request["limits"])
    # Nothing that a library prints gets between the numbers.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    notes = _Notes()
    logging.getLogger("openemo").addHandler(notes)
    file = os.fdopen(0, "rb")
    prepare = {"image": _prepare_image, "audio": _prepare_audio}[request["kind"]]
    decode = prepare(file, request, limits)
    confine(limits)
    values: NDArray[Any] = np.empty(0, np.uint8)
    try:
        header, values = decode()
    except OpenEmoError as error:
        parts = {"what": error.what, "got": error.got, "expected": error.expected, "fix": error.fix}
        header = {"error": {key: value and str(value) for key, value in parts.items()}}
    except Exception as error:
        header = {"error": {"what": None, "got": f"{type(error).__name__}: {error}"}}
    line = json.dumps({**header, "notes": notes.notes})
    answer.write(line.encode() + b"\n")
    answer.write(np.ascontiguousarray(values).data)
    answer.flush()
    os._exit(0)  # without what libraries do at the end


def _prepare_image(file: BinaryIO, request: dict[str, Any], limits: DecodingLimits) -> Callable[[], _Answer]:
    from PIL import Image as Pillow

    from openemo.video.images import decode_image, load_readers

    load_readers(file)
    Pillow.MAX_IMAGE_PIXELS = None  # `max_pixels` alone counts

    def decode() -> _Answer:
        image = decode_image(file, request["name"], limits, keep_alpha=request["keep_alpha"])
        return {"shape": image.shape}, image

    return decode


def _prepare_audio(file: BinaryIO, request: dict[str, Any], limits: DecodingLimits) -> Callable[[], _Answer]:
    # PyAV imports these when a file has such a stream.
    import av.subtitles.stream
    import av.video.stream  # noqa: F401

    from openemo.audio.audio_reader import decode_audio

    def decode() -> _Answer:
        audio = decode_audio(file, request["name"], request["track"], limits)
        return {"shape": audio.samples.shape, "sample_rate_hz": audio.sample_rate_hz}, audio.samples

    return decode


if __name__ == "__main__":
    _main()
