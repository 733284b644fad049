"""`openemo verify`: what it says, and its exit codes."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from openemo.arrays import Image
from openemo.cli.main import main
from openemo.cli.verify import EXIT_CHANGED, EXIT_UNMARKED
from openemo.provenance.frame_marker import FrameMarker
from openemo.provenance.marking import Marking
from openemo.provenance.origin import Origin
from openemo.provenance.sealing import Seal
from openemo.video.video_writer import VideoWriter

ORIGIN = Origin.of("tiny", None, 7, np.zeros((4, 6, 3), np.uint8), np.zeros((1, 9), np.float32))


@pytest.fixture(scope="module")
def photo(portrait_path: Path) -> Image:
    return np.array(Pillow.open(portrait_path).convert("RGB").resize((400, 400)))


@pytest.fixture(scope="module")
def video(photo: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "out.mp4"
    marker = FrameMarker(Marking(), mark_id=ORIGIN.mark_id, fps=Fraction(25))
    seal = Seal.of(Marking(), ORIGIN, path)
    with VideoWriter(path, fps=Fraction(25), width=400, height=400, audio=None, seal=seal) as writer:
        for _ in range(3):
            writer.write(marker.mark(photo))
    return path


def test_a_marked_video(video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(video), "--no-sandbox"]) == 0
    shown = capsys.readouterr().out
    assert f"watermark: openemo {ORIGIN.mark_id:08x}" in shown
    assert "credentials: valid" in shown
    assert "made as trainedAlgorithmicMedia" in shown
    assert "metadata: made with AI" in shown


def test_a_change_has_a_code_of_its_own(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(video.read_bytes())
    data[data.index(b"mdat") - 20_000 if data.index(b"mdat") > 20_000 else len(data) - 1200] ^= 1
    changed = tmp_path / "changed.mp4"
    changed.write_bytes(data)
    assert main(["verify", str(changed), "--json"]) == EXIT_CHANGED
    found = json.loads(capsys.readouterr().out)
    assert (found["is_marked"], found["is_consistent"]) == (True, False)
    assert found["credentials"]["state"] == "invalid"


def test_a_picture_of_a_frame_and_one_without_a_mark(
    photo: Image, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = FrameMarker(Marking(), mark_id=5, fps=Fraction(25))
    Pillow.fromarray(marker.mark(photo)).save(tmp_path / "still.jpg", quality=85)
    Pillow.fromarray(photo).save(tmp_path / "plain.jpg", quality=85)
    assert main(["verify", str(tmp_path / "still.jpg"), "--no-sandbox"]) == 0
    assert "watermark: openemo 00000005" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "plain.jpg"), "--no-sandbox"]) == EXIT_UNMARKED
    assert "That proves nothing" in capsys.readouterr().out


def test_what_is_no_picture_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    assert main(["verify", str(tmp_path / "text.mp4"), "--no-sandbox"]) == 1
    assert "neither a video nor a picture" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "missing.png")]) == 1
    assert "there is no image" in capsys.readouterr().err
