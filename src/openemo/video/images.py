"""Reads any image as uint8 sRGB, writes one, and puts frames on a contact sheet."""

from __future__ import annotations

import io
import logging
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageCms, UnidentifiedImageError

from openemo.errors import ImageError, OutputError
from openemo.files import whole_file

__all__ = ["MAX_PIXELS", "contact_sheet", "convert_image", "decode_image", "read_image", "write_image"]

Image = NDArray[np.uint8]

_log = logging.getLogger(__name__)

# An image of 16,000 x 10,000 px fits; much more would fill the memory. Pillow itself stops at 179 million.
MAX_PIXELS: Final = 170_000_000
_FIX: Final = "Use a JPEG, PNG, WebP or TIFF file that opens in an image viewer"
# What Pillow's decoders raise on damaged files.
_DECODER_ERRORS: Final = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error)

_ORIENTATION_TAG: Final = 0x0112
# Operation that turns an image with this EXIF orientation upright.
_TURNS: Final = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}


def read_image(path: str | Path) -> Image:
    """The image as (H, W, 3) uint8 sRGB, turned upright by its EXIF orientation.

    Grey becomes RGB. Transparent pixels are put on white. 16-bit and float values are scaled to 8 bits. CMYK
    and embedded colour profiles are converted. The first frame of an animation is used.

    Raises:
        ImageError: missing, unreadable, truncated, empty, not an image, or larger than 170 megapixels.
    """
    return decode_image(_read_bytes(Path(path)), str(path))


def decode_image(data: bytes, name: str) -> Image:
    """As `read_image`, from the bytes of a file; `name` is for the errors."""
    if not data:
        raise ImageError(f"{name} is empty", got="0 bytes", expected="an image file", fix=_FIX)
    with _readable(name), Pillow.open(io.BytesIO(data)) as opened:
        return _converted(opened, name)


def convert_image(image: Pillow.Image, name: str) -> Image:
    """As `read_image`, from an image of Pillow, which stays as it is; `name` is for the errors."""
    with _readable(name):
        return _converted(image, name)


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


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"there is no image {path}", fix="Check the path") from error
    except OSError as error:
        raise ImageError(f"cannot read {path}", got=error.strerror, expected="a readable file") from error


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turns Pillow's errors into ImageError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)  # MAX_PIXELS is what counts
            yield
    except Pillow.DecompressionBombError as error:
        raise _too_large(name, str(error)) from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image", expected="an image file", fix=_FIX) from error
    except _DECODER_ERRORS as error:
        raise ImageError(f"{name} is damaged or truncated", got=str(error) or None, fix=_FIX) from error


def _converted(image: Pillow.Image, name: str) -> Image:
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(name, f"{image.width}x{image.height} px")
    image.load()
    return _to_rgb(image)


def _to_rgb(image: Pillow.Image) -> Image:
    turn = _TURNS.get(image.getexif().get(_ORIENTATION_TAG, 1))
    profile = image.info.get("icc_profile")
    if turn is not None:
        image = image.transpose(turn)
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bit(image)
    if image.mode in ("P", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
    image = _to_srgb(image, profile) if profile else image
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Pillow.alpha_composite(Pillow.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def _to_8_bit(image: Pillow.Image) -> Pillow.Image:
    """Grey with 16 or 32 bits or float to 8 bits; white is the top of the smallest usual range that fits."""
    values = np.nan_to_num(np.asarray(image, np.float64))
    ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)
    top = next((limit for limit in ranges if values.max() <= limit), float(values.max()))
    return Pillow.fromarray(np.clip(np.rint(values * (255.0 / top)), 0, 255).astype(np.uint8))


def _to_srgb(image: Pillow.Image, profile: bytes) -> Pillow.Image:
    """Converts by the embedded profile. One that does not fit is ignored with a warning, as viewers do."""
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    alpha = image.getchannel("A") if image.mode == "LA" else None
    source = image.convert("L") if alpha else image
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        result = ImageCms.profileToProfile(source, embedded, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError) as error:
        _log.warning("colour profile ignored: %s", error)
        return image
    assert result is not None  # None only with inPlace
    if alpha:
        result.putalpha(alpha)
    return result


def _too_large(name: str, got: str) -> ImageError:
    return ImageError(
        f"{name} is too large",
        got=got,
        expected=f"at most {MAX_PIXELS // 1_000_000} megapixels",
        fix="Make it smaller; 2,000 px across are plenty",
    )
