"""Pieces of the page as HTML. All text from outside is escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Final

from openemo.errors import OpenEmoError
from openemo.pipeline.portrait import FaceInPicture
from openemo.serving.time_estimate import spoken_time
from openemo.serving.video_jobs import VideoJob

__all__ = [
    "error_box",
    "examples_row",
    "faces_figure",
    "gallery_list",
    "progress_view",
    "result_view",
    "status_line",
    "voice_line",
]

_MOVING: Final = ("gif", "webp")  # pictures, for a browser


def error_box(error: OpenEmoError) -> str:
    """What is wrong, what was got, what was expected, the way out."""
    rows = [("Got", error.got), ("Expected", error.expected), ("What you can do", error.fix)]
    listed = "".join(
        f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in rows if value is not None
    )
    what = escape(error.what[:1].upper() + error.what[1:])
    return f'<div class="oe-error"><strong>{what}.</strong>{f"<dl>{listed}</dl>" if listed else ""}</div>'


def examples_row(names: Sequence[tuple[str, str]]) -> str:
    """A button with a picture for each (file, description)."""
    buttons = "".join(
        f'<button type="button" data-example="{number}"><img src="/media/examples/{name}" '
        f'alt="{escape(text)}" width="72" height="72"></button>'
        for number, (name, text) in enumerate(names)
    )
    return (
        f'<p class="oe-hint">Or one of these, who do not exist:</p><div class="oe-examples">{buttons}</div>'
    )


def faces_figure(jpeg: bytes, width: int, height: int, faces: Sequence[FaceInPicture], chosen: int) -> str:
    """The portrait with its faces, as buttons where there are several, and the region that moves."""
    corners = " ".join(f"{100 * x:.2f},{100 * y:.2f}" for x, y in faces[chosen].region)
    boxes = "".join(_face_box(face, number, len(faces), chosen) for number, face in enumerate(faces))
    found = "One face found." if len(faces) == 1 else f"{len(faces)} faces found: choose the one that speaks."
    return (
        f'<figure class="oe-faces"><div class="oe-picture" style="aspect-ratio:{width}/{height};'
        f'max-width:calc(24rem*{width / height:.4f})">'
        f'<img src="{_data(jpeg)}" alt="The portrait as it was read">'
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">'
        f'<polygon points="{corners}"/><polygon class="oe-dashes" points="{corners}"/></svg>'
        f"{boxes}</div><figcaption>{found} The face moves within the dashed line.</figcaption></figure>"
    )


def voice_line(duration_s: float, address: str | None = None) -> str:
    """How long the voice is; a player where Gradio's has none."""
    if address is None:
        return f'<p class="oe-hint">The voice is {duration_s:.1f} s long, and so will the video be.</p>'
    return (
        f'<p class="oe-hint">The example voice, {duration_s:.1f} s:</p>'
        f'<audio controls src="{address}" aria-label="The example voice"></audio>'
    )


def status_line(job: VideoJob, num_before: int) -> str:
    """One sentence for all, screen readers included; it changes seldom."""
    match job.state:
        case "waiting":
            before = "one video is" if num_before == 1 else f"{num_before} videos are"
            return f"Waiting: {before} made before yours." if num_before else "Your video is about to begin."
        case "working":
            return "Making your video." if job.done else "Reading the portrait and the voice."
        case "done":
            return f"Your video is ready: {job.duration_s:.1f} s, made in {job.seconds:.0f} s."
        case "cancelled":
            return "Cancelled. Nothing of it was kept."
        case _:
            return "No video was made."


def progress_view(job: VideoJob) -> str:
    """Frames so far, time left, the newest frame; nothing once it is over."""
    if job.is_over:
        return ""
    left = job.seconds_left
    text = "Preparing ..." if not job.total else f"Frame {job.done} of {job.total}"
    if left is not None:
        text += f", {spoken_time(left)} left"
    value = f'value="{job.done}" max="{job.total}"' if job.total else ""
    picture = ""
    if job.preview is not None:
        picture = f'<img class="oe-preview" src="{_data(job.preview)}" alt="The newest frame">'
    return (
        f'<div class="oe-progress"><progress {value} aria-label="Progress of the video"></progress>'
        f'<p class="oe-hint">{text}</p>{picture}</div>'
    )


def result_view(job: VideoJob) -> str:
    """The video beside its portrait, the file, the contact sheet, what the user should know."""
    address, name = f"/media/{job.id}", f"video.{job.kind}"
    size_mb = job.files[name].stat().st_size / 1e6
    if job.kind in _MOVING:
        shown = f'<img src="{address}/{name}" alt="The video, without sound">'
    else:
        shown = (
            f'<video src="{address}/{name}" poster="{address}/poster.jpg" controls playsinline '
            f'preload="metadata" aria-label="The video"></video>'
        )
    notes = "".join(f"<li>{escape(note[:1].upper() + note[1:])}.</li>" for note in job.warnings)
    return (
        f'<div class="oe-result"><div class="oe-pair"><figure><img src="{address}/portrait.jpg" '
        f'alt="The portrait"><figcaption>Portrait</figcaption></figure><figure>{shown}'
        f"<figcaption>Video</figcaption></figure></div>"
        f'<p><a class="oe-download" href="{address}/{name}?download" download="openemo.{job.kind}">'
        f"Download {job.kind.upper()}, {size_mb:.1f} MB</a></p>"
        f'<p class="oe-hint">{job.width} x {job.height} px, {job.duration_s:.1f} s, {job.total} frames, '
        f"seed {job.seed}</p>{f'<ul class=oe-notes>{notes}</ul>' if notes else ''}"
        f'<details><summary>Contact sheet</summary><img src="{address}/sheet.jpg" '
        f'alt="Twelve frames of the video in rows" loading="lazy"></details></div>'
    )


def gallery_list(jobs: Sequence[VideoJob]) -> str:
    """The session's videos, each a button that shows it; nothing where there is one at most."""
    if len(jobs) < 2:
        return ""
    items = "".join(
        f'<li><button type="button" data-video="{job.id}"><img src="/media/{job.id}/poster.jpg" '
        f'alt="Show video {len(jobs) - number}, {job.duration_s:.1f} s, {_mood(job)}">'
        f"<span>{job.duration_s:.1f} s, {_mood(job)}</span></button></li>"
        for number, job in enumerate(jobs)
    )
    return f'<h2>Your videos</h2><ul class="oe-gallery">{items}</ul>'


def _face_box(face: FaceInPicture, number: int, count: int, chosen: int) -> str:
    x0, y0, x1, y1 = (100 * float(edge) for edge in face.box)
    place = f"left:{x0:.2f}%;top:{y0:.2f}%;width:{x1 - x0:.2f}%;height:{y1 - y0:.2f}%"
    if count == 1:
        return f'<span class="oe-face" style="{place}"></span>'
    return (
        f'<button type="button" class="oe-face" data-face="{number}" style="{place}" '
        f'aria-pressed="{str(number == chosen).lower()}" '
        f'aria-label="Face {number + 1} of {count}, counted from the left"><span>{number + 1}</span></button>'
    )


def _mood(job: VideoJob) -> str:
    return escape(str(job.options.get("emotion", "neutral")))


def _data(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
