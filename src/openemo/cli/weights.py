"""`openemo weights`: list, pull, import, combine, verify, upgrade."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from typer import Argument, Option, Typer

from openemo.cli.options import Folder, Output
from openemo.devices import DTYPES, DTypeName, find_dtype
from openemo.errors import printable

__all__ = ["Format", "weights"]

weights = Typer(help="List, pull, import, combine, verify and upgrade weights.")

# As in checkpoints/catalogue.py, which takes too long to load for `--help`.
Format = Literal["sd15", "animatediff", "wav2vec2", "whisper", "hallo", "echomimic", "echomimic-acc"]
_DTYPE_HELP = f"Number type of the written weights: {', '.join(DTYPES)}."
_WrittenDType = Annotated[
    DTypeName | None, Option(help=_DTYPE_HELP, metavar="TYPE", show_default="as published")
]
_Output = Annotated[Path, Output(help="A folder that does not exist, or is empty.")]


@weights.command("list")
def list_weights() -> None:
    """Show the weights known by name, with licence and size, and which are here."""
    from rich.console import Console
    from rich.table import Table

    from openemo.checkpoints.catalogue import CATALOGUE, is_present, weights_folder

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "what", "licence", "commercial", "size", "here"):
        table.add_column(title, overflow="fold", no_wrap=title in ("name", "commercial", "size", "here"))
    for known in CATALOGUE.values():
        size = f"{known.size_bytes / 1e9:.1f} GB" if known.size_bytes else "?"
        use = "yes" if known.licence.commercial else "no"
        here = "yes" if is_present(known.name) else "-"
        table.add_row(known.name, known.what, known.licence.name, use, size, here)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"pulled weights go to {weights_folder('NAME')}", markup=False, soft_wrap=True)


@weights.command()
def pull(
    name: Annotated[str, Argument(help="As in `openemo weights list`.", metavar="NAME")],
    output: Annotated[Path | None, Output(help="Folder.", show_default="where --model looks for it")] = None,
    revision: Annotated[
        str | None, Option(help="Commit, branch or tag.", show_default="the known commit")
    ] = None,
    dtype: _WrittenDType = None,
    accept_non_commercial: Annotated[
        bool, Option("--accept-non-commercial", help="My use fits a non-commercial licence.")
    ] = False,
) -> None:
    """Download known weights from the hub and import them."""
    from openemo.checkpoints.pulling import pull

    pull(
        name,
        output,
        revision=revision,
        accept_non_commercial=accept_non_commercial,
        dtype=find_dtype(dtype) if dtype else None,
        say=lambda line: print(line, flush=True),
    )


@weights.command("import")
def import_weights(
    form: Annotated[
        Format, Argument(help=f"One of {', '.join(get_args(Format))}.", metavar="FORMAT", show_choices=False)
    ],
    path: Annotated[Path, Argument(help="The file or folder.", metavar="PATH")],
    output: _Output,
    dtype: _WrittenDType = None,
    licence: Annotated[
        str | None, Option(help="Licence of the weights.", show_default="that of the published ones")
    ] = None,
) -> None:
    """Turn downloaded weights into openemo's own files.

    Every tensor must be accounted for. The files get openemo's names, and hashes.
    """
    from openemo.checkpoints import importing
    from openemo.checkpoints.catalogue import Licence

    record = importing.import_weights(
        form,
        path,
        output,
        dtype=find_dtype(dtype) if dtype else None,
        # The program cannot know whether a licence that the user names allows commercial use.
        licence=Licence(licence, commercial=False) if licence else None,
    )
    print(f"{output}: {', '.join(record.components)}; licence {record.licence}")
    reasons: dict[str, list[str]] = {}
    for key, reason in record.left_over.items():
        reasons.setdefault(reason, []).append(key)
    for reason, keys in sorted(reasons.items()):
        print(f"left over, {len(keys)} such as {printable(keys[0])}: {reason}")


@weights.command()
def combine(
    sd15: Annotated[Path, Folder(help="Import of SD-1.5.")],
    animatediff: Annotated[Path, Folder(help="Import of AnimateDiff's motion modules.")],
    wav2vec2: Annotated[Path, Folder(help="Import of wav2vec 2.0.")],
    autoencoder: Annotated[
        Path | None, Folder(help="Import of another autoencoder.", show_default="that of SD-1.5")
    ] = None,
    face: Annotated[Path | None, Folder(help="Face networks.", show_default="those that ship")] = None,
    output: Annotated[Path | None, Output(help="Folder.", show_default="where --model sd15 looks")] = None,
    dtype: Annotated[DTypeName, Option(help=_DTYPE_HELP, metavar="TYPE")] = "float16",
    seed: Annotated[int, Option(help="Of the new layers.")] = 0,
) -> None:
    """Combine imported parts into EMO at SD-1.5's size, ready to train.

    Spatial layers come from SD-1.5, temporal layers from AnimateDiff. New layers have zero output.
    """
    from openemo import checkpoints
    from openemo.checkpoints.catalogue import weights_folder
    from openemo.checkpoints.combining import combine

    output = output or weights_folder("sd15")
    networks = combine(
        sd15,
        animatediff,
        wav2vec2,
        face or checkpoints.resolve(checkpoints.EMBEDDED) / "face",
        output,
        autoencoder=autoencoder,
        dtype=find_dtype(dtype),
        seed=seed,
    )
    total = len(networks.unet.state_dict())
    print(f"{output}: ready to train; {len(networks.new)} of the backbone's {total} tensors are new")


@weights.command()
def verify(folder: Annotated[Path, Argument(help="An import or a model.", metavar="FOLDER")]) -> None:
    """Check hashes, names and shapes."""
    from openemo.checkpoints.verifying import verify

    for name, checked in verify(folder).items():
        print(f"{name}: {checked}")
    print(f"{folder} is whole")


@weights.command()
def upgrade(
    old: Annotated[Path, Argument(help="Checkpoint, or export of a training stage.", metavar="OLD")],
    output: _Output,
) -> None:
    """Give a checkpoint of an earlier version the names of this one.

    Its tensors stay as they are.
    """
    from openemo.checkpoints.upgrading import upgrade

    upgrade(old, output)
    print(f"{output}: {old} under today's names")
