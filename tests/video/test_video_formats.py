"""What is written for each ending is what other programs read: size, time, colour, opacity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from openemo.audio.audio_reader import Audio
from openemo.errors import OutputError
from openemo.video.video_reader import probe
from openemo.video.video_target import check_output_path
from openemo.video.video_writer import VideoWriter

WIDTH, HEIGHT, NUM_FRAMES = 91, 67, 5  # odd on purpose
FPS = Fraction(25)
SKIN, SHIRT = (205, 150, 120), (60, 80, 160)
Pixels = NDArray[np.uint8]

ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".gif", ".webp", ".png")
WITH_ALPHA = (".mov", ".webm", ".gif", ".webp", ".png")


def disc(k: int) -> Pixels:
    """A disc that moves to the right, opaque with a soft edge; its colour goes on beyond the edge."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(x - (30 + 6 * k), y - 33)
    frame = np.empty((HEIGHT, WIDTH, 4), np.uint8)
    frame[..., :3] = np.where((y < 33)[..., None], SKIN, SHIRT)
    frame[:3, :, :3] = 50 * k  # encoders leave frames out that do not differ
    frame[..., 3] = np.clip((22 - distance) * 64 + 128, 0, 255)
    return frame


def target(folder: Path, ending: str) -> Path:
    return folder / ("frames/%03d.png" if ending == ".png" else f"out{ending}")


def write(path: Path, *, transparent: bool, fps: Fraction = FPS, audio: Audio | None = None) -> None:
    with VideoWriter(
        path, fps=fps, width=WIDTH, height=HEIGHT, audio=audio, transparent=transparent
    ) as writer:
        for k in range(NUM_FRAMES):
            writer.write(disc(k) if transparent else np.ascontiguousarray(disc(k)[..., :3]))


def decode(path: Path) -> list[Pixels]:
    """The frames as RGBA, as FFmpeg or Pillow reads them."""
    if path.suffix == ".png":
        return [np.array(Image.open(each).convert("RGBA")) for each in sorted(path.parent.iterdir())]
    if path.suffix in (".gif", ".webp"):
        with Image.open(path) as opened:
            return [_seek(opened, k) for k in range(getattr(opened, "n_frames", 1))]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = stream.codec_context
        if path.suffix == ".webm":  # FFmpeg's own decoder of VP9 drops alpha
            decoder = av.CodecContext.create("libvpx-vp9", "r")
        return [
            np.asarray(frame.to_ndarray(format="rgba"), np.uint8)
            for packet in container.demux(stream)
            for frame in decoder.decode(packet if packet.size else None)
        ]


def _seek(opened: Image.Image, k: int) -> Pixels:
    opened.seek(k)
    return np.array(opened.convert("RGBA"))


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_shows_the_frames(ending: str, tmp_path: Path) -> None:
    write(target(tmp_path, ending), transparent=False)
    shown = decode(target(tmp_path, ending))
    assert len(shown) == NUM_FRAMES
    even = ending in (".mp4", ".mov", ".mkv", ".webm")  # H.264 and VP9 have one colour for 2 x 2 pixels
    assert shown[0].shape[:2] == ((HEIGHT + 1, WIDTH + 1) if even else (HEIGHT, WIDTH))
    for frame in shown:
        assert (frame[..., 3] == 255).all()
        assert np.abs(frame[10:28].mean((0, 1))[:3] - SKIN).max() < 4
        assert np.abs(frame[40:].mean((0, 1))[:3] - SHIRT).max() < 4
    assert [path.name for path in tmp_path.iterdir()] == ["frames" if ending == ".png" else f"out{ending}"]


@pytest.mark.parametrize("ending", WITH_ALPHA)
def test_alpha_moves_and_colours_have_no_edge(ending: str, tmp_path: Path) -> None:
    write(target(tmp_path, ending), transparent=True)
    shown = decode(target(tmp_path, ending))
    assert len(shown) == NUM_FRAMES
    for k, frame in enumerate(shown):
        frame, drawn = frame[:HEIGHT, :WIDTH].astype(int), disc(k).astype(int)
        wanted = drawn[..., 3]
        if ending == ".gif":
            wanted = (wanted >= 128) * 255
        # VP9 is lossy.
        assert np.abs(frame[..., 3] - wanted).mean() < (1.5 if ending == ".webm" else 0.5)
        away = np.abs(drawn[..., 3] - 127) > 126
        assert np.abs(frame[..., 3] - wanted)[away].mean() < 0.5
        rows = np.abs(np.arange(HEIGHT) - 33) > 4  # away from the line between the two colours
        seen = (frame[..., 3] > 60) & rows[:, None]
        assert np.abs(frame - drawn)[seen][:, :3].max() < 30
        assert np.abs(frame - drawn)[seen][:, :3].mean() < 4


def test_png_frames_are_exact_and_start_at_one(tmp_path: Path) -> None:
    folder = tmp_path / "100%d of it"  # FFmpeg must not take the name of the folder for a pattern
    folder.mkdir()
    write(folder / "shot/f%d.png", transparent=True)
    assert sorted(path.name for path in (folder / "shot").iterdir()) == [f"f{k}.png" for k in range(1, 6)]
    for k in range(NUM_FRAMES):
        assert np.array_equal(decode(folder / "shot/f1.png")[k], disc(k))


@pytest.mark.parametrize(("fps", "durations_ms"), [(25, [40] * 5), (30, [30, 40, 30, 30, 40])])
@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_animations_keep_time_and_loop(
    ending: str, fps: int, durations_ms: list[int], tmp_path: Path
) -> None:
    path = tmp_path / f"out{ending}"
    write(path, transparent=False, fps=Fraction(fps))
    with Image.open(path) as opened:
        assert opened.info["loop"] == 0
        shown = []
        for k in range(NUM_FRAMES):
            opened.seek(k)
            opened.load()
            shown.append(opened.info["duration"])
    times, wanted = np.cumsum(shown), np.cumsum(durations_ms)
    # GIF counts hundredths of a second; the last frame stays as long as the one before.
    assert np.abs(times - wanted).max() <= (10 if ending == ".gif" else 34)


def test_a_gif_that_browsers_would_slow_down_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        OutputError, match=r"a \.gif has too few frames per second .* got 60; expected at most 50"
    ):
        write(tmp_path / "out.gif", transparent=False, fps=Fraction(60))
    assert not list(tmp_path.iterdir())


def test_a_still_picture_stays_still_in_a_gif(tmp_path: Path) -> None:
    """One palette, and a dither that keeps its place, also when more frames come than the palette is of."""
    noise = np.random.default_rng(3).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    with (
        pytest.MonkeyPatch.context() as patch,
        VideoWriter(tmp_path / "out.gif", fps=FPS, width=WIDTH, height=HEIGHT, audio=None) as writer,
    ):
        patch.setattr("openemo.video.gif_palette._HELD_BYTES", 3 * 4 * WIDTH * HEIGHT)
        for k in range(8):
            frame = noise.copy()
            frame[:20] = 30 * k
            writer.write(frame)
    shown = decode(tmp_path / "out.gif")
    assert len(shown) == 8
    assert all(np.array_equal(frame[20:], shown[0][20:]) for frame in shown)


@pytest.mark.parametrize("ending", [".gif", ".webp", ".png"])
def test_formats_without_sound_leave_it_out(ending: str, tmp_path: Path) -> None:
    path = target(tmp_path, ending)
    assert check_output_path(path).sound is None
    write(path, transparent=False, audio=Audio(np.zeros((1, 8_000), np.float32), 16_000))
    assert len(decode(path)) == NUM_FRAMES


def test_prores_and_vp9_are_marked(tmp_path: Path) -> None:
    for ending, codec, pixels in ((".mov", "prores", "yuva444p12le"), (".webm", "vp9", "yuv420p")):
        write(tmp_path / f"out{ending}", transparent=True)
        with av.open(str(tmp_path / f"out{ending}")) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == (codec, pixels)
            assert stream.codec_context.colorspace == stream.codec_context.color_primaries == 1
            if ending == ".webm":
                assert stream.metadata["alpha_mode"] == "1"
            else:
                assert stream.codec_context.codec_tag == "ap4h"
        assert probe(tmp_path / f"out{ending}").num_frames == NUM_FRAMES


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.mp4", r"a \.mp4 video has no transparency; .*\.webm.* leave `transparent` out"),
        ("out.MKV", r"a \.mkv video has no transparency"),
        ("out.avi", "unknown kind of video file"),
        ("frames/out.png", r"holds one frame; .*frames/%05d\.png"),
        ("frames/%s.png", "holds one frame"),
        ("frames/%05d%05d.png", "holds one frame"),
        ("missing/frames/%05d.png", "there is no folder .*missing"),
        ("full/%05d.png", "is there already"),
        ("file/%05d.png", "is there already"),
    ],
)
def test_what_cannot_be_transparent(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/old.txt").write_text("kept")
    (tmp_path / "file").write_text("kept")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=message):
        check_output_path(tmp_path / name, transparent=True)
    with pytest.raises(OutputError, match=message):
        write(tmp_path / name, transparent=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_current_folder_is_no_folder_of_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="a folder of their own"):
        check_output_path("%05d.png")


def test_frames_have_the_channels_that_were_promised(tmp_path: Path) -> None:
    for transparent in (False, True):
        writer = VideoWriter(
            tmp_path / "a.webm", fps=FPS, width=WIDTH, height=HEIGHT, audio=None, transparent=transparent
        )
        with pytest.raises(OutputError, match="wrong kind of frame"), writer:
            writer.write(disc(0)[..., : 3 if transparent else 4])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_failure_leaves_nothing(ending: str, error: type[BaseException], tmp_path: Path) -> None:
    path = target(tmp_path, ending)

    def frames() -> Iterator[Pixels]:
        yield from (np.ascontiguousarray(disc(k)[..., :3]) for k in range(3))
        assert not path.exists()
        raise error

    def interrupted() -> None:
        with VideoWriter(path, fps=FPS, width=WIDTH, height=HEIGHT, audio=None) as writer:
            for frame in frames():
                writer.write(frame)

    with pytest.raises((error, OutputError)):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_filled_and_a_link_to_it_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link/%05d.png", transparent=False)
    assert (tmp_path / "link").is_symlink()
    assert len(list((tmp_path / "real").iterdir())) == NUM_FRAMES


@pytest.mark.parametrize("ending", [".webm", ".gif", ".webp", ".png"])
@pytest.mark.parametrize("limit", [0, 3_000, 60_000])
def test_full_disk(
    ending: str, limit: int, tmp_path: Path, file_size_limit: Callable[[int], AbstractContextManager[None]]
) -> None:
    noise = np.random.default_rng(0).integers(0, 8, (12, 300, 400, 3), np.uint8) * 32

    def write_noise() -> None:
        path = target(tmp_path, ending)
        with VideoWriter(path, fps=FPS, width=400, height=300, audio=None, crf=0) as writer:
            for frame in noise:
                writer.write(frame)

    with file_size_limit(limit), pytest.raises(OutputError, match="larger than allowed"):
        write_noise()
    assert not list(tmp_path.iterdir())
