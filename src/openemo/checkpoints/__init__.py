"""Where weights come from: the package, a local folder or a hub. All are checked by hash."""

from __future__ import annotations

from pathlib import Path

from openemo.checkpoints.catalogue import MODELS, weights_folder
from openemo.checkpoints.folder import (
    CheckpointIndex,
    list_sha256,
    read_index,
    verify_hashes,
    write_hashes,
    write_index,
)
from openemo.errors import CheckpointError

__all__ = [
    "EMBEDDED",
    "CheckpointIndex",
    "list_sha256",
    "read_index",
    "resolve",
    "verify_hashes",
    "write_hashes",
    "write_index",
]

EMBEDDED = "embedded"
_HUB_PREFIX = "hub:"


def resolve(name_or_folder: str | Path) -> Path:
    """The folder of a model: "embedded", a local path, the name of pulled weights ("sd15", "hallo",
    "echomimic"), or "hub:owner/name[@revision]" (downloaded once).

    Only the prefix "hub:" downloads anything: a folder that does not exist is an error.

    Raises:
        CheckpointError: no such folder, or the hub cannot be reached.
    """
    if name_or_folder == EMBEDDED:
        return Path(__file__).parent / EMBEDDED
    if isinstance(name_or_folder, str) and name_or_folder.startswith(_HUB_PREFIX):
        from openemo.checkpoints.hub import snapshot

        repository, _, revision = name_or_folder.removeprefix(_HUB_PREFIX).partition("@")
        by_hand = "download the folder by hand and give its path"
        return snapshot(repository, revision=revision or None, by_hand=by_hand)
    folder = Path(name_or_folder)
    if not folder.is_dir() and name_or_folder in MODELS:
        folder = weights_folder(str(name_or_folder))
        if not folder.is_dir():
            raise CheckpointError(
                f"the weights of {name_or_folder} are not here",
                got=f"no {folder}",
                fix=MODELS[str(name_or_folder)],
            )
    if not folder.is_dir():
        raise CheckpointError(
            "there is no such model",
            got=f"{str(name_or_folder)!r}",
            expected=f'"{EMBEDDED}", a folder, or "{_HUB_PREFIX}owner/name"',
            fix="Check the path",
        )
    return folder
