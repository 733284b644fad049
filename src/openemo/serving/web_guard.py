"""Stands before Gradio: who may ask for what, and where a page may send the browser.

Gradio serves each uploaded file to whoever knows its address. Here a file goes only to the browser that sent
it, a path or address that a page hands in must be such a file, and all of Gradio's routes that the page does
not need are closed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qs

from openemo.serving.asgi import App, Message, Receive, Scope, Send, headers_of
from openemo.serving.visitors import COOKIE, Visitor, Visitors

__all__ = ["WebGuard"]

_API: Final = "/gradio_api/"
_FILE: Final = f"{_API}file="
_READ: Final = re.compile(
    r"/(|config/?|theme\.css|robots\.txt|favicon\.ico|manifest\.json|login_check/?|logout|user/?"
    r"|(static|assets|svelte|media)/.+"
    r"|gradio_api/(startup-events|theme\.css|login_check|user|app_id|heartbeat/\w+|queue/data"
    r"|upload_progress|file=.+))"
)
_WRITE: Final = re.compile(r"/(login/?|gradio_api/(upload|queue/join|cancel|reset/?))")
# Without a cookie: the page itself, what it is made of, and the form that asks for a password.
_OPEN: Final = re.compile(
    r"/(|config/?|theme\.css|robots\.txt|favicon\.ico|manifest\.json|login_check/?|login/?|logout|user/?"
    r"|(static|assets|svelte)/.+|media/examples/.+|gradio_api/(startup-events|theme\.css|login_check|user|app_id))"
)
_MAX_BODY_BYTES: Final = 2**20

# Gradio's page has scripts and styles in it, and makes workers and pictures of blobs.
_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self), microphone=(self), geolocation=()",
}
_PRIVATE: Final = {"cache-control": "private, no-store"}


class WebGuard:
    """ASGI middleware.

    Args:
        hosts: names that the page is asked for by; None for any.
        max_file_bytes: of an upload.
    """

    def __init__(
        self, app: App, visitors: Visitors, *, hosts: frozenset[str] | None, max_file_bytes: int
    ) -> None:
        self._app, self._visitors, self._hosts = app, visitors, hosts
        self._max_upload_bytes = max_file_bytes + _MAX_BODY_BYTES  # with the form around it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, headers = scope["path"], headers_of(scope)
        if self._hosts is not None and headers.get("host") not in self._hosts:
            return await _refuse(send, 421, "This page has another address.")
        allowed = _READ if scope["method"] in ("GET", "HEAD") else _WRITE
        if not allowed.fullmatch(path) or (scope["method"] not in ("GET", "HEAD", "POST")):
            return await _refuse(send, 404, "There is no such page.")
        visitor = self._visitors.find(_cookie_of(headers))
        is_new = visitor is None and path == "/"
        if is_new:
            visitor = self._visitors.welcome()
        if visitor is None:
            if not _OPEN.fullmatch(path):
                return await _refuse(send, 403, "This page is no longer known here. Reload it.")
        elif scope["method"] == "POST" and path not in ("/login", "/login/"):
            if path == f"{_API}upload":
                return await self._upload(visitor, scope, headers, receive, send)
            checked = await self._checked_body(visitor, receive)
            if checked is None:
                return await _refuse(send, 403, "That belongs to somebody else.")
            receive = checked
        elif not self._may_read(visitor, scope):
            return await _refuse(send, 404, "There is no such file.")
        await self._app(scope, receive, self._sending(visitor, scope, send, is_new=is_new))
        return None

    def _may_read(self, visitor: Visitor, scope: Scope) -> bool:
        path: str = scope["path"]
        if path.startswith(_FILE):
            return path.removeprefix(_FILE) in visitor.uploads
        if path.startswith(f"{_API}heartbeat/"):
            return self._visitors.owns_page(visitor, path.rsplit("/", 1)[1])
        if path == f"{_API}queue/data":
            pages = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [])
            return bool(pages) and all(self._visitors.owns_page(visitor, page) for page in pages)
        return True

    async def _upload(
        self, visitor: Visitor, scope: Scope, headers: dict[str, str], receive: Receive, send: Send
    ) -> None:
        """Whose the files are is noted before their paths are told."""
        if int(headers.get("content-length", "0") or 0) > self._max_upload_bytes:
            return await _refuse(send, 413, "The file is too large.")
        kept: list[Message] = []

        async def keep(message: Message) -> None:
            kept.append(message)

        await self._app(scope, receive, keep)
        body = b"".join(message.get("body", b"") for message in kept)
        if kept and kept[0].get("status") == 200:
            self._visitors.add_uploads(visitor, json.loads(body))
        out = self._sending(visitor, scope, send)
        for message in kept:
            await out(message)
        return None

    async def _checked_body(self, visitor: Visitor, receive: Receive) -> Receive | None:
        """The request once more, if it asks for nothing that is another visitor's, or not in this folder."""
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False) and message["type"] == "http.request"
            if len(body) > _MAX_BODY_BYTES:
                return None
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            return None
        page = request.get("session_hash") if isinstance(request, dict) else None
        if not isinstance(page, str) or not self._visitors.owns_page(visitor, page):
            return None
        if any(path not in visitor.uploads for path in _paths_in(request)):
            return None
        replayed = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def replay() -> Message:
            return next(replayed, None) or await receive()

        return replay

    def _sending(self, visitor: Visitor | None, scope: Scope, send: Send, *, is_new: bool = False) -> Send:
        """`send` with our headers. A page that is open keeps its visitor present."""
        path: str = scope["path"]
        extra = dict(_HEADERS)
        if path == "/" or (path.startswith((_API, "/media/")) and not path.startswith("/media/examples/")):
            extra |= _PRIVATE
        if is_new and visitor is not None:
            extra["set-cookie"] = f"{COOKIE}={visitor.secret}; Path=/; HttpOnly; SameSite=Strict"
        is_heartbeat = path.startswith(f"{_API}heartbeat/")

        async def out(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in extra.items()]
                replaced = {name.encode() for name in extra if name != "set-cookie"}
                kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in replaced]
                message = {**message, "headers": kept + added}
            elif is_heartbeat and visitor is not None:
                self._visitors.find(visitor.secret)
            await send(message)

        return out


def _cookie_of(headers: dict[str, str]) -> str | None:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return None if found is None else found.value


def _paths_in(value: Any) -> Iterator[str]:
    """What of a request Gradio would take for a file or fetch: paths and addresses of file objects."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if isinstance(one.get("path"), str):
                yield one["path"]
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


async def _refuse(send: Send, status: int, text: str) -> None:
    headers = {"content-type": "text/plain; charset=utf-8", **_HEADERS}
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": text.encode()})
