"""The socket that speaks, with real, tiny networks."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("sqlalchemy", reason="the extra `serve` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `serve` is not installed")

from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse

from openemo.pipeline import EmoPipeline
from openemo.serving.api.api_database import open_database
from openemo.serving.api.api_keys import ApiKeys
from openemo.serving.api.api_settings import ApiSettings, KeyLimits
from openemo.serving.api.job_files import JobFiles
from openemo.serving.api.job_store import JobStore
from openemo.serving.api.live_socket import LiveSockets
from openemo.serving.api.video_routes import guarded_api
from openemo.serving.api.video_service import VideoService
from openemo.video.video_reader import probe

RATE_HZ = 16_000


@pytest.fixture
def client(tiny_pipeline: EmoPipeline, tmp_path: Path) -> Iterator[Any]:
    settings = ApiSettings(data=tmp_path)
    engine = open_database(settings.url)
    service = VideoService(JobStore(engine), JobFiles(tmp_path), ApiKeys(engine), settings)
    live = LiveSockets(service, lambda: tiny_pipeline, 1)
    with TestClient(guarded_api(service, live=live)) as client:
        client.keys = ApiKeys(engine)
        yield client
    engine.dispose()


@pytest.fixture(scope="module")
def start(portrait_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("portrait") / "me.jpg"
    Image.open(portrait_path).resize((400, 400)).save(path)
    url = f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"
    return {"type": "start", "image_reference": url, "size_px": 96, "realtime": False}


def sound(seconds: float) -> bytes:
    samples = np.sin(np.arange(round(RATE_HZ * seconds)) / 9) * 9_000
    return samples.astype("<i2").tobytes()


def told(socket: Any) -> tuple[list[bytes], dict[str, Any]]:
    """The video, and what was said after it."""
    pieces = []
    while (message := socket.receive()).get("bytes") is not None:
        pieces.append(message["bytes"])
    return pieces, json.loads(message["text"])


def test_sound_in_and_video_out(client: Any, start: dict[str, Any], tmp_path: Path) -> None:
    with client.websocket_connect("/v1/live") as socket:
        socket.send_json(start | {"emotion": "sad"})
        started = socket.receive_json()
        assert (started["type"], started["width"], started["fps"]) == ("started", 96, 25)
        for _ in range(4):
            socket.send_bytes(sound(0.2))
        socket.send_json({"type": "emotion", "emotion": "happy"})
        socket.send_json({"type": "end"})
        with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("/v1/live"):
            pass
        assert denied.value.status_code == 429  # one at a time
        pieces, last = told(socket)
    assert last == {"type": "ended", "num_frames": 20}
    assert len(pieces) > 5
    (tmp_path / "live.mp4").write_bytes(b"".join(pieces))
    assert probe(tmp_path / "live.mp4").num_frames == 20


def test_raw_frames_and_a_wrong_message(client: Any, start: dict[str, Any]) -> None:
    with client.websocket_connect("/v1/live") as socket:
        socket.send_json(start | {"format": "rgb24"})
        socket.receive_json()
        socket.send_bytes(sound(0.6))
        assert len(socket.receive_bytes()) == 96 * 96 * 3
        socket.send_json({"type": "interrupt"})
        socket.send_json({"type": "dance"})
        _, last = told(socket)
    assert last["error"]["code"] == "invalid_message"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"image_reference": "https://example.com/me.jpg"}, "invalid_file"),
        ({"image_reference": "data:;base64,AAAA"}, "invalid_image"),
        ({"size_px": 100_000}, "invalid_option"),
        ({"lookahead_s": 9}, "invalid_option"),
        ({"seconds": 3}, "invalid_message"),
    ],
)
def test_what_cannot_be_streamed(
    client: Any, start: dict[str, Any], changes: dict[str, Any], code: str
) -> None:
    with client.websocket_connect("/v1/live") as socket:
        socket.send_json(start | changes)
        assert socket.receive_json()["error"]["code"] == code


def test_a_key_is_needed_here_too(client: Any) -> None:
    client.keys.add("somebody", KeyLimits())
    with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("/v1/live"):
        pass
    assert denied.value.status_code == 401
