"""The clips to measure: those of a folder, or those of a list that names them with their hashes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import Field

from openemo.checkpoints.folder import file_sha256
from openemo.errors import ConfigError, printable
from openemo.settings import StrictModel

__all__ = ["Clip", "ClipList", "find_clips", "find_video", "list_clips", "pair_voices"]

_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg")


class ClipList(StrictModel):
    """A benchmark: what must be equal for two figures to be comparable. Unknown keys are errors."""

    title: str
    source: str = Field(description="corpus and licence, and where to get it")
    command: str = Field(description="the command that measures it")
    seeds: tuple[int, ...] = (0,)
    clips: dict[str, str] = Field(min_length=1, description="sha256 of each file, by its name")


@dataclass(frozen=True)
class Clip:
    """A real clip to measure against.

    Attributes:
        voice: the other clip whose sound drives the row "mismatched"; None if there is only one clip.
    """

    path: Path
    sha256: str
    voice: Path | None = None
    voice_sha256: str | None = None

    @property
    def name(self) -> str:
        """As reports show it: control characters, which a file's name may have, are escaped."""
        return printable(self.path.name)


def find_clips(folder: Path, names: list[str] | None = None, limit: int | None = None) -> list[Clip]:
    """The first `limit` video files of a folder in order of name, or of `names`.

    Raises:
        ConfigError: no folder, no clips in it, one of `names` is missing, or a limit below 1.
    """
    if limit is not None and limit < 1:
        raise ConfigError("the number of clips is too small", got=limit, expected="1 or more")
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}", fix="Give a folder of video clips with sound")
    if names is None:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    else:
        paths = [folder / name for name in names]
    if not paths:
        raise ConfigError(f"no video clips in {folder}", expected=f"files that end in {', '.join(_SUFFIXES)}")
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise ConfigError(
            f"{len(missing)} clips of the list are not in {folder}",
            got=f"no {missing[0]}",
            fix="Give the folder that the list was made of",
        )
    return [Clip(path, file_sha256(path)) for path in paths[:limit]]


def pair_voices(clips: list[Clip]) -> list[Clip]:
    """Each clip with the next clip's sound for the row "mismatched". The last one gets the first one's."""
    if len(clips) < 2:
        return clips
    following = [*clips[1:], clips[0]]
    return [
        replace(clip, voice=other.path, voice_sha256=other.sha256)
        for clip, other in zip(clips, following, strict=True)
    ]


def list_clips(folder: Path, benchmark: ClipList, limit: int | None = None) -> list[Clip]:
    """The clips of a list, checked against its hashes.

    Raises:
        ConfigError: a clip is missing, or its hash differs from the list.
    """
    clips = find_clips(folder, list(benchmark.clips), limit)
    for clip in clips:
        expected = benchmark.clips[clip.name]
        if clip.sha256 != expected:
            raise ConfigError(
                f"{clip.path} is not the clip of the list",
                got=f"sha256 {clip.sha256[:12]}...",
                expected=f"{expected[:12]}...",
                fix="Get the corpus in the version that the list names; other files give other figures",
            )
    return clips


def find_video(folder: Path, clip: Path) -> Path | None:
    """The finished video in `folder` with the clip's name and any ending; None if there is none.

    Raises:
        ConfigError: there are several.
    """
    found = sorted(
        path for path in folder.iterdir() if path.stem == clip.stem and path.suffix.lower() in _SUFFIXES
    )
    if len(found) > 1:
        raise ConfigError(
            f"several videos for the clip {clip.name}",
            got=", ".join(path.name for path in found),
            expected="one",
        )
    return found[0] if found else None
