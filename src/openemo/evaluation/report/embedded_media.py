"""Frames and a short video as data URIs, so that the page needs no file beside it."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image as Pillow

from openemo.arrays import Image
from openemo.audio.audio_reader import Audio, read_audio
from openemo.video.images import contact_sheet
from openemo.video.video_reader import probe, read_frames
from openemo.video.video_writer import VideoWriter

__all__ = ["contact_sheet_uri", "side_by_side_uri"]


_SHEET_FRAMES: Final = 8
_CELL_PX: Final = 150
_JPEG_QUALITY: Final = 82
_VIDEO_HEIGHT_PX: Final = 288
_VIDEO_S: Final = 4
_CRF: Final = 26  # keeps the page small; the figures come from the files themselves


def contact_sheet_uri(videos: Sequence[Path]) -> str:
    """Eight frames of each video as one JPEG: a row per video, evenly over the first video's length."""
    count = probe(videos[0]).num_frames
    wanted = np.unique(np.linspace(0, max(count - 1, 0), _SHEET_FRAMES).round().astype(int))
    cells: list[Image] = []
    for path in videos:
        shown = {i: frame for i, frame in enumerate(read_frames(path)) if i in wanted}
        last = shown[max(shown)]
        cells += [shown.get(int(index), last) for index in wanted]
    data = io.BytesIO()
    sheet = contact_sheet(cells, len(wanted), _CELL_PX)
    Pillow.fromarray(sheet).save(data, format="JPEG", quality=_JPEG_QUALITY)
    return _data_uri("image/jpeg", data.getvalue())


def side_by_side_uri(left: Path, right: Path) -> str:
    """The first seconds of two videos beside each other as MP4, with the sound of the first."""
    fps = probe(left).fps
    count = min(int(_VIDEO_S * fps), probe(left).num_frames, probe(right).num_frames)
    sound = read_audio(left)
    length = round(Fraction(count * sound.sample_rate_hz) / fps)
    # A file may declare more frames than it holds. The video ends with the shorter one.
    pairs = (
        np.concatenate([_at_height(a), _at_height(b)], axis=1)
        for a, b in zip(islice(read_frames(left), count), islice(read_frames(right), count), strict=False)
    )
    first = next(pairs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "side.mp4"
        with VideoWriter(
            path,
            fps=fps,
            width=first.shape[1],
            height=first.shape[0],
            audio=Audio(sound.samples[:, :length], sound.sample_rate_hz),
            crf=_CRF,
            preset="medium",
        ) as video:
            video.write(first)
            for pair in pairs:
                video.write(pair)
        return _data_uri("video/mp4", path.read_bytes())


def _at_height(frame: Image) -> Image:
    """Scaled to one height. The width is made even, as H.264 needs."""
    width = round(frame.shape[1] * _VIDEO_HEIGHT_PX / frame.shape[0] / 2) * 2
    return np.asarray(cv2.resize(frame, (width, _VIDEO_HEIGHT_PX), interpolation=cv2.INTER_AREA), np.uint8)


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
