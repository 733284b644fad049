"""Networks, schedule and analysers <-> checkpoint folder. Strict: what does not fit exactly is an error."""

from __future__ import annotations

import copy
import inspect
import json
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from safetensors import SafetensorError
from safetensors.torch import load_file

from openemo import __version__
from openemo.audio import SpeechEncoder, Wav2VecEncoder
from openemo.checkpoints.folder import CheckpointIndex, parse_speech_options, write_hashes, write_index
from openemo.config import PipelineConfig
from openemo.errors import CheckpointError, OutputError
from openemo.face import FaceAnalyzer
from openemo.models import EmoUNet, ReferenceNet
from openemo.models.autoencoder import MotionAutoencoder
from openemo.models.vae import ImageAutoencoder

__all__ = ["Components", "load_components", "load_network", "load_scheduler", "move", "save_components"]

WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"
_REPAIR = "Copy or install the checkpoint again"
# Classes that may fill a place in the pipeline, by the folder's name.
_CLASSES: dict[str, tuple[type[Any], ...]] = {
    "unet": (EmoUNet,),
    "reference_net": (ReferenceNet,),
    "autoencoder": (MotionAutoencoder, ImageAutoencoder),
    "speech_encoder": (SpeechEncoder, Wav2VecEncoder),
    "face_analyzer": (FaceAnalyzer,),
}


class Components(NamedTuple):
    """The parts of a pipeline, in the order of its arguments; `scheduler` is any of diffusers'."""

    unet: EmoUNet
    reference_net: ReferenceNet
    autoencoder: MotionAutoencoder | ImageAutoencoder
    scheduler: Any
    speech_encoder: SpeechEncoder | Wav2VecEncoder
    face_analyzer: FaceAnalyzer


def load_components(
    folder: Path, index: CheckpointIndex, *, device: torch.device | str, dtype: torch.dtype
) -> Components:
    """Load what `index` names.

    Raises:
        CheckpointError: unknown class, missing or damaged file, settings or keys that do not fit.
    """
    classes = {name: _class_of(name, index) for name in _CLASSES}

    def network(name: str) -> Any:
        return move(load_network(classes[name], folder / name), device, dtype)

    scheduler = load_scheduler(folder / "scheduler")
    if index.components.get("scheduler") != type(scheduler).__name__:
        raise CheckpointError(
            "model_index.json names another scheduler than scheduler_config.json",
            got=index.components.get("scheduler", "none"),
            expected=type(scheduler).__name__,
        )
    return Components(
        unet=network("unet"),
        reference_net=network("reference_net"),
        autoencoder=network("autoencoder"),
        scheduler=scheduler,
        speech_encoder=classes["speech_encoder"].from_pretrained(
            folder / "speech_encoder", **index.speech.model_dump(), device=device, dtype=dtype
        ),
        face_analyzer=FaceAnalyzer.from_pretrained(folder / "face"),
    )


def _class_of(name: str, index: CheckpointIndex) -> type[Any]:
    for cls in _CLASSES[name]:
        if index.components.get(name) == cls.__name__:
            return cls
    raise CheckpointError(
        f"the component {name!r} is of an unknown class",
        got=index.components.get(name, "none"),
        expected=" or ".join(cls.__name__ for cls in _CLASSES[name]),
        fix="Install the version of openemo that the checkpoint was made with: " + index.version,
    )


def load_network(cls: type[Any], folder: Path) -> Any:
    """A diffusers network on the CPU, in the dtype of its file. Raises CheckpointError.

    diffusers' own `from_pretrained` only warns about settings it does not know and weights it does not find.
    """
    config = _network_config(cls, folder / "config.json")
    try:
        # Copied out of the file's memory, where tensors lie anywhere: on some processors the order of a sum
        # hangs on that, and with it the last bit.
        weights = {name: tensor.clone() for name, tensor in load_file(folder / WEIGHTS_NAME).items()}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder / WEIGHTS_NAME} cannot be read", got=error, fix=_REPAIR) from error
    with torch.device("meta"):  # no random start, and nothing taken from the global random state
        network = cls(**config)
    try:
        network.load_state_dict(weights, strict=True, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"the weights in {folder} do not fit config.json", got=reason, fix=_REPAIR
        ) from error
    return network


def save_components(
    folder: Path, parts: Components, config: PipelineConfig, *, dtype: torch.dtype, licence: str
) -> None:
    """Write the parts (weights as `dtype`), the index and the hashes. The parts themselves stay as they are.

    Raises:
        CheckpointError: a weight is too large for `dtype`. OutputError: the folder cannot be written.
    """
    index = CheckpointIndex(
        components={name: type(part).__name__ for name, part in parts._asdict().items()},
        speech=parse_speech_options(parts.speech_encoder.options()),
        pipeline=config.model_dump(),
        licence=licence,
        version=__version__,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("unet", "reference_net", "autoencoder", "speech_encoder"):
            _cast_copy(getattr(parts, name), dtype).save_pretrained(folder / name)
        parts.scheduler.save_pretrained(folder / "scheduler")
        parts.face_analyzer.save_pretrained(folder / "face")
        write_index(folder, index)
        write_hashes(folder)
    except OSError as error:
        raise OutputError(f"the checkpoint cannot be written to {folder}", got=error.strerror) from error


def move(part: Any, device: torch.device | str | None, dtype: torch.dtype | None) -> Any:
    """Move a network or speech encoder in place; None keeps what it is."""
    if isinstance(part, ModelMixin):
        # Past `ModelMixin.to`, which warns of precision at every change of dtype, whatever the network.
        return torch.nn.Module.to(part, device=device, dtype=dtype)
    return part.to(device=device, dtype=dtype)


def _cast_copy(part: Any, dtype: torch.dtype) -> Any:
    part = move(copy.deepcopy(part), None, dtype)
    network = part if isinstance(part, ModelMixin) else part.encoder
    for name, tensor in network.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"the weight {name} is not finite as {dtype}", fix="Save as torch.float32")
    return part


def _network_config(cls: type[Any], path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read", got=error, fix=_REPAIR) from error
    config = {key: value for key, value in config.items() if not key.startswith("_")}
    unknown = sorted(config.keys() - inspect.signature(cls.__init__).parameters.keys())
    if unknown:
        raise CheckpointError(
            f"{path} has settings that {cls.__name__} does not know", got=", ".join(unknown)
        )
    return config


def load_scheduler(folder: Path) -> Any:
    """A scheduler of diffusers from its saved settings, which name its class. Raises CheckpointError."""
    try:
        settings: dict[str, Any] = json.loads((folder / "scheduler_config.json").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"the scheduler in {folder} cannot be read", got=error, fix=_REPAIR) from error
    class_name = str(settings.get("_class_name", "none"))
    cls: Any = getattr(diffusers, class_name, None) if class_name.endswith("Scheduler") else None
    if not (isinstance(cls, type) and issubclass(cls, SchedulerMixin)):
        raise CheckpointError(
            "the scheduler is of an unknown class", got=class_name, expected="a scheduler of diffusers"
        )
    scheduler_class: Any = cls
    return scheduler_class.from_config(settings)
