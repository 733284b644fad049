"""Who uses the page: a browser with a secret cookie, its files and its videos."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from openemo.errors import InputError
from openemo.pipeline.portrait import FaceInPicture
from openemo.serving.video_jobs import VideoJob

__all__ = ["COOKIE", "Choice", "Visitor", "Visitors"]

COOKIE: Final = "openemo_visitor"
_MAX_UPLOADS, _MAX_VIDEOS, _MAX_VISITORS, _MAX_PAGES = 32, 24, 256, 16


@dataclass
class Choice:
    """What is chosen on one page, checked.

    Attributes:
        preview: the portrait as JPEG, made smaller. width, height: of the portrait.
        face_index: the chosen face. Without a portrait there are no faces.
        duration_s: of the voice.
        is_portrait_emptied, is_voice_emptied: the page itself empties the field of the upload, which says so.
    """

    portrait: Path | None = None
    preview: bytes = b""
    width: int = 0
    height: int = 0
    faces: list[FaceInPicture] = field(default_factory=list)
    face_index: int = 0
    audio: Path | None = None
    duration_s: float = 0.0
    is_portrait_emptied: bool = False
    is_voice_emptied: bool = False


@dataclass(eq=False)
class Visitor:
    """One browser.

    Attributes:
        uploads: paths of its files, the oldest first.
        videos: that it asked for, the oldest first.
        choices: of each open page, by the name that Gradio gives it.
        seen_s: when it last asked for something.
    """

    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    uploads: dict[str, None] = field(default_factory=dict)
    videos: list[VideoJob] = field(default_factory=list)
    choices: dict[str, Choice] = field(default_factory=dict)
    seen_s: float = field(default_factory=time.monotonic)

    def choice(self, page: str) -> Choice:
        """Of a page; of a new one it is empty, and the oldest page's goes."""
        if page not in self.choices:
            while len(self.choices) >= _MAX_PAGES:
                self.choices.pop(next(iter(self.choices)))
            self.choices[page] = Choice()
        return self.choices[page]

    @property
    def unfinished(self) -> VideoJob | None:
        """The video that is made or waits; there is one at most."""
        return next((job for job in self.videos if not job.is_over), None)

    @property
    def finished(self) -> list[VideoJob]:
        """The newest first."""
        return [job for job in reversed(self.videos) if job.state == "done"]

    def video(self, job_id: str) -> VideoJob | None:
        return next((job for job in self.videos if secrets.compare_digest(job.id, job_id)), None)


class Visitors:
    """All browsers. The files of one that has been away for `keep_s` are deleted.

    Args:
        now: a clock in seconds.
    """

    def __init__(self, keep_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._keep_s, self._now = keep_s, now
        self._visitors: dict[str, Visitor] = {}
        self._owners: dict[str, set[str]] = {}  # of each upload; equal files have one path
        self._pages: dict[str, str] = {}
        self._lock = threading.RLock()

    def find(self, secret: str | None) -> Visitor | None:
        """The visitor with this cookie, who counts as seen now."""
        with self._lock:
            visitor = self._visitors.get(secret or "")
            if visitor is not None:
                visitor.seen_s = self._now()
            return visitor

    def welcome(self) -> Visitor:
        """A new one. Where there are too many, the one who was away longest goes."""
        self.forget_absent()
        with self._lock:
            if len(self._visitors) >= _MAX_VISITORS:
                self.forget(min(self._visitors.values(), key=lambda one: one.seen_s))
            visitor = Visitor(seen_s=self._now())
            self._visitors[visitor.secret] = visitor
            return visitor

    def of(self, secret: str | None) -> Visitor:
        """As `find`. Raises InputError if there is none."""
        visitor = self.find(secret)
        if visitor is None:
            raise InputError("this page is no longer known here", fix="Reload it; cookies must be allowed")
        return visitor

    def add_uploads(self, visitor: Visitor, paths: Iterable[str]) -> None:
        with self._lock:
            for path in paths:
                visitor.uploads.pop(path, None)
                visitor.uploads[path] = None
                self._owners.setdefault(path, set()).add(visitor.secret)
            while len(visitor.uploads) > _MAX_UPLOADS:
                self._remove_upload(visitor, next(iter(visitor.uploads)))

    def add_video(self, visitor: Visitor, job: VideoJob) -> None:
        with self._lock:
            visitor.videos.append(job)
            over = [one for one in visitor.videos if one.is_over]
            for old in over[: max(0, len(visitor.videos) - _MAX_VIDEOS)]:
                visitor.videos.remove(old)
                shutil.rmtree(old.folder, ignore_errors=True)

    def owns_page(self, visitor: Visitor, page: str) -> bool:
        """Whether a page of this name is the visitor's. A name that nobody has becomes the visitor's."""
        with self._lock:
            return self._pages.setdefault(page, visitor.secret) == visitor.secret

    def clear(self, visitor: Visitor) -> None:
        """Cancels its videos and deletes its files."""
        with self._lock:
            for job in visitor.videos:
                job.cancel()
                if job.is_over:
                    shutil.rmtree(job.folder, ignore_errors=True)
            visitor.videos.clear()
            visitor.choices.clear()
            for path in list(visitor.uploads):
                self._remove_upload(visitor, path)

    def forget(self, visitor: Visitor) -> None:
        """Clears it; its cookie is worth nothing then."""
        with self._lock:
            self.clear(visitor)
            self._pages = {page: one for page, one in self._pages.items() if one != visitor.secret}
            self._visitors.pop(visitor.secret, None)

    def forget_absent(self) -> None:
        """Whoever was away too long, and has no video in the making."""
        with self._lock:
            for visitor in list(self._visitors.values()):
                if self._now() - visitor.seen_s > self._keep_s and visitor.unfinished is None:
                    self.forget(visitor)

    def _remove_upload(self, visitor: Visitor, path: str) -> None:
        visitor.uploads.pop(path, None)
        owners = self._owners.get(path, set())
        owners.discard(visitor.secret)
        if not owners:
            self._owners.pop(path, None)
            with suppress(OSError):
                Path(path).unlink()
                Path(path).parent.rmdir()
