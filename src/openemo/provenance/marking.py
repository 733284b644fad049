"""How a video says that it was made with AI."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from openemo.errors import ConfigError

__all__ = ["UNMARKED", "Marking"]


@dataclass(frozen=True, slots=True)
class Marking:
    """What is put into a video and its file.

    Attributes:
        watermark: an invisible mark in the frames.
        credentials: Content Credentials, signed; and the same in plain words in the file's metadata.
        badge: a visible label at the start and every half minute.
        certificate, private_key: PEM files to sign with, the chain from the signer's own on; None takes
            those of this computer, which are made at first use.
        timestamp_server: address of an RFC 3161 server that confirms when the file was signed. Nothing else
            makes a connection.
    """

    watermark: bool = True
    credentials: bool = True
    badge: bool = False
    certificate: Path | None = None
    private_key: Path | None = None
    timestamp_server: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.private_key is None):
            missing = "private_key" if self.private_key is None else "certificate"
            raise ConfigError(
                "a certificate and its private key go together",
                got=f"no `{missing}`",
                fix="Give both, or leave both out",
            )
        server = self.timestamp_server
        if server is not None and not server.startswith(("http://", "https://")):
            raise ConfigError(
                "`timestamp_server` is no address", got=server, expected="one that starts with https://"
            )
        if not self.credentials and (self.certificate is not None or server is not None):
            raise ConfigError(
                "a certificate or a time stamp without credentials", fix="Leave `--no-credentials` out"
            )


UNMARKED = Marking(watermark=False, credentials=False)
