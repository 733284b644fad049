"""Audio layers that the audio stage exported, and how a network takes them."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from openemo.errors import CheckpointError
from openemo.models import EmoUNet
from openemo.models.audio_layers import AudioTimeEmbedding
from openemo.models.conditioning import zero_
from openemo.weight_files import load_weights

__all__ = [
    "AUDIO_LAYERS_NAME",
    "export_audio_layers",
    "is_audio_layer",
    "load_audio_layers",
    "swap_audio_layers",
]

AUDIO_LAYERS_NAME = "audio_layers.safetensors"
_LAYERS = ("audio_projection.", "audio_embedding.linear_1.")


def is_audio_layer(name: str) -> bool:
    """Does the audio stage train this parameter of an `EmoUNet`?"""
    return name.startswith(_LAYERS)


def export_audio_layers(unet: EmoUNet, folder: Path) -> None:
    """Writes a network's audio layers as the audio stage would; nothing where it has none."""
    layers = {name: value.contiguous() for name, value in unet.state_dict().items() if is_audio_layer(name)}
    if layers:
        save_file(layers, folder / AUDIO_LAYERS_NAME)


def load_audio_layers(unet: EmoUNet, folder: Path) -> None:
    """Puts exported audio layers into a network, and sets the layers that read their output to zero.

    A network that already has these layers, also rounded to float16 as in a checkpoint, stays as it is.

    Raises:
        CheckpointError: no such file, or layers of another shape.
    """
    tensors, own = _read(unet, folder), unet.state_dict()
    if all(torch.equal(own[name].half(), value.half()) for name, value in tensors.items()):
        return  # trained with these very layers, so its other layers know their output
    unet.load_state_dict(own | tensors)
    for name, module in unet.named_modules():
        if name.endswith("attn_audio"):
            zero_(module.to_out[0])
        elif isinstance(module, AudioTimeEmbedding):
            zero_(module.linear_2)


def swap_audio_layers(unet: EmoUNet, folder: Path) -> None:
    """Replaces the audio layers of a network by exported ones that had this network as their teacher.

    Raises:
        CheckpointError: no such file, or layers of another shape.
    """
    unet.load_state_dict(unet.state_dict() | _read(unet, folder))


def _read(unet: EmoUNet, folder: Path) -> dict[str, Tensor]:
    """Exported layers by their names in this network, in its shapes."""
    path = folder / AUDIO_LAYERS_NAME
    if not path.is_file():
        raise CheckpointError(f"no audio layers in {folder}", fix="Run `openemo train audio` first")
    tensors = load_weights(path)
    wanted = {name: tuple(value.shape) for name, value in unet.state_dict().items() if is_audio_layer(name)}
    got = {name: tuple(value.shape) for name, value in tensors.items()}
    if got != wanted:
        raise CheckpointError(
            f"the audio layers in {path} do not fit the network",
            got=str(sorted(set(got.items()) - set(wanted.items()))),
            expected=str(sorted(set(wanted.items()) - set(got.items()))),
        )
    return tensors
