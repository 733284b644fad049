"""The base of all networks: they keep their settings, and are saved and loaded in diffusers' files.

diffusers' own base classes do the same, and import torch's compiler, transformers and all models of both:
two thirds of what a program that makes one video would import.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from openemo.files import read_json
from openemo.network_settings import check_arguments
from openemo.weight_files import load_network_weights

__all__ = ["CONFIG_NAME", "WEIGHTS_NAME", "Network"]

CONFIG_NAME: Final = "config.json"
WEIGHTS_NAME: Final = "diffusion_pytorch_model.safetensors"


class Network(nn.Module):
    """A network whose constructor is decorated with `register_to_config`.

    Attributes:
        config: the arguments of the constructor, defaults included.
        gradient_checkpointing: layers compute their activations again in the backward pass; of networks that
            run their layers with it.
    """

    config: Any
    gradient_checkpointing: bool = False

    if TYPE_CHECKING:  # the types of nn.Module leave `memory_format` out

        def to(self, *args: Any, **kwargs: Any) -> Self: ...

    @property
    def dtype(self) -> torch.dtype:
        """Of the first weight."""
        return next(tensor.dtype for tensor in self.parameters() if tensor.is_floating_point())

    @property
    def device(self) -> torch.device:
        """Of the first weight."""
        return next(self.parameters()).device

    def enable_gradient_checkpointing(self) -> None:
        """Less memory in training, for a third more time."""
        self.gradient_checkpointing = True

    def disable_gradient_checkpointing(self) -> None:
        self.gradient_checkpointing = False

    def checkpointed(self, layer: Callable[..., Any], *inputs: Any) -> Any:
        """The layer's outputs; in training with `gradient_checkpointing`, without keeping what is in it."""
        if not self.gradient_checkpointing or not torch.is_grad_enabled():
            return layer(*inputs)
        from torch.utils.checkpoint import checkpoint  # imports torch's compiler

        return checkpoint(layer, *inputs, use_reentrant=False)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, fix: str | None = None) -> Self:
        """A network on the CPU, in the dtype of its file, from config.json and its weights: strictly.

        Args:
            fix: the way out, for the message of an error.

        Raises:
            CheckpointError: a file is missing or damaged, a setting unknown or wrong, or the weights do not
                fit the settings.
        """
        path = Path(folder) / CONFIG_NAME
        config = {name: value for name, value in read_json(path, fix=fix).items() if name[:1] != "_"}
        check_arguments(cls, config, path, fix=fix)
        return load_network_weights(lambda: cls(**config), Path(folder) / WEIGHTS_NAME, fix=fix).eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and the weights, in their present dtype, for `from_pretrained`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG_NAME).write_text(self.to_json_string())
        weights: dict[str, Tensor] = {
            name: tensor.detach().contiguous() for name, tensor in self.state_dict().items()
        }
        save_file(weights, folder / WEIGHTS_NAME, metadata={"format": "pt"})

    def to_json_string(self) -> str:
        """The contents of config.json: the settings, and the class as diffusers writes it."""
        values = {"_class_name": type(self).__name__} | dict(self.config)
        return json.dumps(values, indent=2, sort_keys=True) + "\n"
