"""`openemo data build`: training clips from raw video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from openemo.cli.options import Output
from openemo.errors import ConfigError

__all__ = ["build"]


def build(
    source: Annotated[
        Path,
        Argument(help="A folder, a video, a list (.txt, .jsonl) or shards (.tar).", metavar="SOURCE"),
    ],
    output: Annotated[Path, Output(help="Gets shards, index and report.")],
    overrides: Annotated[
        list[str] | None,
        Argument(help="Changes to limits and sizes, see docs/guides/data.md.", metavar="KEY=VALUE"),
    ] = None,
    licence: Annotated[
        str, Option(help="Of files that do not say their own; noted with each clip.")
    ] = "unknown",
    workers: Annotated[int | None, Option(help="Processes.", show_default="one for each core")] = None,
    share: Annotated[
        str | None, Option(help="Make only this share of the files, beside other machines.", metavar="K/N")
    ] = None,
    sandbox: Annotated[
        bool, Option("--sandbox/--no-sandbox", help="Decode files in processes that can do nothing else.")
    ] = True,
) -> None:
    """Turn raw videos into training clips: cut, cropped, in step, sorted out, in WebDataset shards.

    The same command again makes only what is missing.
    """
    from openemo.corpus.build_settings import read_settings
    from openemo.corpus.building import build
    from openemo.progress_bar import Count
    from openemo.threads import num_cores

    if workers is not None and workers < 1:
        raise ConfigError("too few workers", got=workers, expected="1 or more")
    settings = read_settings(overrides or [])
    with Count("files") as count:
        corpus = build(
            source,
            output,
            settings,
            licence=licence,
            workers=workers or num_cores(),
            share=share,
            sandbox=sandbox,
            progress=count,
        )
    if corpus is None:
        print(f"share {share} is made; the same command without --share packs all of them")
        return
    left_out = sum(clips for reason, clips in corpus.clips.items() if reason)
    print(
        f"{corpus.clips['']} clips of {len(corpus.people)} people, {corpus.seconds[''] / 60:.1f} min of "
        f"{corpus.read_s / 60:.1f} min; {left_out} left out, {len(corpus.quarantined)} not readable; "
        f"{corpus.packed} new: {output / 'report.html'}"
    )
