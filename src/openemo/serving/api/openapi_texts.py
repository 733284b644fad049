"""What the OpenAPI document says beyond the types: the request in its two forms, examples, errors."""

from __future__ import annotations

from typing import Any, Final

from openemo.serving.api.video_objects import ErrorAnswer
from openemo.serving.api.video_request import FILE_FIELDS, VideoForm

__all__ = ["DESCRIPTION", "ERRORS", "request_body"]

DESCRIPTION: Final = (
    "A portrait and a voice become a video of that person speaking. Videos are jobs, in the form of OpenAI's "
    "video API: create one, look at it or at its events until it is completed, download its content."
)
_TEXTS: Final = {
    400: "Something in the request is wrong; `param` and `message` say what.",
    401: "The key is missing or not known.",
    404: "There is no such video of this key.",
    409: "The video is not made yet, or could not be made.",
    413: "The request is too large.",
    422: "The Idempotency-Key belongs to another request.",
    429: "Too many requests, jobs, or seconds of video; `Retry-After` says when to come again.",
}
ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorAnswer, "description": text} for status, text in _TEXTS.items()
}
_FILES: Final = {
    "image_reference": "The portrait: any picture, told by its content.",
    "audio_reference": "The voice: any sound, or a video with sound. The video is as long.",
    "motion_from": "A video of somebody whose head, gaze, brows and blinks are taken over.",
    "motion_style_from": "A video of somebody whose habits are: how far and how fast they move.",
}
_PIXEL: Final = "data:image/png;base64,iVBORw0KGgo..."
_SOUND: Final = "data:audio/wav;base64,UklGRi..."


def request_body() -> dict[str, Any]:
    """The body of a new video, for `openapi_extra`."""
    fields = VideoForm.model_json_schema()["properties"]
    fields["consent"]["example"] = "Jane Doe agreed in writing on 1 November 2026, for this video."
    required = list(FILE_FIELDS[:2])
    example = {
        "image_reference": _PIXEL,
        "audio_reference": _SOUND,
        "emotion": "happy",
        "framing": "crop",
        "size_px": 512,
        "seed": 7,
    }

    def content(file: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
        files = {name: {**file, "description": text} for name, text in _FILES.items()}
        return {
            "type": "object",
            "properties": {**files, **fields},
            "required": required,
            "additionalProperties": False,
        }

    binary = {"type": "string", "format": "binary"}
    url = {"type": "string", "pattern": "^data:.*;base64,"}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": content(binary, _without_null(fields))},
                "application/json": {"schema": content(url, fields), "example": example},
            },
        },
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "The same request with the same key makes one job, however often it is sent.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
                "example": "order-1234",
            }
        ],
    }


def _without_null(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of a form are texts: one that is null is left out."""
    found = {}
    for name, field in fields.items():
        kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
        plain = {key: value for key, value in field.items() if key != "anyOf" and value is not None}
        found[name] = plain | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})
    return found
