"""A client of `openemo serve`, with the standard library alone.

    python examples/api_client.py portrait.jpg voice.wav out.mp4

The server's address and key come from OPENEMO_URL and OPENEMO_KEY.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

URL = os.environ.get("OPENEMO_URL", "http://127.0.0.1:8000/v1")
KEY = os.environ.get("OPENEMO_KEY", "none")


def ask(path: str, body: dict[str, Any] | None = None) -> bytes:
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, headers)  # noqa: S310 - the URL is your own
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return bytes(answer.read())


def data_urls(files: dict[str, Path]) -> dict[str, str]:
    coded = {name: base64.b64encode(path.read_bytes()).decode() for name, path in files.items()}
    return {name: f"data:application/octet-stream;base64,{text}" for name, text in coded.items()}


def animate(portrait: Path, voice: Path, **options: Any) -> bytes:
    """The video's bytes. Raises RuntimeError where none could be made."""
    files = data_urls({"image_reference": portrait, "audio_reference": voice})
    video = json.loads(ask("/videos", files | options))
    while video["status"] in ("queued", "in_progress"):
        time.sleep(1)
        video = json.loads(ask(f"/videos/{video['id']}"))
    if video["error"]:
        raise RuntimeError(video["error"]["message"])
    return ask(f"/videos/{video['id']}/content")


if __name__ == "__main__":
    portrait, voice, output = map(Path, sys.argv[1:4])
    output.write_bytes(animate(portrait, voice))
