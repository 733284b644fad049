"""Options that several commands share."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Option

from openemo.devices import DTYPES, DTypeName

if TYPE_CHECKING:
    from openemo.pipeline import EmoPipeline

__all__ = [
    "Certificate",
    "DType",
    "DTypeOrBest",
    "Device",
    "Engine",
    "EngineName",
    "Folder",
    "GuidanceScale",
    "Machine",
    "Model",
    "NumInferenceSteps",
    "Output",
    "Overrides",
    "PrivateKey",
    "Recipe",
    "TimestampServer",
    "WithBadge",
    "WithCredentials",
    "WithWatermark",
    "load_pipeline",
]

MODELS_OWN = "the model's"
MODEL_NAMES = r"embedded, sd15, hallo, echomimic, echomimic-acc, a folder, or hub:owner/name\[@revision]."

# Options of one panel of the help.
Model = partial(Option, rich_help_panel="Model")
Machine = partial(Option, rich_help_panel="Machine")
# Options whose value is a folder.
Folder = partial(Option, metavar="FOLDER")
Output = partial(Option, "--output", "-o", metavar="FOLDER")

Device = Annotated[str, Machine(help="Where the networks run: cpu, cuda, cuda:1, mps.")]
_DTYPE = f"Number type: {', '.join(DTYPES)}."
DType = Annotated[DTypeName, Machine(help=_DTYPE, metavar="TYPE")]
DTypeOrBest = Annotated[
    DTypeName | None, Machine(help=_DTYPE, metavar="TYPE", show_default="the engine's: float32 in torch")
]
EngineName = Literal["auto", "torch", "openvino"]
_ENGINE = "What runs the networks. auto is openvino where it is faster and runs the model, else torch."
Engine = Annotated[EngineName, Machine(help=_ENGINE)]
NumInferenceSteps = Annotated[
    int | None,
    Model("--num-inference-steps", "--steps", help="Denoising steps.", show_default=MODELS_OWN),
]
GuidanceScale = Annotated[
    float | None,
    Model(help="Classifier-free guidance on the voice. 1 turns it off.", show_default=MODELS_OWN),
]
_Marks = partial(Option, rich_help_panel="Marks of what AI made")
WithWatermark = Annotated[bool, _Marks("--watermark/--no-watermark", help="An invisible mark in the frames.")]
WithCredentials = Annotated[
    bool, _Marks("--credentials/--no-credentials", help="Signed Content Credentials, and plain metadata.")
]
WithBadge = Annotated[
    bool, _Marks("--badge", help="A visible label at the start, and again every half minute.")
]
Certificate = Annotated[
    Path | None,
    _Marks(help="Chain to sign with (PEM).", metavar="FILE", show_default="made on this computer"),
]
PrivateKey = Annotated[Path | None, _Marks(help="Key of the certificate (PEM).", metavar="FILE")]
TimestampServer = Annotated[
    str | None, _Marks(help="Confirms when the file was signed (RFC 3161).", metavar="URL")
]
Recipe = Annotated[Path, Argument(help="Recipe file, see recipes/.", metavar="RECIPE.yaml")]
Overrides = Annotated[list[str] | None, Argument(help="Changes to the recipe.", metavar="KEY=VALUE")]


def load_pipeline(
    model: str,
    *,
    device: str,
    dtype: DTypeName | None,
    engine: EngineName,
    **options: Any,
) -> EmoPipeline:
    """The pipeline that these options ask for. It takes seconds: check all else before.

    Args:
        options: further arguments of `EmoPipeline.from_pretrained`.
    """
    from openemo.devices import find_device, find_dtype
    from openemo.pipeline import EmoPipeline

    return EmoPipeline.from_pretrained(
        model,
        device=find_device(device),
        dtype=None if dtype is None else find_dtype(dtype),
        engine=engine,
        **options,
    )
