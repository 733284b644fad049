"""What a call may be given: portraits, sounds and whole numbers in the forms that other programs use."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from openemo.audio.audio_reader import Audio, check_sample_rate, decode_audio
from openemo.decoding_limits import DEFAULT_LIMITS, DecodingLimits
from openemo.errors import AudioError, ConfigError, ImageError, InputError
from openemo.input_files import in_memory, open_input, read_in_bounds
from openemo.pipeline.output import Frame
from openemo.sandbox.decoding import AudioDecoding, ClipDecoding, ImageDecoding
from openemo.video.clip_frames import TimedFrame, decode_clip
from openemo.video.images import convert_image, decode_image

if TYPE_CHECKING:
    from torch import Tensor

    MediaFile = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
    Portrait = MediaFile | Pillow.Image | NDArray[Any] | Tensor
    Sound = MediaFile | Audio | tuple[int, NDArray[Any]] | Mapping[str, Any]

__all__ = [
    "check_clips",
    "open_clip",
    "start_inputs",
    "to_audio",
    "to_image",
    "to_inputs",
    "to_integer",
    "to_seed",
]

_MAX_SEED: Final = 2**63 - 1
_OPAQUE: Final = 255
_DRAWN_SEEDS: Final = 2**32  # short enough to type
# Decoders and filters leave [0, 1] and [-1, 1] by a little. More is another scale.
_MAX_PICTURE_EXCESS: Final = 0.01
_MAX_PEAK: Final = 2.0

_FIRST_FRAME_S: Final = 0.001
_NAMES: Final[dict[type[InputError], str]] = {
    ImageError: "the picture",
    AudioError: "the sound",
    InputError: "the clip",
}

_PICTURES: Final = (
    "a path, the bytes of a file, a file opened for binary reading, a PIL image, or an array or tensor of "
    "shape (H, W), (H, W, 1), (H, W, 3), (H, W, 4), (3, H, W) or (1, H, W, 3)"
)
_SOUNDS: Final = (
    "a path, the bytes of a file, a file opened for binary reading, an Audio, (sample rate, array), or "
    '{"waveform": (1, channels, samples), "sample_rate": sample rate}'
)


_CLIPS: Final = "a path, the bytes of a file, or a file opened for binary reading"


def to_inputs(
    portrait: Portrait,
    audio: Sound,
    *,
    transparent: bool = False,
    audio_track: int | None = None,
    limits: DecodingLimits = DEFAULT_LIMITS,
    sandbox: bool = True,
) -> tuple[Frame, Audio]:
    """Both at a time, see `to_image` and `to_audio`."""
    with start_inputs(
        portrait, audio, transparent=transparent, audio_track=audio_track, limits=limits, sandbox=sandbox
    ) as inputs:
        return inputs()


@contextmanager
def start_inputs(
    portrait: Portrait,
    audio: Sound,
    *,
    transparent: bool = False,
    audio_track: int | None = None,
    limits: DecodingLimits = DEFAULT_LIMITS,
    sandbox: bool = True,
) -> Iterator[Callable[[], tuple[Frame, Audio]]]:
    """Starts `to_inputs`; what it gives waits for the result. Sandboxes work meanwhile."""
    with (
        _image(portrait, transparent, limits, sandbox) as image,
        _audio(audio, audio_track, limits, sandbox) as sound,
    ):
        yield lambda: (image(), sound())


def to_image(
    portrait: Portrait,
    *,
    transparent: bool = False,
    limits: DecodingLimits = DEFAULT_LIMITS,
    sandbox: bool = True,
) -> Frame:
    """The portrait as (H, W, 3) uint8 RGB, or with opacity as (H, W, 4).

    Args:
        portrait: path, bytes of a file, or file opened for binary reading, as `read_image` reads them; image
            of PIL; array or tensor (H, W), (H, W, 1 | 3 | 4), (1 | 3 | 4, H, W), with or without a leading
            1, uint8 or float in [0, 1]. The fourth channel is opacity.
        transparent: keep the opacity; otherwise transparent pixels are put on white.
        sandbox: decode a file in a process of its own, which costs about 0.3 s.

    Raises:
        ImageError: something else, it cannot be read, or nothing of it is transparent although it should be.
    """
    with _image(portrait, transparent, limits, sandbox) as result:
        return result()


def to_audio(
    audio: Sound,
    track: int | None = None,
    *,
    limits: DecodingLimits = DEFAULT_LIMITS,
    sandbox: bool = True,
) -> Audio:
    """The sound as samples of one or two channels.

    Args:
        audio: path, bytes of a file, or file opened for binary reading, as `read_audio` reads them; `Audio`;
            (sample rate, array) as gradio gives, the array (N,) or (N, channels), int16, int32 or float in
            [-1, 1]; {"waveform": (1, channels, N), "sample_rate": rate} as ComfyUI gives.
        track: which audio track of a file, from 0, see `read_audio`.
        sandbox: decode a file in a process of its own, which costs about 0.3 s.

    Raises:
        AudioError: something else, or it cannot be read.
    """
    with _audio(audio, track, limits, sandbox) as result:
        return result()


@contextmanager
def _image(
    portrait: Portrait, transparent: bool, limits: DecodingLimits, sandbox: bool
) -> Iterator[Callable[[], Frame]]:
    """Starts reading; what it gives waits for the image."""
    with _pixels(portrait, transparent, limits, sandbox) as pixels:
        yield lambda: _check_alpha(pixels()) if transparent else pixels()


def _check_alpha(image: Frame) -> Frame:
    if (image[..., 3] == _OPAQUE).all():
        raise ImageError(
            "nothing of the portrait is transparent",
            expected="a picture whose background was cut out, as PNG or WebP",
            fix="Cut the person out, or leave `transparent` out",
        )
    return image


@contextmanager
def _pixels(
    portrait: Portrait, keep_alpha: bool, limits: DecodingLimits, sandbox: bool
) -> Iterator[Callable[[], Frame]]:
    if isinstance(portrait, Pillow.Image):
        yield partial(convert_image, portrait, "the picture", limits, keep_alpha=keep_alpha)
    elif _is_array(portrait):
        yield partial(_image_of_array, _to_numpy(portrait, ImageError), keep_alpha=keep_alpha)
    else:
        with ExitStack() as stack:
            file, name = _file_of(portrait, "image", ImageError, limits)
            stack.enter_context(file)
            if sandbox:
                yield stack.enter_context(ImageDecoding(file, name, limits, keep_alpha=keep_alpha)).result
            else:
                yield partial(decode_image, file, name, limits, keep_alpha=keep_alpha)


@contextmanager
def _audio(
    audio: Sound, track: int | None, limits: DecodingLimits, sandbox: bool
) -> Iterator[Callable[[], Audio]]:
    """Starts reading; what it gives waits for the sound."""
    if isinstance(audio, Audio):
        yield lambda: audio
    elif isinstance(audio, tuple):
        yield partial(_audio_of_pair, audio)
    elif isinstance(audio, Mapping):
        yield partial(_audio_of_mapping, audio)
    else:
        with ExitStack() as stack:
            file, name = _file_of(audio, "file", AudioError, limits)
            stack.enter_context(file)
            if sandbox:
                yield stack.enter_context(AudioDecoding(file, name, limits, track=track)).result
            else:
                yield partial(decode_audio, file, name, track, limits)


@contextmanager
def open_clip(
    clip: MediaFile,
    *,
    max_s: float,
    start_s: float | None = None,
    limits: DecodingLimits = DEFAULT_LIMITS,
    sandbox: bool = True,
) -> Iterator[Iterator[TimedFrame]]:
    """The frames of the first `max_s` seconds of a video, one at a time in memory.

    Args:
        clip: path, bytes of a file, or file opened for binary reading.
        start_s: see `decode_clip`.
        sandbox: decode in a process of its own.

    Raises:
        InputError: something else, or it cannot be read; also while the frames are taken.
    """
    file, name = _file_of(clip, "video file", InputError, limits)
    with file:
        if sandbox:
            with ClipDecoding(file, name, limits, max_s=max_s, start_s=start_s) as decoding:
                yield decoding.frames()
        else:
            yield decode_clip(file, name, limits, max_s=max_s, start_s=start_s)


@contextmanager
def check_clips(
    clips: Sequence[Path], *, limits: DecodingLimits = DEFAULT_LIMITS, sandbox: bool = True
) -> Iterator[Callable[[], None]]:
    """Starts reading the first frame of each clip; what it gives waits for them, and raises InputError."""
    with ExitStack() as stack:
        opened = [
            stack.enter_context(open_clip(clip, max_s=_FIRST_FRAME_S, limits=limits, sandbox=sandbox))
            for clip in clips
        ]

        def check() -> None:
            for frames in opened:
                next(frames, None)

        yield check


def to_seed(seed: int) -> int:
    """A seed from 0 to 2**63 - 1; -1 draws one. Raises ConfigError for all else."""
    number = to_integer("seed", seed)
    if number == -1:
        return secrets.randbelow(_DRAWN_SEEDS)
    if not 0 <= number <= _MAX_SEED:
        raise ConfigError(
            "the seed is out of range", got=number, expected=f"0 to {_MAX_SEED}, or -1 to draw one"
        )
    return number


@overload
def to_integer(name: str, value: int) -> int: ...
@overload
def to_integer(name: str, value: int | None) -> int | None: ...
def to_integer(name: str, value: Any) -> int | None:
    """A whole number, also numpy's or a float such as 512.0, as int; None stays None.

    Raises:
        ConfigError: something else, such as True or "0".
    """
    if value is None or _is_integer(value):
        return value if value is None else int(value)
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return int(value)
    raise ConfigError(f"`{name}` is not a whole number", got=repr(value), expected="a number such as 0 or 25")


def _is_integer(value: object) -> bool:
    """Whether it is a number; bool is an int in Python."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray) or hasattr(value, "requires_grad")


def _to_numpy(value: Any, failure: type[InputError]) -> NDArray[Any]:
    """An array, or a tensor of torch on any device; numpy has no bfloat16."""
    if isinstance(value, np.ndarray):
        return value
    try:
        tensor = value.detach().cpu()
        return np.asarray(tensor.float() if tensor.is_floating_point() else tensor)
    except (TypeError, RuntimeError, AttributeError) as error:  # sparse or without values
        raise failure("the tensor cannot be used", got=str(error), expected="a dense tensor") from error


def _kind(value: object) -> str:
    return f"an object of type {type(value).__name__}"


def _file_of(
    value: Any, kind: str, failure: type[InputError], limits: DecodingLimits
) -> tuple[BinaryIO, str]:
    """The file of a path, of bytes, or of the rest of an open file; and its name for the errors."""
    if isinstance(value, (str, os.PathLike)):
        path = Path(value)
        return open_input(path, kind, failure, limits), str(path)
    name = _NAMES[failure]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return in_memory(bytes(value)), name
    if isinstance(value, io.TextIOBase):
        raise failure("the file is open for reading text", fix='Open it with mode "rb"')
    if hasattr(value, "read"):
        try:
            return in_memory(read_in_bounds(value.read, name, failure, limits)), name
        except (OSError, ValueError, TypeError) as error:
            raise failure("the open file cannot be read", got=str(error)) from error
    forms = {ImageError: ("the portrait", _PICTURES), AudioError: ("the sound", _SOUNDS)}
    what, expected = forms.get(failure, ("the clip", _CLIPS))
    raise failure(f"{what} cannot be used", got=_kind(value), expected=expected)


def _image_of_array(values: NDArray[Any], *, keep_alpha: bool) -> Frame:
    shape = values.shape
    if values.ndim == 4 and shape[0] == 1:
        values = values[0]
    if values.ndim == 3 and values.shape[2] not in (1, 3, 4) and values.shape[0] in (1, 3, 4):
        values = np.moveaxis(values, 0, 2)
    if 0 in shape or not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (1, 3, 4))):
        raise ImageError("the picture has the wrong form", got=f"shape {shape}", expected=_PICTURES)
    image = _to_uint8(values)
    if image.ndim == 3 and image.shape[2] == (4 if keep_alpha else 3):
        return image
    flat = image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image
    return convert_image(Pillow.fromarray(np.ascontiguousarray(flat)), "the picture", keep_alpha=keep_alpha)


def _to_uint8(values: NDArray[Any]) -> Frame:
    if values.dtype == np.uint8:
        return values
    if not np.issubdtype(values.dtype, np.floating):
        raise ImageError(
            "the picture has the wrong type of number",
            got=values.dtype,
            expected="uint8 from 0 to 255, or float from 0 to 1",
        )
    low, high = float(values.min()), float(values.max())
    if not (low >= -_MAX_PICTURE_EXCESS and high <= 1 + _MAX_PICTURE_EXCESS):  # also where one is NaN
        raise ImageError(
            "the picture has the wrong range", got=f"{low:g} to {high:g}", expected="0 to 1, or uint8"
        )
    rounded = np.rint(np.clip(values, 0, 1) * 255)
    return np.asarray(rounded, np.uint8)


def _audio_of_pair(pair: tuple[Any, ...]) -> Audio:
    if len(pair) != 2 or not _is_integer(pair[0]) or not _is_array(pair[1]):
        got = f"({', '.join(type(part).__name__ for part in pair)})"
        raise AudioError("the sound is not (sample rate, array), in this order", got=got, expected=_SOUNDS)
    values = _to_numpy(pair[1], AudioError)
    if values.ndim not in (1, 2) or (values.ndim == 2 and values.shape[1] not in (1, 2)):
        raise AudioError(
            "the sound has the wrong form",
            got=f"shape {values.shape}",
            expected="(samples,) or (samples, channels) with 1 or 2 channels",
        )
    return _audio_of_array(values[None] if values.ndim == 1 else values.T, int(pair[0]))


def _audio_of_mapping(sound: Mapping[str, Any]) -> Audio:
    if not {"waveform", "sample_rate"} <= set(sound) or not _is_array(sound["waveform"]):
        got = f"a mapping with {', '.join(map(str, sound)) or 'nothing'}"
        raise AudioError("the sound cannot be used", got=got, expected=_SOUNDS)
    if not _is_integer(sound["sample_rate"]):
        raise AudioError("wrong sample rate", got=repr(sound["sample_rate"]), expected="a whole number of Hz")
    values = _to_numpy(sound["waveform"], AudioError)
    if values.ndim != 3 or values.shape[0] != 1 or values.shape[1] not in (1, 2):
        raise AudioError(
            "the waveform has the wrong form",
            got=f"shape {values.shape}",
            expected="(1, channels, samples) with 1 or 2 channels",
        )
    return _audio_of_array(values[0], int(sound["sample_rate"]))


def _audio_of_array(values_CN: NDArray[Any], sample_rate_hz: int) -> Audio:
    """Samples (channels, N) of any scale that their type tells."""
    check_sample_rate(sample_rate_hz, "the sound")
    if values_CN.dtype in (np.int16, np.int32):
        full = -float(np.iinfo(values_CN.dtype).min)
        return Audio(np.ascontiguousarray(values_CN / full, np.float32), sample_rate_hz)
    if not np.issubdtype(values_CN.dtype, np.floating):
        raise AudioError(
            "the sound has the wrong type of number", got=values_CN.dtype, expected="int16, int32 or float"
        )
    peak = float(np.abs(values_CN).max(initial=0))
    if not peak <= _MAX_PEAK:  # also where it is NaN
        raise AudioError("the samples are out of range", got=f"a peak of {peak:g}", expected="-1 to 1")
    return Audio(np.ascontiguousarray(np.clip(values_CN, -1, 1), np.float32), sample_rate_hz)
