"""The routes of the API, as FastAPI has them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, FastAPI, Path, Query
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.websockets import WebSocket

from openemo import __version__
from openemo.serving.api.api_errors import ApiError, add_error_handlers
from openemo.serving.api.api_keys import ApiKey
from openemo.serving.api.api_metrics import ApiMetrics
from openemo.serving.api.job_store import StoredJob
from openemo.serving.api.live_socket import LiveSockets
from openemo.serving.api.openapi_texts import DESCRIPTION, ERRORS, request_body
from openemo.serving.api.request_guard import RequestGuard
from openemo.serving.api.video_objects import DeletedVideo, Video, VideoList
from openemo.serving.api.video_service import VideoService

__all__ = ["guarded_api"]

_UPLOAD_TIMEOUT_S: Final = 300.0
_VARIANTS: Final = {"thumbnail": "poster.jpg", "spritesheet": "sheet.jpg"}  # OpenAI's names


def _service(request: Request) -> VideoService:
    service: VideoService = request.app.state.service
    return service


def _key(request: Request) -> ApiKey:
    return _service(request).admit(request)


Service = Annotated[VideoService, Depends(_service)]
Key = Annotated[ApiKey, Depends(_key)]
VideoId = Annotated[str, Path(max_length=100)]


def _own(service: Service, key: Key, video_id: VideoId) -> StoredJob:
    return service.own(key, video_id)


Own = Annotated[StoredJob, Depends(_own)]


async def _watching(service: Service, key: Key) -> AsyncIterator[None]:
    with service.watching(key):
        yield


Watching = Annotated[None, Depends(_watching)]


async def create_video(request: Request, service: Service, key: Key) -> Video:
    """Accepts a job. It is on the disk before this answers: whatever is killed then, the video is made."""
    job = await service.accept(request, key)
    video: Video = await run_in_threadpool(service.told, job)
    return video


async def create_video_sync(request: Request, service: Service, key: Key, watching: Watching) -> Response:
    """Answers with the video itself. Who goes away before cancels it, unless there is an Idempotency-Key."""
    job = await service.wait(request, key, await service.accept(request, key))
    return await run_in_threadpool(_content, service, job, "video")


def list_videos(
    service: Service,
    key: Key,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(max_length=100)] = None,
    order: Literal["asc", "desc"] = "desc",
) -> VideoList:
    """Of this key, a page at a time: `after` is the last id of the page before."""
    return service.page(key, limit=limit, after=after, is_descending=order == "desc")


def get_video(service: Service, job: Own) -> Video:
    """How far it is, and what it is."""
    return service.told(job)


def get_video_content(
    service: Service, job: Own, variant: Literal["video", "thumbnail", "spritesheet"] = "video"
) -> Response:
    """The video, its first frame, or twelve of its frames in rows. Ranges work."""
    return _content(service, job, variant)


async def watch_video(service: Service, key: Key, job: Own, watching: Watching) -> AsyncIterator[Any]:
    """Server-sent events `progress`, and at last `completed`, `failed` or `deleted`; each has the video."""
    async for state in service.states(key, job):
        if state is None:
            yield ServerSentEvent(event="deleted", data=DeletedVideo(id=job.id))
            return
        event = state.status if state.is_over else "progress"
        yield ServerSentEvent(event=event, data=await run_in_threadpool(service.told, state))


def delete_video(service: Service, key: Key, job: Own) -> DeletedVideo:
    """Ends its making, and deletes its files."""
    service.delete(key, job)
    return DeletedVideo(id=job.id)


def get_health() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


def get_readiness(service: Service) -> Response:
    """503 where videos are not taken or not made now."""
    checks = service.is_ready()
    status = HTTPStatus.OK if all(checks.values()) else HTTPStatus.SERVICE_UNAVAILABLE
    return JSONResponse(checks, status)


def get_metrics(request: Request, key: Key) -> Response:
    """For a key that was made with `--metrics`."""
    if not key.reads_metrics:
        raise ApiError(404, "not_found", "there is nothing here for this key")
    metrics: ApiMetrics = request.app.state.metrics
    return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def live_video(socket: WebSocket) -> None:
    live: LiveSockets = socket.app.state.live
    await live.serve(socket)


def guarded_api(
    service: VideoService, *, hosts: frozenset[str] | None = None, live: LiveSockets | None = None
) -> RequestGuard:
    """The API with its guard, as an ASGI application.

    Args:
        live: without it there is no `/v1/live`.
        hosts: see `RequestGuard`.
    """
    metrics = ApiMetrics(service.store)
    app = _application()
    app.state.service, app.state.metrics, app.state.live = service, metrics, live
    if live is not None:
        app.add_api_websocket_route("/v1/live", live_video)
    return RequestGuard(
        app,
        hosts=hosts,
        max_bytes=service.settings.limits.max_file_bytes,
        timeout_s=_UPLOAD_TIMEOUT_S,
        observe=metrics.observe,
    )


def _application() -> Any:
    # The pages of documentation that FastAPI has load scripts of another host.
    app = FastAPI(
        title="openemo", version=__version__, description=DESCRIPTION, docs_url=None, redoc_url=None
    )
    add_error_handlers(app)
    body: dict[str, Any] = {"openapi_extra": request_body()}
    video = "/v1/videos/{video_id}"
    _add(app, "POST", "/v1/videos", create_video, **body)
    _add(app, "POST", "/v1/videos/sync", create_video_sync, kind="video/mp4", **body)
    _add(app, "GET", "/v1/videos", list_videos)
    _add(app, "GET", video, get_video)
    _add(app, "GET", f"{video}/content", get_video_content, kind="video/mp4")
    _add(app, "GET", f"{video}/events", watch_video, response_class=EventSourceResponse)
    _add(app, "DELETE", video, delete_video)
    _add(app, "GET", "/metrics", get_metrics, kind="text/plain")
    app.add_api_route("/health", get_health, operation_id="get_health")
    not_ready = {503: {"description": "The same, where something is not so."}}
    app.add_api_route("/ready", get_readiness, operation_id="get_readiness", responses=not_ready)
    return app


def _add(app: Any, method: str, path: str, endpoint: Any, *, kind: str | None = None, **options: Any) -> None:
    """A route with its errors. `kind` is what it answers with, where that is no JSON."""
    answer: dict[int | str, Any] = {} if kind is None else {200: {"content": {kind: {}}}}
    app.add_api_route(
        path,
        endpoint,
        methods=[method],
        operation_id=endpoint.__name__,
        responses=ERRORS | answer,
        dependencies=[Depends(HTTPBearer(auto_error=False))],
        **options,
    )


def _content(service: VideoService, job: StoredJob, variant: str) -> Response:
    ending = job.request["format"]
    path = service.result_file(job, _VARIANTS.get(variant, f"video.{ending}"))
    return FileResponse(path, headers={"x-video-id": job.id}, filename=f"{job.id}{path.suffix}")
