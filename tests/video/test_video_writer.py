from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from openemo.audio.audio_reader import Audio, read_audio
from openemo.errors import OpenEmoError, OutputError
from openemo.timing import frame_to_sample, num_frames
from openemo.video.video_reader import probe, read_frames
from openemo.video.video_target import check_output_path
from openemo.video.video_writer import VideoWriter

WIDTH, HEIGHT = 64, 48
FPS = Fraction(25)


def grey(level: int, width: int = WIDTH, height: int = HEIGHT) -> npt.NDArray[np.uint8]:
    return np.full((height, width, 3), level, np.uint8)


def silence(seconds: float = 1.0) -> Audio:
    return Audio(np.zeros((1, round(seconds * 16_000)), np.float32), 16_000)


def write_flash_and_click(path: Path, fps: Fraction, sample_rate_hz: int, channels: int) -> tuple[int, int]:
    """A white frame with a click at the same time. Returns the number of frames and the white one's index."""
    num_samples = round(2.357 * sample_rate_hz)
    frames = num_frames(num_samples, sample_rate_hz, fps)
    flash = frames * 2 // 3
    samples = np.zeros((channels, num_samples), np.float32)
    start = frame_to_sample(flash, fps, sample_rate_hz)
    time_s = np.arange(round(0.01 * sample_rate_hz)) / sample_rate_hz
    samples[:, start : start + time_s.size] = 0.8 * np.sin(2 * np.pi * 900 * time_s + 1.5)
    audio = Audio(samples, sample_rate_hz)
    with VideoWriter(path, fps=fps, width=WIDTH, height=HEIGHT, audio=audio, preset="ultrafast") as writer:
        for frame in range(frames):
            writer.write(grey(250 if frame == flash else 20))
    return frames, flash


def flash_time_s(path: Path) -> float:
    with av.open(str(path)) as container:
        shown = [
            (frame.to_ndarray(format="gray8").mean(), float(frame.time or 0))
            for frame in container.decode(video=0)
        ]
    return max(shown)[1]


def click_time_s(path: Path) -> float:
    audio = read_audio(path)
    loud = np.abs(audio.samples[0])
    return float(np.argmax(loud > loud.max() / 2)) / audio.sample_rate_hz


NTSC = Fraction(30_000, 1001)


@pytest.mark.parametrize(
    ("suffix", "fps", "sample_rate_hz", "channels"),
    [
        (".mp4", Fraction(24), 44_100, 2),
        (".mp4", Fraction(25), 44_100, 1),
        (".mp4", NTSC, 48_000, 2),
        (".mp4", Fraction(30), 8_000, 1),
        (".mp4", Fraction(50), 192_000, 1),
        (".mov", Fraction(25), 48_000, 2),
        (".mkv", NTSC, 16_000, 1),
        (".webm", Fraction(25), 48_000, 2),
        (".webm", NTSC, 44_100, 1),
        (".webm", Fraction(30), 8_000, 1),
    ],
)
def test_audio_and_video_are_in_sync(
    tmp_path: Path, suffix: str, fps: Fraction, sample_rate_hz: int, channels: int
) -> None:
    path = tmp_path / f"out{suffix}"
    frames, flash = write_flash_and_click(path, fps, sample_rate_hz, channels)
    assert sum(1 for _ in read_frames(path)) == frames
    assert flash_time_s(path) == pytest.approx(float(flash / fps), abs=0.001)  # Matroska counts milliseconds
    # The goal is half a frame (10 ms at 50 fps); the code achieves 2 ms.
    assert abs(click_time_s(path) - flash_time_s(path)) < 0.002
    assert read_audio(path).duration_s == pytest.approx(2.357, abs=0.0001)
    info = probe(path)
    assert (info.width, info.height, info.num_frames, info.has_audio) == (WIDTH, HEIGHT, frames, True)
    # Matroska stores times in milliseconds, not the rate.
    assert float(info.fps) == pytest.approx(float(fps), rel=1e-3 if suffix in (".mkv", ".webm") else 1e-9)
    assert list(tmp_path.iterdir()) == [path]


def test_audio_is_complete_when_frames_are_few(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with VideoWriter(path, fps=FPS, width=WIDTH, height=HEIGHT, audio=silence(3.1)) as writer:
        writer.write(grey(90))
    assert read_audio(path).duration_s == pytest.approx(3.1, abs=0.001)
    assert len(list(read_frames(path))) == 1


def test_silent_film(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "out.mp4", fps=FPS, width=WIDTH, height=HEIGHT, audio=None) as writer:
        writer.write(grey(90))
    assert not probe(tmp_path / "out.mp4").has_audio


@pytest.mark.parametrize("colour", [(200, 30, 40), (20, 180, 60), (30, 60, 220), (255, 255, 255), (0, 0, 0)])
def test_colours_survive(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    path = tmp_path / "out.mp4"
    frame = np.broadcast_to(np.array(colour, np.uint8), (HEIGHT, WIDTH, 3))
    with VideoWriter(path, fps=FPS, width=WIDTH, height=HEIGHT, audio=None) as writer:
        for _ in range(3):
            writer.write(frame)
    # Limited range has 219 levels for 256, and crf 18 quantises.
    difference = next(read_frames(path)).astype(int) - colour
    assert np.abs(difference).max() <= 5
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (
            1,
            1,
            1,
            1,
        )


def test_odd_sides_grow_by_one(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with VideoWriter(path, fps=FPS, width=63, height=47, audio=None) as writer:
        writer.write(grey(120, 63, 47))
    (frame,) = read_frames(path)
    assert frame.shape == (48, 64, 3)
    assert np.abs(frame.astype(int) - 120).max() <= 4  # no black border


def test_replaces_an_older_file(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_text("old")
    with VideoWriter(path, fps=FPS, width=WIDTH, height=HEIGHT, audio=silence()) as writer:
        writer.write(grey(90))
        assert path.read_text() == "old"
    assert len(list(read_frames(path))) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError, SystemExit])
def test_failure_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "out.mp4").write_text("old")

    def interrupted() -> None:
        path = tmp_path / "out.mp4"
        with VideoWriter(path, fps=FPS, width=WIDTH, height=HEIGHT, audio=silence()) as writer:
            writer.write(grey(90))
            raise error

    with pytest.raises(error):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_text() == "old"


def test_wrong_frame(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", fps=FPS, width=WIDTH, height=HEIGHT, audio=silence())
    with pytest.raises(OutputError, match="wrong kind of frame"), writer:
        writer.write(grey(90, WIDTH + 1))
    assert not list(tmp_path.iterdir())


def test_no_frames(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", fps=FPS, width=WIDTH, height=HEIGHT, audio=silence())
    with pytest.raises(OutputError, match="0 frames"), writer:
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("limit", [0, 9_000, 60_000, 300_000])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_full_disk(
    tmp_path: Path, limit: int, suffix: str, file_size_limit: Callable[[int], AbstractContextManager[None]]
) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (25, HEIGHT, WIDTH, 3), np.uint8)

    def write() -> None:
        path = tmp_path / f"out{suffix}"
        with VideoWriter(path, fps=FPS, width=WIDTH, height=HEIGHT, audio=silence(), crf=0) as writer:
            for _ in range(4):
                for frame in noise:
                    writer.write(frame)

    with file_size_limit(limit), pytest.raises(OutputError, match="larger than allowed") as caught:
        write()
    assert getattr(caught.value.__cause__, "errno", None) == errno.EFBIG
    assert not list(tmp_path.iterdir())


def test_full_device(tmp_path: Path) -> None:
    """A device that is really full: writing fails late, at a flush."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)

    def write() -> None:
        writer = VideoWriter(tmp_path / "out.mkv", fps=FPS, width=WIDTH, height=HEIGHT, audio=None)
        with writer:
            for _ in range(99):
                writer.write(noise)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("openemo.video.video_writer.check_output_path", lambda path, transparent: None)
        patch.setattr("openemo.files._new_file", lambda path: path.symlink_to("/dev/full"))
        with pytest.raises(OutputError, match="disk is full"):
            write()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["missing/out.mp4", "out.avi", "out", "folder.mp4", "x" * 300 + ".mp4"])
def test_bad_targets(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OutputError):
        check_output_path(tmp_path / name)
    with pytest.raises(OpenEmoError):
        VideoWriter(tmp_path / name, fps=FPS, width=WIDTH, height=HEIGHT, audio=None)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.mp4"]


def test_unwritable_folder() -> None:
    """/proc refuses new files to everyone, also to the superuser of a container."""
    if not Path("/proc/self").is_dir():
        pytest.skip("no /proc on this system")
    with pytest.raises(OutputError, match="cannot be written"):
        check_output_path("/proc/self/out.mp4")


def test_check_leaves_no_trace(tmp_path: Path) -> None:
    check_output_path(tmp_path / "out.mp4")
    assert not list(tmp_path.iterdir())


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    """The names may have different endings; the link's own decides on the kind of file."""
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "video", tmp_path / "out.mp4"
    link.symlink_to(target)
    for first in (True, False):  # the target is missing, then it is there
        assert target.exists() is not first
        check_output_path(link)
        with VideoWriter(link, fps=FPS, width=WIDTH, height=HEIGHT, audio=None) as writer:
            for _ in range(2 if first else 3):
                writer.write(grey(90))
        assert link.readlink() == target
        assert not target.is_symlink()
        assert probe(link).num_frames == (2 if first else 3)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["elsewhere", "out.mp4", "video"]
    link.unlink()
    link.symlink_to(tmp_path / "missing" / "video.mp4")
    with pytest.raises(OutputError, match=r"there is no folder .*missing"):
        check_output_path(link)
