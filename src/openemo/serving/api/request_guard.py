"""Stands before the application: refuses foreign pages, large and slow requests; headers, log, figures."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from openemo.serving.api.api_errors import ApiError
from openemo.serving.asgi import App, Message, Receive, Scope, Send, headers_of

__all__ = ["RequestGuard"]

_log: Final = logging.getLogger("openemo.requests")

_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "private, no-store",
    "cross-origin-resource-policy": "same-origin",
}
_CLOSE_FOREIGN: Final = 1008
_METHODS: Final = ("GET", "HEAD", "POST", "DELETE", "WEBSOCKET")  # others may have any name

Observe = Callable[[str, str, int, float], None]
"""Called with method, route, status and seconds of each request."""


class RequestGuard:
    """ASGI middleware.

    Args:
        hosts: names that the server is asked by; None for any. Only for a server that needs no key: a key is
            nothing that a browser sends by itself.
        max_bytes: of a request's body.
        timeout_s: that a body may take to come.
    """

    def __init__(
        self, app: App, *, hosts: frozenset[str] | None, max_bytes: int, timeout_s: float, observe: Observe
    ) -> None:
        self._app, self._hosts, self._observe = app, hosts, observe
        self._max_bytes, self._timeout_s = max_bytes, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        start_s, headers = time.monotonic(), headers_of(scope)
        request_id = secrets.token_hex(8)
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                extra = {**_HEADERS, "x-request-id": request_id}
                pairs = [(name.encode(), value.encode()) for name, value in extra.items()]
                message = {**message, "headers": [*message.get("headers", []), *pairs]}
            elif message["type"] == "websocket.http.response.start":
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        scope.setdefault("state", {})["request_id"] = request_id
        try:
            refusal = self._refusal(scope, headers)
            if refusal is None:
                await self._app(scope, self._limited(scope, receive), sending)
            elif scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": _CLOSE_FOREIGN})
            else:
                await refusal.answer()(scope, receive, sending)
        finally:
            self._note(scope, request_id, status, time.monotonic() - start_s)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> ApiError | None:
        if self._hosts is not None:
            origin = headers.get("origin")
            if headers.get("host") not in self._hosts:
                return ApiError(421, "misdirected_request", "this server has another address")
            if origin is not None and urlsplit(origin).netloc not in self._hosts:
                return ApiError(403, "foreign_page", "a page of another address may not ask here", got=origin)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > self._max_bytes:
            return self._too_large()
        return None

    def _too_large(self) -> ApiError:
        expected = f"at most {self._max_bytes:,} bytes"
        return ApiError(413, "request_too_large", "the request is too large", expected=expected)

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """`receive`, which raises for a body that is too large or comes too slowly."""
        if scope["type"] != "http":
            return receive
        end_s, size, is_whole = time.monotonic() + self._timeout_s, 0, False

        async def limited() -> Message:
            nonlocal size, is_whole
            if is_whole:  # what comes now is that the client has gone
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, end_s - time.monotonic()))
            except TimeoutError:
                raise ApiError(
                    408, "request_timeout", "the request came too slowly", expected=f"{self._timeout_s:g} s"
                ) from None
            size += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if size > self._max_bytes:
                raise self._too_large()
            return message

        return limited

    def _note(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        method = scope.get("method", "WEBSOCKET")
        method = method if method in _METHODS else "other"
        self._observe(method, route, status, seconds)
        key = scope["state"].get("key_id")
        _log.info(
            "%s %s %d",
            method,
            route,
            status,
            extra={"request_id": request_id, "key": key, "seconds": round(seconds, 4), "status": status},
        )
