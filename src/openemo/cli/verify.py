"""`openemo verify`: what a file says of how it was made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from openemo.cli.options import Machine

if TYPE_CHECKING:
    from openemo.pipeline.verification import Verification
    from openemo.provenance.content_credentials import CredentialsReading

__all__ = ["EXIT_CHANGED", "EXIT_UNMARKED", "verify"]

EXIT_UNMARKED, EXIT_CHANGED = 3, 4


def verify(
    file: Annotated[Path, Argument(help="A video or a picture.", metavar="FILE")],
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
    sandbox: Annotated[
        bool, Machine("--sandbox/--no-sandbox", help="Decode the file in a process that can do nothing else.")
    ] = True,
) -> None:
    """Look for the watermark, Content Credentials and metadata of videos made with AI.

    Exit code 0: the file is marked. 3: no mark was found. 4: it was changed after it was signed.
    """
    from openemo.pipeline.verification import verify_file

    found = verify_file(file, sandbox=sandbox)
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
    else:
        print("\n".join([str(file), *(f"  {line}" for line in _lines(found))]))
    if not found.is_consistent:
        raise typer.Exit(EXIT_CHANGED)
    if not found.is_marked:
        raise typer.Exit(EXIT_UNMARKED)


def _lines(found: Verification) -> Iterator[str]:
    mark = found.watermark
    if mark.mark_id is None:
        yield "watermark: none found"
    else:
        mirrored = ", mirrored" if mark.is_mirrored else ""
        yield f"watermark: openemo {mark.mark_id:08x}, score {mark.score:.1f}{mirrored}"
    if found.credentials is not None:
        yield from _credentials(found.credentials)
    elif found.can_read_credentials:
        yield "credentials: none"
    else:
        yield "credentials: cannot be read without c2pa-python; pip install c2pa-python"
    yield f"metadata: {'made with AI' if found.has_metadata else 'say nothing of AI'}"
    if not found.is_consistent:
        yield "The file is not what was signed."
    elif not found.is_marked:
        yield "Nothing says that AI made it. That proves nothing: marks can be removed."


def _credentials(told: CredentialsReading) -> Iterator[str]:
    yield f"credentials: {told.state}, {told.generator}, signed by {told.signer or 'nobody'}"
    if told.time is not None:
        yield f"  signed at {told.time}, by a time stamp server"
    for source in told.digital_source_types:
        yield f"  made as {source.rsplit('/', 1)[-1]}"
    for name, value in told.generation.items():
        yield f"  {name}: {value}"
    for title in told.ingredients:
        yield f"  made from a {title} with credentials of its own"
    for problem in told.problems:
        yield f"  {problem}"
