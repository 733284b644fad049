"""What the API answers: OpenAI's video object with fields of its own."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from openemo.serving.api.job_store import StoredJob

__all__ = ["DeletedVideo", "ErrorAnswer", "Video", "VideoList", "video_of"]

_PROMPT_NOTE = "`prompt` changes nothing: the portrait and the voice are all that this model is told"


class VideoError(BaseModel):
    """Why there is no video."""

    code: str
    message: str


class Video(BaseModel):
    """One video job. Times are in seconds since 1970.

    Attributes:
        progress: 0 to 100.
        seconds: length of the sound, as text, as OpenAI has it.
        size: "WIDTHxHEIGHT", once it is known.
        num_before: videos that are made before this one.
        expires_at: when the video is deleted.
        options: as they were sent.
    """

    id: str
    object: Literal["video"] = "video"
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int
    created_at: int
    started_at: int | None
    completed_at: int | None
    expires_at: int | None
    error: VideoError | None
    prompt: str | None
    remixed_from_video_id: None = None
    seconds: str
    size: str | None
    num_before: int
    num_frames: int | None
    seed: int | None
    format: str
    warnings: list[str]
    consent: str | None
    options: dict[str, Any]


class VideoList(BaseModel):
    """A page of videos."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedVideo(BaseModel):
    """The video and its files are gone."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


class ErrorDetail(BaseModel):
    """One error.

    Attributes:
        message: what is wrong, what was got, what was expected, the way out.
        param: the field that is wrong.
        code: a word for programs.
    """

    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: str | None
    code: str


class ErrorAnswer(BaseModel):
    """The form of all errors."""

    error: ErrorDetail


def video_of(job: StoredJob, *, model: str, keep_s: float, num_before: int) -> Video:
    """A job as the API tells it."""
    request, made = dict(job.request), job.made or {}
    prompt, consent, kind = request.pop("prompt", None), request.pop("consent", None), request.pop("format")
    request.pop("model", None)
    warnings = list(made.get("warnings", ()))
    return Video(
        id=job.id,
        model=model,
        status=job.status,
        progress=_progress(job, made.get("num_frames")),
        created_at=int(job.created_s),
        started_at=_whole(job.started_s),
        completed_at=_whole(job.ended_s) if job.status == "completed" else None,
        expires_at=None if job.ended_s is None else int(job.ended_s + keep_s),
        error=None if job.error is None else VideoError(**job.error),
        prompt=prompt,
        seconds=f"{job.sound_s:g}",
        size=f"{made['width']}x{made['height']}" if made else None,
        num_before=num_before,
        num_frames=made.get("num_frames"),
        seed=made.get("seed"),
        format=kind,
        warnings=[_PROMPT_NOTE, *warnings] if prompt else warnings,
        consent=consent,
        options={name: value for name, value in request.items() if value is not None},
    )


def _progress(job: StoredJob, num_frames: int | None) -> int:
    if job.status == "completed":
        return 100
    return min(99, 100 * job.frames_done // num_frames) if num_frames else 0


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)
