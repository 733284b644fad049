"""Loads and saves the components of a pipeline. Whatever does not fit exactly is an error."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from openemo import __version__
from openemo.audio import SpeechEncoder
from openemo.checkpoints.folder import (
    REPAIR,
    CheckpointIndex,
    parse_speech_options,
    write_hashes,
    write_index,
)
from openemo.config import PipelineConfig
from openemo.ddim_scheduler import DDIMScheduler, Scheduler
from openemo.errors import CheckpointError, OutputError
from openemo.face import FaceAnalyzer
from openemo.files import read_json
from openemo.models import EmoUNet, ReferenceNet
from openemo.models.autoencoder import Autoencoder
from openemo.models.network import Network
from openemo.network_settings import check_numbers

__all__ = ["Components", "load_components", "load_network", "load_scheduler", "move", "save_components"]

NetworkT = TypeVar("NetworkT", bound=Network)
_MOST_TIMESTEPS = 100_000
# Classes that a component may have, and where they are: some import what takes seconds.
_CLASSES: dict[str, dict[str, str]] = {
    "unet": {"EmoUNet": "openemo.models.unet"},
    "reference_net": {"ReferenceNet": "openemo.models.reference_net"},
    "autoencoder": {
        "MotionAutoencoder": "openemo.models.motion_autoencoder",
        "ImageAutoencoder": "openemo.models.image_autoencoder",
    },
    "speech_encoder": {"WhisperEncoder": "openemo.audio.whisper", "Wav2VecEncoder": "openemo.audio.wav2vec"},
    "face_analyzer": {"FaceAnalyzer": "openemo.face.analyzer"},
}
# Of diffusers' DDIMScheduler: settings that ours lacks, with the values at which they do nothing.
_UNUSED_BY_DDIM: dict[str, Any] = {"thresholding": False, "trained_betas": None}
_MORE_OF_DDIM = frozenset({"dynamic_thresholding_ratio", "sample_max_value"})


class Components(NamedTuple):
    """The components of a pipeline, in the order of its arguments."""

    unet: EmoUNet
    reference_net: ReferenceNet
    autoencoder: Autoencoder[Any]
    scheduler: Scheduler
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
    got = index.components.get(name, "none")
    if got in _CLASSES[name]:
        cls: type[Any] = getattr(import_module(_CLASSES[name][got]), got)
        return cls
    raise CheckpointError(
        f"the component {name!r} is of an unknown class",
        got=got,
        expected=" or ".join(_CLASSES[name]),
        fix=f"If openemo {index.version} made it, run `openemo weights upgrade`; or install that version",
    )


def load_network(cls: type[NetworkT], folder: Path) -> NetworkT:
    """A network of a checkpoint on the CPU, in the dtype of its file. Raises CheckpointError."""
    return cls.from_pretrained(folder, fix=REPAIR)


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
    return part.to(device=device, dtype=dtype)


def _cast_copy(part: Any, dtype: torch.dtype) -> Any:
    part = move(copy.deepcopy(part), None, dtype)
    network = part if isinstance(part, nn.Module) else part.encoder
    for name, tensor in network.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"the weight {name} is not finite as {dtype}", fix="Save as torch.float32")
    return part


def load_scheduler(folder: Path) -> Any:
    """A scheduler of diffusers from its saved settings, which name its class; or ours, where it is DDIM.

    Raises:
        CheckpointError: the file is missing or damaged, or its settings make no scheduler.
    """
    path = folder / "scheduler_config.json"
    settings = read_json(path, fix=REPAIR, infinity=True)
    class_name = str(settings.get("_class_name", "none"))
    make = _own_ddim if class_name == "DDIMScheduler" and _is_plain(settings) else _of_diffusers(class_name)
    # Schedulers have tables of so many steps.
    most = _MOST_TIMESTEPS
    check_numbers(settings, path, least=-most, most=most, longest=most, infinity=True, fix=REPAIR)
    steps = settings.get("num_train_timesteps", 1)
    if not isinstance(steps, int) or steps < 1:
        raise CheckpointError(f"{path} has a wrong setting", got=f"num_train_timesteps {steps}", fix=REPAIR)
    try:
        with torch.device("cpu"):  # whatever default the program has set
            return make(settings)
    except Exception as error:  # its constructors raise anything for settings that do not fit
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise CheckpointError(f"{path} makes no {class_name}", got=reason, fix=REPAIR) from error


def _is_plain(settings: dict[str, Any]) -> bool:
    """Whether our DDIM has all that these ask for."""
    is_unused = all(settings.get(name, value) == value for name, value in _UNUSED_BY_DDIM.items())
    return is_unused and settings.get("beta_schedule", "linear") in ("linear", "scaled_linear")


def _own_ddim(settings: dict[str, Any]) -> DDIMScheduler:
    others = _UNUSED_BY_DDIM.keys() | _MORE_OF_DDIM
    return DDIMScheduler(**{k: v for k, v in settings.items() if k[0] != "_" and k not in others})


def _of_diffusers(class_name: str) -> Callable[[dict[str, Any]], Any]:
    import diffusers
    from diffusers.schedulers.scheduling_utils import SchedulerMixin

    cls: Any = getattr(diffusers, class_name, None) if class_name.endswith("Scheduler") else None
    if not (isinstance(cls, type) and issubclass(cls, SchedulerMixin)):
        raise CheckpointError(
            "the scheduler is of an unknown class", got=class_name, expected="a scheduler of diffusers"
        )
    make: Callable[[dict[str, Any]], Any] = cls.from_config
    return make
