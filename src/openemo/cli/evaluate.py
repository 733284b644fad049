"""`openemo evaluate` and `openemo compare`."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, BadParameter, Context, Option

from openemo.cli.options import MODEL_NAMES, Device, DType, Machine, Output
from openemo.errors import ConfigError

if TYPE_CHECKING:
    from openemo.evaluation.benchmark_clips import Clip, ClipList
    from openemo.evaluation.jobs import EvaluationSettings

__all__ = ["compare", "evaluate"]

_ROWS = ("real", "frozen", "mismatched", "silence")
"""Rows of the table beside the model or the videos, which always are a row."""

_Measured = partial(Option, rich_help_panel="What is measured")
_Clips = partial(Option, rich_help_panel="Real clips")
_Network = partial(Option, metavar="FILE", rich_help_panel="Networks of the published metrics")


def evaluate(
    context: Context,
    clips: Annotated[Path, _Clips(help="Clips of one speaker each, with sound.", metavar="FOLDER")],
    output: Annotated[Path, Output(help="Gets report.html, report.json, report.md.")],
    model: Annotated[str | None, _Measured(help=MODEL_NAMES, show_default="embedded")] = None,
    videos: Annotated[
        Path | None, _Measured(help="Finished videos, each named as its clip.", metavar="FOLDER")
    ] = None,
    silence_videos: Annotated[
        Path | None, _Measured(help="With --videos: the same, driven by silence.", metavar="FOLDER")
    ] = None,
    seeds: Annotated[
        str | None,
        _Measured(
            help="Noise seeds to average over.", metavar="N,N,...", show_default="those of --list, or 0"
        ),
    ] = None,
    clip_list: Annotated[
        Path | None,
        _Clips("--list", help="Only these clips, checked by hash. See benchmarks/.", metavar="LIST.yaml"),
    ] = None,
    limit: Annotated[int | None, _Clips(help="Only the first clips.", show_default="all")] = None,
    rows: Annotated[
        str, Option(help="Rows of the table beside what is measured.", metavar="ROW,ROW,...")
    ] = ",".join(_ROWS),
    sync_weights: Annotated[Path | None, _Network(help="Published SyncNet, for Sync-C and Sync-D.")] = None,
    fid_weights: Annotated[Path | None, _Network(help="Inception, for FID; TorchScript.")] = None,
    fvd_weights: Annotated[Path | None, _Network(help="I3D, for FVD; TorchScript.")] = None,
    efid_weights: Annotated[
        Path | None, _Network(help="3D face model's network, for E-FID; TorchScript.")
    ] = None,
    allow_torchscript: Annotated[
        bool,
        Option(
            "--allow-torchscript",
            help="Run these files: TorchScript is a program that can do anything.",
            rich_help_panel="Networks of the published metrics",
        ),
    ] = False,
    device: Device = "cpu",
    dtype: DType = "float32",
    workers: Annotated[int, Machine(help="Processes. Each needs about 1 GB.")] = 1,
) -> None:
    """Measure a model, or finished videos, against real clips.

    The model animates the first frame of each clip with the clip's sound.
    The same command again resumes where it stopped.
    """
    from openemo.devices import find_device
    from openemo.evaluation.benchmark_clips import ClipList, find_clips, list_clips
    from openemo.evaluation.jobs import EvaluationSettings
    from openemo.settings import load_recipe

    if model is not None and videos is not None:
        raise BadParameter("--model and --videos exclude each other", ctx=context)
    if workers < 1:
        raise ConfigError("there must be a worker", got=workers, expected="1 or more")
    find_device(device)
    benchmark = None if clip_list is None else load_recipe(ClipList, clip_list, [])
    settings = EvaluationSettings(
        output=output,
        rows=_rows(rows, videos, silence_videos),
        model=None if videos is not None else model or "embedded",
        videos=videos,
        silence_videos=silence_videos,
        seeds=_seeds(seeds, benchmark),
        sync_weights=sync_weights,
        fid_weights=fid_weights,
        fvd_weights=fvd_weights,
        efid_weights=efid_weights,
        allow_torchscript=allow_torchscript,
        device=device,
        dtype=dtype,
    )
    _check_paths(settings)
    found = list_clips(clips, benchmark, limit) if benchmark else find_clips(clips, limit=limit)
    _report(settings, found, workers, command=shlex.join(["openemo", *context.obj]))


def compare(
    first: Annotated[Path, Argument(help="report.json, or the folder of a report.", metavar="A.json")],
    second: Annotated[Path, Argument(help="The same of another evaluation.", metavar="B.json")],
    output: Annotated[
        Path | None, Option("--output", "-o", help="Also write the differences.", metavar="OUT.json")
    ] = None,
) -> None:
    """Say which differences between two evaluations are beyond noise.

    Differences are paired over the clips that both reports have.
    """
    from openemo.evaluation.records import write_json
    from openemo.evaluation.report.comparison import compare, comparison_table
    from openemo.evaluation.report.report import load_report

    reports = load_report(first), load_report(second)
    differences = compare(*reports)
    print(comparison_table(*reports, differences))
    if output is not None:
        write_json(output, [difference.model_dump(mode="json") for difference in differences])


def _report(settings: EvaluationSettings, clips: list[Clip], workers: int, *, command: str) -> None:
    """Measure, write the three files of the report, print the table."""
    from openemo.evaluation.harness import measure
    from openemo.evaluation.report.environment import environment
    from openemo.evaluation.report.html_page import html_page
    from openemo.evaluation.report.report import check_report_folder, markdown, save_report, save_text
    from openemo.evaluation.report.summary import summarise
    from openemo.evaluation.set_metrics import set_figures
    from openemo.evaluation.tools import set_features
    from openemo.progress_bar import Bar

    output = settings.output
    check_report_folder(output)
    with Bar("measuring") as bar:
        measured, failures = measure(settings, clips, workers, bar)
    report = summarise(
        settings,
        measured,
        failures,
        title=str(settings.videos or settings.model),
        command=command,
        environment=environment(settings, workers),
        sets=set_figures(settings, measured, set_features(settings)),
    )
    save_report(output / "report.json", report)
    text = markdown(report)
    save_text(output / "report.md", text)
    save_text(output / "report.html", html_page(report, settings, measured))
    print(text[: text.index("## How it was measured")].rstrip())
    print(f"\n{output / 'report.html'}: the same with curves, frames and a video")


def _check_paths(settings: EvaluationSettings) -> None:
    """Raises ConfigError where a path that was given does not exist, or must not be run."""
    for folder in (settings.videos, settings.silence_videos):
        if folder is not None and not folder.is_dir():
            raise ConfigError(f"there is no folder {folder}", fix="Give a folder of videos")
    if settings.silence_videos is not None and settings.videos is None:
        raise ConfigError("--silence-videos is for --videos", fix="A model makes its own videos of silence")
    from openemo.evaluation.metrics.frechet import check_torchscript

    for name in ("sync_weights", "fid_weights", "fvd_weights", "efid_weights"):
        path = getattr(settings, name)
        if path is not None and not path.is_file():
            raise ConfigError(f"there is no file {path}", fix=f"Give --{name.replace('_', '-')} a file")
        if path is not None and name != "sync_weights":
            check_torchscript(path, allowed=settings.allow_torchscript)


def _seeds(text: str | None, benchmark: ClipList | None) -> tuple[int, ...]:
    """Those that were asked for, otherwise those of the list of clips, otherwise 0."""
    if text is None:
        return (benchmark.seeds if benchmark is not None else ()) or (0,)
    from openemo.pipeline.inputs import to_seed

    try:
        seeds = tuple(int(word) for word in text.split(","))
    except ValueError as error:
        raise ConfigError("wrong seeds", got=text, expected="whole numbers, such as 0,1,2") from error
    for seed in seeds:
        if seed == -1:
            raise ConfigError("a report has no drawn seeds", got=text, expected="seeds from 0")
        to_seed(seed)
    if len(set(seeds)) != len(seeds):
        raise ConfigError("a seed is given twice", got=text)
    return seeds


def _rows(text: str, videos: Path | None, silence_videos: Path | None) -> tuple[str, ...]:
    """Rows in the order of the table."""
    asked = text.split(",")
    unknown = [row for row in asked if row not in _ROWS]
    if unknown:
        raise ConfigError("unknown row", got=unknown[0], expected=", ".join(_ROWS))
    if videos is not None and silence_videos is None and "silence" in asked:
        if asked != list(_ROWS):
            raise ConfigError("there are no videos of silence", fix="Give their folder with --silence-videos")
        # The default has this row, and finished videos of silence were not given.
        asked.remove("silence")
    # All others are measured against the real clip, so it is always there.
    beside = [row for row in _ROWS if row in asked or row == "real"]
    return (*beside, "model" if videos is None else "videos")
