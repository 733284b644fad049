"""Speech networks on disk, as transformers writes them: config.json and model.safetensors."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import torch
from huggingface_hub.errors import StrictDataclassError
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor

from openemo.errors import CheckpointError
from openemo.files import read_json
from openemo.network_settings import check_numbers
from openemo.settings import StrictModel, wrong_setting
from openemo.weight_files import load_network_weights

__all__ = ["PretrainedSpeechEncoder", "speech_config"]

WEIGHTS_NAME = "model.safetensors"
# The settings that wav2vec 2.0 reads; transformers' configuration has more. By some of those,
# `attn_implementation` and `auto_map` among them, a file can make transformers download code and run it.
_WAV2VEC2_SETTINGS: Final = frozenset({
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
    "hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop",
    "layer_norm_eps", "feat_extract_norm", "feat_extract_activation", "conv_dim", "conv_kernel",
    "conv_stride", "conv_bias", "num_feat_extract_layers", "num_conv_pos_embeddings",
    "num_conv_pos_embedding_groups", "do_stable_layer_norm", "apply_spec_augment", "mask_time_prob",
    "mask_time_length", "mask_time_min_masks", "mask_feature_prob", "mask_feature_length",
    "mask_feature_min_masks", "add_adapter", "adapter_kernel_size", "adapter_stride",
    "num_adapter_layers", "output_hidden_size", "adapter_attn_dim", "initializer_range",
})  # fmt: skip


class PretrainedSpeechEncoder(ABC):
    """Loading, saving and moving of an encoder around a speech network.

    Attributes:
        network_class, config_class: our own, or of transformers.
        encoder: the network.
    """

    network_class: ClassVar[Any]
    config_class: ClassVar[Any]
    encoder: Any

    @abstractmethod
    def __init__(self, encoder: Any, **options: Any) -> None: ...

    @property
    @abstractmethod
    def _weight(self) -> Tensor:
        """One weight, which tells device and dtype of all."""

    @property
    def device(self) -> torch.device:
        return self._weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self._weight.dtype

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Moves the weights in place and returns the encoder itself."""
        self.encoder.to(device=device, dtype=dtype)
        return self

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        **options: Any,
    ) -> Self:
        """Loads config.json and model.safetensors; `options` are those of the constructor.

        Raises:
            CheckpointError: a file is missing or damaged, or the weights do not fit the config.
        """
        folder = Path(folder)
        path = folder / "config.json"
        config = speech_config(cls.config_class, read_json(path), path)
        network = load_network_weights(lambda: cls.network_class(config), folder / WEIGHTS_NAME)
        return cls(network, **options).to(device, dtype)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes config.json and model.safetensors (in the present dtype) for `from_pretrained`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = self.encoder.config.to_diff_dict()
        (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
        weights = {name: tensor.contiguous() for name, tensor in self.encoder.state_dict().items()}
        save_file(weights, folder / WEIGHTS_NAME, metadata={"format": "pt"})


def speech_config(config_class: Any, values: Mapping[str, Any], path: Path) -> Any:
    """A configuration with those of the settings that the network reads, and no others.

    Raises:
        CheckpointError: a setting is wrong or absurd.
    """
    is_own = issubclass(config_class, StrictModel)
    names = config_class.model_fields.keys() if is_own else _WAV2VEC2_SETTINGS
    known = {name: value for name, value in values.items() if name in names}
    check_numbers(known, path, least=0)
    try:
        return config_class(**known)
    except ValidationError as error:
        wrong = wrong_setting(error)
        raise CheckpointError(
            f"{path} has a wrong setting `{wrong.name}`", got=repr(wrong.got), expected=wrong.expected
        ) from error
    except (TypeError, ValueError, StrictDataclassError) as error:
        raise CheckpointError(f"{path} has a wrong setting", got=str(error).splitlines()[0]) from error
