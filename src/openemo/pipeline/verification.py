"""Whether a file says that it was made with AI: its watermark, its credentials, its metadata."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from openemo.arrays import Image
from openemo.decoding_limits import DEFAULT_LIMITS, DecodingLimits
from openemo.errors import ImageError, InputError
from openemo.pipeline.inputs import open_clip, to_image
from openemo.provenance.content_credentials import CredentialsReading, has_c2pa, read_credentials
from openemo.provenance.plain_metadata import says_made_with_ai
from openemo.provenance.watermark_detection import MarkReading, find_watermark

__all__ = ["Verification", "verify_file"]

_FRAMES: Final = 32
_EVERY: Final = 6  # neighbours say nothing new
_LONGEST_S: Final = 10.0
_VIDEOS: Final = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mpg", ".mpeg", ".3gp", ".flv")


@dataclass(frozen=True, slots=True)
class Verification:
    """What a file says.

    Attributes:
        watermark: what was found in the frames.
        credentials: None where there are none, or they cannot be read.
        can_read_credentials: False where c2pa-python is not installed.
        has_metadata: plain metadata name the digital source type of media made with AI.
    """

    watermark: MarkReading
    credentials: CredentialsReading | None
    can_read_credentials: bool
    has_metadata: bool

    @property
    def is_marked(self) -> bool:
        """Anything says that AI made it."""
        told = self.credentials
        by_credentials = told is not None and any(
            source.endswith("rainedAlgorithmicMedia") for source in told.digital_source_types
        )
        return self.watermark.mark_id is not None or by_credentials or self.has_metadata

    @property
    def is_consistent(self) -> bool:
        """The credentials fit the file, and the watermark is the one that they name."""
        told = self.credentials
        if told is None:
            return True
        found = self.watermark.mark_id
        return told.is_intact and (found is None or told.mark_id in (None, found))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "is_marked": self.is_marked,
            "is_consistent": self.is_consistent,
            "watermark": asdict(self.watermark),
            "credentials": None if self.credentials is None else asdict(self.credentials),
            "can_read_credentials": self.can_read_credentials,
            "has_metadata": self.has_metadata,
        }


def verify_file(path: Path, *, limits: DecodingLimits = DEFAULT_LIMITS, sandbox: bool = True) -> Verification:
    """What a video or picture says of itself. Of a video the first ten seconds are looked at.

    Raises:
        InputError: it cannot be read.
    """
    with _frames(path, limits, sandbox) as frames:
        watermark = find_watermark(frames)
    return Verification(
        watermark=watermark,
        credentials=read_credentials(path) if has_c2pa() else None,
        can_read_credentials=has_c2pa(),
        has_metadata=says_made_with_ai(path),
    )


@contextmanager
def _frames(path: Path, limits: DecodingLimits, sandbox: bool) -> Iterator[Iterator[Image]]:
    """Of a video some, of a picture itself."""
    if path.suffix.lower() not in _VIDEOS:
        try:
            picture = to_image(path, limits=limits, sandbox=sandbox)
        except ImageError:
            if not path.is_file():
                raise
        else:
            yield iter([picture])
            return
    try:
        with open_clip(path, max_s=_LONGEST_S, limits=limits, sandbox=sandbox) as clip:
            yield (frame.image for frame in islice(clip, 0, _FRAMES * _EVERY, _EVERY))
    except InputError as error:
        raise InputError(
            f"{path} is neither a video nor a picture that can be read", got=error.what, fix=error.fix
        ) from error
