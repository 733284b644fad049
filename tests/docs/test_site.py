"""The documentation builds strictly: no dead link, no page left out, nothing from another host."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from openemo import EmoPipeline

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = (
    "prepare_portrait",
    "encode_audio",
    "encode_reference",
    "prepare_behaviour",
    "prepare_motion_frames",
    "prepare_conditions",
    "denoise_clip",
    "decode",
    "composite",
)
# What a browser fetches by itself when it opens a page.
_FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio)\b[^>]*?\bsrc=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preload|preconnect|icon|dns-prefetch))"""
    r"""[^>]*?\bhref=["']?((?:https?:)?//[^"'\s>]+)""",
    flags=re.I,
)
_FETCHED_BY_CSS = re.compile(r"""(?:url\(|@import\s+)["']?((?:https?:)?//[^"')\s]+)""", flags=re.I)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def pages(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from pages(entry)


@pytest.mark.slow
def test_every_page_of_the_navigation_is_there(site: Path) -> None:
    nav = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    named = list(pages(nav))
    assert len(named) > 20
    for page in named:
        stem = page.removesuffix(".md")
        folder = stem.removesuffix("index") if stem.endswith("index") else stem
        text = (site / folder / "index.html").read_text(encoding="utf-8")
        assert "<h1" in text, page


@pytest.mark.slow
def test_nothing_comes_from_another_host(site: Path) -> None:
    html = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    css = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.css")}
    assert html
    assert css
    assert {str(path): found for path, text in html.items() if (found := _FETCHED.findall(text))} == {}
    assert {str(path): found for path, text in css.items() if (found := _FETCHED_BY_CSS.findall(text))} == {}


@pytest.mark.parametrize(
    "fetched",
    [
        '<script src="https://cdn.example/x.js"></script>',
        "<img alt=x src=//host.example/y.png>",
        '<link rel="stylesheet" href="https://fonts.example/css">',
        '<link href="https://fonts.example" rel="preconnect">',
    ],
)
def test_requests_to_other_hosts_are_seen(fetched: str) -> None:
    assert _FETCHED.search(fetched)


@pytest.mark.slow
def test_the_reference_has_every_step_of_the_pipeline(site: Path) -> None:
    text = (site / "api/pipeline/index.html").read_text(encoding="utf-8")
    for step in STEPS:
        assert callable(getattr(EmoPipeline, step))
        assert f'id="openemo.pipeline.emo.EmoPipeline.{step}"' in text
