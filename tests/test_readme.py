"""What the README shows is what runs."""

from __future__ import annotations

import re
import shutil
import wave
from pathlib import Path

import pytest

from openemo.audio import read_audio
from openemo.cli import main
from openemo.video.reading import probe

README = Path(__file__).resolve().parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.S)


def test_make_targets_exist() -> None:
    targets = re.findall(r"^make (\w+)", "\n".join(blocks("sh")), flags=re.M)
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    assert targets == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, flags=re.M) for target in targets)


def test_local_links_exist() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []


@pytest.mark.slow
@pytest.mark.usefixtures("embedded_dir")
def test_examples_run(
    portrait_path: Path, voice_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(portrait_path, "portrait.jpg")
    voice = read_audio(voice_path)
    with wave.open("voice.wav", "wb") as file:
        file.setparams((1, 2, voice.sample_rate_hz, 0, "NONE", ""))
        second = voice.samples[0, voice.sample_rate_hz : 2 * voice.sample_rate_hz]
        file.writeframes((second * 32767).astype("<i2").tobytes())
    (example,) = blocks("python")
    exec(compile(example, str(README), "exec"), {})
    assert probe("out.mp4").num_frames == 25
    commands = [
        line.split()[1:] for line in "\n".join(blocks("sh")).splitlines() if line.startswith("openemo")
    ]
    assert main(commands[0]) == 0
