"""Images of all common kinds are read, and other files are refused."""

from __future__ import annotations

import io
import re
import struct
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageCms, PngImagePlugin

from openemo.decoding_limits import DecodingLimits
from openemo.errors import ImageError, OutputError
from openemo.video import images
from openemo.video.images import contact_sheet, decode_image, read_image, write_image

Image = NDArray[np.uint8]
HEIGHT, WIDTH = 47, 61


@pytest.fixture
def picture() -> Image:
    """Smooth, so that lossy formats keep it; without symmetry, so that a rotation is visible."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([x * 4, y * 5, 120 + (x - y)], -1).astype(np.uint8)


def _difference(a: Image, b: Image) -> int:
    assert a.shape == b.shape
    assert a.dtype == b.dtype == np.uint8
    return int(np.abs(a.astype(int) - b).max())


# JPEG and WebP lose a few levels because they halve the resolution of colour; other formats lose nothing.
@pytest.mark.parametrize(
    ("suffix", "limit"), [(".png", 0), (".tiff", 0), (".bmp", 0), (".jpg", 12), (".webp", 12)]
)
def test_formats(tmp_path: Path, picture: Image, suffix: str, limit: int) -> None:
    path = tmp_path / f"picture{suffix}"
    Pillow.fromarray(picture).save(path, quality=97)
    assert _difference(read_image(path), picture) <= limit


def test_the_content_names_the_format_not_the_ending(tmp_path: Path, picture: Image) -> None:
    path = tmp_path / "picture.jpg"
    Pillow.fromarray(picture).save(path, format="PNG")
    assert _difference(read_image(path), picture) == 0


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff"])
def test_grey_becomes_rgb(tmp_path: Path, picture: Image, suffix: str) -> None:
    path = tmp_path / f"grey{suffix}"
    Pillow.fromarray(picture[..., 1]).save(path, quality=97)
    assert _difference(read_image(path), np.repeat(picture[..., 1:2], 3, axis=2)) <= 2  # JPEG rounding


def test_black_and_white(tmp_path: Path, picture: Image) -> None:
    Pillow.fromarray(picture[..., 0] > 100).save(tmp_path / "bits.png")
    assert set(np.unique(read_image(tmp_path / "bits.png"))) == {0, 255}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_lies_on_white(tmp_path: Path, picture: Image, mode: str) -> None:
    colour = picture.copy()
    if mode != "RGBA":
        colour[:] = picture[..., 1:2] // 51 * 51  # few greys: fits a palette
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[:, 20:] = 128
    alpha[:, 40:] = 255
    image = Pillow.fromarray(np.dstack([colour, alpha]))
    suffix = ".tiff" if mode == "PA" else ".png"
    if mode == "LA":
        image = image.convert("LA")
    if mode == "PA":
        suffix, image = ".png", image.quantize(200)  # PNG palette with a transparency table
    image.save(tmp_path / f"clear{suffix}")
    result = read_image(tmp_path / f"clear{suffix}")
    assert (result[:, :20] == 255).all()
    assert _difference(result[:, 40:], colour[:, 40:]) <= (
        0 if mode != "PA" else 8
    )  # quantised to 200 colours
    half = np.rint(colour[:, 20:40] * (128 / 255) + 127).astype(np.uint8)
    assert _difference(result[:, 20:40], half) <= (1 if mode != "PA" else 8)


def test_palette_with_one_transparent_colour(tmp_path: Path) -> None:
    indices = np.zeros((5, 7), np.uint8)
    indices[:, 3:] = 1
    image = Pillow.fromarray(indices).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(tmp_path / "palette.png", transparency=0)
    result = read_image(tmp_path / "palette.png")
    assert (result[:, :3] == 255).all()
    assert (result[:, 3:] == (200, 100, 50)).all()


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("grey", [True, False])
def test_16_bit_is_scaled_not_clipped(tmp_path: Path, picture: Image, suffix: str, grey: bool) -> None:
    deep = picture.astype(np.uint16) * 257
    path = tmp_path / f"deep{suffix}"
    cv2.imwrite(str(path), deep[..., 0] if grey else deep[..., ::-1])
    expected = np.repeat(picture[..., :1], 3, axis=2) if grey else picture
    assert _difference(read_image(path), expected) == 0


@pytest.mark.parametrize("top", [1.0, 255.0, 9000.0])
def test_float_grey_is_scaled(tmp_path: Path, picture: Image, top: float) -> None:
    values = (picture[..., 0] / picture[..., 0].max() * top).astype(np.float32)
    Pillow.fromarray(values).save(tmp_path / "float.tiff")
    result = read_image(tmp_path / "float.tiff")
    expected_top = 255 if top < 9000 else round(255 * 9000 / 65535)
    assert int(result.max()) == expected_top
    assert (np.diff(result[0, :, 0].astype(int)) >= 0).all()


@pytest.mark.parametrize("suffix", [".jpg", ".tiff"])
def test_cmyk(tmp_path: Path, suffix: str) -> None:
    ink = np.zeros((16, 24, 4), np.uint8)
    ink[:, 8:16, 1:3] = 255  # magenta and yellow: red
    ink[:, 16:, 3] = 255  # black
    Pillow.fromarray(ink, "CMYK").save(tmp_path / f"ink{suffix}", quality=98)
    result = read_image(tmp_path / f"ink{suffix}")
    np.testing.assert_allclose(result[8, [3, 12, 20]], [[255, 255, 255], [255, 0, 0], [0, 0, 0]], atol=3)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, picture: Image, orientation: int, suffix: str) -> None:
    # The pixels that a camera stores, so that a viewer shows `picture` after applying the tag.
    stored = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture, 1),
        7: np.rot90(picture.transpose(1, 0, 2), 2),
        8: np.rot90(picture, -1),
    }[orientation]
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned{suffix}"
    lossless: dict[str, Any] = {"lossless": True} if suffix == ".webp" else {}
    Pillow.fromarray(np.ascontiguousarray(stored)).save(
        path, exif=exif, quality=97, subsampling=0, **lossless
    )
    assert _difference(read_image(path), picture) <= 8  # JPEG


def test_first_frame_of_an_animation(tmp_path: Path, picture: Image) -> None:
    frames = [Pillow.fromarray(picture), Pillow.fromarray(255 - picture)]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert _difference(read_image(tmp_path / "moving.webp"), picture) == 0


def test_colour_profile_is_converted_to_srgb(tmp_path: Path, picture: Image) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Pillow.fromarray(picture).save(tmp_path / "srgb.png", icc_profile=srgb)
    assert _difference(read_image(tmp_path / "srgb.png"), picture) <= 1
    swapped = _swapped_primaries(srgb)
    Pillow.fromarray(picture).save(tmp_path / "swapped.png", icc_profile=swapped)
    assert _difference(read_image(tmp_path / "swapped.png"), picture[..., [1, 0, 2]].copy()) <= 2
    # A profile that is not for RGB, and one that is not a profile: both are ignored.
    for name, profile in (("lab", lab), ("broken", b"no profile at all")):
        Pillow.fromarray(picture).save(tmp_path / f"{name}.png", icc_profile=profile)
        assert _difference(read_image(tmp_path / f"{name}.png"), picture) == 0


def _swapped_primaries(profile: bytes) -> bytes:
    """An sRGB profile with red and green swapped, by renaming two tags of its table."""
    return profile.replace(b"rXYZ", b"tmpX", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"tmpX", b"gXYZ", 1)


def test_profile_and_transparency_together(tmp_path: Path, picture: Image) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[:10] = 0
    Pillow.fromarray(np.dstack([picture, alpha])).save(tmp_path / "both.png", icc_profile=srgb)
    result = read_image(tmp_path / "both.png")
    assert (result[:10] == 255).all()
    assert _difference(result[10:], picture[10:]) <= 1


def test_8000_px_wide(tmp_path: Path) -> None:
    Pillow.new("RGB", (8192, 5001), (10, 200, 30)).save(tmp_path / "huge.jpg")
    result = read_image(tmp_path / "huge.jpg")
    assert result.shape == (5001, 8192, 3)
    np.testing.assert_allclose(result[4000, 8000], (10, 200, 30), atol=2)


def test_a_decompression_bomb_is_refused_before_decoding(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for side in (13_500, 100_000):  # over our limit, over Pillow's
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
        (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
        with pytest.raises(ImageError, match=r"too large.*at most 110 megapixels"):
            read_image(tmp_path / "bomb.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9])
def test_truncated_files(tmp_path: Path, kind: str, part: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (90, 110, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Pillow.fromarray(noise).save(buffer, format=kind)
    data = buffer.getvalue()
    path = tmp_path / "cut.img"
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(ImageError, match=r"cut\.img is (damaged|not an image)"):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "is empty"), (b"this is a letter, not a picture\n" * 9, "is not an image")]
)
def test_not_a_picture(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "letter.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=message):
        read_image(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="there is no image"):
        read_image(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match="cannot read"):
        read_image(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff"])
def test_write_then_read(tmp_path: Path, picture: Image, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    write_image(path, picture)
    assert _difference(read_image(path), picture) <= (12 if suffix in (".jpg", ".webp") else 0)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, picture: Image) -> None:
    for path in (tmp_path / "out.xyz", tmp_path / "no folder" / "out.png"):
        with pytest.raises(OutputError, match="cannot write"):
            write_image(path, picture)
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        write_image(tmp_path / "taken.png", picture)
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken.png"]


def test_contact_sheet_places_frames_row_by_row() -> None:
    frames = [np.full((30, 20, 3), value, np.uint8) for value in (0, 50, 100, 150, 200)]
    sheet = contact_sheet(frames, columns=3, cell_px=40, gap_px=4)
    assert sheet.shape == (2 * 60 + 4, 3 * 40 + 2 * 4, 3)
    assert [int(sheet[30, x, 0]) for x in (20, 64, 108)] == [0, 50, 100]
    assert [int(sheet[94, x, 0]) for x in (20, 64, 108)] == [150, 200, 255]
    assert (sheet[:, 40:44] == 255).all()
    assert contact_sheet(frames[:2], columns=9, cell_px=10).shape == (15, 24, 3)
    mixed = contact_sheet([frames[0], np.zeros((10, 20, 3), np.uint8)], columns=2, cell_px=20, gap_px=0)
    assert mixed.shape == (30, 40, 3)
    assert (mixed[:9, 20:] == 255).all()
    with pytest.raises(ImageError, match="contact sheet"):
        contact_sheet([], 3, 40)


def test_the_phones_own_format(shared_dir: Path) -> None:
    image = read_image(shared_dir / "data/cases/iphone.heic")
    assert image.shape == (512, 512, 3)
    assert image.std() > 30


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".heic", ".avif", ".jxl"])
def test_new_formats_are_turned_once(tmp_path: Path, picture: Image, suffix: str, orientation: int) -> None:
    """Their own orientation counts; an EXIF tag beside it says the same a second time."""
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    stored = Pillow.fromarray(picture)
    path = tmp_path / f"turned{suffix}"
    buffer = io.BytesIO()
    stored.save(buffer, "JPEG", exif=exif, quality=98, subsampling=0)
    upright = decode_image(buffer.getvalue(), "jpeg")
    if suffix == ".heic":
        import pillow_heif

        with Pillow.open(buffer) as opened:
            pillow_heif.register_heif_opener()  # its writer turns the tag into HEIF's own
            opened.save(path, "HEIF", quality=98, chroma=444)
    elif suffix == ".jxl":
        path.write_bytes(pytest.importorskip("pylibjxl").jpeg_to_jxl(buffer.getvalue()))
    else:
        stored.save(path, exif=exif, quality=98, subsampling="4:4:4")
    assert _difference(read_image(path), upright) <= 12  # three lossy formats


def test_tiles_of_heic(tmp_path: Path, picture: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """Phones store tiles."""
    import pillow_heif

    monkeypatch.setattr(pillow_heif.options, "GRID_TILE_SIZE", 64)
    large = Pillow.fromarray(picture).resize((200, 150))
    pillow_heif.from_pillow(large).save(tmp_path / "tiles.heic", quality=98, chroma=444)
    assert _difference(read_image(tmp_path / "tiles.heic"), np.array(large)) <= 12


@pytest.mark.parametrize(
    ("suffix", "module", "package"),
    [("heic", "pillow_heif", "pillow-heif"), ("jxl", "pylibjxl", "openemo[jxl]")],
)
def test_a_missing_library_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    start = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" if suffix == "heic" else b"\xff\x0a"
    with pytest.raises(ImageError, match=rf"(HEIC|JPEG XL) image.*pip install '{re.escape(package)}'"):
        decode_image(start + bytes(99), "photo")


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "an EPS file"),
        (b"%PDF-1.7\n", "a PDF file"),
        (b"<svg xmlns='x'/>", "an SVG file"),
    ],
)
def test_programs_and_drawings_are_not_run(start: bytes, kind: str) -> None:
    with pytest.raises(ImageError, match=f"is not an image; got {kind}; expected a JPEG"):
        decode_image(start + b"%%BoundingBox: 0 0 9 9\n", "page")


@pytest.mark.parametrize("kind", ["EPS", "PCX", "SGI", "ICO", "DDS", "MSP", "SPIDER"])
def test_formats_without_portraits_are_refused(picture: Image, kind: str) -> None:
    buffer = io.BytesIO()
    image = Pillow.fromarray(picture)
    (image.convert("1") if kind == "MSP" else image.convert("F") if kind == "SPIDER" else image).save(
        buffer, kind
    )
    with pytest.raises(ImageError, match="is not an image"):
        decode_image(buffer.getvalue(), "old")


@pytest.mark.parametrize("size", [(70_000, 1), (1, 70_000), (401, 100)])
def test_a_picture_over_the_limits_is_refused_from_its_header(size: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    Pillow.new("P", size).save(buffer, "PNG", compress_level=9)
    whole = buffer.getvalue()
    with pytest.raises(ImageError, match=r"too large; got .* px; expected at most 0\.04 megapixels"):
        decode_image(whole[: whole.index(b"IDAT") + 8], "large", DecodingLimits(max_pixels=40_000))


def test_a_file_over_the_limit_is_not_read() -> None:
    limits = DecodingLimits(max_file_bytes=99)
    with pytest.raises(
        ImageError, match="the file big is too large; got 100 bytes; expected at most 99 bytes"
    ):
        decode_image(bytes(100), "big", limits)


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "I;16", "CMYK"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_conversion_in_parts_changes_nothing(
    picture: Image, monkeypatch: pytest.MonkeyPatch, mode: str, orientation: int
) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Pillow.fromarray(picture)
    if mode == "I;16":
        image = image.convert("I")
    elif mode in ("RGBA", "LA"):
        image.putalpha(Pillow.fromarray(picture[..., 2]))
    image = image.convert(mode)
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    more: dict[str, Any] = {"transparency": 3} if mode == "P" else {}
    buffer = io.BytesIO()
    image.save(
        buffer, "TIFF" if mode == "CMYK" else "PNG", icc_profile=_swapped_primaries(srgb), exif=exif, **more
    )
    whole = decode_image(buffer.getvalue(), "whole")
    monkeypatch.setattr(images, "_PART_PIXELS", 200)
    np.testing.assert_array_equal(decode_image(buffer.getvalue(), "parts"), whole)


def test_bombs_in_the_chunks_of_a_png(picture: Image) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "a" * 40_000_000, zip=True)
    buffer = io.BytesIO()
    Pillow.fromarray(picture).save(buffer, "PNG", pnginfo=info)
    with pytest.raises(ImageError, match="damaged or truncated"):
        decode_image(buffer.getvalue(), "bomb")


def test_only_the_first_of_many_frames_is_decoded(picture: Image) -> None:
    buffer = io.BytesIO()
    frames = [Pillow.new("P", (61, 47), number) for number in range(2_000)]
    Pillow.fromarray(picture).save(buffer, "GIF", save_all=True, append_images=frames)
    start = time.process_time()
    assert decode_image(buffer.getvalue(), "many").shape == (47, 61, 3)
    assert time.process_time() - start < 0.5
