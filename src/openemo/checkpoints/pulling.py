"""Downloads weights of the catalogue and imports them: `openemo weights pull NAME`."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from openemo.checkpoints.catalogue import Entry, entry, weights_folder
from openemo.checkpoints.folder import file_sha256
from openemo.checkpoints.hub import present_commit, snapshot
from openemo.errors import CheckpointError, ConfigError
from openemo.files import check_fresh_folder

if TYPE_CHECKING:
    import torch

__all__ = ["licence_line", "pull"]

Say = Callable[[str], None]
_COMMIT_DIGITS = 40


def pull(
    name: str,
    output: Path | None = None,
    *,
    revision: str | None = None,
    accept_non_commercial: bool = False,
    dtype: torch.dtype | None = None,
    say: Say = lambda line: None,
) -> Path:
    """Downloads weights and imports them. The licence is announced before the download starts.

    Args:
        name: of the catalogue.
        output: folder of the import; None is the folder where `--model` looks.
        revision: commit, branch or tag instead of the catalogue's commit.
        accept_non_commercial: required for weights that do not allow commercial use.
        say: receives each line for the user.

    Raises:
        CheckpointError: unknown name, no network, or the files are not those of the catalogue.
        ConfigError: the weights do not allow commercial use, and this was not accepted.
        OutputError: the folder exists already.
    """
    known = entry(name)
    folder = weights_folder(name) if output is None else output
    check_fresh_folder(folder)
    if not known.licence.commercial and not accept_non_commercial:
        raise ConfigError(
            f"{name} is not for commercial use, and openemo runs without it",
            got=known.licence.name,
            fix="If your use is allowed, say so with --accept-non-commercial",
        )
    say(licence_line(known))
    fetched = _fetch(known, revision, say)
    _check_hashes(known, fetched)
    if known.form is None:
        say(f"{name} stays in the download cache: {fetched}")
        return fetched
    from openemo.checkpoints.importing import Origin, import_weights  # slow to import, and errors come first

    import_weights(
        known.form,
        fetched / known.path,
        folder,
        dtype=dtype,
        licence=known.licence,
        origin=Origin(known.repository, fetched.name),
    )
    say(f"{name} is in {folder}")
    return folder


def licence_line(known: Entry) -> str:
    """What a user must know before the download."""
    use = "commercial use allowed" if known.licence.commercial else "NO commercial use"
    note = f"; {known.licence.note}" if known.licence.note else ""
    size = f", about {known.size_bytes / 1e9:.1f} GB" if known.size_bytes else ""
    return f"{known.name}: {known.what}. Licence: {known.licence.name} ({use}{note}){size}"


def _fetch(known: Entry, revision: str | None, say: Say) -> Path:
    """Folder of the files in huggingface_hub's cache. Its name is the commit. Raises CheckpointError."""
    by_hand = f"download it elsewhere and `openemo weights import {known.form or ''} PATH -o DIR`"
    wanted = revision or known.revision
    if wanted is None or len(wanted) != _COMMIT_DIGITS:
        commit = present_commit(known.repository, wanted, by_hand=by_hand)
        if commit is not None:
            say(f"{known.name}: no commit is given; using the present one, {commit}")
        wanted = commit or wanted  # without network the cache knows the commit of a branch
    folder = snapshot(known.repository, revision=wanted, files=known.files, by_hand=by_hand)
    _check_complete(known, folder)
    return folder


def _check_complete(known: Entry, folder: Path) -> None:
    present = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    missing = [pattern for pattern in known.files if not any(fnmatch(name, pattern) for name in present)]
    if missing:
        raise CheckpointError(
            f"{known.repository} lacks files of {known.name}",
            got=f"no {', '.join(missing)} at {folder.name}",
            fix="Give another --revision, or connect to the network once",
        )


def _check_hashes(known: Entry, folder: Path) -> None:
    for name, digest in known.sha256.items():
        found = file_sha256(folder / name)
        if found != digest:
            raise CheckpointError(
                f"{name} of {known.repository} is not the expected file",
                got=f"sha256 {found[:12]}...",
                expected=f"{digest[:12]}...",
                fix=f"Delete {(folder / name).resolve()} and pull again",
            )
