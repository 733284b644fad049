"""The page in a real browser: Debian's Chromium, driven by Playwright, against `openemo ui` in a process.

Every request that the browser makes must go to this machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image

from tests.serving.voices import write_voice

pytest.importorskip("gradio", reason="the extra `ui` is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM: Final = Path("/usr/bin/chromium")
FLAGS: Final = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
PATIENCE_MS: Final = 300_000  # machines with other work

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no /usr/bin/chromium"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Playwright's own event loop
]


@pytest.fixture(scope="module")
def address(tiny_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own; the networks are real, and tiny."""
    folder = tmp_path_factory.mktemp("server")
    command = [sys.executable, "-m", "openemo", "ui", "--port", "0", "--model", str(tiny_dir)]
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[0]
        process.terminate()
        process.wait(60)
    assert list(folder.iterdir()) == []


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def asked() -> list[str]:
    """Addresses that the browsers of a test asked for."""
    return []


@pytest.fixture
def open_page(chromium: Any, address: str, asked: list[str]) -> Iterator[Any]:
    """Opens the page as one user each; at the end no other host was asked for anything."""
    contexts = []

    def opened() -> Any:
        context = chromium.new_context(permissions=["microphone", "camera"])
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.wait_for_selector("#start")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert asked
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def choose(page: Any, portrait: Path, voice: Path) -> None:
    page.set_input_files("#portrait input[type=file]", portrait)
    page.wait_for_selector(".oe-faces")
    page.set_input_files("#voice input[type=file]", voice)
    page.wait_for_selector("#voice-line p")
    page.wait_for_selector("#estimate p")


def make_small(page: Any) -> None:
    page.get_by_text("More options").click()
    page.get_by_label("Square around the face").check()
    size = page.get_by_label("Longest side in px")
    size.fill("96")
    size.press("Tab")
    page.wait_for_function("document.querySelector('#estimate').innerText.includes('96 x 96')")


def finished(page: Any) -> dict[str, Any]:
    """Of the video that plays on the page."""
    page.wait_for_selector(".oe-result video")
    played = """async () => {
        const video = document.querySelector('.oe-result video');
        video.muted = true;
        await video.play();
        while (!video.currentTime) await new Promise(resolve => setTimeout(resolve, 50));
        return {width: video.videoWidth, seconds: video.duration};
    }"""
    return dict(page.evaluate(played))


@pytest.fixture
def small_portrait(portrait_path: Path, tmp_path: Path) -> Path:
    path = tmp_path / "me.jpg"
    Image.open(portrait_path).resize((400, 400)).save(path)
    return path


def test_upload_to_playing_video(open_page: Any, small_portrait: Path, tmp_path: Path) -> None:
    page = open_page()
    choose(page, small_portrait, write_voice(tmp_path / "voice.wav", 0.8))
    make_small(page)
    page.click("#start")
    made = finished(page)
    assert made["width"] == 96
    assert made["seconds"] == pytest.approx(0.8, abs=0.1)
    with page.expect_download() as download:
        page.click(".oe-download")
    assert download.value.suggested_filename == "openemo.mp4"
    assert Path(download.value.path()).stat().st_size > 1000
    # Reloaded, the last video is there again.
    page.reload()
    assert finished(page)["width"] == 96


def test_recording_with_the_microphone(open_page: Any) -> None:
    page = open_page()
    page.click("#examples button >> nth=1")
    page.wait_for_selector(".oe-faces")
    page.locator("#voice").get_by_label("Record audio").click()
    page.locator("#voice .record-button").click()
    page.wait_for_timeout(1500)
    page.locator("#voice .stop-button:visible").click()
    page.wait_for_selector("#voice-line p")
    make_small(page)
    page.click("#start")
    assert finished(page)["seconds"] > 0.5


def test_bad_files_are_explained(open_page: Any, tmp_path: Path, voice_path: Path) -> None:
    page = open_page()
    bad = tmp_path / "holiday.jpg"
    bad.write_bytes(b"this is no picture")
    page.set_input_files("#portrait input[type=file]", bad)
    text = page.wait_for_selector("#portrait-error .oe-error").inner_text()
    assert "is not an image" in text
    assert str(tmp_path) not in text
    blank = tmp_path / "blank.png"
    Image.new("RGB", (300, 200), "grey").save(blank)
    page.click("#start")
    assert "no portrait yet" in page.wait_for_selector("#error .oe-error").inner_text()


def test_cancel_in_the_middle(open_page: Any, small_portrait: Path, tmp_path: Path) -> None:
    page = open_page()
    choose(page, small_portrait, write_voice(tmp_path / "long.wav", 120))
    make_small(page)
    page.click("#start")
    page.wait_for_selector(".oe-preview")
    page.click("#cancel")
    page.wait_for_function("document.querySelector('#status').innerText.includes('Cancelled')")
    assert page.locator(".oe-result").count() == 0
    assert page.locator("#start").is_enabled()


def test_two_users_at_once_and_a_reload(open_page: Any, small_portrait: Path, tmp_path: Path) -> None:
    one, other = open_page(), open_page()
    choose(one, small_portrait, write_voice(tmp_path / "one.wav", 20))
    choose(other, small_portrait, write_voice(tmp_path / "other.wav", 0.6))
    make_small(one)
    make_small(other)
    one.click("#start")
    one.wait_for_selector(".oe-preview")
    other.click("#start")
    other.wait_for_function("document.querySelector('#status').innerText.includes('before yours')")
    one.reload()
    one.wait_for_selector(".oe-progress")
    assert finished(one)["seconds"] == pytest.approx(20, abs=0.2)
    assert finished(other)["seconds"] == pytest.approx(0.6, abs=0.1)
    video = one.locator(".oe-result video").get_attribute("src")
    assert other.evaluate("async url => (await fetch(url)).status", video) == 404


def test_one_of_several_faces_by_the_keyboard(open_page: Any, small_portrait: Path, tmp_path: Path) -> None:
    page = open_page()
    two = Image.new("RGB", (800, 400))
    face = Image.open(small_portrait)
    two.paste(face, (0, 0))
    two.paste(face, (400, 0))
    two.save(tmp_path / "two.png")
    page.set_input_files("#portrait input[type=file]", tmp_path / "two.png")
    for number in (1, 0, 1):
        page.locator(f"button[data-face='{number}']").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector(f"button[data-face='{number}'][aria-pressed='true']:focus")
    assert page.locator("button[aria-pressed='true']").count() == 1


@pytest.mark.parametrize("width", [390, 820, 1400])
def test_nothing_is_wider_than_the_screen(open_page: Any, width: int) -> None:
    page = open_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.click("#examples button >> nth=0")
    page.wait_for_selector(".oe-faces")
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
