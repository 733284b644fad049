from pathlib import Path
from typing import NamedTuple, Self

from torch import Tensor, nn
from transformers import WhisperConfig

class BaseModelOutput(NamedTuple):
    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...]

class PreTrainedModel(nn.Module):
    def save_pretrained(self, save_directory: str | Path) -> None: ...
    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path) -> Self: ...

class WhisperEncoder(PreTrainedModel):
    config: WhisperConfig
    conv1: nn.Conv1d
    conv2: nn.Conv1d
    embed_positions: nn.Embedding
    layers: nn.ModuleList
    layer_norm: nn.LayerNorm
    def __init__(self, config: WhisperConfig) -> None: ...
    def __call__(self, input_features: Tensor, output_hidden_states: bool = False) -> BaseModelOutput: ...

class WhisperModel(PreTrainedModel):
    def __init__(self, config: WhisperConfig) -> None: ...
