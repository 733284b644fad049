"""Known weights from the hub into a folder of our own: `openemo weights pull NAME`.

Downloads go through huggingface_hub, so they resume, land in its cache, and honour HF_HUB_OFFLINE,
HF_ENDPOINT and HF_TOKEN. What was fetched is then imported like any file that a user brings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from openemo.checkpoints.catalogue import Entry, entry, weights_folder
from openemo.checkpoints.folder import file_sha256
from openemo.errors import CheckpointError, ConfigError, OutputError

if TYPE_CHECKING:
    import torch

__all__ = ["fetch", "licence_line", "pull"]

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
    """Fetch known weights and import them; the licence is said before the first byte is fetched.

    Args:
        name: of the catalogue.
        output: where the import goes; None is the place where `--model` looks.
        revision: commit, branch or tag instead of the catalogue's commit.
        accept_non_commercial: needed for what no commercial use is allowed of.
        say: receives each line for the user.

    Raises:
        CheckpointError: unknown name, no network, or what came is not what the catalogue says.
        ConfigError: a non-commercial part without its acceptance. OutputError: the folder is there already.
    """
    known = entry(name)
    folder = weights_folder(name) if output is None else output
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(
            "the output is there already", got=folder, fix="Remove it, or choose another with -o"
        )
    if not known.licence.commercial and not accept_non_commercial:
        raise ConfigError(
            f"{name} is not for commercial use, and openemo runs without it",
            got=known.licence.name,
            fix="If your use is allowed, say so with --accept-non-commercial",
        )
    say(licence_line(known))
    snapshot, commit = fetch(known, revision=revision, say=say)
    _check_hashes(known, snapshot)
    if known.form is None:
        say(f"{name} stays where it was fetched: {snapshot}")
        return snapshot
    from openemo.checkpoints.importing import Origin, import_weights  # heavy, and not needed to fail

    import_weights(
        known.form,
        snapshot / known.path,
        folder,
        dtype=dtype,
        licence=known.licence,
        origin=Origin(known.repository, commit),
    )
    say(f"{name} is in {folder}")
    return folder


def licence_line(known: Entry) -> str:
    """What a user must know before a download."""
    use = "commercial use allowed" if known.licence.commercial else "NO commercial use"
    note = f"; {known.licence.note}" if known.licence.note else ""
    size = f", about {known.size_bytes / 1e9:.1f} GB" if known.size_bytes else ""
    return f"{known.name}: {known.what}. Licence: {known.licence.name} ({use}{note}){size}"


def fetch(known: Entry, *, revision: str | None = None, say: Say = lambda line: None) -> tuple[Path, str]:
    """Folder of the files in huggingface_hub's cache, and the commit that they are of.

    Raises:
        CheckpointError: the hub cannot be reached (or is offline by HF_HUB_OFFLINE and the cache lacks a
            file), does not know the repository or revision, or asks for a login.
    """
    from huggingface_hub import HfApi, constants, snapshot_download

    with _hub_errors(known):
        wanted = revision or known.revision
        if wanted is None or len(wanted) != _COMMIT_DIGITS:
            if constants.is_offline_mode():
                wanted = wanted or "main"  # the cache knows what it was when it was fetched
            else:
                wanted = HfApi().model_info(known.repository, revision=wanted).sha
                say(f"{known.name}: no commit is named here; taking the present one, {wanted}")
        snapshot = Path(
            snapshot_download(known.repository, revision=wanted, allow_patterns=list(known.files))
        )
    _check_complete(known, snapshot)
    return snapshot, snapshot.name


@contextmanager
def _hub_errors(known: Entry) -> Iterator[None]:
    import httpx2  # what huggingface_hub sends its requests with
    from huggingface_hub import errors

    where = f"{known.name} cannot be fetched from {known.repository}"
    by_hand = f"download it elsewhere and `openemo weights import {known.form or ''} PATH -o DIR`"
    try:
        yield
    except errors.GatedRepoError as error:
        raise CheckpointError(
            where,
            got="access must be asked for",
            fix=f"Accept the terms on its page and set HF_TOKEN, or {by_hand}",
        ) from error
    except (errors.RevisionNotFoundError, errors.RepositoryNotFoundError) as error:
        raise CheckpointError(
            where,
            got=type(error).__name__,
            fix="Check the revision; the repository may have moved or be gone",
        ) from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        raise CheckpointError(
            where, got="no network, or HF_HUB_OFFLINE is set, and the cache has not all of it", fix=by_hand
        ) from error
    except (errors.HFValidationError, httpx2.HTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            where, got=reason[:200], fix=f"Try again (a download goes on where it stopped), or {by_hand}"
        ) from error


def _check_complete(known: Entry, snapshot: Path) -> None:
    present = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]
    missing = [pattern for pattern in known.files if not any(fnmatch(name, pattern) for name in present)]
    if missing:
        raise CheckpointError(
            f"{known.repository} has not all that {known.name} needs",
            got=f"no {', '.join(missing)} at {snapshot.name}",
            fix="Name another --revision; or, offline, connect once",
        )


def _check_hashes(known: Entry, snapshot: Path) -> None:
    for name, digest in known.sha256.items():
        found = file_sha256(snapshot / name)
        if found != digest:
            raise CheckpointError(
                f"{name} of {known.repository} is not the file that is known",
                got=f"sha256 {found[:12]}...",
                expected=f"{digest[:12]}...",
                fix=f"Remove {(snapshot / name).resolve()} and pull again",
            )
