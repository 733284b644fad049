"""From clips to a report: planted faults are found, and finished work is not done again."""

from __future__ import annotations

import json
import re
import shutil
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.audio.audio_reader import Audio, read_audio
from openemo.cli.main import main
from openemo.evaluation.benchmark_clips import find_clips
from openemo.evaluation.harness import measure
from openemo.evaluation.jobs import EvaluationSettings
from openemo.evaluation.report.report import load_report
from openemo.video.images import read_image
from openemo.video.video_reader import probe, read_frames
from openemo.video.video_writer import VideoWriter

Image = NDArray[np.uint8]


@pytest.fixture
def clips_dir(tmp_path: Path, portrait_path: Path, voice_path: Path) -> Path:
    """Two clips of a moving face, a grey one, one without sound, and a broken file."""
    folder = tmp_path / "clips"
    folder.mkdir()
    image, voice = read_image(portrait_path), read_audio(voice_path)
    side = min(image.shape[:2])
    face = np.asarray(cv2.resize(image[:side, :side], (160, 160), interpolation=cv2.INTER_AREA), np.uint8)
    grey = np.full_like(face, 90)
    for index, (name, frame) in enumerate(
        {"face": face, "other": face[:, ::-1], "no_face": grey, "mute": face}.items()
    ):
        start = index * voice.sample_rate_hz // 4
        sound = Audio(voice.samples[:, start : start + voice.sample_rate_hz // 4], voice.sample_rate_hz)
        with VideoWriter(
            folder / f"{name}.mp4",
            fps=Fraction(30),
            width=160,
            height=160,
            audio=None if name == "mute" else sound,
        ) as video:
            for shift in range(8):
                video.write(np.ascontiguousarray(np.roll(frame, shift, axis=1)))
    (folder / "broken.mp4").write_text("not a video")
    return folder


@pytest.mark.slow
def test_command_measures_clips_leaves_out_bad_ones_and_goes_on(
    clips_dir: Path, tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "report"
    command = ["evaluate", "--model", str(tiny_dir), "--clips", str(clips_dir), "-o", str(output)]
    assert main([*command, "--seeds", "3,4"]) == 0
    shown = capsys.readouterr().out
    assert "| mouth opening, correlation |" in shown

    report = load_report(output)
    assert list(report.clips) == ["face.mp4", "other.mp4"]
    assert {name: why.split(";")[0] for name, why in report.failures.items()} == {
        "broken.mp4": f"{clips_dir}/broken.mp4 cannot be read as video",
        "mute.mp4": f"{clips_dir}/mute.mp4 has no sound",
        "no_face.mp4": "no face in the first frame of no_face.mp4",
    }
    assert list(report.rows) == ["real", "frozen", "mismatched", "silence", "model"]
    assert report.seeds == (3, 4)
    assert report.summary["real"]["lip_r"].value == pytest.approx(1)
    assert report.summary["frozen"]["lip_r"].value == 0
    assert report.summary["model"]["speed_s_per_s"].value is not None
    assert report.summary["model"]["silence_opening"].clips == 2
    assert "fd_mobilenetv2" in report.summary["model"]

    page = (output / "report.html").read_text()
    assert re.findall(r'(?:src|(?<!xlink:)href)="(?!data:)', page) == []  # it needs no other file
    assert page.count("data:video/mp4;base64,") == 1
    assert "broken.mp4" in page
    assert (output / "report.md").read_text().startswith(shown.splitlines()[0])

    def times() -> dict[str, int]:
        files = (output / "rows").rglob("*.*")
        return {str(path.relative_to(output)): path.stat().st_mtime_ns for path in files}

    before = times()
    (output / "rows/model/face.mp4.seed3.json").unlink()
    assert main([*command, "--seeds", "3,4"]) == 0
    after = times()
    changed = {name for name in before if before[name] != after[name]}
    # Measured again, but not made again.
    assert changed == {"rows/model/face.mp4.seed3.json", "rows/model/face.mp4.seed3.npz"}
    again = load_report(output)
    assert again.rows == report.rows
    assert main(["compare", str(output), str(output / "report.json")]) == 0
    assert "0 of" in capsys.readouterr().out

    (clips_dir / "face.mp4").unlink()
    (clips_dir / "other.mp4").unlink()
    assert main(command) == 1
    assert "none of the 3 clips could be measured" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "0"], "there must be a worker"),
        (["--rows", "real,imaginary"], "unknown row; got imaginary"),
        (["--videos", "none"], "there is no folder none"),
        (["--silence-videos", "."], "--silence-videos is for --videos"),
        (["--videos", ".", "--rows", "silence"], "there are no videos of silence"),
        (["--fid-weights", "none.pt"], "there is no file none.pt"),
        (["--efid-weights", __file__], "is TorchScript: a program"),
        (["--seeds", "1,1"], "a seed is given twice"),
        (["--seeds", "one"], "wrong seeds; got one"),
        (["--limit", "0"], "got 0; expected 1 or more"),
        (["--list", "none.yaml"], "cannot be read"),
    ],
)
def test_wrong_options_are_found_first(
    tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").touch()
    assert main(["evaluate", "--clips", str(tmp_path), "-o", str(tmp_path / "out"), *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def _write(path: Path, frames: list[Image], clip: Path) -> None:
    info = probe(clip)
    with VideoWriter(
        path, fps=info.fps, width=info.width, height=info.height, audio=read_audio(clip), crf=12
    ) as video:
        for frame in frames:
            video.write(frame)


def _late(frames: list[Image], shift: int) -> list[Image]:
    return [frames[0]] * shift + frames[: len(frames) - shift]


@pytest.mark.slow
def test_planted_faults_are_found(shared_dir: Path, tmp_path: Path) -> None:
    """Real clips of six people with one fault each, over two processes."""
    corpus, clips, videos = shared_dir / "data/grid/others", tmp_path / "clips", tmp_path / "videos"
    clips.mkdir()
    videos.mkdir()
    late1, late2, late5, swapped, blurred, still = sorted(corpus.glob("u*.mp4"))[:6]
    for clip in (late1, late2, late5, swapped, blurred, still):
        shutil.copy(clip, clips)
        frames = list(read_frames(clip))
        if clip in (late1, late2, late5):
            frames = _late(frames, {late1: 1, late2: 2, late5: 5}[clip])
        elif clip == swapped:
            frames = list(read_frames(late1))[: len(frames)]
        elif clip == blurred:
            frames = [np.asarray(cv2.GaussianBlur(frame, (0, 0), 2.5), np.uint8) for frame in frames]
        else:
            frames = [frames[0]] * len(frames)
        _write(videos / f"{clip.stem}.mov", frames, clip)

    settings = EvaluationSettings(tmp_path / "out", ("real", "frozen", "videos"), model=None, videos=videos)
    measured, failures = measure(settings, find_clips(clips), workers=2)
    assert failures == {}
    found = {clip.name: records["videos", 0].values for clip, records in measured.items()}

    def figures(key: str) -> dict[str, float]:
        values = {name: values[key] for name, values in found.items()}
        return {name: float("nan") if value is None else value for name, value in values.items()}

    assert [figures("lip_lag_frames")[clip.name] for clip in (late1, late2, late5)] == [1, 2, 5]
    assert min(figures("lip_lag_r")[clip.name] for clip in (late1, late2, late5)) > 0.95
    # Frames of one person differ less by turning than two people differ.
    identity = figures("identity_distance")
    assert identity[swapped.name] > 2 * max(v for name, v in identity.items() if name != swapped.name)
    sharpness = figures("sharpness")
    assert sharpness[blurred.name] < 0.5 * min(v for name, v in sharpness.items() if name != blurred.name)
    # Compression alone moves the landmarks of a still picture a little.
    assert figures("lip_spread_ratio")[still.name] < 0.1
    assert all(figures("picture_delay_ms")[clip.name] == pytest.approx(0, abs=1) for clip in (late1, late5))
    notes = json.loads((settings.output / "rows/videos" / f"{late1.name}.json").read_text())
    assert notes["inputs"]["video"] is not None
