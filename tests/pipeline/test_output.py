"""What a planned video can do: bars, notebooks, threads."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from openemo.audio import Audio
from openemo.errors import ConfigError
from openemo.pipeline import EmoPipeline
from openemo.pipeline.output import Animation
from openemo.provenance.marking import UNMARKED, Marking
from openemo.provenance.watermark_detection import find_watermark
from openemo.video.video_reader import probe, read_frames

Plan = Callable[..., Animation]


@pytest.fixture(scope="module")
def plan(tiny_pipeline: EmoPipeline, portrait_path: Path) -> Plan:
    photo = np.array(Image.open(portrait_path).convert("RGB"))
    times_s = np.arange(4_000) / 16_000
    sound = Audio(0.3 * np.sin(900 * times_s + 3000 * times_s**2).astype(np.float32)[None], 16_000)

    def plan(*, seed: int = 0, transparent: bool = False, size_px: int = 96) -> Animation:
        opacity = np.full((*photo.shape[:2], 1), 255, np.uint8)
        opacity[:99] = 0
        image = np.concatenate([photo, opacity], 2) if transparent else photo
        return tiny_pipeline(
            image, sound, seed=seed, framing="crop", size_px=size_px, transparent=transparent
        )

    return plan


def test_a_bar_is_shown_where_it_is_asked_for(
    plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unsigned = Marking(credentials=False)  # a signature differs each time
    plan().save(tmp_path / "a.mp4", marking=unsigned)
    assert capsys.readouterr().err == ""
    plan().save(tmp_path / "b.mp4", marking=unsigned, progress=True)
    shown = capsys.readouterr().err
    assert "animating" in shown
    assert "100%" in shown
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_progress_may_end_the_work(plan: Plan, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise ZeroDivisionError

    for name in ("a.mp4", "a.webm", "a.gif", "a.webp", "a/%d.png"):
        with pytest.raises(ZeroDivisionError):
            plan().save(tmp_path / name, progress=stop)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("transparent", "kind"), [(False, "mp4"), (True, "webm")])
def test_a_notebook_gets_the_video_with_its_sound(
    plan: Plan, transparent: bool, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import IPython.display

    shown: list[IPython.display.Video] = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    plan(transparent=transparent).display(width=48, progress=False)
    (video,) = shown
    page = video._repr_html_()
    start = f"data:video/{kind};base64,"
    assert 'width="48"' in page
    assert "controls" in page
    encoded = page[page.index(start) + len(start) :].split('"')[0]
    path = tmp_path / f"shown.{kind}"
    path.write_bytes(base64.b64decode(encoded))
    assert (probe(path).num_frames, probe(path).has_audio) == (6, True)


def test_display_says_what_it_needs(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(ConfigError, match=r"needs IPython.*notebooks"):
        plan().display()


def test_importing_loads_neither_ipython_nor_tqdms_widgets() -> None:
    code = "import sys, openemo.pipeline.output; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"IPython", "ipywidgets"} & set(loaded.split())


def test_threads_make_what_one_makes(plan: Plan) -> None:
    alone = [np.stack(list(plan(seed=seed))) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: np.stack(list(plan(seed=seed))), range(4)))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(alone[0], alone[1])


def test_what_is_written_is_marked_and_what_is_iterated_over_is_not(plan: Plan, tmp_path: Path) -> None:
    animation = plan(size_px=256)
    animation.save(tmp_path / "a.mkv")
    animation.save(tmp_path / "b.mkv", marking=UNMARKED)
    assert find_watermark(read_frames(tmp_path / "a.mkv")).mark_id == animation.origin.mark_id
    assert find_watermark(read_frames(tmp_path / "b.mkv")).mark_id is None
    first = next(iter(animation))
    assert not np.array_equal(animation.marker().mark(first), first)
    assert np.array_equal(animation.marker(UNMARKED).mark(first), first)


def test_the_mark_stands_for_portrait_voice_and_seed(plan: Plan) -> None:
    assert plan().origin.mark_id == plan().origin.mark_id
    assert plan().origin.mark_id != plan(seed=1).origin.mark_id
