"""Files of the jobs. What a row in the database tells of is on the disk before the row is.

    DATA/videos/ID/image_reference, audio_reference, ...    as they were sent, until the job is over
    DATA/videos/ID/WORKER-ATTEMPT/video.mp4, poster.jpg, sheet.jpg    the result
    DATA/.openemo-....partial/    what a worker is making

Names are the program's own; those of uploads are not looked at.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from openemo.errors import OutputError
from openemo.files import fresh_folder, remove_leftovers
from openemo.serving.api.job_store import JobStore, StoredJob

__all__ = ["JobFiles"]

# A folder gets its row right after its name. One that is older and has none belongs to no job.
_NO_ROW_YET_S: Final = 120.0


class JobFiles:
    """The folder of a server's data, for its user alone.

    Raises:
        OutputError: it cannot be made.
    """

    def __init__(self, data: Path) -> None:
        self.data, self._videos = data, data / "videos"
        try:
            self._videos.mkdir(parents=True, exist_ok=True)
            data.chmod(0o700)
        except OSError as error:
            raise OutputError(
                f"no data can be kept in {data}", got=error.strerror or error, fix="Give another `--data`"
            ) from error

    @contextmanager
    def incoming(self, job_id: str) -> Iterator[Path]:
        """A folder for the files of a new job. After the block they are on the disk to stay; an error deletes
        them.
        """
        with fresh_folder(self._videos / job_id) as folder:
            yield folder
            _sync(folder)
        _sync_names(self._videos)

    def inputs(self, job: StoredJob) -> dict[str, Path]:
        """The files that were sent, by their names in the request."""
        return {name: self._videos / job.id / name for name in job.files}

    def result(self, job: StoredJob) -> Path:
        """The folder of the result of a completed job."""
        assert job.result is not None
        return self._videos / job.id / job.result

    def keep_result(self, job: StoredJob, made: Path) -> str:
        """Takes over a finished folder, for good: its new name.

        Raises:
            FileNotFoundError: the job was deleted.
        """
        name = f"{job.worker}-{job.attempts}"
        _sync(made)
        made.rename(self._videos / job.id / name)
        _sync_names(self._videos / job.id)
        return name

    def delete(self, job_id: str) -> None:
        shutil.rmtree(self._videos / job_id, ignore_errors=True)

    def delete_inputs(self, job: StoredJob) -> None:
        """Of a job that is over."""
        for path in self.inputs(job).values():
            with suppress(OSError):
                path.unlink()

    def sweep(self, store: JobStore) -> None:
        """Deletes what killed processes left: folders without a job, and of jobs that are over all but the
        result.
        """
        remove_leftovers(self._videos)
        remove_leftovers(self.data)
        # Listed first: whatever has a row by then is in `known`.
        folders = [path for path in self._videos.iterdir() if not path.name.startswith(".")]
        known = store.results()
        for folder in folders:
            if folder.name not in known:
                with suppress(OSError):
                    if time.time() - folder.stat().st_mtime > _NO_ROW_YET_S:
                        shutil.rmtree(folder)
                continue
            is_over, result = known[folder.name]
            if is_over:
                _keep_only(folder, result)


def _keep_only(folder: Path, name: str | None) -> None:
    with suppress(OSError):  # it is being deleted
        for path in folder.iterdir():
            if path.name != name:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _sync(folder: Path) -> None:
    """Waits until the files of a folder, and their names, are on the disk."""
    for path in folder.iterdir():
        _sync_names(path)
    _sync_names(folder)


def _sync_names(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
