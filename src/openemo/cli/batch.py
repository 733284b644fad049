"""`openemo batch`: many videos, in several processes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from openemo.cli.options import (
    MODEL_NAMES,
    Certificate,
    Device,
    DTypeOrBest,
    Engine,
    Machine,
    Model,
    Output,
    PrivateKey,
    TimestampServer,
    WithBadge,
    WithCredentials,
    WithWatermark,
)
from openemo.decoding_limits import DEFAULT_LIMITS
from openemo.errors import ConfigError

__all__ = ["batch"]


def batch(
    jobs: Annotated[Path, Argument(help="A video in each line, see docs/guides/batch.md.", metavar="JOBS")],
    output: Annotated[Path, Output(help="Gets the videos.")],
    workers: Annotated[
        int | None, Option(help="Processes.", show_default="as cores and memory allow")
    ] = None,
    watermark: WithWatermark = True,
    credentials: WithCredentials = True,
    badge: WithBadge = False,
    certificate: Certificate = None,
    private_key: PrivateKey = None,
    timestamp_server: TimestampServer = None,
    model: Annotated[str, Model(help=MODEL_NAMES)] = "embedded",
    device: Device = "cpu",
    dtype: DTypeOrBest = None,
    engine: Engine = "torch",
    max_pixels: Annotated[int, Machine(help="Largest portrait.")] = DEFAULT_LIMITS.max_pixels,
    max_seconds: Annotated[float, Machine(help="Longest sound.")] = DEFAULT_LIMITS.max_seconds,
    sandbox: Annotated[
        bool, Machine("--sandbox/--no-sandbox", help="Decode files in processes that can do nothing else.")
    ] = True,
) -> None:
    """Make a video of each line of JOBS (.csv or .jsonl). Videos that are there already are kept.

    A line that fails does not stop the others; the exit code is then 1.
    """
    from openemo.cli.progress import print_notes
    from openemo.pipeline.batch_jobs import read_jobs
    from openemo.pipeline.batch_processes import BatchSettings, run_batch, usual_workers
    from openemo.progress_bar import Bar
    from openemo.provenance.marking import Marking
    from openemo.provenance.sealing import check_identity

    if workers is not None and workers < 1:
        raise ConfigError("too few workers", got=workers, expected="1 or more")
    marking = Marking(
        watermark=watermark,
        credentials=credentials,
        badge=badge,
        certificate=certificate,
        private_key=private_key,
        timestamp_server=timestamp_server,
    )
    check_identity(marking)
    read = read_jobs(jobs, output)
    settings = BatchSettings(
        model=model,
        device=device,
        dtype=dtype,
        engine=engine,
        max_pixels=max_pixels,
        max_seconds=max_seconds,
        sandbox=sandbox,
        marking=marking,
    )
    with Bar("batch") as bar:
        report = run_batch(
            read, output, workers=workers or usual_workers(len(read)), settings=settings, progress=bar
        )
    print_notes(f"{name}: {error}" for name, error in report.failed)
    print(f"{len(report.done)} made, {len(report.kept)} kept, {len(report.failed)} failed: {output}")
    if report.failed:
        raise typer.Exit(1)
