"""`openemo evaluate`: which clips, which table, which file."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from openemo.audio import Audio, read_audio
from openemo.cli import main
from openemo.errors import ConfigError, OutputError
from openemo.evaluation.lips import LipScore
from openemo.evaluation.report import check_report_path, find_clips, lip_table, write_report
from openemo.video.images import read_image
from openemo.video.writing import VideoWriter

SCORES = [
    LipScore("a.mp4", 0.8, 0, speech_spread=0.02, silence_spread=0.004, real_spread=0.04),
    LipScore("longer.mp4", -0.5, -3, speech_spread=0.03, silence_spread=0.001, real_spread=0.03),
]


def test_clips_are_the_videos_of_a_folder_by_name(tmp_path: Path) -> None:
    for name in ("c.mp4", "a.MOV", "b.txt", "d.mkv"):
        (tmp_path / name).touch()
    assert [path.name for path in find_clips(tmp_path)] == ["a.MOV", "c.mp4", "d.mkv"]
    assert [path.name for path in find_clips(tmp_path, 2)] == ["a.MOV", "c.mp4"]


def test_folders_and_limits_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    for folder, limit, message in (
        (tmp_path, None, "no video clips"),
        (tmp_path / "none", None, "there is no folder"),
        (tmp_path, 0, "got 0; expected 1 or more"),
    ):
        with pytest.raises(ConfigError, match=message):
            find_clips(folder, limit)


def test_table_has_a_line_per_clip_and_the_means() -> None:
    lines = lip_table(SCORES).splitlines()
    assert lines[0].split() == ["clip", "r", "lag", "speech", "silence", "real"]
    assert lines[1].split() == ["a.mp4", "0.80", "0", "20.0", "4.0", "40.0"]
    assert lines[2].split() == ["longer.mp4", "-0.50", "-3", "30.0", "1.0", "30.0"]
    assert len({len(line) for line in lines[:3]}) == 1
    assert "mean_correlation: 0.15" in lines[4:]
    assert "silence_over_speech_spread: 0.1" in lines[4:]


def test_reports_are_json_and_paths_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    check_report_path(path)
    write_report(path, SCORES)
    report = json.loads(path.read_text())
    assert [clip["clip"] for clip in report["clips"]] == ["a.mp4", "longer.mp4"]
    assert report["summary"]["lag_within_1"] == 0.5
    still = LipScore("a.mp4", 0, 0, speech_spread=0, silence_spread=0, real_spread=0.04)
    write_report(path, [still])
    assert json.loads(path.read_text())["summary"]["silence_over_speech_spread"] is None
    for wrong in (tmp_path, tmp_path / "none" / "report.json"):
        with pytest.raises(OutputError):
            check_report_path(wrong)
        with pytest.raises(OutputError):
            write_report(wrong, SCORES)


@pytest.mark.slow
def test_command_measures_clips_and_leaves_out_bad_ones(
    tmp_path: Path,
    tiny_dir: Path,
    portrait_path: Path,
    voice_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    image, voice = read_image(portrait_path), read_audio(voice_path)
    side = min(image.shape[:2])
    picture = np.asarray(cv2.resize(image[:side, :side], (160, 160), interpolation=cv2.INTER_AREA), np.uint8)
    sound = Audio(voice.samples[:, : voice.sample_rate_hz // 4], voice.sample_rate_hz)
    for name, frame in (("face", picture), ("nobody", np.full_like(picture, 90))):
        with VideoWriter(
            tmp_path / f"{name}.mp4", fps=Fraction(30), width=160, height=160, audio=sound
        ) as video:
            for index in range(8):
                video.write(np.roll(frame, index, axis=1))
    (tmp_path / "broken.mp4").write_text("not a video")
    report = tmp_path / "report.json"
    command = ["evaluate", "--model", str(tiny_dir), "--clips", str(tmp_path)]
    assert main([*command, "-o", str(report)]) == 0
    shown = capsys.readouterr().out
    assert "face.mp4" in shown
    assert "nobody.mp4" not in shown
    clips = json.loads(report.read_text())["clips"]
    assert [clip["clip"] for clip in clips] == ["face.mp4"]
    assert all(math.isfinite(value) for key, value in clips[0].items() if key != "clip")

    (tmp_path / "face.mp4").unlink()
    assert main(command) == 1
    assert "none of the 2 clips" in capsys.readouterr().err
