"""Where a video goes: checked early, and there whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import av

from openemo.errors import OpenEmoError, OutputError
from openemo.files import check_fresh_folder, fresh_folder, partial_file, try_to_write
from openemo.video.video_formats import VideoFormat, find_format, is_picture_sequence

__all__ = ["check_output_path", "output_error", "whole_video", "written_files"]

_REASONS: Final = {
    errno.ENOSPC: ("the disk is full", "Free some space or choose another folder"),
    errno.EDQUOT: ("the disk quota is used up", "Free some space or choose another folder"),
    errno.EFBIG: ("the file is larger than allowed here", "Choose another folder or a smaller size"),
    errno.EACCES: ("no permission to write", "Choose another folder or change its permissions"),
    errno.EPERM: ("no permission to write", "Choose another folder or change its permissions"),
    errno.EROFS: ("the file system is read-only", "Choose another folder"),
    errno.ENAMETOOLONG: ("the file name is too long", "Choose a shorter name"),
}


def check_output_path(path: str | Path, *, transparent: bool = False) -> VideoFormat:
    """Checks early whether a video can be written to `path`; changes nothing.

    Args:
        path: the video, or a pattern such as frames/%05d.png. The folder of a pattern must be new or empty.
        transparent: whether the video shall have an alpha channel.

    Returns:
        the format that `path` asks for.

    Raises:
        OutputError: unknown file type, one without transparency where it is asked for, missing or unwritable
            folder, or the target is a folder or write-protected.
    """
    path = Path(path)
    kind = find_format(path, transparent=transparent)
    target = _target(path)
    try:
        if not target.parent.is_dir():
            raise OutputError(f"there is no folder {target.parent}", fix=f"Make it: mkdir -p {target.parent}")
        if is_picture_sequence(path):
            _check_sequence(target)
        else:
            _check_file(path)
        # Permission bits do not tell about read-only and full file systems; only a trial does.
        try_to_write(target.parent)
    except OSError as error:
        raise output_error(path, error) from error
    return kind


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise OutputError(f"{path} is a folder", expected="the name of a file")
    if path.exists() and not os.access(path, os.W_OK):
        raise OutputError(f"{path} is write-protected", fix="Choose another name")


def _check_sequence(folder: Path) -> None:
    if folder == Path.cwd():
        raise OutputError("the frames need a folder of their own", fix="For example frames/%05d.png")
    check_fresh_folder(folder)


@contextmanager
def whole_video(path: Path) -> Iterator[Path]:
    """Where to write. It becomes `path`, or the folder of a pattern, when the block ends without an error."""
    if is_picture_sequence(path):
        with fresh_folder(_target(path)) as folder:
            # FFmpeg looks for the number in the whole path.
            yield Path(str(folder).replace("%", "%%")) / path.name
        return
    with partial_file(path, ending=path.suffix.lower()) as partial:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())


def written_files(partial: Path) -> list[Path]:
    """The files that were written to what `whole_video` gave."""
    if is_picture_sequence(partial):
        return sorted(_target(Path(str(partial).replace("%%", "%"))).glob("*.png"))
    return [partial]


def _target(path: Path) -> Path:
    """The file that is written, or the folder of a pattern; a symbolic link is followed."""
    return Path(os.path.realpath(path.parent if is_picture_sequence(path) else path))


def output_error(path: Path, error: av.FFmpegError | OSError) -> OpenEmoError:
    reason, fix = _REASONS.get(error.errno or 0, (error.strerror or type(error).__name__, None))
    return OutputError(f"{path} cannot be written", got=reason, fix=fix)
