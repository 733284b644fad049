"""Errors as the API tells them: status, code, the parameter, and what can be done."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from openemo.errors import AudioError, ConfigError, FaceError, ImageError, InputError, OpenEmoError

__all__ = ["ApiError", "add_error_handlers", "error_code"]

_log = logging.getLogger(__name__)

_CODES: dict[type[OpenEmoError], str] = {
    ImageError: "invalid_image",
    AudioError: "invalid_audio",
    FaceError: "no_usable_face",
    ConfigError: "invalid_option",
    InputError: "invalid_file",
}


class ApiError(OpenEmoError):
    """An error with the status that HTTP gives it.

    Args:
        code: a word for programs.
        param: the field of the request that is wrong.
        retry_after_s: when it may be tried again.
    """

    def __init__(
        self,
        status: int,
        code: str,
        what: str,
        *,
        got: object | None = None,
        expected: str | None = None,
        fix: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(what, got=got, expected=expected, fix=fix)
        self.status, self.code, self.param, self.retry_after_s = status, code, param, retry_after_s

    def answer(self) -> JSONResponse:
        headers = {}
        if self.retry_after_s is not None:
            headers["retry-after"] = str(max(1, round(self.retry_after_s)))
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["www-authenticate"] = "Bearer"
        return _answer(self.status, self.code, str(self), self.param, headers)


def error_code(error: OpenEmoError) -> str:
    """A word for programs."""
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), "server_error")


def add_error_handlers(app: Any) -> None:
    """Every error of `app` has one form."""
    app.add_exception_handler(ApiError, lambda _, error: error.answer())
    app.add_exception_handler(OpenEmoError, _own)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _wrong_query)
    app.add_exception_handler(ClientDisconnect, lambda *_: Response(status_code=400))
    app.add_exception_handler(Exception, _unforeseen)


def _own(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OpenEmoError)
    status = 400 if isinstance(error, InputError) else 500
    return _answer(status, error_code(error), str(error))


def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return _answer(error.status_code, code, str(error.detail), headers=dict(error.headers or {}))


def _wrong_query(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return _answer(400, "invalid_parameter", str(first["msg"]), str(first["loc"][-1]))


def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _answer(500, "server_error", "an error that nobody foresaw; the server's log has it.")


def _answer(
    status: int, code: str, message: str, param: str | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    kind = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    error = {"message": message, "type": kind, "param": param, "code": code}
    return JSONResponse({"error": error}, status, headers=headers)
