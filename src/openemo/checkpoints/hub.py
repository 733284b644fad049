"""Downloads from a model hub. Nothing is downloaded unless the user asks for it by name.

They use huggingface_hub, so they resume, are cached, and follow HF_HUB_OFFLINE, HF_ENDPOINT and HF_TOKEN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from openemo.errors import CheckpointError

__all__ = ["present_commit", "snapshot"]


def snapshot(
    repository: str, *, revision: str | None = None, files: Sequence[str] | None = None, by_hand: str
) -> Path:
    """Folder of the downloaded files in huggingface_hub's cache. Its name is the commit.

    Args:
        repository: "owner/name".
        revision: commit, branch or tag; None is the default branch.
        files: patterns of the files to download; None downloads all.
        by_hand: what the user can do without the hub, for the error's `fix`.

    Raises:
        CheckpointError: the hub cannot be reached (or HF_HUB_OFFLINE is set and the cache lacks a file), does
            not know the repository or revision, or asks for a login.
    """
    from huggingface_hub import snapshot_download

    with _hub_errors(repository, by_hand):
        return Path(
            snapshot_download(repository, revision=revision, allow_patterns=list(files or []) or None)
        )


def present_commit(repository: str, revision: str | None, *, by_hand: str) -> str | None:
    """The commit that a branch or tag has now; None without network. Raises CheckpointError as `snapshot`."""
    from huggingface_hub import HfApi, constants

    if constants.is_offline_mode():
        return None
    with _hub_errors(repository, by_hand):
        return HfApi().model_info(repository, revision=revision).sha


@contextmanager
def _hub_errors(repository: str, by_hand: str) -> Iterator[None]:
    import httpx2  # the HTTP client of huggingface_hub
    from huggingface_hub import errors

    what = f"{repository} cannot be fetched from the hub"
    try:
        yield
    except errors.GatedRepoError as error:
        raise CheckpointError(
            what,
            got="access must be requested",
            fix=f"Accept the terms on its page and set HF_TOKEN, or {by_hand}",
        ) from error
    except (errors.RevisionNotFoundError, errors.RepositoryNotFoundError) as error:
        raise CheckpointError(
            what,
            got=type(error).__name__,
            fix="Check the name and the revision; the repository may have moved or been deleted",
        ) from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        raise CheckpointError(
            what,
            got="no network, or HF_HUB_OFFLINE is set, and the cache is not complete",
            fix=by_hand[:1].upper() + by_hand[1:],
        ) from error
    except (errors.HFValidationError, httpx2.HTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            what, got=reason[:200], fix=f"Try again (an interrupted download continues), or {by_hand}"
        ) from error
