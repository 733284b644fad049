"""The program of a decoding process: one file at stdin, its pixels or samples at stdout.

An answer is a line of JSON, then the raw numbers. A clip has one for each frame, and a last one that says
so. The parent trusts neither.
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
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from openemo.decoding_limits import DecodingLimits
from openemo.errors import OpenEmoError
from openemo.sandbox.confinement import confine

__all__: list[str] = []

_Answer = tuple[dict[str, Any], NDArray[Any]]
_Decode = Callable[[], Iterator[_Answer]]
_NOTHING: Final = np.empty(0, np.uint8)
# A clip of 4K at 60 frames per second takes three times its length on one core.
_CPU_S_PER_S: Final = 4.0


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
    prepare = {
        "image": _prepare_image,
        "audio": _prepare_audio,
        "clip": _prepare_clip,
        "facts": _prepare_facts,
    }
    decode = prepare[request["kind"]](file, request, limits)
    confine(limits, cpu_s=limits.timeout_s + _CPU_S_PER_S * request["max_s"] if "max_s" in request else None)
    try:
        for header, values in decode():
            _send(answer, header, values, notes)
    except OpenEmoError as error:
        parts = {"what": error.what, "got": error.got, "expected": error.expected, "fix": error.fix}
        _send(answer, {"error": {key: value and str(value) for key, value in parts.items()}}, _NOTHING, notes)
    except Exception as error:
        _send(answer, {"error": {"what": None, "got": f"{type(error).__name__}: {error}"}}, _NOTHING, notes)
    os._exit(0)  # without what libraries do at the end


def _send(answer: BinaryIO, header: dict[str, Any], values: NDArray[Any], notes: _Notes) -> None:
    line = json.dumps({**header, "notes": notes.notes})
    notes.notes = []
    answer.write(line.encode() + b"\n")
    answer.write(np.ascontiguousarray(values).data)
    answer.flush()


def _prepare_image(file: BinaryIO, request: dict[str, Any], limits: DecodingLimits) -> _Decode:
    from PIL import Image as Pillow

    from openemo.video.images import decode_image, load_readers

    load_readers(file)
    Pillow.MAX_IMAGE_PIXELS = None  # `max_pixels` alone counts

    def decode() -> Iterator[_Answer]:
        image = decode_image(file, request["name"], limits, keep_alpha=request["keep_alpha"])
        yield {"shape": image.shape}, image

    return decode


def _prepare_audio(file: BinaryIO, request: dict[str, Any], limits: DecodingLimits) -> _Decode:
    # PyAV imports these when a file has such a stream.
    import av.subtitles.stream
    import av.video.stream  # noqa: F401

    from openemo.audio.audio_reader import decode_audio

    def decode() -> Iterator[_Answer]:
        audio = decode_audio(file, request["name"], request["track"], limits, span_s=request["span_s"])
        yield {"shape": audio.samples.shape, "sample_rate_hz": audio.sample_rate_hz}, audio.samples

    return decode


def _prepare_clip(file: BinaryIO, request: dict[str, Any], limits: DecodingLimits) -> _Decode:
    # PyAV imports these when a file has such a stream.
    import av.audio.stream
    import av.subtitles.stream
    import av.video.stream  # noqa: F401

    from openemo.video.clip_frames import decode_clip

    def decode() -> Iterator[_Answer]:
        span = {"max_s": request["max_s"], "start_s": request["start_s"]}
        for time_s, image in decode_clip(file, request["name"], limits, **span):
            yield {"shape": image.shape, "time_s": time_s}, image
        yield {"is_end": True}, _NOTHING

    return decode


def _prepare_facts(file: BinaryIO, request: dict[str, Any], limits: DecodingLimits) -> _Decode:
    # PyAV imports these when a file has such a stream.
    import av.audio.stream
    import av.subtitles.stream
    import av.video.stream  # noqa: F401

    from openemo.video.media_facts import read_facts

    def decode() -> Iterator[_Answer]:
        yield {"facts": asdict(read_facts(file, request["name"], limits))}, _NOTHING

    return decode


if __name__ == "__main__":
    _main()
