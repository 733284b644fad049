"""Every program in examples/ runs as its first lines say."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples import custom_scheduler, make_readme_animation, several_at_a_time, step_by_step
from openemo import EmoPipeline
from openemo.audio import read_audio
from openemo.video.images import read_image
from openemo.video.video_reader import probe, read_frames

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TESTED = {
    "animate",
    "api_client",  # in tests/serving/api
    "batch_of_voices",
    "custom_scheduler",
    "make_readme_animation",
    "several_at_a_time",
    "step_by_step",
}
_START_S, _FRAMES = 1.0, 14  # a clip of 12 frames, and two of the next

pytestmark = [pytest.mark.usefixtures("embedded_dir")]


def run(example: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / f"{example}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def short_voice(voice_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    voice = read_audio(voice_path)
    start = int(_START_S * voice.sample_rate_hz)
    samples = voice.samples[0, start : start + _FRAMES * voice.sample_rate_hz // 25]
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, voice.sample_rate_hz, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} - {"__init__"} == TESTED


@pytest.mark.slow
def test_animate_and_the_moving_picture(portrait_path: Path, short_voice: Path, tmp_path: Path) -> None:
    video, picture, small = tmp_path / "out.mp4", tmp_path / "out.webp", tmp_path / "small.jpg"
    Image.open(portrait_path).resize((400, 400)).save(small)
    ran = run("animate", small, short_voice, video)
    assert ran.returncode == 0, ran.stderr
    assert probe(video).num_frames == _FRAMES

    make_readme_animation.make_animation(video, picture, width_px=60, every=2, quality=50)
    with Image.open(picture) as made:
        assert made.size[0] == 60
        assert getattr(made, "n_frames", 1) == _FRAMES // 2
        assert made.info["loop"] == 0


@pytest.mark.slow
def test_batch_of_voices_skips_what_is_no_voice(
    portrait_path: Path, short_voice: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    ran = run("batch_of_voices", portrait_path, tmp_path / "videos", broken, short_voice)
    assert ran.returncode == 1
    assert "broken.wav" in ran.stderr
    assert [path.name for path in (tmp_path / "videos").iterdir()] == ["voice.mp4"]
    assert probe(tmp_path / "videos/voice.mp4").width == 256


def test_several_at_a_time_are_those_of_one_after_the_other(
    tiny_pipeline: EmoPipeline, portrait_path: Path, short_voice: Path, tmp_path: Path
) -> None:
    """Two tasks run at once, and the event loop goes on meanwhile."""
    voices = [tmp_path / "a.wav", tmp_path / "b.wav"]
    data = short_voice.read_bytes()
    voices[0].write_bytes(data)
    voices[1].write_bytes(data[:44] + data[44:][::-1])
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            ticks.append(time.perf_counter())
            await asyncio.sleep(0.002)

    async def both() -> list[Path]:
        ticker = asyncio.create_task(tick())
        made = await several_at_a_time.animate_all(tiny_pipeline, portrait_path, tmp_path, voices)
        ticker.cancel()
        return made

    made = asyncio.run(both())
    assert len(ticks) > 20
    assert made == [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for video, voice in zip(made, voices, strict=True):
        alone = tiny_pipeline(portrait_path, voice, framing="crop", size_px=256).save(tmp_path / "alone.mp4")
        # Signatures differ each time.
        assert all(map(np.array_equal, read_frames(video), read_frames(alone)))


def test_a_cancelled_task_leaves_nothing(
    tiny_pipeline: EmoPipeline, portrait_path: Path, voice_path: Path, tmp_path: Path
) -> None:
    animation = tiny_pipeline(portrait_path, voice_path, framing="crop", size_px=256)

    async def cancel_when_it_has_begun() -> None:
        task = asyncio.create_task(several_at_a_time.save(animation, tmp_path / "out.mkv"))
        while not any(tmp_path.iterdir()):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list(tmp_path.iterdir()) == []

    asyncio.run(cancel_when_it_has_begun())


@pytest.mark.slow
def test_custom_scheduler_changes_the_frames(portrait_path: Path, short_voice: Path) -> None:
    differences = custom_scheduler.compare(portrait_path, short_voice)
    assert differences.pop("DDIM, 1 step") == 0
    assert len(differences) == 2
    assert all(0 < difference < 5 for difference in differences.values())


@pytest.mark.slow
def test_step_by_step_gives_the_frames_of_the_call(portrait_path: Path, short_voice: Path) -> None:
    pipeline = EmoPipeline.from_pretrained("embedded")
    image, voice = read_image(portrait_path), read_audio(short_voice)
    own = list(step_by_step.animate(pipeline, image, voice, seed=5, size_px=96))
    called = list(pipeline(image, voice, seed=5, framing="crop", size_px=96))
    assert len(own) == _FRAMES
    np.testing.assert_array_equal(own, called)
