"""`openemo evaluate` and `openemo compare`. Heavy libraries load inside, so that `--help` does not wait."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from openemo.devices import DTYPES
from openemo.errors import ConfigError

if TYPE_CHECKING:
    from openemo.evaluation.clips import Clip
    from openemo.evaluation.jobs import Settings

__all__ = ["add_compare_arguments", "add_evaluate_arguments", "compare", "evaluate"]

_ROWS = ("real", "frozen", "mismatched", "silence")
"""Beside the model or the videos, which always are a row."""


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """What is measured, against what, and how."""
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--model", default="embedded", help='"embedded" (default), a folder, or hub:owner/name')
    what.add_argument(
        "--videos", type=Path, metavar="FOLDER", help="finished videos, each with the name of its clip"
    )
    add(
        "--silence-videos",
        type=Path,
        metavar="FOLDER",
        help="with --videos: the same pictures driven by digital silence",
    )
    add(
        "--clips",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="real clips of one speaker each, with sound",
    )
    add("--list", type=Path, metavar="LIST.yaml", help="only these clips, checked by hash; see benchmarks/")
    add("--limit", type=int, metavar="N", help="the first N clips only")
    add(
        "--seed",
        type=int,
        action="append",
        metavar="N",
        help="of the noise; give it several times for a mean",
    )
    add("--rows", help=f"rows beside the measured one, by comma (default: {','.join(_ROWS)})")
    add("--workers", type=int, default=1, metavar="N", help="processes; each needs about 1 GB (default: 1)")
    add("--sync-weights", type=Path, metavar="FILE", help="the published SyncNet, for Sync-C and Sync-D")
    add("--fid-weights", type=Path, metavar="FILE", help="the reference Inception network, for FID")
    add("--fvd-weights", type=Path, metavar="FILE", help="the reference I3D network, for FVD")
    add("--efid-weights", type=Path, metavar="FILE", help="a 3D face model's expression network, for E-FID")
    add("--device", default="cpu", help="cpu (default), cuda, cuda:1, mps")
    add("--dtype", default="float32", choices=DTYPES)
    add(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="report.html, report.json, report.md",
    )


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Two reports."""
    parser.add_argument("first", type=Path, metavar="A.json", help="report.json, or the folder of a report")
    parser.add_argument("second", type=Path, metavar="B.json")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT.json", help="also write the differences")


def evaluate(arguments: argparse.Namespace) -> None:
    """Measure, write the three files of the report, print the table. Goes on where an earlier run stopped."""
    from openemo.console import Bar
    from openemo.evaluation.environment import environment
    from openemo.evaluation.harness import measure
    from openemo.evaluation.page import html_page
    from openemo.evaluation.report import check_report_folder, markdown, save_report, save_text
    from openemo.evaluation.sets import set_figures
    from openemo.evaluation.summary import summarise
    from openemo.evaluation.tools import set_features

    settings, clips = _plan(arguments)
    output: Path = arguments.output
    check_report_folder(output)
    with Bar("measuring") as bar:
        measured, failures = measure(settings, clips, arguments.workers, bar)
    report = summarise(
        settings,
        measured,
        failures,
        title=str(settings.videos or settings.model),
        command=shlex.join(["openemo", *sys.argv[1:]]),
        environment=environment(settings, arguments.workers),
        sets=set_figures(settings, measured, set_features(settings)),
    )
    save_report(output / "report.json", report)
    text = markdown(report)
    save_text(output / "report.md", text)
    save_text(output / "report.html", html_page(report, settings, measured))
    print(text[: text.index("## How it was measured")].rstrip())
    print(f"\n{output / 'report.html'}: the same with curves, frames and a video")


def compare(arguments: argparse.Namespace) -> None:
    """Print the paired differences of two reports."""
    from openemo.evaluation.compare import compare, comparison_table
    from openemo.evaluation.records import write_json
    from openemo.evaluation.report import load_report

    first, second = load_report(arguments.first), load_report(arguments.second)
    differences = compare(first, second)
    print(comparison_table(first, second, differences))
    if arguments.output is not None:
        write_json(arguments.output, [difference.model_dump(mode="json") for difference in differences])


def _plan(arguments: argparse.Namespace) -> tuple[Settings, list[Clip]]:
    """All that can be wrong and is cheap to see. Raises ConfigError."""
    from openemo.evaluation.clips import ClipList, find_clips, list_clips
    from openemo.evaluation.jobs import Settings
    from openemo.training.recipe import load_recipe

    if arguments.workers < 1:
        raise ConfigError("there must be a worker", got=arguments.workers, expected="1 or more")
    for option in ("videos", "silence_videos"):
        folder = getattr(arguments, option)
        if folder is not None and not folder.is_dir():
            raise ConfigError(f"there is no folder {folder}", fix="Give a folder of videos")
    if arguments.silence_videos is not None and arguments.videos is None:
        raise ConfigError("--silence-videos is for --videos", fix="A model makes its own videos of silence")
    for option in ("sync_weights", "fid_weights", "fvd_weights", "efid_weights"):
        path = getattr(arguments, option)
        if path is not None and not path.is_file():
            raise ConfigError(f"there is no file {path}", fix=f"Give --{option.replace('_', '-')} a file")
    seeds = tuple(arguments.seed or ())
    if arguments.list is not None:
        benchmark = load_recipe(ClipList, arguments.list, [])
        seeds = seeds or benchmark.seeds
        clips = list_clips(arguments.clips, benchmark, arguments.limit)
    else:
        clips = find_clips(arguments.clips, limit=arguments.limit)
    if len(set(seeds)) != len(seeds):
        raise ConfigError("a seed is given twice", got=", ".join(map(str, seeds)))
    settings = Settings(
        output=arguments.output,
        rows=_rows(arguments),
        model=None if arguments.videos is not None else arguments.model,
        videos=arguments.videos,
        silence_videos=arguments.silence_videos,
        seeds=seeds or (0,),
        sync_weights=arguments.sync_weights,
        fid_weights=arguments.fid_weights,
        fvd_weights=arguments.fvd_weights,
        efid_weights=arguments.efid_weights,
        device=arguments.device,
        dtype=arguments.dtype,
    )
    return settings, clips


def _rows(arguments: argparse.Namespace) -> tuple[str, ...]:
    """In the order of the table. Without videos of silence there is no such row for finished videos."""
    asked = _ROWS if arguments.rows is None else tuple(arguments.rows.split(","))
    unknown = [row for row in asked if row not in _ROWS]
    if unknown:
        raise ConfigError("unknown row", got=unknown[0], expected=", ".join(_ROWS))
    finished = arguments.videos is not None
    if finished and arguments.silence_videos is None:
        if arguments.rows is not None and "silence" in asked:
            raise ConfigError("there are no videos of silence", fix="Give their folder with --silence-videos")
        asked = tuple(row for row in asked if row != "silence")
    # The real clip is what all others are measured against.
    beside = [row for row in _ROWS if row in asked or row == "real"]
    return (*beside, "videos" if finished else "model")
