"""What happens to a finished file before it appears: metadata in plain words, and signed credentials."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from openemo.errors import ConfigError
from openemo.provenance.content_credentials import can_sign, has_c2pa, identity_of, sign
from openemo.provenance.marking import Marking
from openemo.provenance.origin import Origin
from openemo.provenance.plain_metadata import write_xmp
from openemo.provenance.signing_identity import SigningIdentity

__all__ = ["Seal", "check_identity"]


def check_identity(marking: Marking) -> None:
    """Raises ConfigError where the user's own certificate cannot be used; cheap, so it comes early."""
    if marking.certificate is not None:
        if not has_c2pa():
            raise ConfigError(
                "a certificate needs c2pa-python, which is not installed", fix="pip install c2pa-python"
            )
        identity_of(marking)


@dataclass(frozen=True, slots=True)
class Seal:
    """Seals the files of one video.

    Attributes:
        identity: None where nothing is signed.
        note: what the user should know, one sentence.
    """

    marking: Marking
    origin: Origin
    identity: SigningIdentity | None
    note: str | None

    @classmethod
    def of(cls, marking: Marking, origin: Origin, path: Path) -> Seal:
        """The seal for a video of this name. What could go wrong goes wrong here, before any work.

        Raises:
            ConfigError: the given certificate cannot be used.
        """
        if not marking.credentials:
            return cls(marking, origin, None, None)
        if not can_sign(path):
            note = f"no signed credentials: a {path.suffix.lower()} file has no place for them"
            return cls(marking, origin, None, note)
        if not has_c2pa():
            note = "no signed credentials: c2pa-python is not installed; watermark and metadata are written"
            return cls(marking, origin, None, note)
        try:
            return cls(marking, origin, identity_of(marking), None)
        except OSError as error:
            note = f"no signed credentials: the key cannot be kept; {error.strerror or error}"
            return cls(marking, origin, None, note)

    def __call__(self, path: Path) -> None:
        """Seal a finished file.

        Raises:
            OutputError: it cannot be signed.
        """
        if not self.marking.credentials:
            return
        write_xmp(path)
        if self.identity is not None:
            sign(
                path,
                self.origin,
                self.identity,
                has_mark=self.marking.watermark,
                timestamp_server=self.marking.timestamp_server,
            )
