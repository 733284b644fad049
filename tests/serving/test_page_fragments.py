"""Pieces of the page: text from outside stays text, errors say all their parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from openemo.behaviour import EMOTIONS
from openemo.errors import ImageError
from openemo.pipeline.portrait import FaceInPicture
from openemo.serving import page_fragments as fragments
from openemo.serving.video_jobs import VideoJob
from openemo.serving.web_page import EXAMPLE_FILES

HOSTILE = "<img src=x onerror=alert(1)>"


def face(left: float) -> FaceInPicture:
    return FaceInPicture(
        np.array([left, 0.2, left + 0.1, 0.4]), np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
    )


def job(folder: Path) -> VideoJob:
    made = VideoJob(folder, folder, {"emotion": HOSTILE}, "mp4", folder, state="done", warnings=(HOSTILE,))
    made.files["video.mp4"].write_bytes(bytes(1_500_000))
    return made


def test_an_error_has_what_got_expected_and_way_out() -> None:
    shown = fragments.error_box(ImageError("it is odd", got=3, expected="even", fix="Add one"))
    for text in ("It is odd.", "<dt>Got</dt><dd>3</dd>", "<dd>even</dd>", "<dd>Add one</dd>"):
        assert text in shown
    assert "<dl>" not in fragments.error_box(ImageError("it is odd"))


def test_text_from_outside_is_escaped(tmp_path: Path) -> None:
    made = job(tmp_path)
    error = ImageError(HOSTILE, got=HOSTILE, expected=HOSTILE, fix=HOSTILE)
    for shown in (
        fragments.error_box(error),
        fragments.result_view(made),
        fragments.gallery_list([made, made]),
        fragments.examples_row([("a.jpg", HOSTILE)]),
    ):
        assert "<img src=x" not in shown
        assert "<Img src=x" not in shown
        assert "&lt;" in shown


def test_several_faces_are_buttons_and_one_is_not() -> None:
    one = fragments.faces_figure(b"x", 100, 50, [face(0.3)], 0)
    two = fragments.faces_figure(b"x", 100, 50, [face(0.1), face(0.6)], 1)
    assert "<button" not in one
    assert "One face found" in one
    assert two.count("<button") == 2
    assert (
        'data-face="1" style="left:60.00%;top:20.00%;width:10.00%;height:20.00%" aria-pressed="true"' in two
    )


def test_states(tmp_path: Path) -> None:
    made = VideoJob(tmp_path, tmp_path, {}, "mp4", tmp_path)
    assert "2 videos are made before yours" in fragments.status_line(made, 2)
    assert "Preparing" in fragments.progress_view(made)
    made.state, made.total, made.done = "working", 20, 5
    assert 'value="5" max="20"' in fragments.progress_view(made)
    made.state = "cancelled"
    assert fragments.progress_view(made) == ""


def test_a_result_plays_downloads_and_shows_its_size(tmp_path: Path) -> None:
    made = job(tmp_path)
    shown = fragments.result_view(made)
    assert f'<video src="/media/{made.id}/video.mp4"' in shown
    assert "1.5 MB" in shown
    made.kind = "gif"
    made.files["video.gif"].write_bytes(b"x")
    assert "<video" not in fragments.result_view(made)


def test_there_is_a_face_for_each_emotion() -> None:
    with Image.open(EXAMPLE_FILES["emotions.webp"]) as row:
        assert row.width == row.height * (1 + len(EMOTIONS))  # the first one is neutral
