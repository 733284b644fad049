"""The API behind its guard: what is accepted, refused, told, and to whom. Nothing makes videos here."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("sqlalchemy", reason="the extra `serve` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `serve` is not installed")

from fastapi.testclient import TestClient

from openemo.decoding_limits import DecodingLimits
from openemo.serving.addresses import local_hosts
from openemo.serving.api.api_database import open_database
from openemo.serving.api.api_keys import ApiKeys
from openemo.serving.api.api_settings import ApiSettings, KeyLimits
from openemo.serving.api.job_files import JobFiles
from openemo.serving.api.job_store import JobStore
from openemo.serving.api.video_routes import guarded_api
from openemo.serving.api.video_service import VideoService
from tests.serving.voices import write_voice

BASE = "http://127.0.0.1:8000"
NO_LIMITS = KeyLimits(None, None, None)


class Server(NamedTuple):
    client: Any
    keys: ApiKeys
    store: JobStore
    files: JobFiles
    data: Path

    def visitor(self, limits: KeyLimits = NO_LIMITS, **options: bool) -> dict[str, str]:
        """Headers of a new key."""
        return {"authorization": f"Bearer {self.keys.add('somebody', limits, **options)[1]}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from served(tmp_path_factory.mktemp("data"))


def served(data: Path, **options: Any) -> Iterator[Server]:
    limits = DecodingLimits(max_file_bytes=2_000_000, max_seconds=5)
    settings = ApiSettings(data=data, limits=limits, **options)
    engine = open_database(settings.url)
    store, files, keys = JobStore(engine, max_queue=50), JobFiles(data), ApiKeys(engine)
    api = guarded_api(VideoService(store, files, keys, settings), hosts=local_hosts(8000))
    with TestClient(api, base_url=BASE) as client:
        yield Server(client, keys, store, files, data)
    engine.dispose()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small picture and a short sound; nobody looks for a face yet."""
    folder = tmp_path_factory.mktemp("inputs")
    picture = io.BytesIO()
    Image.new("RGB", (64, 48), "grey").save(picture, "PNG")
    sound = write_voice(folder / "voice.wav", 0.5).read_bytes()
    return {"image_reference": picture.getvalue(), "audio_reference": sound}


def data_url(data: bytes) -> str:
    return f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"


def as_json(inputs: dict[str, bytes], **fields: Any) -> dict[str, Any]:
    return {**{name: data_url(data) for name, data in inputs.items()}, **fields}


def error_of(answer: Any) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return {"status": answer.status_code, **error}


def folders(server: Server) -> set[str]:
    return {path.name for path in (server.data / "videos").iterdir()}


def test_a_job_from_form_to_deletion(server: Server, inputs: dict[str, bytes]) -> None:
    """Also: another key sees nothing of it, and the same request makes no second one."""
    mine, other = server.visitor(), server.visitor()
    names = {"image_reference": ("../../me.png", inputs["image_reference"])}
    files = {**names, "audio_reference": ("/etc/passwd", inputs["audio_reference"])}
    fields = {"emotion": "0:happy,2:sad:0.5", "seed": "7", "framing": "crop", "consent": "It is me."}
    headers = {**mine, "idempotency-key": "order 1"}
    video = server.client.post("/v1/videos", files=files, data=fields, headers=headers).json()
    assert (video["status"], video["progress"], video["seconds"]) == ("queued", 0, "0.5")
    assert (video["consent"], video["options"]["seed"]) == ("It is me.", 7)
    assert len(video["id"]) > 30
    stored = server.data / "videos" / video["id"]
    assert {path.name: path.read_bytes() for path in stored.iterdir()} == inputs
    assert server.data.stat().st_mode & 0o777 == 0o700

    address = f"/v1/videos/{video['id']}"
    for path in (address, f"{address}/content", f"{address}/events", "/v1/videos/video_unknown"):
        assert error_of(server.client.get(path, headers=other))["status"] == 404
    assert server.client.delete(address, headers=other).status_code == 404
    assert server.client.get("/v1/videos", headers=other).json()["data"] == []
    assert server.client.get(address, headers=mine).json() == video
    assert error_of(server.client.get(f"{address}/content", headers=mine))["code"] == "video_not_ready"

    before = folders(server)
    again = as_json(inputs, emotion="0:happy,2:sad:0.5", seed=7, framing="crop", consent="It is me.")
    assert server.client.post("/v1/videos", json=again, headers=headers).json()["id"] == video["id"]
    assert folders(server) == before

    assert server.client.delete(address, headers=mine).json()["deleted"] is True
    assert server.client.get(address, headers=mine).status_code == 404
    assert not stored.exists()


def test_events_and_content_of_a_finished_video(server: Server, inputs: dict[str, bytes]) -> None:
    mine = server.visitor()
    body = as_json(inputs, prompt="Say hello", transparent=False)
    body["input_reference"] = {"image_url": body.pop("image_reference")}  # OpenAI's name and form
    video = server.client.post("/v1/videos", json=body, headers=mine).json()
    assert "`prompt` changes nothing" in video["warnings"][0]
    job = server.store.claim("w", lease_s=30, max_attempts=3)
    assert job is not None
    result = server.data / "videos" / job.id / "w-1"
    result.mkdir()
    (result / "video.mp4").write_bytes(b"0123456789")
    made = {"num_frames": 20, "width": 96, "height": 64, "duration_s": 0.5, "work_s": 1.0, "seed": 0}
    assert server.store.complete(job, result="w-1", made=made)
    address = f"/v1/videos/{job.id}"
    events = server.client.get(f"{address}/events", headers=mine).text
    assert events.startswith("event: completed\n")
    told = json.loads(events.split("data: ")[1].splitlines()[0])
    assert (told["progress"], told["size"], told["expires_at"] > told["completed_at"]) == (100, "96x64", True)
    content = server.client.get(f"{address}/content", headers={**mine, "range": "bytes=2-4"})
    assert (content.status_code, content.content, content.headers["content-type"]) == (
        206,
        b"234",
        "video/mp4",
    )
    assert content.headers["x-content-type-options"] == "nosniff"
    assert error_of(server.client.get(f"{address}/content?variant=thumbnail", headers=mine))["status"] == 404
    assert error_of(server.client.get(f"{address}/content?variant=../x", headers=mine))["param"] == "variant"
    # What killed processes leave is swept away, and nothing else.
    (result.parent / "w-0").mkdir()
    (server.data / "videos" / "video_orphan").mkdir()
    server.files.sweep(server.store)
    assert [path.name for path in result.parent.iterdir()] == ["w-1"]
    assert "video_orphan" in folders(server)  # it may get its row in a moment


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"image_reference": "https://example.com/me.png"}, "invalid_file", "image_reference"),
        ({"image_reference": "file:///etc/passwd"}, "invalid_file", "image_reference"),
        ({"image_reference": "data:image/png;base64,???"}, "invalid_file", "image_reference"),
        ({"image_reference": "data:image/png,abc"}, "invalid_file", "image_reference"),
        ({"audio_reference": None}, "missing_file", "audio_reference"),
        ({"motion_from": {"file_id": "x"}}, "invalid_file", "motion_from"),
        ({"input_reference": "data:;base64,"}, "duplicate_field", None),
        ({"portrait": "x"}, "unknown_parameter", "portrait"),
        ({"seed": "x"}, "invalid_option", "seed"),
        ({"seed": -2}, "invalid_option", None),
        ({"emotion": "hungry"}, "invalid_option", None),
        ({"emotion_strength": 2}, "invalid_option", None),
        ({"gaze": 1e9}, "invalid_option", None),
        ({"fps": 1000}, "invalid_option", None),
        ({"size_px": 100_000}, "invalid_option", "size_px"),
        ({"num_inference_steps": 10**9}, "invalid_option", "num_inference_steps"),
        ({"format": "exe"}, "invalid_option", "format"),
        ({"model": "sora-2"}, "unknown_model", "model"),
        ({"consent": ""}, "invalid_option", "consent"),
    ],
)
def test_wrong_fields(
    server: Server, inputs: dict[str, bytes], changes: dict[str, Any], code: str, param: str | None
) -> None:
    before, headers = folders(server), server.visitor()
    error = error_of(server.client.post("/v1/videos", json={**as_json(inputs), **changes}, headers=headers))
    assert (error["status"], error["code"], error["param"]) == (400, code, param)
    assert folders(server) == before


def test_files_are_told_by_their_content(server: Server, inputs: dict[str, bytes]) -> None:
    headers = server.visitor()
    swapped = {"image_reference": inputs["audio_reference"], "audio_reference": inputs["audio_reference"]}
    error = error_of(server.client.post("/v1/videos", json=as_json(swapped), headers=headers))
    assert (error["status"], error["code"]) == (400, "invalid_image")
    assert str(server.data) not in error["message"]
    assert "--" not in error["message"]


@pytest.mark.parametrize(
    "body", [b"", b"[", b"[1]", b"[" * 100_000, b'{"a":1,"a":2}', b'{"seed":NaN}', b"\xff"]
)
def test_bodies_of_nonsense(server: Server, body: bytes) -> None:
    headers = {**server.visitor(), "content-type": "application/json"}
    assert error_of(server.client.post("/v1/videos", content=body, headers=headers))["status"] == 400


def test_random_requests_never_break_the_server(server: Server, inputs: dict[str, bytes]) -> None:
    """Each is answered in the form of an error, and leaves no file."""
    before, headers, rng = folders(server), server.visitor(), np.random.default_rng(5)
    fields = ["seed", "emotion", "fps", "framing", "gaze", "consent", "prompt", "audio_reference", "x"]
    values: list[Any] = [
        None,
        True,
        -1,
        1e308,
        "",
        "\0",
        "💥" * 50,
        [],
        {},
        [[]],
        {"url": 1},
        "data:;base64,",
    ]
    for _ in range(80):
        chosen = {str(name): values[rng.integers(len(values))] for name in rng.choice(fields, 3)}
        chosen["image_reference"] = (
            data_url(rng.bytes(20)) if rng.random() < 0.5 else values[rng.integers(12)]
        )
        text = json.dumps(chosen).encode()
        cut = text[: rng.integers(len(text))] if rng.random() < 0.2 else text
        kind = str(rng.choice(["application/json", "application/json; charset=x", "multipart/form-data", ""]))
        answer = server.client.post("/v1/videos", content=cut, headers={**headers, "content-type": kind})
        assert error_of(answer)["status"] in (400, 415)
    for path in ("/v1/videos?limit=0", "/v1/videos?after=%00", "/v1/videos/%2e%2e%2f", "/v1/videos?order=x"):
        assert 400 <= error_of(server.client.get(path, headers=headers))["status"] < 500
    assert folders(server) == before


def test_requests_that_are_too_large(server: Server, inputs: dict[str, bytes]) -> None:
    headers = server.visitor()
    files = {"image_reference": ("x", bytes(3_000_000)), "audio_reference": ("x", b"")}
    assert error_of(server.client.post("/v1/videos", files=files, headers=headers))["status"] == 413
    chunks = (bytes(500_000) for _ in range(6))  # of a length that nobody tells
    headers["content-type"] = "application/json"
    assert error_of(server.client.post("/v1/videos", content=chunks, headers=headers))["status"] == 413


def test_without_a_key_nobody_comes_in(server: Server) -> None:
    server.visitor()
    for header in ({}, {"authorization": "Bearer oek_x"}, {"authorization": "Basic x"}):
        for path in ("/v1/videos", "/v1/videos/x", "/v1/videos/x/content", "/metrics"):
            answer = server.client.get(path, headers=header)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert server.client.get("/health").json() == {"status": "ok"}
    assert server.client.get("/ready").status_code == 503  # no worker
    assert server.client.get("/docs").status_code == 404


def test_limits_of_a_key(server: Server, inputs: dict[str, bytes]) -> None:
    slow = server.visitor(KeyLimits(2, None, None))
    codes = [server.client.get("/v1/videos", headers=slow).status_code for _ in range(3)]
    assert codes == [200, 200, 429]
    none = server.visitor(KeyLimits(None, 0, None))
    refused = server.client.post("/v1/videos", json=as_json(inputs), headers=none)
    assert (error_of(refused)["code"], int(refused.headers["retry-after"]) > 0) == ("too_many_jobs", True)


def test_metrics_are_for_keys_that_may_read_them(server: Server) -> None:
    assert server.client.get("/metrics", headers=server.visitor()).status_code == 404
    text = server.client.get("/metrics", headers=server.visitor(reads_metrics=True)).text
    assert 'openemo_requests_total{method="GET",route="/metrics",status="404"} 1.0' in text
    assert "openemo_videos_accepted_total" in text


def test_foreign_pages_and_names_get_nothing(server: Server) -> None:
    get = server.client.get
    assert get("/health", headers={"host": "evil.example:8000"}).status_code == 421
    assert get("/health", headers={"origin": "https://evil.example"}).status_code == 403
    assert get("/health", headers={"origin": "http://localhost:8000"}).status_code == 200


def test_the_document_has_the_routes_and_both_forms(server: Server) -> None:
    document = server.client.get("/openapi.json").json()
    assert set(document["paths"]["/v1/videos"]) == {"get", "post"}
    content = document["paths"]["/v1/videos"]["post"]["requestBody"]["content"]
    example = content["application/json"]["example"]
    assert set(example) <= set(content["application/json"]["schema"]["properties"])
    assert "image_reference" in content["multipart/form-data"]["schema"]["required"]


def test_consent_can_be_required(tmp_path: Path, inputs: dict[str, bytes]) -> None:
    for server in served(tmp_path, require_consent=True):
        error = error_of(server.client.post("/v1/videos", json=as_json(inputs)))
        assert (error["code"], error["param"]) == ("consent_required", "consent")
