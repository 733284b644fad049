"""What the README shows is what runs."""

from __future__ import annotations

import re
import tomllib
import wave
from pathlib import Path

import pytest
import yaml
from PIL import Image

from openemo.audio import read_audio
from openemo.cli.main import main
from openemo.video.video_reader import probe

REPOSITORY = Path(__file__).resolve().parents[1]
README = REPOSITORY / "README.md"
NUM_FRAMES = 14  # a clip of 12, and two of the next


def text_of(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text_of("README.md"), flags=re.S)


def commands() -> list[list[str]]:
    """Arguments of each `openemo` line, without its comment."""
    lines = "\n".join(blocks("sh")).splitlines()
    return [line.split("#")[0].split()[1:] for line in lines if line.startswith("openemo ")]


def make_commands() -> list[list[str]]:
    """The same of the Makefile."""
    return [line.split()[1:] for line in re.findall(r"/(openemo .*)", text_of("Makefile"))]


def test_make_targets_exist() -> None:
    targets = re.findall(r"^make (\w+)", "\n".join(blocks("sh")), flags=re.M)
    assert targets == ["demo", "test"]
    assert all(re.search(rf"^{target}:", text_of("Makefile"), flags=re.M) for target in targets)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_local_links_and_paths_exist(page: str) -> None:
    text = text_of(page)
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    paths = re.findall(r"`((?:src|docs|examples|recipes|benchmarks)/[^`*]*)`", text)
    assert links or paths
    assert [name for name in links + paths if not (REPOSITORY / name).exists()] == []


def test_first_screen_has_picture_and_commands() -> None:
    first_screen = text_of("README.md").splitlines()[:32]
    assert any("docs/images/demo.webp" in line for line in first_screen)
    assert {"make demo", "make test", "pip install .", "openemo demo"} <= {
        line.split("#")[0].strip() for line in first_screen
    }


def test_picture_moves_and_is_small() -> None:
    path = REPOSITORY / "docs/images/demo.webp"
    assert path.stat().st_size < 1_000_000
    with Image.open(path) as picture:
        assert getattr(picture, "n_frames", 1) > 25
        assert 320 <= picture.width <= 400
        assert picture.info["loop"] == 0


def test_models_of_the_table_are_known() -> None:
    from openemo.checkpoints import EMBEDDED
    from openemo.checkpoints.catalogue import MODELS

    table = text_of("README.md").split("## Models")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w[\w-]*)` \|", table, flags=re.M) == [EMBEDDED, *MODELS]


def test_size_of_the_shipped_model(embedded_dir: Path) -> None:
    size_mb = sum(path.stat().st_size for path in embedded_dir.rglob("*") if path.is_file()) / 1e6
    stated = re.search(r"^\| `embedded` .*? (\d+) MB \|", text_of("README.md"), flags=re.M)
    assert stated is not None
    assert abs(int(stated[1]) - size_mb) < 1


@pytest.mark.parametrize("command", commands() + make_commands(), ids=" ".join)
def test_options_exist(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for word in command if word.startswith("-") and word != "--help"]
    group = command[:2] if command[0] in ("weights", "data") else command[:1]
    assert main([*group, "--help"]) == 0
    shown = capsys.readouterr().out
    assert [word for word in words if not re.search(rf"(?<![\w-]){word}(?![\w-])", shown)] == []


def test_citation_has_software_and_paper() -> None:
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["message"]
    assert citation["title"]
    assert citation["authors"] == [{"name": "The openemo authors"}]
    assert citation["license"] == tomllib.loads(text_of("pyproject.toml"))["project"]["license"]
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Tian", "Wang", "Zhang", "Bo"]
    assert paper["identifiers"][0]["value"] == "arXiv:2402.17485"


@pytest.mark.slow
@pytest.mark.usefixtures("embedded_dir")
def test_examples_run(
    portrait_path: Path, voice_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.open(portrait_path).resize((400, 400)).save("portrait.jpg")  # small, for time
    voice = read_audio(voice_path)
    with wave.open("voice.wav", "wb") as file:
        file.setparams((1, 2, voice.sample_rate_hz, 0, "NONE", ""))
        spoken = voice.samples[0, voice.sample_rate_hz :][: voice.sample_rate_hz * NUM_FRAMES // 25]
        file.writeframes((spoken * 32767).astype("<i2").tobytes())
    (example,) = blocks("python")
    exec(compile(example, str(README), "exec"), {})
    assert probe("out.mp4").num_frames == NUM_FRAMES
    animated = {tuple(words) for words in commands() if words[0] == "animate" and "--help" not in words}
    assert len(animated) == 2
    for command in sorted(animated, key=len):
        Path("out.mp4").unlink()
        assert main([*command]) == 0
        assert probe("out.mp4").num_frames == NUM_FRAMES
    assert probe("out.mp4").width == 256
