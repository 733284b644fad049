"""Serves the page on this machine, from a folder that is gone afterwards."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from openemo.decoding_limits import DEFAULT_LIMITS, DecodingLimits
from openemo.errors import ConfigError
from openemo.files import temporary_folder
from openemo.serving.addresses import http_address, is_loopback, listening, local_hosts

if TYPE_CHECKING:
    from openemo.pipeline import EmoPipeline
    from openemo.serving.video_jobs import VideoMaker
    from openemo.serving.visitors import Visitors
    from openemo.serving.web_guard import WebGuard

__all__ = ["ServerSettings", "check_address", "guarded_page", "serve_page"]

_LOOK_FOR_ABSENT_S: Final = 20.0
_LAST_WORDS_S: Final = 2  # that an answer may take when the server stops
_PAGE: Final = Path(__file__).parent / "page"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where and for whom.

    Attributes:
        host, port: where to listen; port 0 takes a free one.
        auth: name and password that the page asks for.
        keep_s: how long the files of somebody who is away are kept.
        limits: of the files; `max_file_bytes` is that of an upload.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    auth: tuple[str, str] | None = None
    keep_s: float = 1800.0
    limits: DecodingLimits = DEFAULT_LIMITS

    @property
    def is_local(self) -> bool:
        return is_loopback(self.host)


def check_address(settings: ServerSettings, *, force: bool) -> None:
    """Others than this machine may reach the page only if it asks for a password, or it is forced.

    Raises:
        ConfigError: they could reach it without.
    """
    if not (settings.is_local or settings.auth or force):
        raise ConfigError(
            "anybody who reaches this machine could use the page",
            got=f"the address {settings.host} without a password",
            expected="127.0.0.1, or `--auth NAME:PASSWORD`",
            fix="`--force` serves it to all nevertheless",
        )


def serve_page(
    pipeline: EmoPipeline, settings: ServerSettings, on_ready: Callable[[str], None] = lambda _: None
) -> None:
    """Serve until the process is asked to stop.

    Args:
        on_ready: is told the page's address.

    Raises:
        ConfigError: Gradio is not installed, or the port is in use.
    """
    with (
        listening(settings.host, settings.port) as listener,
        temporary_folder(Path(tempfile.gettempdir())) as folder,
        _temporary_files_in(folder),
    ):
        _serve(pipeline, settings, listener, folder, on_ready)


def _serve(
    pipeline: EmoPipeline,
    settings: ServerSettings,
    listener: socket.socket,
    folder: Path,
    on_ready: Callable[[str], None],
) -> None:
    uvicorn = _uvicorn()
    from openemo.serving.time_estimate import TimeEstimate
    from openemo.serving.video_jobs import VideoMaker
    from openemo.serving.visitors import Visitors
    from openemo.serving.web_page import EXAMPLE_FILES, VOICE

    visitors = Visitors(settings.keep_s)
    maker = VideoMaker(pipeline, folder, limits=settings.limits, estimate=TimeEstimate())
    port = listener.getsockname()[1]
    config = uvicorn.Config(
        guarded_page(maker, visitors, settings, port),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_LAST_WORDS_S,
        ws="none",
    )
    maker.warm_up(EXAMPLE_FILES["demo_portrait.jpg"], EXAMPLE_FILES[VOICE])
    is_over = threading.Event()
    threading.Thread(target=_forget_absent, args=(visitors, is_over), daemon=True).start()
    on_ready(http_address(settings.host, port))
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        is_over.set()
        maker.close()


def guarded_page(maker: VideoMaker, visitors: Visitors, settings: ServerSettings, port: int) -> WebGuard:
    """The page, the files of its videos, and the guard before both, as an ASGI application.

    Args:
        port: that browsers ask.
    """
    _uvicorn()
    from openemo.serving.web_guard import WebGuard

    return WebGuard(
        _application(maker, visitors, settings),
        visitors,
        hosts=local_hosts(port) if settings.is_local else None,
        max_file_bytes=settings.limits.max_file_bytes,
    )


def _application(maker: VideoMaker, visitors: Visitors, settings: ServerSettings) -> Any:
    import gradio as gr
    from fastapi import FastAPI, Request
    from fastapi.responses import FileResponse, PlainTextResponse, Response

    from openemo.serving.visitors import COOKIE
    from openemo.serving.web_page import EXAMPLE_FILES, THEME, WebPage

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gone = PlainTextResponse("There is no such file.", status_code=404)

    def example(name: str) -> Response:
        return FileResponse(EXAMPLE_FILES[name]) if name in EXAMPLE_FILES else gone

    def video_file(request: Request, job_id: str, name: str) -> Response:
        visitor = visitors.find(request.cookies.get(COOKIE))
        job = None if visitor is None else visitor.video(job_id)
        if job is None or job.state != "done" or name not in job.files:
            return gone
        is_download = "download" in request.query_params
        return FileResponse(job.files[name], filename=f"openemo.{job.kind}" if is_download else None)

    # FastAPI reads annotations from the module, where these names are not.
    video_file.__annotations__ = {"request": Request, "job_id": str, "name": str}
    app.add_api_route("/media/examples/{name}", example, methods=["GET", "HEAD"], response_model=None)
    app.add_api_route("/media/{job_id}/{name}", video_file, methods=["GET", "HEAD"], response_model=None)
    page = WebPage(maker, visitors).build()
    page.queue(api_open=False, max_size=256)
    return gr.mount_gradio_app(
        app,
        page,
        "/",
        auth=settings.auth,
        footer_links=[],
        max_file_size=settings.limits.max_file_bytes,
        show_error=True,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=THEME,
        css_paths=[_PAGE / "page.css"],
        js=(_PAGE / "page.js").read_text(encoding="utf-8"),
    )


def _uvicorn() -> Any:
    """Gradio's server. Gradio is told before it is imported that it reports nothing to its makers."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_SSR_MODE"] = "False"
    try:
        import gradio
        import uvicorn
    except ImportError as error:
        raise ConfigError("the page needs Gradio", fix="pip install 'openemo[ui]'") from error
    assert gradio
    return uvicorn


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Uploads, and what libraries write meanwhile, go there and with it."""
    before, known = tempfile.tempdir, os.environ.get("GRADIO_TEMP_DIR")
    tempfile.tempdir = str(folder)
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    try:
        yield
    finally:
        tempfile.tempdir = before
        if known is None:
            del os.environ["GRADIO_TEMP_DIR"]
        else:
            os.environ["GRADIO_TEMP_DIR"] = known


def _forget_absent(visitors: Visitors, is_over: threading.Event) -> None:
    while not is_over.wait(_LOOK_FOR_ABSENT_S):
        visitors.forget_absent()
