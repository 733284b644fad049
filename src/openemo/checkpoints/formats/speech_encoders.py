"""Speech encoders: wav2vec 2.0 (transformers' folder) and Whisper (transformers' folder or OpenAI's .pt)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model

from openemo.audio.speech_networks import speech_config
from openemo.audio.whisper_network import WhisperConfig, WhisperNetwork
from openemo.checkpoints.formats.shapes import axes, on_meta
from openemo.checkpoints.key_map import KeyMap
from openemo.checkpoints.parts import Imported, Part
from openemo.checkpoints.tensor_files import RawWeights, find_weights, read_tensors, read_weights
from openemo.errors import CheckpointError
from openemo.files import read_json

__all__ = ["read_wav2vec2", "read_whisper"]

FOLDER = "speech_encoder"
_STEMS = ("model", "pytorch_model")
# Our class that loads the part.
_READERS: dict[type[Any], str] = {Wav2Vec2Model: "Wav2VecEncoder", WhisperNetwork: "WhisperEncoder"}
_WAV2VEC2_LEFT_OVER = {
    r"lm_head\..*": "its text output: only hidden states are used",
    r"(quantizer|project_hid|project_q)\..*": "of its pre-training task",
    r"(wav2vec2\.)?masked_spec_embed": "replaces masked audio, in its own training only",
}
_WHISPER_LEFT_OVER = {
    r"(model\.)?decoder\..*": "the decoder: only the encoder is used",
    r"proj_out\..*": "of the decoder",
    r"alignment_heads": "of the decoder",
}
_WEIGHT_NORM = "encoder.pos_conv_embed.conv.parametrizations.weight.original"
_OPENAI_NAMES = (
    ("layers.", "blocks."),
    ("self_attn_layer_norm", "attn_ln"),
    ("self_attn.q_proj", "attn.query"),
    ("self_attn.k_proj", "attn.key"),
    ("self_attn.v_proj", "attn.value"),
    ("self_attn.out_proj", "attn.out"),
    ("final_layer_norm", "mlp_ln"),
    ("fc1", "mlp.0"),
    ("fc2", "mlp.2"),
    ("embed_positions.weight", "positional_embedding"),
)


def read_wav2vec2(path: Path) -> Imported:
    """A transformers folder: config.json, weights, and preprocessor_config.json if there is one."""
    settings = _settings(path, "wav2vec2")
    # Without masking, which is for its own training, the network has no mask embedding.
    config = speech_config(Wav2Vec2Config, settings | {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}, path)
    raw = read_weights(find_weights(path, _STEMS))
    prefix = "wav2vec2." if any(key.startswith("wav2vec2.") for key in raw.tensors) else ""
    old_norm = any(key.endswith("pos_conv_embed.conv.weight_g") for key in raw.tensors)

    def rename(own: str) -> str:
        if old_norm:
            own = own.replace(f"{_WEIGHT_NORM}0", "encoder.pos_conv_embed.conv.weight_g")
            own = own.replace(f"{_WEIGHT_NORM}1", "encoder.pos_conv_embed.conv.weight_v")
        return prefix + own

    extra = path / "preprocessor_config.json"
    jsons = {extra.name: read_json(extra)} if extra.is_file() else {}
    return _import(Wav2Vec2Model, "wav2vec 2.0", config, raw, rename, _WAV2VEC2_LEFT_OVER, jsons)


def read_whisper(path: Path) -> Imported:
    """A transformers folder, or OpenAI's own file with "dims". Raises CheckpointError."""
    if path.is_dir():
        config = speech_config(WhisperConfig, _settings(path, "whisper"), path)
        raw = read_weights(find_weights(path, _STEMS))
        prefix = next((p for p in ("model.encoder.", "encoder.") if f"{p}conv1.weight" in raw.tensors), "")
        return _import(
            WhisperNetwork, "Whisper's encoder", config, raw, lambda own: prefix + own, _WHISPER_LEFT_OVER
        )
    raw = read_tensors(path)
    config = _openai_config(raw, path)
    raw = RawWeights(raw.tensors, {key: raw.extras[key] for key in raw.extras.keys() - {"dims"}}, raw.files)
    return _import(WhisperNetwork, "Whisper's encoder", config, raw, _openai_name, _WHISPER_LEFT_OVER)


def _import(
    cls: type[Any],
    what: str,
    config: Any,
    raw: RawWeights,
    rename: Callable[[str], str],
    patterns: Mapping[str, str],
    extra_json: Mapping[str, dict[str, Any]] | None = None,
) -> Imported:
    network = on_meta(cls, {"config": config})
    key_map = KeyMap.of_networks(
        what, {FOLDER: network}, lambda own: rename(own.removeprefix(f"{FOLDER}.")), patterns
    )
    own, left_over = key_map.to_own(raw.tensors)
    state: dict[str, Tensor] = {name.removeprefix(f"{FOLDER}."): tensor for name, tensor in own.items()}
    part = Part(FOLDER, _READERS[cls], config.to_diff_dict(), state, "model.safetensors", extra_json or {})
    return Imported((part,), left_over | dict.fromkeys(raw.extras, "not a weight"), raw.files)


def _settings(folder: Path, model_type: str) -> dict[str, Any]:
    if not folder.is_dir():
        raise CheckpointError(
            f"a {model_type} encoder is imported from a folder",
            got=folder,
            expected="config.json and model.safetensors, as transformers writes them",
        )
    settings = read_json(folder / "config.json")
    if settings.get("model_type") != model_type:
        raise CheckpointError(
            f"{folder} is no {model_type} encoder", got=settings.get("model_type"), expected=model_type
        )
    return settings


def _openai_config(raw: RawWeights, path: Path) -> Any:
    dims = raw.extras.get("dims")
    names = ("n_audio_head", "n_audio_layer", "n_mels", "n_audio_ctx", "n_audio_state")
    if not isinstance(dims, dict) or not all(isinstance(dims.get(name), int) for name in names):
        raise CheckpointError(
            f"{path} is not a Whisper file of OpenAI", expected="a pickle with dims and model_state_dict"
        )
    width = axes(raw.tensors, "encoder.positional_embedding", 2)[1]
    settings = dict(
        d_model=dims["n_audio_state"],
        encoder_layers=dims["n_audio_layer"],
        encoder_attention_heads=dims["n_audio_head"],
        encoder_ffn_dim=4 * width,
        num_mel_bins=dims["n_mels"],
        max_source_positions=dims["n_audio_ctx"],
    )
    return speech_config(WhisperConfig, settings, path)


def _openai_name(own: str) -> str:
    for ours, theirs in _OPENAI_NAMES:
        own = own.replace(ours, theirs)
    return "encoder." + ("ln_post" + own.removeprefix("layer_norm") if own.startswith("layer_norm.") else own)
