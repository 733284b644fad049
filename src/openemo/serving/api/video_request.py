"""A request for a video: its fields and files, from a form or from JSON, checked before a job is accepted.

Nothing is fetched: files come in the request. They are decoded in processes of their own, as everywhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request

from openemo.decoding_limits import DecodingLimits
from openemo.errors import OpenEmoError
from openemo.pipeline.inputs import open_clip, start_inputs
from openemo.pipeline.video_options import VideoOptions
from openemo.serving.api.api_errors import ApiError, error_code
from openemo.settings import wrong_setting

__all__ = [
    "CLIPS",
    "FILE_FIELDS",
    "PORTRAIT",
    "SOUND",
    "RequestLimits",
    "VideoForm",
    "VideoRequest",
    "check_request",
    "of_data_url",
    "read_request",
]

PORTRAIT, SOUND = "image_reference", "audio_reference"
CLIPS: Final = ("motion_from", "motion_style_from")
FILE_FIELDS: Final = (PORTRAIT, SOUND, *CLIPS)
_OTHER_NAMES: Final = {"input_reference": PORTRAIT}  # OpenAI's
_URL_FIELDS: Final = ("image_url", "audio_url", "video_url", "url")  # OpenAI's objects with one URL

_MOST_TEXT_BYTES: Final = 32 * 2**20  # of JSON, or of one field of a form: they are held in memory
_MOST_FILES, _MOST_FIELDS = 8, 64
_FIRST_FRAME_S: Final = 0.001


class VideoForm(VideoOptions):
    """The fields of a request that are no files.

    Attributes:
        model: the server has one; another name is refused.
        prompt: taken because OpenAI's clients send one. It changes nothing, and the video says so.
        format: of the video.
        consent: a statement that the person shown, or whoever may speak for them, agrees. Kept with the job.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    model: str | None = None
    prompt: str | None = Field(None, max_length=32_000)
    format: Literal["mp4", "webm", "gif", "webp"] = "mp4"
    consent: str | None = Field(None, min_length=1, max_length=4_000)
    num_inference_steps: int | None = Field(None, ge=1, le=100)


@dataclass(frozen=True, slots=True)
class VideoRequest:
    """A request that can be accepted.

    Attributes:
        files: names of the files, in the folder that was given.
        sound_s: length of the sound.
        sha256: equal requests have equal ones.
    """

    form: VideoForm
    files: tuple[str, ...]
    sound_s: float
    sha256: str


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """See `ApiSettings`."""

    files: DecodingLimits
    max_size_px: int
    require_consent: bool
    model: str


async def read_request(request: Request, folder: Path) -> tuple[VideoForm, tuple[str, ...]]:
    """The fields, and the names of the files, which are in `folder` afterwards.

    Raises:
        ApiError: the form is wrong, or a file is missing.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        fields, files = await _read_form(request, folder)
    elif kind == "application/json":
        fields, files = await _read_json(request, folder)
    else:
        raise ApiError(
            415,
            "unsupported_media_type",
            "this form of request is not read",
            got=repr(kind[:100]),
            expected="multipart/form-data, or application/json with data URLs",
        )
    for name in (PORTRAIT, SOUND):
        if name not in files:
            kind = "portrait" if name == PORTRAIT else "voice"
            raise ApiError(400, "missing_file", f"there is no {kind}", expected=f"`{name}`", param=name)
    return _checked_form(fields), tuple(name for name in FILE_FIELDS if name in files)


def check_request(
    form: VideoForm, files: tuple[str, ...], folder: Path, limits: RequestLimits
) -> VideoRequest:
    """Decodes the files once, so that what cannot be read is refused at once. Takes seconds.

    Raises:
        ApiError: they cannot be read, or an option is wrong.
    """
    form.check()
    if form.model not in (None, limits.model):
        raise ApiError(
            400, "unknown_model", "this server has another model", got=repr(form.model), param="model",
            expected=limits.model,
        )  # fmt: skip
    if form.size_px is not None and form.size_px > limits.max_size_px:
        raise ApiError(
            400, "invalid_option", "the size is out of range", got=f"{form.size_px} px", param="size_px",
            expected=f"at most {limits.max_size_px} px",
        )  # fmt: skip
    if limits.require_consent and form.consent is None:
        raise ApiError(
            400, "consent_required", "there is no statement of consent", param="consent",
            expected="`consent`: who agreed, to what, and when",
        )  # fmt: skip
    sound_s = _decode(form, files, folder, limits.files)
    return VideoRequest(form, files, sound_s, _digest(form, files, folder))


def _decode(form: VideoForm, files: tuple[str, ...], folder: Path, limits: DecodingLimits) -> float:
    """Length of the sound. The files are given open, so that no path is in an error."""
    options: dict[str, Any] = {"transparent": form.transparent, "audio_track": form.audio_track}
    try:
        with (
            (folder / PORTRAIT).open("rb") as portrait,
            (folder / SOUND).open("rb") as sound,
            start_inputs(portrait, sound, limits=limits, **options) as inputs,
        ):
            _, audio = inputs()
        for name in CLIPS:
            if name in files:
                with (
                    (folder / name).open("rb") as file,
                    open_clip(file, max_s=_FIRST_FRAME_S, limits=limits) as clip,
                ):
                    next(clip, None)
    except OpenEmoError as error:
        raise ApiError(
            400, error_code(error), error.what, got=error.got, expected=error.expected, fix=_fix_of(error)
        ) from error
    return float(audio.num_samples / audio.sample_rate_hz)


def _fix_of(error: OpenEmoError) -> str | None:
    """What a client can do; options of the command line are none of it."""
    return None if error.fix is None or "--" in error.fix else error.fix


async def _read_form(request: Request, folder: Path) -> tuple[dict[str, Any], set[str]]:
    fields: dict[str, Any] = {}
    files: set[str] = set()
    async with request.form(
        max_files=_MOST_FILES, max_fields=_MOST_FIELDS, max_part_size=_MOST_TEXT_BYTES
    ) as form:
        _check_once(name for name, _ in form.multi_items())
        for sent, value in form.multi_items():
            name = _OTHER_NAMES.get(sent, sent)
            if name in FILE_FIELDS:
                data = value if isinstance(value, UploadFile) else of_data_url(sent, value)
                await run_in_threadpool(_store, folder / name, data)
                files.add(name)
            elif isinstance(value, UploadFile):
                raise ApiError(
                    400, "unknown_file", f"`{sent}` takes no file", expected=", ".join(FILE_FIELDS)
                )
            else:
                fields[name] = value
    return fields, files


async def _read_json(request: Request, folder: Path) -> tuple[dict[str, Any], set[str]]:
    chunks, size = [], 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > _MOST_TEXT_BYTES:
            raise ApiError(
                413, "request_too_large", "the JSON is too large", fix="Send multipart/form-data",
                expected=f"at most {_MOST_TEXT_BYTES:,} bytes",
            )  # fmt: skip
    fields = await run_in_threadpool(_object, b"".join(chunks))
    files = set()
    for sent in [name for name in fields if _OTHER_NAMES.get(name, name) in FILE_FIELDS]:
        name, value = _OTHER_NAMES.get(sent, sent), fields.pop(sent)
        if value is None:
            continue
        if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in _URL_FIELDS:
            (value,) = value.values()
        await run_in_threadpool(_store, folder / name, of_data_url(sent, value))
        files.add(name)
    return fields, files


def _object(text: bytes) -> dict[str, Any]:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        _check_once(name for name, _ in items)
        return dict(items)

    def constant(name: str) -> float:
        raise ValueError(f"{name} is no JSON number")

    try:
        read = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "too many levels"
        raise ApiError(400, "invalid_json", "the body is no JSON", got=reason[:200]) from error
    if not isinstance(read, dict):
        raise ApiError(400, "invalid_json", "the body is no JSON object", got=type(read).__name__)
    return read


def _check_once(names: Iterable[str]) -> None:
    """Also where a field has two names."""
    counted = Counter(_OTHER_NAMES.get(name, name) for name in names)
    twice = [name for name, count in counted.items() if count > 1]
    if twice:
        raise ApiError(400, "duplicate_field", "a field is there twice", got=repr(twice[0])[:100])


def of_data_url(name: str, value: object) -> bytes:
    """The bytes of a data URL. Raises ApiError for all else, for other URLs, too."""
    if not isinstance(value, str) or not value.startswith("data:"):
        got = repr(value[:40]) if isinstance(value, str) else type(value).__name__
        raise ApiError(
            400, "invalid_file", f"`{name}` is no file", got=got, param=name,
            expected='a file of a form, or "data:image/png;base64,..."',
            fix="Send the file itself: no URL is fetched",
        )  # fmt: skip
    header, _, data = value.partition(",")
    if not header.endswith(";base64"):
        raise ApiError(
            400, "invalid_file", f"`{name}` is no data URL in base64", got=repr(header[:60]), param=name
        )
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(400, "invalid_file", f"`{name}` is no base64", got=str(error), param=name) from error


def _store(path: Path, data: bytes | UploadFile) -> None:
    with path.open("xb") as file:
        if isinstance(data, bytes):
            file.write(data)
        else:
            data.file.seek(0)
            shutil.copyfileobj(data.file, file)


def _checked_form(fields: dict[str, Any]) -> VideoForm:
    try:
        return VideoForm.model_validate(fields)
    except ValidationError as error:
        wrong = wrong_setting(error)
        known = ", ".join((*FILE_FIELDS, *VideoForm.model_fields))
        raise ApiError(
            400,
            "unknown_parameter" if wrong.is_unknown else "invalid_option",
            f"`{wrong.name[:100]}` is {'unknown' if wrong.is_unknown else 'wrong'}",
            got=None if wrong.is_unknown else repr(wrong.got)[:200],
            expected=known if wrong.is_unknown else wrong.expected,
            param=wrong.name[:100],
        ) from error


def _digest(form: VideoForm, files: tuple[str, ...], folder: Path) -> str:
    digest = hashlib.sha256(form.model_dump_json().encode())
    for name in files:
        with (folder / name).open("rb") as file:
            digest.update(f"\0{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}".encode())
    return digest.hexdigest()
