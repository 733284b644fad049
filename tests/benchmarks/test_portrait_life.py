"""The parts about life: videos are made once, and the tables say what the videos show."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.portrait_life.emotion import EMOTIONS, STRENGTHS, summary
from benchmarks.portrait_life.emotion import table as emotion_table
from benchmarks.portrait_life.goals import ROWS, Row, is_reached, shown_goal
from benchmarks.portrait_life.motion import set_figures, table, track_figures
from benchmarks.portrait_life.recordings import Recording, load, record
from benchmarks.portrait_life.strips import TILE_PX, write_sheet
from openemo.audio.audio_reader import Audio, read_audio
from openemo.face import FaceAnalyzer
from openemo.pipeline import EmoPipeline
from openemo.pipeline.output import Animation
from openemo.video.images import read_image
from tests.evaluation.turned_landmarks import turned

FRAMES = 100


@pytest.fixture(scope="module")
def recordings(face_analyzer: FaceAnalyzer, portrait_path: Path) -> dict[tuple[str, str], Recording]:
    """Two people with two voices. All nod alike with one voice; each person has a yaw of their own."""
    points = np.repeat(face_analyzer.find(read_image(portrait_path)).points_px[None], FRAMES, axis=0)
    rng = np.random.default_rng(0)
    audio = Audio(rng.normal(0, 0.1, (1, 16000 * FRAMES // 25)).astype(np.float32), 16000)
    speeds = {"torso": 0.02, "hair": 0.1, "face": float("nan")}
    made = {}
    for voice in ("v", "w"):
        pitch = 4 * np.sin(np.arange(FRAMES) / 6 + rng.uniform(0, 6))
        for person in ("a", "b"):
            yaw = 5 * np.sin(np.arange(FRAMES) / rng.uniform(4, 9))
            angles = np.stack([yaw, pitch, np.zeros(FRAMES)], axis=1)
            made[person, voice] = Recording(turned(points, angles), 25.0, speeds, audio)
    return made


def test_table_says_what_the_videos_show(recordings: dict[tuple[str, str], Recording]) -> None:
    ours, tracks = set_figures(recordings), track_figures(recordings)
    assert ours["head_yaw_range_deg"]["median"] == pytest.approx(10, rel=0.1)
    assert ours["head_pitch_range_deg"]["median"] == pytest.approx(8, rel=0.1)
    assert ours["blinks_per_min"]["median"] == 0
    assert ours["torso_motion"]["videos"] == 4
    assert tracks["pitch"]["one_voice"]["mean"] == pytest.approx(1, abs=0.03)
    assert abs(tracks["yaw"]["one_voice"]["mean"]) < 0.9
    text = table(
        {"people": 2, "voices": ["v", "w"], "seconds": 4.0, "sets": {"ours": ours}, "tracks": tracks}
    )
    assert "| yaw range, degrees | 6-12 | yes |" in text
    assert "| brows, spread | 0.004-0.008 | no |" in text
    assert "| face motion, face widths per second |  |  | - |" in text
    assert all(f"| {row.title} |" in text for row in ROWS)


def test_goals() -> None:
    row = Row("key", "title", (0.018, float("inf")))
    assert shown_goal(row) == "over 0.018"
    assert [is_reached(row, value) for value in (0.01, 0.02, float("nan"))] == ["no", "yes", ""]
    assert is_reached(Row("key", "title"), 1) == shown_goal(Row("key", "title")) == ""


@pytest.mark.slow
def test_a_video_is_made_once(
    tiny_pipeline: EmoPipeline,
    face_analyzer: FaceAnalyzer,
    portrait_path: Path,
    voice_path: Path,
    tmp_path: Path,
) -> None:
    voice = read_audio(voice_path)
    voice = Audio(voice.samples[:, : voice.sample_rate_hz // 2], voice.sample_rate_hz)
    picture = np.asarray(cv2.resize(read_image(portrait_path), (240, 240)), np.uint8)
    video, calls = tmp_path / "videos" / "one.mp4", []

    def make() -> Animation:
        calls.append(1)
        return tiny_pipeline(picture, voice, seed=0)

    first = record(make, voice, video, face_analyzer)
    again = record(make, voice, video, face_analyzer)
    assert len(calls) == 1
    np.testing.assert_array_equal(first.points_px, again.points_px)
    assert len(first.points_px) > 5
    assert first.fps == 25
    assert again.speeds == pytest.approx(first.speeds, nan_ok=True)
    assert load(video.with_suffix(".npz"), voice).speeds.keys() == {"torso", "hair", "face"}

    sheet = tmp_path / "sheet.jpg"
    write_sheet(sheet, video, first)
    tiles = -(-len(first.points_px) // 4)
    assert read_image(sheet).shape == (TILE_PX, 10 * TILE_PX, 3)
    assert tiles < 10
    picture_of_last = read_image(sheet)[:, (tiles - 1) * TILE_PX : tiles * TILE_PX]
    assert picture_of_last.std() > 10
    assert read_image(sheet)[:, tiles * TILE_PX + 8 :].max() < 10


def test_emotions_are_counted() -> None:
    """Two people: "sad" is read as angry from one of them, and "smug" does not rise."""
    rows = {}
    for person in ("a", "b"):
        for asked in EMOTIONS:
            for strength in STRENGTHS:
                rows[f"{person} {asked} {strength:g}"] = {
                    "read": "angry" if (person, asked) == ("a", "sad") else asked,
                    "likeness": 0.9,
                    "amplitude": 0.5 if asked == "smug" else strength,
                    "amplitude_whole_face": strength / 2,
                }
    found = summary(rows)
    assert found["right"] == pytest.approx({"0.5": 13 / 14, "1": 13 / 14})
    assert found["emotions"]["sad"]["1"]["right"] == 0.5
    assert found["emotions"]["sad"]["1"]["read"]["angry"] == 1
    assert found["emotions"]["happy"]["1"]["amplitude_whole_face"] == 0.5
    assert found["rises_with_strength"] == pytest.approx(6 / 7)
    assert "| sad | 0.50 | 0.50 | 0.50 | 1.00 | 0.50 | 1.00 | sad 1, angry 1 |" in emotion_table(found)
