"""The server process: takes requests, keeps workers alive, deletes what has expired."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from openemo.errors import ConfigError
from openemo.serving.addresses import http_address, is_loopback, listening, local_hosts
from openemo.serving.api.api_settings import ApiSettings, check_api_address
from openemo.serving.api.json_logs import log_as_json
from openemo.threads import share_cores

__all__ = ["database", "serve_api"]

_log: Final = logging.getLogger(__name__)

_SWEEP_EVERY_S: Final = 30.0
_LAST_WORDS_S: Final = 5  # that an answer may take when the server stops
_CONNECTIONS: Final = 256
_MESSAGE_BYTES: Final = 2**25  # of a web socket: the first has a portrait


def serve_api(
    settings: ApiSettings, *, force: bool = False, on_ready: Callable[[str], None] = lambda _: None
) -> None:
    """Serve until the process is asked to stop.

    Args:
        force: others than this machine may use it without a key.
        on_ready: is told the address. Requests are taken then; workers still load.

    Raises:
        ConfigError: the extra is not installed, a setting is wrong, or the port is in use.
        OutputError: the data cannot be kept.
    """
    uvicorn = _uvicorn()
    from openemo.serving.api.api_keys import ApiKeys
    from openemo.serving.api.job_files import JobFiles
    from openemo.serving.api.job_store import JobStore
    from openemo.serving.api.live_socket import LiveSockets
    from openemo.serving.api.model_loading import load_model
    from openemo.serving.api.video_routes import guarded_api
    from openemo.serving.api.video_service import VideoService
    from openemo.serving.api.worker_processes import WorkerProcesses

    files = JobFiles(settings.data)
    if settings.json_logs:
        log_as_json()
    with database(settings) as engine, listening(settings.host, settings.port) as listener:
        keys = ApiKeys(engine)
        check_api_address(settings.host, has_key=keys.has_valid, force=force)
        store = JobStore(engine, max_queue=settings.max_queue, workers=settings.workers)
        is_over = threading.Event()
        service = VideoService(store, files, keys, settings, is_stopping=is_over.is_set)
        port = listener.getsockname()[1]
        is_closed = is_loopback(settings.host) and not keys.are_needed
        live = None
        if settings.live:
            share_cores()  # before anything loads torch
            live = LiveSockets(service, partial(load_model, settings.model), settings.live)
        config = uvicorn.Config(
            guarded_api(service, hosts=local_hosts(port) if is_closed else None, live=live),
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_LAST_WORDS_S,
            ws="websockets-sansio" if settings.live else "none",
            ws_max_size=_MESSAGE_BYTES,
        )
        workers = WorkerProcesses(store, settings)
        sweeper = threading.Thread(target=_sweep, args=(files, store, settings, is_over), daemon=True)
        sweeper.start()
        on_ready(http_address(settings.host, port))
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            is_over.set()
            workers.stop()
            sweeper.join()


@contextmanager
def database(settings: ApiSettings) -> Iterator[Any]:
    """The database of the server, closed at the end. A folder of data is made where there is none."""
    from openemo.serving.api.api_database import open_database
    from openemo.serving.api.job_files import JobFiles

    JobFiles(settings.data)
    engine = open_database(settings.url)
    try:
        yield engine
    finally:
        engine.dispose()


def _uvicorn() -> Any:
    try:
        import fastapi
        import prometheus_client
        import python_multipart
        import sqlalchemy
        import uvicorn
        import websockets
    except ImportError as error:
        raise ConfigError(
            "the API needs more packages", got=f"no {error.name}", fix="pip install 'openemo[serve]'"
        ) from error
    assert fastapi and prometheus_client and python_multipart and sqlalchemy and websockets  # noqa: PT018
    return uvicorn


def _sweep(files: Any, store: Any, settings: ApiSettings, is_over: threading.Event) -> None:
    """Deletes what has expired, and what killed processes left."""
    while True:
        try:
            for job_id in store.delete_expired(settings.keep_s):
                files.delete(job_id)
            files.sweep(store)
        except Exception:  # the next look may succeed
            _log.exception("old videos could not be deleted")
        if is_over.wait(_SWEEP_EVERY_S):
            return
