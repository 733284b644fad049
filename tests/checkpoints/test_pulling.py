"""`pull` from a hub on this machine, with the real huggingface_hub, real HTTP and tiny files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file

from openemo.checkpoints.catalogue import CATALOGUE, LICENCES, entry, is_present, weights_folder
from openemo.checkpoints.folder import file_sha256
from openemo.checkpoints.parts import read_source
from openemo.checkpoints.pulling import licence_line, pull
from openemo.cli.main import main
from openemo.errors import CheckpointError, ConfigError, OutputError

REPOSITORY, COMMIT = entry("wav2vec2").repository, entry("wav2vec2").revision or ""


class Hub(BaseHTTPRequestHandler):
    """Answers the requests of a download: files of a revision, a file's properties, a file or its rest."""

    folder: ClassVar[Path]
    requests: ClassVar[list[str]]
    cut_once: ClassVar[set[str]]  # files whose first answer stops halfway

    def do_HEAD(self) -> None:
        self.answer(send_body=False)

    def do_GET(self) -> None:
        self.answer(send_body=True)

    def answer(self, *, send_body: bool) -> None:
        spread = self.headers.get("Range", "")
        self.requests.append(f"{self.command} {self.path} {spread}".strip())
        path = self.path.partition("?")[0]
        files = sorted(file.name for file in self.folder.iterdir())
        info = {"id": REPOSITORY, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
        if path in (f"/api/models/{REPOSITORY}/revision/{COMMIT}", f"/api/models/{REPOSITORY}"):
            self.json(info)
        elif path.startswith(f"/api/models/{REPOSITORY}/tree/{COMMIT}"):
            self.json([{"type": "file", "path": n, "size": 1, "oid": "0" * 40} for n in files])
        elif path.startswith(f"/{REPOSITORY}/resolve/{COMMIT}/") and path.rsplit("/", 1)[1] in files:
            self.file(self.folder / path.rsplit("/", 1)[1], spread, send_body=send_body)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RevisionNotFound" if "/revision/" in path else "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def json(self, values: object) -> None:
        body = json.dumps(values).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def file(self, file: Path, spread: str, *, send_body: bool) -> None:
        body = file.read_bytes()
        start = int(spread.removeprefix("bytes=").partition("-")[0]) if spread else 0
        self.send_response(206 if spread else 200)
        self.send_header("Content-Length", str(len(body) - start))
        if spread:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{file_sha256(file)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if not send_body:
            return
        if file.name in self.cut_once and not spread:
            self.cut_once.discard(file.name)
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(body[start:])

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def published(wav2vec2_folder: Path, tmp_path: Path) -> Path:
    """Tiny, except a text head of 26 MB: huggingface_hub saves partial downloads in steps of 10 MB."""
    folder = Path(shutil.copytree(wav2vec2_folder, tmp_path / "published"))
    state = load_file(folder / "model.safetensors")
    save_file(state | {"lm_head.other": torch.zeros(6_500_000)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def hub(published: Path) -> Iterator[str]:
    Hub.folder, Hub.requests, Hub.cut_once = published, [], set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def run(endpoint: str, home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a new process: huggingface_hub reads its variables once, at import."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= dict(
        HF_ENDPOINT=endpoint,
        HF_HOME=str(home),
        HF_HUB_DISABLE_XET="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        OPENEMO_WEIGHTS=str(home / "weights"),
        NO_PROXY="127.0.0.1",
        **variables,
    )
    command = [sys.executable, "-m", "openemo", "weights", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_pull_resumes_imports_and_then_works_offline(
    hub: str,
    tmp_path: Path,
    published: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Hub.cut_once.add("model.safetensors")
    done = run(hub, tmp_path, "pull", "wav2vec2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == licence_line(entry("wav2vec2"))
    gets = [line for line in Hub.requests if line.startswith("GET") and "model.safetensors" in line]
    assert len(gets) == 2
    start = int(gets[1].partition(" bytes=")[2].rstrip("-"))
    assert start > 0  # the second request asked only for the rest
    assert all(COMMIT in line for line in Hub.requests)  # never "main"
    record = read_source(tmp_path / "weights" / "wav2vec2")
    assert (record.hub, record.revision, record.licence) == (REPOSITORY, COMMIT, "Apache-2.0")
    assert record.files["model.safetensors"] == file_sha256(published / "model.safetensors")

    Hub.requests.clear()
    offline = run(hub, tmp_path, "pull", "wav2vec2", "-o", str(tmp_path / "again"), HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr
    assert Hub.requests == []
    monkeypatch.setenv("OPENEMO_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["weights", "verify", str(tmp_path / "again")]) == 0
    capsys.readouterr()
    assert main(["weights", "list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert next(line for line in listed if line.startswith("wav2vec2")).rstrip().endswith("yes")


def last_error(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]  # after huggingface_hub's own retries
    assert last.startswith("openemo: error: ")
    return last


@pytest.mark.slow
def test_each_way_to_fail_ends_in_one_clear_line(hub: str, tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9"  # the discard port, where nothing listens
    for endpoint, variables, expected in (
        (nobody, {}, "no network"),
        (nobody, {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
    ):
        done = run(endpoint, tmp_path, "pull", "wav2vec2", **variables)
        assert expected in last_error(done)
        assert "openemo weights import wav2vec2 PATH" in done.stderr
        assert done.stdout.startswith("wav2vec2: ")  # the licence came first
    missing = run(hub, tmp_path, "pull", "wav2vec2", "--revision", "f" * 40)
    assert "cannot be fetched" in last_error(missing)
    # A repository without a commit in the catalogue: this hub does not have it.
    assert "cannot be fetched" in last_error(run(hub, tmp_path, "pull", "animatediff-v2"))
    assert not (tmp_path / "weights").exists()


@pytest.mark.slow
def test_an_unknown_branch_is_an_error(hub: str, tmp_path: Path) -> None:
    done = run(hub, tmp_path, "pull", "wav2vec2", "--revision", "main")
    assert done.returncode == 1  # this hub has no branches
    assert "cannot be fetched" in done.stderr


def test_unknown_names_and_non_commercial_weights_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENEMO_WEIGHTS", str(tmp_path))
    said: list[str] = []
    with pytest.raises(CheckpointError, match="known by this name; got sdxl"):
        pull("sdxl", say=said.append)
    with pytest.raises(ConfigError, match="--accept-non-commercial"):
        pull("insightface", say=said.append)
    (tmp_path / "wav2vec2").mkdir()
    (tmp_path / "wav2vec2" / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="there already"):
        pull("wav2vec2", say=said.append)
    assert said == []
    assert not is_present("wav2vec2")
    assert weights_folder("wav2vec2") == tmp_path / "wav2vec2"


def test_the_catalogue_is_consistent() -> None:
    for name, known in CATALOGUE.items():
        assert known.name == name
        assert known.revision is None or len(known.revision) == 40
        assert known.form is None or known.form in LICENCES
        assert all("face_analysis" not in pattern for pattern in known.files) or not known.licence.commercial
        assert all(len(digest) == 64 for digest in known.sha256.values())
        assert known.sha256.keys() <= set(known.files)
