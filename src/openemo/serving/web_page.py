"""The page, in Gradio: what is on it, and what happens when something is chosen.

Who asks is known by the browser's cookie, and what was chosen is kept by page, so that nothing of it comes
back from the browser. Files that were uploaded are only taken by their path: Gradio would decode them in this
process, and the sandbox of `to_inputs` does it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from functools import partial, wraps
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import gradio as gr

from openemo.behaviour import EMOTIONS
from openemo.errors import ConfigError, InputError, OpenEmoError
from openemo.pipeline.inputs import to_audio, to_image
from openemo.pipeline.portrait import find_faces
from openemo.serving import page_fragments as fragments
from openemo.serving.time_estimate import spoken_time
from openemo.serving.video_jobs import FORMATS, VideoJob, VideoMaker, preview_jpeg
from openemo.serving.visitors import COOKIE, Choice, Visitor, Visitors

__all__ = ["EXAMPLE_FILES", "THEME", "VOICE", "WebPage"]

_ASSETS: Final = Path(str(files("openemo") / "assets"))
_PORTRAITS: Final = (
    ("demo_portrait.jpg", "A man with short hair, the portrait of the demo"),
    ("example_portrait_p001.jpg", "A woman with short curly hair"),
    ("example_portrait_p005.jpg", "A man with a beard"),
    ("example_portrait_p009.jpg", "A young woman with long black hair"),
)
VOICE: Final = "demo_voice.flac"
EXAMPLE_FILES: Final = {
    name: _ASSETS / name for name in (VOICE, "emotions.webp", *(name for name, _ in _PORTRAITS))
}

_PREVIEW_PX: Final = 800
_LOOK_EVERY_S: Final = 0.4
_FULL_PX, _CROP_PX = 1920, 512  # longest sides where none is chosen, as in `EmoPipeline.__call__`

_FONTS: Final = ("system-ui", "sans-serif")
THEME: Final = gr.themes.Base(
    primary_hue="teal", neutral_hue="slate", font=_FONTS, font_mono=("ui-monospace", "monospace")
).set(
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_hover_dark="*primary_800",
    button_primary_text_color="white",
    button_cancel_background_fill="#b91c1c",
    button_cancel_background_fill_dark="#b91c1c",
    button_cancel_text_color="white",
    button_cancel_text_color_dark="white",
)

# The element that was used keeps the keyboard's focus when the piece is drawn anew.
_CLICKS: Final = """
element.addEventListener('click', event => {
  const button = event.target.closest('button[data-%(name)s]');
  if (!button) return;
  element.dataset.again = button.dataset.%(name)s;
  trigger('click', {chosen: button.dataset.%(name)s});
});
watch('value', () => {
  if (element.dataset.again === undefined) return;
  const again = CSS.escape(element.dataset.again);
  delete element.dataset.again;
  element.querySelector(`button[data-%(name)s="${again}"]`)?.focus();
});
"""


class WebPage:
    """One page for all visitors.

    Args:
        visitors: that the guard before the page knows.
    """

    def __init__(self, maker: VideoMaker, visitors: Visitors) -> None:
        self._maker, self._visitors = maker, visitors

    def build(self) -> gr.Blocks:
        with gr.Blocks(title="openemo", analytics_enabled=False, elem_id="openemo") as page:
            gr.HTML("<h1>openemo</h1><p>A portrait and a voice become a video of that person speaking.</p>")
            with gr.Row(equal_height=False):
                with gr.Column(min_width=300):
                    self._portrait_part()
                    self._voice_part()
                    self._options_part()
                with gr.Column(min_width=300, elem_id="video"):
                    self._video_part()
            self._connect(page)
        return page

    def _portrait_part(self) -> None:
        gr.HTML("<h2>1. Portrait</h2>")
        self._portrait = gr.Image(
            label="Portrait",
            sources=["upload", "webcam", "clipboard"],
            type="filepath",
            height=220,
            buttons=[],
            elem_id="portrait",
        )
        self._examples = _clickable("example", fragments.examples_row(_PORTRAITS), "examples")
        self._faces = _clickable("face", "", "faces")
        self._portrait_error = _alert("portrait-error")

    def _voice_part(self) -> None:
        gr.HTML("<h2>2. Voice</h2>")
        self._voice = gr.Audio(
            label="Voice",
            sources=["upload", "microphone"],
            type="filepath",
            buttons=[],
            elem_id="voice",
        )
        self._example_voice = gr.Button("Use the example voice", size="sm", elem_id="example-voice")
        self._voice_line = gr.HTML("", elem_id="voice-line")
        self._voice_error = _alert("voice-error")

    def _options_part(self) -> None:
        gr.HTML("<h2>3. Options</h2>")
        self._emotion = gr.Radio(["neutral", *EMOTIONS], value="neutral", label="Emotion", elem_id="emotion")
        self._strength = gr.Slider(0, 1, 0.6, step=0.05, label="Strength of the emotion")
        with gr.Accordion("More options", open=False):
            self._head = _gain("Head motion", 1.0)
            self._gaze = _gain("Gaze: how far the eyes move", self._maker.pipeline.config.gaze)
            self._lips = _gain("Lip motion", self._maker.pipeline.config.lip_motion)
            self._framing = gr.Radio(
                [("Whole picture", "full"), ("Square around the face", "crop")],
                value="full",
                label="Framing",
            )
            self._size = gr.Number(
                label="Longest side in px (size_px)",
                info=f"0: the picture's own, {_FULL_PX} at most; {_CROP_PX} for the square.",
                value=0,
                precision=0,
            )
            self._seed = gr.Number(
                label="Seed", info="The same seed makes the same video. -1 draws one.", value=0, precision=0
            )
            self._format = gr.Radio(
                [(f"{kind} (no sound)" if kind in ("gif", "webp") else kind, kind) for kind in FORMATS],
                value="mp4",
                label="Format",
            )
        self._estimate = gr.HTML("", elem_id="estimate")
        with gr.Row():
            self._start = gr.Button("Make the video", variant="primary", elem_id="start")
            self._cancel = gr.Button("Cancel", variant="stop", visible=False, elem_id="cancel")

    def _video_part(self) -> None:
        gr.HTML("<h2>Video</h2>")
        self._status = gr.HTML(
            "Nothing has been made yet.", html_template='<p role="status">${value}</p>', elem_id="status"
        )
        self._error = _alert("error")
        self._progress = gr.HTML("", elem_id="progress")
        self._result = gr.HTML("", elem_id="result")
        self._gallery = _clickable("video", "", "gallery")
        self._forget = gr.Button("Delete my files and videos here", size="sm", elem_id="forget")

    def _connect(self, page: gr.Blocks) -> None:
        faces = [self._faces, self._portrait_error, self._estimate]
        voice = [self._voice_line, self._voice_error, self._estimate]
        sizes = [self._framing, self._size]
        portrait_parts, voice_parts = [self._portrait, *faces], [self._voice, *voice]
        _on(self._portrait.change, self._portrait_given, self._portrait, portrait_parts, preprocess=False)
        _on(self._voice.change, self._voice_given, self._voice, voice_parts, preprocess=False)
        _on(self._examples.click, self._example_chosen, None, portrait_parts)
        _on(self._faces.click, self._face_chosen, None, [self._faces], trigger_mode="always_last")
        _on(self._example_voice.click, self._example_voice_chosen, None, voice_parts)
        # One listener for all, so that an older estimate cannot come after a newer one.
        changes = [part.change for part in (self._faces, self._voice_line, *sizes)]
        estimate = [self._estimate, self._error]
        _on(partial(gr.on, changes), self._estimated, sizes, estimate, trigger_mode="always_last")
        options = [
            self._seed,
            self._emotion,
            self._strength,
            self._head,
            self._gaze,
            self._lips,
            self._framing,
            self._size,
            self._format,
        ]
        shown = [
            self._status,
            self._error,
            self._progress,
            self._result,
            self._gallery,
            self._start,
            self._cancel,
        ]
        _on(self._start.click, self._started, options, shown)
        _on(self._cancel.click, self._cancelled, None, [])
        _on(self._gallery.click, self._video_chosen, None, [self._result])
        _on(page.load, self._loaded, None, shown)
        _on(self._forget.click, self._forgotten, None, [*shown, *portrait_parts, *voice_parts])

    # What the listeners do. Those of inputs return a value for each output.

    def _portrait_given(self, payload: dict[str, Any] | None, request: gr.Request) -> list[Any]:
        visitor, choice = self._asked_by(request)
        if payload is None and choice.is_portrait_emptied:
            choice.is_portrait_emptied = False
            return [gr.skip()] * 4
        choice.portrait, choice.faces, choice.is_portrait_emptied = None, [], False
        if payload is None:
            return [gr.skip(), "", "", ""]
        shown = self._read_portrait(choice, _own_file(visitor, payload))
        choice.is_portrait_emptied = choice.portrait is None  # what cannot be read is not left there
        return [None if choice.portrait is None else gr.skip(), *shown]

    def _example_chosen(self, event: gr.EventData, request: gr.Request) -> list[Any]:
        _, choice = self._asked_by(request)
        name, _ = _PORTRAITS[_index(event, len(_PORTRAITS))]
        choice.is_portrait_emptied = True
        return [None, *self._read_portrait(choice, EXAMPLE_FILES[name])]

    def _read_portrait(self, choice: Choice, path: Path) -> list[Any]:
        pipeline = self._maker.pipeline
        try:
            with path.open("rb") as file:
                image = to_image(file, limits=self._maker.limits)
            choice.faces, choice.face_index = find_faces(image, pipeline.face_analyzer, pipeline.config)
        except OpenEmoError as error:
            choice.portrait = None
            return ["", fragments.error_box(error), ""]
        choice.portrait = path
        choice.height, choice.width = image.shape[:2]
        choice.preview = preview_jpeg(image, _PREVIEW_PX)
        return [_faces_of(choice), "", gr.skip()]

    def _face_chosen(self, event: gr.EventData, request: gr.Request) -> list[Any]:
        _, choice = self._asked_by(request)
        choice.face_index = _index(event, len(choice.faces))
        return [_faces_of(choice)]

    def _voice_given(self, payload: dict[str, Any] | None, request: gr.Request) -> list[Any]:
        visitor, choice = self._asked_by(request)
        if payload is None and choice.is_voice_emptied:
            choice.is_voice_emptied = False
            return [gr.skip()] * 4
        choice.audio, choice.is_voice_emptied = None, False
        if payload is None:
            return [gr.skip(), "", "", ""]
        shown = self._read_voice(choice, _own_file(visitor, payload))
        choice.is_voice_emptied = choice.audio is None
        return [None if choice.audio is None else gr.skip(), *shown]

    def _example_voice_chosen(self, request: gr.Request) -> list[Any]:
        _, choice = self._asked_by(request)
        choice.is_voice_emptied = True
        return [None, *self._read_voice(choice, EXAMPLE_FILES[VOICE])]

    def _read_voice(self, choice: Choice, path: Path) -> list[Any]:
        try:
            with path.open("rb") as file:
                choice.duration_s = to_audio(file, limits=self._maker.limits).duration_s
        except OpenEmoError as error:
            choice.audio = None
            return ["", fragments.error_box(error), ""]
        choice.audio = path
        address = f"/media/examples/{VOICE}" if path == EXAMPLE_FILES[VOICE] else None
        return [fragments.voice_line(choice.duration_s, address), "", gr.skip()]

    def _estimated(self, framing: str, size_px: float | None, request: gr.Request) -> list[Any]:
        _, choice = self._asked_by(request)
        if choice.portrait is None or choice.audio is None:
            return ["", gr.skip()]
        width, height = _video_size(choice, framing, int(size_px or 0))
        frames = round(choice.duration_s * float(self._maker.pipeline.config.fps))
        seconds = self._maker.estimate.seconds(frames, width, height)
        return [
            f'<p class="oe-hint">{width} x {height} px, {frames} frames: this computer needs '
            f"{spoken_time(seconds)}.</p>",
            "",
        ]

    async def _started(
        self,
        seed: float | None,
        emotion: str,
        emotion_strength: float,
        head_motion: float,
        gaze: float,
        lip_motion: float,
        framing: str,
        size_px: float | None,
        kind: str,
        request: gr.Request,
    ) -> AsyncIterator[list[Any]]:
        try:
            visitor, choice = self._asked_by(request)
            portrait, audio = _chosen_files(choice)
            if visitor.unfinished is not None:
                raise ConfigError("a video of yours is being made", fix="Wait for it, or cancel it")
            options = {
                "seed": int(seed or 0),
                "emotion": emotion,
                "emotion_strength": emotion_strength,
                "head_motion": head_motion,
                "gaze": gaze,
                "lip_motion": lip_motion,
                "framing": framing,
                "size_px": int(size_px) if size_px else None,
                "face_index": choice.face_index if len(choice.faces) > 1 else None,
            }
            job = self._maker.submit(portrait, audio, kind, options)
        except OpenEmoError as error:
            yield [gr.skip(), fragments.error_box(error), *[gr.skip()] * 5]
            return
        self._visitors.add_video(visitor, job)
        async for view in self._followed(visitor, job):
            yield view

    async def _loaded(self, request: gr.Request) -> AsyncIterator[list[Any]]:
        """A page that is opened again shows the video that is being made, or the last one."""
        visitor, _ = self._asked_by(request)
        job = visitor.unfinished or next(iter(visitor.finished), None)
        if job is None:
            yield [gr.skip()] * 7
            return
        async for view in self._followed(visitor, job):
            yield view

    async def _followed(self, visitor: Visitor, job: VideoJob) -> AsyncIterator[list[Any]]:
        """What is shown of a video, until it is over."""
        said, is_first = "", True
        while True:
            is_over = job.is_over
            line = fragments.status_line(job, self._maker.num_before(job))
            status = gr.skip() if line == said else line
            said = line
            if is_over:
                yield [status, *self._end_of(visitor, job)]
                return
            progress = fragments.progress_view(job)
            once = [gr.update(interactive=False), gr.update(visible=True)] if is_first else [gr.skip()] * 2
            cleared = "" if is_first else gr.skip()
            yield [status, cleared, progress, cleared, gr.skip(), *once]
            is_first = False
            await asyncio.sleep(_LOOK_EVERY_S)

    def _end_of(self, visitor: Visitor, job: VideoJob) -> list[Any]:
        error = fragments.error_box(job.error) if job.error is not None else ""
        result = fragments.result_view(job) if job.state == "done" else ""
        gallery = fragments.gallery_list(visitor.finished)
        return [error, "", result, gallery, gr.update(interactive=True), gr.update(visible=False)]

    def _cancelled(self, request: gr.Request) -> None:
        visitor, _ = self._asked_by(request)
        if (job := visitor.unfinished) is not None:
            job.cancel()

    def _video_chosen(self, event: gr.EventData, request: gr.Request) -> list[Any]:
        visitor, _ = self._asked_by(request)
        job = visitor.video(str(event.chosen))
        if job is None or job.state != "done":
            raise InputError("this video is gone", fix="Make it again")
        return [fragments.result_view(job)]

    def _forgotten(self, request: gr.Request) -> list[Any]:
        """The visitor stays, without files: its pages are open."""
        visitor, _ = self._asked_by(request)
        self._visitors.clear(visitor)
        status = "Your files and videos were deleted here."
        shown = [status, "", "", "", "", gr.update(interactive=True), gr.update(visible=False)]
        return [*shown, *[None, "", "", ""] * 2]

    def _asked_by(self, request: gr.Request) -> tuple[Visitor, Choice]:
        visitor = self._visitors.of(request.cookies.get(COOKIE))
        return visitor, visitor.choice(str(request.session_hash))


def _on(
    event: Callable[..., Any], listener: Callable[..., Any], inputs: Any, outputs: Any, **options: Any
) -> None:
    """One way for all listeners: no programs of others call them, and none waits for another's."""
    event(
        listener if inspect.isasyncgenfunction(listener) else _with_clear_errors(listener),
        inputs,
        outputs,
        api_visibility="private",
        concurrency_limit=None,
        show_progress="hidden",
        **options,
    )


def _with_clear_errors(listener: Callable[..., Any]) -> Callable[..., Any]:
    """Our errors as notes in the corner of the page, where the listener does not show them elsewhere."""

    @wraps(listener)
    def wrapped(*values: Any, **named: Any) -> Any:
        try:
            return listener(*values, **named)
        except OpenEmoError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return wrapped


def _clickable(name: str, value: str, elem_id: str) -> gr.HTML:
    """A piece with buttons. Each has data-NAME, which its click event gives as `chosen`."""
    return gr.HTML(value, js_on_load=_CLICKS % {"name": name}, elem_id=elem_id)


def _alert(elem_id: str) -> gr.HTML:
    return gr.HTML("", html_template='<div role="alert">${value}</div>', elem_id=elem_id)


def _gain(label: str, value: float) -> gr.Slider:
    return gr.Slider(0, 2, value, step=0.05, label=label)


def _index(event: gr.EventData, count: int) -> int:
    """The number of the button that was pressed; what comes from a browser may be anything."""
    text = str(event.chosen)
    if not text.isdecimal() or int(text) >= count:
        raise InputError("there is no such choice", got=text[:20], expected=f"0 to {count - 1}")
    return int(text)


def _own_file(visitor: Visitor, payload: dict[str, Any]) -> Path:
    path = payload.get("path")
    if path not in visitor.uploads:
        raise InputError("this file is not known here", fix="Upload it again")
    return Path(path)


def _faces_of(choice: Choice) -> str:
    return fragments.faces_figure(
        choice.preview, choice.width, choice.height, choice.faces, choice.face_index
    )


def _chosen_files(choice: Choice) -> tuple[Path, Path]:
    if choice.portrait is None:
        raise InputError("there is no portrait yet", fix="Upload a picture, take one, or choose an example")
    if choice.audio is None:
        raise InputError("there is no voice yet", fix="Upload a sound, record one, or use the example voice")
    return choice.portrait, choice.audio


def _video_size(choice: Choice, framing: str, size_px: int) -> tuple[int, int]:
    if framing == "crop":
        side = size_px or _CROP_PX
        return side, side
    scale = min(1.0, (size_px or _FULL_PX) / max(choice.width, choice.height))
    return round(choice.width * scale), round(choice.height * scale)
