from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from transformers.models.whisper.modeling_whisper import BaseModelOutput, PreTrainedModel

class PreTrainedConfig:
    def __init__(self, **settings: Any) -> None: ...
    def to_dict(self) -> dict[str, Any]: ...
    def to_diff_dict(self) -> dict[str, Any]: ...

class Wav2Vec2Config(PreTrainedConfig):
    conv_kernel: Sequence[int]
    conv_stride: Sequence[int]
    do_stable_layer_norm: bool
    hidden_size: int
    num_hidden_layers: int

class WhisperConfig(PreTrainedConfig):
    d_model: int
    encoder_layers: int
    max_source_positions: int
    num_mel_bins: int

class _FeatureProjection(nn.Module):
    layer_norm: nn.LayerNorm
    projection: nn.Linear
    def __call__(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]: ...

class _Wav2Vec2Encoder(nn.Module):
    pos_conv_embed: nn.Module
    layer_norm: nn.LayerNorm
    layers: nn.ModuleList

class Wav2Vec2Model(PreTrainedModel):
    config: Wav2Vec2Config
    feature_extractor: nn.Module
    feature_projection: _FeatureProjection
    encoder: _Wav2Vec2Encoder
    def __init__(self, config: Wav2Vec2Config) -> None: ...
    def __call__(self, input_values: Tensor, output_hidden_states: bool = False) -> BaseModelOutput: ...

class Wav2Vec2ForCTC(PreTrainedModel):
    config: Wav2Vec2Config
    wav2vec2: Wav2Vec2Model
    lm_head: nn.Linear
    def __init__(self, config: Wav2Vec2Config) -> None: ...

class WhisperFeatureExtractor:
    def __init__(self, feature_size: int = 80, **settings: Any) -> None: ...
    def __call__(
        self, raw_speech: npt.NDArray[np.float32], *, sampling_rate: int, **options: Any
    ) -> dict[str, Any]: ...
