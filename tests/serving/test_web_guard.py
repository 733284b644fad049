"""The real page behind its guard: what one browser gets, and what another does not."""

from __future__ import annotations

import asyncio
import gc
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the extra `ui` is not installed")

from fastapi.testclient import TestClient

from openemo.decoding_limits import DecodingLimits
from openemo.pipeline import EmoPipeline
from openemo.serving.time_estimate import TimeEstimate
from openemo.serving.video_jobs import VideoJob, VideoMaker
from openemo.serving.visitors import COOKIE, Visitors
from openemo.serving.web_server import ServerSettings, guarded_page

BASE = "http://127.0.0.1:7860"
LIMITS = DecodingLimits(max_file_bytes=2_000_000)


@pytest.fixture(scope="module")
def page(
    tiny_pipeline: EmoPipeline, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Visitors]]:
    folder = tmp_path_factory.mktemp("page")
    patch = pytest.MonkeyPatch()
    patch.setenv("GRADIO_TEMP_DIR", str(folder / "uploads"))
    visitors = Visitors(100.0)
    maker = VideoMaker(tiny_pipeline, folder, limits=LIMITS, estimate=TimeEstimate())
    with warnings.catch_warnings(action="ignore"):  # Gradio makes event loops and leaves them open
        guarded = guarded_page(maker, visitors, ServerSettings(limits=LIMITS), 7860)
        asyncio.get_event_loop().close()
        asyncio.set_event_loop(None)
        gc.collect()
    yield guarded, visitors
    maker.close()
    patch.undo()


def browser(page: Any, *, knows_page: bool = True) -> Any:
    client = TestClient(page[0], base_url=BASE)
    if knows_page:
        assert client.get("/").status_code == 200
    return client


def upload(client: Any, name: str = "me.jpg", data: bytes = b"picture") -> str:
    answer = client.post("/gradio_api/upload", files={"files": (name, io.BytesIO(data))})
    assert answer.status_code == 200
    (path,) = answer.json()
    return str(path)


def test_a_browser_gets_a_secret_and_strict_headers(page: Any) -> None:
    answer = browser(page, knows_page=False).get("/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "://" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_page_names_no_file_of_another_host(page: Any) -> None:
    import re

    text = browser(page).get("/").text
    loaded = re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(https?:)?//[^"]*"', text)
    assert loaded == []


def test_files_go_to_their_owner_alone(page: Any) -> None:
    owner, other = browser(page), browser(page)
    path = upload(owner, data=b"secret picture")
    assert owner.get(f"/gradio_api/file={path}").content == b"secret picture"
    assert other.get(f"/gradio_api/file={path}").status_code == 404
    assert browser(page, knows_page=False).get(f"/gradio_api/file={path}").status_code == 403
    assert owner.get("/gradio_api/file=/etc/passwd").status_code == 404
    assert owner.get(f"/gradio_api/file={path}/../../../x").status_code == 404


@pytest.mark.parametrize("path", ["/etc/passwd", "https://example.com/x.png", "http://127.0.0.1:7860/"])
def test_what_is_handed_in_must_be_an_own_file(page: Any, path: str) -> None:
    client = browser(page)
    given = [{"path": path, "meta": {"_type": "gradio.FileData"}}]
    body = {"data": [{"deep": given}], "fn_index": 0, "session_hash": "abc" + path[-1].strip("/")}
    assert client.post("/gradio_api/queue/join", json=body).status_code == 403


def test_a_page_of_another_browser_cannot_be_watched_or_stopped(page: Any) -> None:
    one, other = browser(page), browser(page)
    body = {"event_id": "x", "session_hash": "mine1", "fn_index": 0}
    assert one.post("/gradio_api/cancel", json=body).status_code == 200
    assert other.post("/gradio_api/cancel", json=body).status_code == 403
    assert other.get("/gradio_api/queue/data?session_hash=mine1").status_code == 404
    assert other.get("/gradio_api/heartbeat/mine1").status_code == 404
    assert other.get("/gradio_api/queue/data").status_code == 404


def test_videos_go_to_their_owner_alone(page: Any, tmp_path: Path) -> None:
    owner, other = browser(page), browser(page)
    visitor = page[1].of(owner.cookies[COOKIE])
    job = VideoJob(tmp_path, tmp_path, {}, "mp4", tmp_path, state="done")
    job.files["video.mp4"].write_bytes(b"0123456789")
    (tmp_path / "other.txt").write_text("x")
    page[1].add_video(visitor, job)
    address = f"/media/{job.id}/video.mp4"
    assert owner.get(address).content == b"0123456789"
    assert owner.get(address, headers={"range": "bytes=2-4"}).content == b"234"
    assert "attachment" in owner.get(f"{address}?download").headers["content-disposition"]
    assert owner.get(address).headers["cache-control"] == "private, no-store"
    assert other.get(address).status_code == 404
    assert owner.get(f"/media/{job.id}/other.txt").status_code == 404
    assert owner.get(f"/media/{job.id}/%2e%2e%2fother.txt").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/proxy=https://example.com/"),
        ("GET", "/gradio_api/info"),
        ("GET", "/gradio_api/deep_link"),
        ("GET", "/monitoring"),
        ("GET", "/docs"),
        ("POST", "/gradio_api/run/predict"),
        ("POST", "/gradio_api/call/x"),
        ("POST", "/gradio_api/vibe-edit"),
        ("POST", "/gradio_api/process_recording"),
        ("DELETE", "/gradio_api/upload"),
    ],
)
def test_routes_that_the_page_does_not_need_are_closed(page: Any, method: str, path: str) -> None:
    assert browser(page).request(method, path).status_code == 404


def test_other_names_of_this_machine_get_nothing(page: Any) -> None:
    client = browser(page)
    assert client.get("/", headers={"host": "evil.example:7860"}).status_code == 421
    assert client.get("/", headers={"host": "localhost:7860"}).status_code == 200


def test_uploads_are_limited(page: Any) -> None:
    client = browser(page)
    answer = client.post("/gradio_api/upload", files={"files": ("big.jpg", io.BytesIO(bytes(4_000_000)))})
    assert answer.status_code == 413
    body = b'{"session_hash": "abcd", "data": ["' + bytes(2_000_000) + b'"]}'
    assert client.post("/gradio_api/queue/join", content=body).status_code == 403


def test_a_page_of_gone_visitors_says_so(page: Any) -> None:
    client = browser(page)
    page[1].forget(page[1].of(client.cookies[COOKIE]))
    answer = client.get("/gradio_api/queue/data?session_hash=zz")
    assert answer.status_code == 403
    assert "Reload" in answer.text
    assert client.get("/").status_code == 200  # and then it has a new secret


def test_bodies_of_nonsense_are_refused(page: Any) -> None:
    client = browser(page)
    for body in (b"", b"[", b"[1]", b"[" * 100_000, b'{"session_hash": 5}', b"\xff"):
        assert client.post("/gradio_api/queue/join", content=body).status_code == 403
