"""Reads any image as uint8 sRGB, writes one, and puts frames on a contact sheet."""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageCms, UnidentifiedImageError

from openemo.decoding_limits import DEFAULT_LIMITS, DecodingLimits
from openemo.errors import ImageError, OutputError
from openemo.files import whole_file
from openemo.input_files import open_input, too_large_file
from openemo.video.transparency import on_white

__all__ = ["contact_sheet", "convert_image", "decode_image", "load_readers", "read_image", "write_image"]

Image = NDArray[np.uint8]

_log = logging.getLogger(__name__)

# Every other reader of Pillow stays unused: none has portraits in it, and EPS's runs a program.
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "TGA", "PSD", "JPEG2000", "AVIF")
_EXPECTED: Final = "a JPEG, PNG, WebP, GIF, TIFF, BMP, PNM, TGA, PSD, JPEG 2000, AVIF, HEIC or JPEG XL image"
_FIX: Final = "Use a JPEG, PNG, WebP or TIFF file that opens in an image viewer"
# Starts of files that people give as pictures.
_NO_PICTURES: Final = {
    b"%!PS": "an EPS file",
    b"\xc5\xd0\xd3\xc6": "an EPS file",
    b"%PDF": "a PDF file",
    b"<svg": "an SVG file",
    b"<?xml": "an XML or SVG file",
    b"\x00\x00\x01\x00": "an icon",
    b"\x1a\x45\xdf\xa3": "a video",
}
_HEADER_BYTES: Final = 512
_HEIF_BRANDS: Final = frozenset(
    (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1")
)
_JXL_STARTS: Final = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a")
# What decoders raise on damaged files.
_DECODER_ERRORS: Final = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, AssertionError),
    *(ArithmeticError, BufferError, RuntimeError, struct.error, zlib.error),
)
# Peak of decoding in bytes per pixel, measured; CMYK in a progressive JPEG needs the most of the others.
_BYTES_PER_PIXEL: Final = {"WEBP": 16, "JPEG2000": 20}
_USUAL_BYTES_PER_PIXEL: Final = 12
# JPEG has no longer sides. A portrait that does is none.
_MAX_SIDE_PX: Final = 65_535
# Pixels that are converted together. Intermediate results need up to 16 bytes for each.
_PART_PIXELS: Final = 2**22

_ORIENTATION_TAG: Final = 0x0112
# Operation that turns an image with this EXIF orientation upright.
_TURNS: Final[dict[int, Callable[[Image], Image]]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image.transpose(1, 0, 2), 2),
    8: lambda image: np.rot90(image),
}


def read_image(
    path: str | Path, limits: DecodingLimits = DEFAULT_LIMITS, *, keep_alpha: bool = False
) -> Image:
    """The image as (H, W, 3) uint8 sRGB, turned upright by its EXIF orientation.

    Grey becomes RGB. Transparent pixels are put on white; `keep_alpha` gives (H, W, 4) with opacity instead.
    16-bit and float values are scaled to 8 bits. CMYK and embedded colour profiles are converted. The first
    frame of an animation is used.

    Raises:
        ImageError: missing, unreadable, truncated, empty, not an image, or over the limits.
    """
    with open_input(Path(path), "image", ImageError, limits) as file:
        return decode_image(file, str(path), limits, keep_alpha=keep_alpha)


def decode_image(
    source: bytes | BinaryIO, name: str, limits: DecodingLimits = DEFAULT_LIMITS, *, keep_alpha: bool = False
) -> Image:
    """As `read_image`, from the bytes of a file or a seekable one; `name` is for the errors."""
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    _check_bytes(file.seek(0, io.SEEK_END), name, limits)
    file.seek(0)
    with _readable(name, limits), _opened(file, name, limits) as image:
        return _converted(image, name, limits, keep_alpha)


def load_readers(file: BinaryIO) -> None:
    """Imports all that `decode_image` needs for this file, for processes that can import nothing later."""
    Pillow.init()
    start = file.read(_HEADER_BYTES)
    file.seek(0)
    with suppress(ImportError):  # `decode_image` says it
        if _is_heif(start):
            import pillow_heif  # noqa: F401
        if start.startswith(_JXL_STARTS):
            import pylibjxl  # noqa: F401


def convert_image(
    image: Pillow.Image, name: str, limits: DecodingLimits = DEFAULT_LIMITS, *, keep_alpha: bool = False
) -> Image:
    """As `read_image`, from an image of Pillow, which stays as it is; `name` is for the errors."""
    with _readable(name, limits):
        return _converted(image, name, limits, keep_alpha)


def write_image(path: str | Path, image: Image) -> None:
    """Writes (H, W, 3) uint8 RGB in the format of the ending (.png, .jpg, .webp, .tiff).

    No incomplete file is left behind. Raises OutputError if it cannot be written.
    """
    path = Path(path)
    Pillow.init()
    kind = Pillow.registered_extensions().get(path.suffix.lower())
    if kind not in ("PNG", "JPEG", "WEBP", "TIFF"):
        raise OutputError(
            f"cannot write {path}", got=f"the ending {path.suffix!r}", expected=".png, .jpg, .webp or .tiff"
        )
    try:
        with whole_file(path) as file:
            Pillow.fromarray(image).save(file, format=kind, quality=95)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}", got=error.strerror or str(error), fix="Choose a folder you may write to"
        ) from error


def contact_sheet(frames: Sequence[Image], columns: int, cell_px: int, gap_px: int = 4) -> Image:
    """Frames in rows on white, each `cell_px` wide; every row is as high as the tallest frame.

    Frames are (H, W, 3) uint8 and may differ in size. Raises ImageError if there are none.
    """
    if not frames or columns < 1 or cell_px < 1:
        raise ImageError(
            "cannot lay out a contact sheet",
            got=f"{len(frames)} frames, {columns} columns, cells of {cell_px} px",
            expected="at least one of each",
        )
    heights = [max(1, round(frame.shape[0] * cell_px / frame.shape[1])) for frame in frames]
    columns, rows = min(columns, len(frames)), -(-len(frames) // columns)
    step_x, step_y = cell_px + gap_px, max(heights) + gap_px
    sheet = Pillow.new("RGB", (columns * step_x - gap_px, rows * step_y - gap_px), "white")
    for index, (frame, height) in enumerate(zip(frames, heights, strict=True)):
        cell = Pillow.fromarray(frame).resize((cell_px, height), Pillow.Resampling.LANCZOS)
        sheet.paste(
            cell, (index % columns * step_x, index // columns * step_y + (max(heights) - height) // 2)
        )
    return np.array(sheet)


def _check_bytes(size: int, name: str, limits: DecodingLimits) -> None:
    if size == 0:
        raise ImageError(f"{name} is empty", got="0 bytes", expected="an image file", fix=_FIX)
    if size > limits.max_file_bytes:
        raise too_large_file(name, f"{size:,} bytes", ImageError, limits)


@contextmanager
def _readable(name: str, limits: DecodingLimits) -> Iterator[None]:
    """Turns the decoders' errors into ImageError."""
    try:
        with warnings.catch_warnings():
            # `max_pixels` is what counts; other warnings are of damage that does not matter.
            warnings.simplefilter("ignore")
            yield
    except Pillow.DecompressionBombError as error:
        raise _too_large(name, str(error), limits) from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image", expected=_EXPECTED, fix=_FIX) from error
    except MemoryError as error:
        raise _too_much_memory(name, limits) from error
    except _DECODER_ERRORS as error:
        raise ImageError(f"{name} is damaged or truncated", got=str(error) or None, fix=_FIX) from error


def _opened(file: BinaryIO, name: str, limits: DecodingLimits) -> Pillow.Image:
    """The image, of which only the header has been read."""
    start = file.read(_HEADER_BYTES)
    file.seek(0)
    if _is_heif(start):
        return _open_heif(file, name)
    if start.startswith(_JXL_STARTS):
        return _decode_jxl(file.read(), name, limits)
    for magic, kind in _NO_PICTURES.items():
        if start.lstrip().startswith(magic):
            raise ImageError(f"{name} is not an image", got=kind, expected=_EXPECTED, fix=_FIX)
    return Pillow.open(file, formats=_FORMATS)


def _is_heif(start: bytes) -> bool:
    """Whether it is HEIF with HEVC in it; Pillow reads AVIF."""
    if start[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(start[:4], "big"), len(start))
    brands = {start[place : place + 4] for place in (8, *range(16, end, 4))}
    return bool(brands & _HEIF_BRANDS) and not brands & {b"avif", b"avis"}


def _open_heif(file: BinaryIO, name: str) -> Pillow.Image:
    """It is upright already: libheif turns it, and what EXIF says of it does not count."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise _no_library(name, "HEIC", "pillow-heif") from error
    image: Pillow.Image = HeifImageFile(file)  # type: ignore[no-untyped-call]
    return image


def _decode_jxl(data: bytes, name: str, limits: DecodingLimits) -> Pillow.Image:
    """It is upright already: libjxl turns it, and what EXIF says of it does not count."""
    try:
        import pylibjxl
    except ImportError as error:
        raise _no_library(name, "JPEG XL", "openemo[jxl]") from error
    header = pylibjxl.probe(data)
    _check_size(header["width"], header["height"], name, limits)
    pixels, metadata = pylibjxl.decode(data, metadata=True)
    image = Pillow.fromarray(pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels)
    if "icc" in metadata:
        image.info["icc_profile"] = metadata["icc"]
    return image


def _no_library(name: str, kind: str, package: str) -> ImageError:
    return ImageError(
        f"{name} is a {kind} image, and the library that reads it is not installed",
        fix=f"pip install '{package}', or save the picture as JPEG",
    )


def _check_size(width: int, height: int, name: str, limits: DecodingLimits) -> None:
    if width * height > limits.max_pixels or max(width, height) > _MAX_SIDE_PX:
        raise _too_large(name, f"{width}x{height} px", limits)


def _converted(image: Pillow.Image, name: str, limits: DecodingLimits, keep_alpha: bool) -> Image:
    """The pixels of the whole image are held once as decoded and once as RGB, all else part by part."""
    _check_size(*image.size, name, limits)
    per_pixel = _BYTES_PER_PIXEL.get(image.format or "", _USUAL_BYTES_PER_PIXEL)
    if image.width * image.height * per_pixel > limits.max_memory_bytes:
        raise _too_much_memory(name, limits)
    image.load()
    turn = _TURNS.get(image.getexif().get(_ORIENTATION_TAG, 1))
    to_rgb = _ToRgb(image, keep_alpha)
    parts = map(to_rgb, _parts(image))
    pixels = next(parts)
    if len(pixels) < image.height:
        first, pixels = pixels, np.empty((image.height, *pixels.shape[1:]), np.uint8)
        pixels[: len(first)], row = first, len(first)
        for part in parts:
            pixels[row : row + len(part)] = part
            row += len(part)
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


def _parts(image: Pillow.Image) -> Iterator[Pillow.Image]:
    """The image in strips of full width."""
    step = max(1, _PART_PIXELS // image.width)
    if step >= image.height:
        yield image
        return
    for top in range(0, image.height, step):
        yield image.crop((0, top, image.width, min(top + step, image.height)))


class _ToRgb:
    """Converts parts of one image, each pixel by itself."""

    def __init__(self, image: Pillow.Image, keep_alpha: bool) -> None:
        self._keep_alpha = keep_alpha
        self._profile: bytes | None = image.info.get("icc_profile")
        self._transform: ImageCms.ImageCmsTransform | None = None
        self._is_deep = image.mode.startswith("I") or image.mode == "F"
        self._white = _white_level(image) if self._is_deep else 0.0

    def __call__(self, part: Pillow.Image) -> Image:
        if self._is_deep:
            part = _to_8_bit(part, self._white)
        if part.mode in ("P", "PA") or "transparency" in part.info:
            part = part.convert("RGBA")
        part = self._to_srgb(part)
        if self._keep_alpha or part.has_transparency_data:
            with_alpha = np.array(part.convert("RGBA"))
            return with_alpha if self._keep_alpha else on_white(with_alpha)
        return np.array(part.convert("RGB"))

    def _to_srgb(self, part: Pillow.Image) -> Pillow.Image:
        """By the embedded profile. One that does not fit is ignored with a warning, as viewers do."""
        if not self._profile:
            return part
        alpha = part.getchannel("A") if part.mode == "LA" else None
        source = part.convert("L") if alpha else part
        try:
            self._transform = self._transform or _transform(self._profile, source.mode)
            result = ImageCms.applyTransform(source, self._transform)
        except (ImageCms.PyCMSError, OSError) as error:
            _log.warning("colour profile ignored: %s", error)
            self._profile = None
            return part
        assert result is not None  # None only with inPlace
        if alpha:
            result.putalpha(alpha)
        return result


def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    """From the embedded profile to sRGB."""
    embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    target = "RGBA" if mode == "RGBA" else "RGB"
    return ImageCms.buildTransform(embedded, ImageCms.createProfile("sRGB"), mode, target)


def _white_level(image: Pillow.Image) -> float:
    """Which value of 16 or 32 bits or float is white: the top of the smallest usual range that fits."""
    highest = max(float(np.nan_to_num(np.asarray(part, np.float64)).max()) for part in _parts(image))
    ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)
    return next((limit for limit in ranges if highest <= limit), highest)


def _to_8_bit(image: Pillow.Image, white: float) -> Pillow.Image:
    values = np.nan_to_num(np.asarray(image, np.float64))
    return Pillow.fromarray(np.clip(np.rint(values * (255.0 / white)), 0, 255).astype(np.uint8))


def _too_much_memory(name: str, limits: DecodingLimits) -> ImageError:
    return ImageError(
        f"{name} needs too much memory",
        expected=f"at most {limits.max_memory_bytes / 1e6:,g} MB",
        fix="Make it smaller, or save it as JPEG or PNG",
    )


def _too_large(name: str, got: str, limits: DecodingLimits) -> ImageError:
    return ImageError(
        f"{name} is too large",
        got=got,
        expected=f"at most {limits.max_pixels / 1e6:g} megapixels, and {_MAX_SIDE_PX:,} px a side",
        fix="Make it smaller; 2,000 px across are plenty",
    )
