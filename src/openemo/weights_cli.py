"""`openemo weights`: list, pull, import, combine, verify."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import torch

__all__ = ["add_weights"]

_FORMATS = ("sd15", "animatediff", "wav2vec2", "whisper", "hallo", "echomimic", "echomimic-acc")
_DTYPES = ("float32", "bfloat16", "float16")
_FOLDER: dict[str, Any] = dict(type=Path, metavar="DIR")


def add_weights(commands: Any) -> None:
    """Hang the commands below `openemo weights`."""
    weights = commands.add_parser(
        "weights", help="published weights: list, pull, import, combine, verify"
    ).add_subparsers(required=True, metavar="COMMAND")

    listing = weights.add_parser("list", help="the weights known by name, their licences, which are here")
    listing.set_defaults(command=_list)

    pull = weights.add_parser("pull", help="fetch known weights from the hub and import them")
    pull.add_argument("name", metavar="NAME", help="as in `openemo weights list`")
    pull.add_argument("-o", "--output", **_FOLDER, help="default: where --model looks for it")
    pull.add_argument("--revision", help="commit, branch or tag instead of the known commit")
    pull.add_argument("--dtype", choices=_DTYPES, help="default: as published")
    pull.add_argument(
        "--accept-non-commercial", action="store_true", help="my use fits a non-commercial licence"
    )
    pull.set_defaults(command=_pull)

    importing = weights.add_parser(
        "import",
        help="turn downloaded weights into openemo's own files",
        description="Read published weights strictly and write them in openemo's names, with hashes.",
    )
    importing.add_argument("format", choices=_FORMATS, metavar="FORMAT", help=", ".join(_FORMATS))
    importing.add_argument("path", type=Path, metavar="PATH", help="the file or folder")
    importing.add_argument("-o", "--output", required=True, **_FOLDER)
    importing.add_argument("--dtype", choices=_DTYPES, help="default: as published")
    importing.add_argument("--licence", help="of the weights, where it is not that of the published ones")
    importing.set_defaults(command=_import)

    combine = weights.add_parser(
        "combine",
        help="EMO at SD-1.5's size, ready to train, from imported parts",
        description="SD-1.5's spatial and AnimateDiff's temporal layers; new ones are zero at their outputs.",
    )
    for name, text in (
        ("sd15", "import of SD-1.5"),
        ("animatediff", "import of motion modules"),
        ("wav2vec2", "import of the speech encoder"),
    ):
        combine.add_argument(f"--{name}", required=True, **_FOLDER, help=text)
    combine.add_argument("--autoencoder", **_FOLDER, help="import of another autoencoder than SD-1.5's own")
    combine.add_argument("--face", **_FOLDER, help="face networks (default: those that ship)")
    combine.add_argument("-o", "--output", **_FOLDER, help="default: where --model sd15 looks")
    combine.add_argument("--dtype", choices=_DTYPES, default="float16", help="default: float16")
    combine.add_argument("--seed", type=int, default=0, help="of the new layers (default: 0)")
    combine.set_defaults(command=_combine)

    verify = weights.add_parser("verify", help="check hashes, names and shapes of an import or a model")
    verify.add_argument("folder", type=Path, metavar="DIR")
    verify.set_defaults(command=_verify)


def _list(_: argparse.Namespace) -> None:
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


def _pull(arguments: argparse.Namespace) -> None:
    from openemo.checkpoints.pulling import pull

    pull(
        arguments.name,
        arguments.output,
        revision=arguments.revision,
        accept_non_commercial=arguments.accept_non_commercial,
        dtype=_dtype(arguments.dtype),
        say=lambda line: print(line, flush=True),
    )


def _import(arguments: argparse.Namespace) -> None:
    from openemo.checkpoints.catalogue import Licence
    from openemo.checkpoints.importing import import_weights

    record = import_weights(
        arguments.format,
        arguments.path,
        arguments.output,
        dtype=_dtype(arguments.dtype),
        # What a licence that the user names allows is not for the program to say.
        licence=Licence(arguments.licence, commercial=False) if arguments.licence else None,
    )
    print(f"{arguments.output}: {', '.join(record.components)}; licence {record.licence}")
    reasons: dict[str, list[str]] = {}
    for key, reason in record.left_over.items():
        reasons.setdefault(reason, []).append(key)
    for reason, keys in sorted(reasons.items()):
        print(f"left over, {len(keys)} such as {keys[0]}: {reason}")


def _combine(arguments: argparse.Namespace) -> None:
    from openemo import checkpoints
    from openemo.checkpoints.catalogue import weights_folder
    from openemo.checkpoints.combining import combine

    output = arguments.output or weights_folder("sd15")
    networks = combine(
        arguments.sd15,
        arguments.animatediff,
        arguments.wav2vec2,
        arguments.face or checkpoints.resolve(checkpoints.EMBEDDED) / "face",
        output,
        autoencoder=arguments.autoencoder,
        dtype=_dtype(arguments.dtype),
        seed=arguments.seed,
    )
    total = len(networks.unet.state_dict())
    print(f"{output}: ready to train; {len(networks.new)} of the backbone's {total} tensors are new")


def _verify(arguments: argparse.Namespace) -> None:
    from openemo.checkpoints.verifying import verify

    for name, checked in verify(arguments.folder).items():
        print(f"{name}: {checked}")
    print(f"{arguments.folder} is whole")


@overload
def _dtype(name: str) -> torch.dtype: ...
@overload
def _dtype(name: None) -> None: ...
def _dtype(name: str | None) -> torch.dtype | None:
    if name is None:
        return None
    import torch

    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
