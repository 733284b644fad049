from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from openemo.errors import InputError
from openemo.video.video_reader import probe, read_frames
from openemo.video.video_writer import VideoWriter


def write(path: Path, num_frames: int = 7) -> None:
    with VideoWriter(
        path, fps=Fraction(25, 2), width=48, height=32, audio=None, preset="ultrafast"
    ) as writer:
        for index in range(num_frames):
            writer.write(np.full((32, 48, 3), 20 * index + 30, np.uint8))


def test_frames_come_in_order(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4")
    levels = [float(frame.mean()) for frame in read_frames(tmp_path / "a.mp4")]
    # Flat grey: only the error of crf 18 and of limited range.
    np.testing.assert_allclose(levels, [20 * index + 30 for index in range(7)], atol=3)


def test_probe(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4")
    info = probe(tmp_path / "a.mp4")
    assert (info.width, info.height, info.fps, info.num_frames) == (48, 32, Fraction(25, 2), 7)
    assert info.duration_s == pytest.approx(0.56)
    assert not info.has_audio


def test_untagged_video_is_bt601(tmp_path: Path) -> None:
    red = np.broadcast_to(np.array([200, 30, 40], np.uint8), (32, 48, 3))
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, width=48, height=32, pix_fmt="yuv420p")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(red), format="rgb24")
        container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU601")))
        container.mux(stream.encode(None))
    (image,) = read_frames(tmp_path / "a.mp4")
    assert np.abs(image.astype(int) - red).max() <= 6  # crf 23


def test_a_name_is_a_file_and_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").rename("take:1.mp4")
    assert probe("take:1.mp4").num_frames == len(list(read_frames("take:1.mp4"))) == 7


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4")
    (tmp_path / "list.txt").write_text("ffconcat version 1.0\nfile a.mp4\n")
    with pytest.raises(InputError, match=r"list\.txt cannot be read as video.*playlist"):
        probe(tmp_path / "list.txt")


def test_bad_files(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    write(tmp_path / "cut.mp4")
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "cut.mp4").read_bytes()[:300])
    for name in ("missing.mp4", "text.mp4", "cut.mp4"):
        with pytest.raises(InputError, match=name):
            probe(tmp_path / name)
        with pytest.raises(InputError, match=name):
            list(read_frames(tmp_path / name))
