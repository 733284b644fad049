"""Checkpoints from a model hub, only when asked for by name; the download is cached."""

from __future__ import annotations

from pathlib import Path

from openemo.errors import CheckpointError

__all__ = ["download"]


def download(name: str) -> Path:
    """Folder of the snapshot of "owner/name" or "owner/name@revision". Raises CheckpointError."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"the model {name!r} cannot be fetched from the hub",
            got=type(error).__name__,
            expected='"hub:owner/name" or "hub:owner/name@revision"',
            fix="Check the name and the connection, or download the folder by hand and give its path",
        ) from error
