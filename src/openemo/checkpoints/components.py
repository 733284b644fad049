"""Loads and saves the components of a pipeline. Whatever does not fit exactly is an error."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import diffusers
import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import nn

from openemo import __version__
from openemo.audio import SpeechEncoder, Wav2VecEncoder, WhisperEncoder
from openemo.checkpoints.folder import (
    REPAIR,
    CheckpointIndex,
    parse_speech_options,
    write_hashes,
    write_index,
)
from openemo.config import PipelineConfig
from openemo.errors import CheckpointError, OutputError
from openemo.face import FaceAnalyzer
from openemo.files import read_json
from openemo.models import EmoUNet, ReferenceNet
from openemo.models.autoencoder import Autoencoder
from openemo.models.image_autoencoder import ImageAutoencoder
from openemo.models.motion_autoencoder import MotionAutoencoder
from openemo.network_settings import check_arguments, check_numbers
from openemo.weight_files import load_network_weights

__all__ = ["Components", "load_components", "load_network", "load_scheduler", "move", "save_components"]

Network = TypeVar("Network", bound=nn.Module)
_MOST_TIMESTEPS = 100_000
WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"
# Classes that a component may have.
_CLASSES: dict[str, tuple[type[Any], ...]] = {
    "unet": (EmoUNet,),
    "reference_net": (ReferenceNet,),
    "autoencoder": (MotionAutoencoder, ImageAutoencoder),
    "speech_encoder": (WhisperEncoder, Wav2VecEncoder),
    "face_analyzer": (FaceAnalyzer,),
}


class Components(NamedTuple):
    """The components of a pipeline, in the order of its arguments. `scheduler` is one of diffusers'."""

    unet: EmoUNet
    reference_net: ReferenceNet
    autoencoder: Autoencoder[Any]
    scheduler: SchedulerMixin
    speech_encoder: SpeechEncoder
    face_analyzer: FaceAnalyzer


def load_components(
    folder: Path, index: CheckpointIndex, *, device: torch.device | str, dtype: torch.dtype
) -> Components:
    """Loads the components that `index` names.

    Raises:
        CheckpointError: a class is unknown, a file is missing or damaged, or settings or keys do not fit.
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
        fix=f"If openemo {index.version} made it, run `openemo weights upgrade`; or install that version",
    )


def load_network(cls: type[Network], folder: Path) -> Network:
    """A diffusers network on the CPU, in the dtype of its file. Raises CheckpointError.

    diffusers' own `from_pretrained` only warns about unknown settings and missing weights.
    """
    config = _network_config(cls, folder / "config.json")
    return load_network_weights(lambda: cls(**config), folder / WEIGHTS_NAME, fix=REPAIR)


def save_components(
    folder: Path, parts: Components, config: PipelineConfig, *, dtype: torch.dtype, licence: str
) -> None:
    """Writes the components (weights as `dtype`), the index and the hashes. Does not change the components.

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
    """Moves a network or speech encoder in place; None keeps the present device or dtype."""
    if isinstance(part, ModelMixin):
        # Not `ModelMixin.to`, which warns about precision at every change of dtype.
        return nn.Module.to(part, device=device, dtype=dtype)
    return part.to(device=device, dtype=dtype)


def _cast_copy(part: Any, dtype: torch.dtype) -> Any:
    part = move(copy.deepcopy(part), None, dtype)
    network = part if isinstance(part, ModelMixin) else part.encoder
    for name, tensor in network.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"the weight {name} is not finite as {dtype}", fix="Save as torch.float32")
    return part


def _network_config(cls: type[Any], path: Path) -> dict[str, Any]:
    config = {key: value for key, value in read_json(path, fix=REPAIR).items() if not key.startswith("_")}
    check_arguments(cls, config, path, fix=REPAIR)
    return config


def load_scheduler(folder: Path) -> Any:
    """A scheduler of diffusers from its saved settings, which name its class. Raises CheckpointError."""
    path = folder / "scheduler_config.json"
    settings = read_json(path, fix=REPAIR, infinity=True)
    class_name = str(settings.get("_class_name", "none"))
    cls: Any = getattr(diffusers, class_name, None) if class_name.endswith("Scheduler") else None
    if not (isinstance(cls, type) and issubclass(cls, SchedulerMixin)):
        raise CheckpointError(
            "the scheduler is of an unknown class", got=class_name, expected="a scheduler of diffusers"
        )
    # Schedulers have tables of so many steps.
    most = _MOST_TIMESTEPS
    check_numbers(settings, path, least=-most, most=most, longest=most, infinity=True, fix=REPAIR)
    steps = settings.get("num_train_timesteps", 1)
    if not isinstance(steps, int) or steps < 1:
        raise CheckpointError(f"{path} has a wrong setting", got=f"num_train_timesteps {steps}", fix=REPAIR)
    scheduler_class: Any = cls
    try:
        with torch.device("cpu"):  # whatever default the program has set
            return scheduler_class.from_config(settings)
    except Exception as error:  # its constructors raise anything for settings that do not fit
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise CheckpointError(f"{path} makes no {class_name}", got=reason, fix=REPAIR) from error
