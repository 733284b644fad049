"""Stable Diffusion 1.5: a diffusers folder, one of its components, or a single file with the older LDM names.

The UNet becomes an `EmoUNet` without audio, temporal, speed and face layers, which is SD-1.5's own network.
Sizes come from the shapes of the tensors, so smaller or wider networks of this architecture work, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from torch import Tensor

from openemo.checkpoints.formats.shapes import on_meta, unet_config_of, vae_config_of
from openemo.checkpoints.key_map import KeyMap, split
from openemo.checkpoints.parts import Imported, Part, some
from openemo.checkpoints.tensor_files import RawWeights, find_weights, read_tensors, read_weights
from openemo.errors import CheckpointError
from openemo.files import read_json
from openemo.models import EmoUNet
from openemo.models.image_autoencoder import SD15_SCALING_FACTOR

__all__ = ["autoencoder_part", "read_sd15"]

# Settings that shapes do not show. diffusers calls the number of heads `attention_head_dim`.
_SD15_SETTINGS = dict(attention_head_dim=8, norm_num_groups=32, norm_eps=1e-5)
_OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
_UNET_PREFIX = "model.diffusion_model."
_VAE_PREFIX = "first_stage_model."
_WEIGHTS_STEM = ("diffusion_pytorch_model",)
_NO_WEIGHT = "a record of its training, not a weight"
_SCHEDULE = "a table of the noise schedule, which the scheduler computes"
_LEFT_OVER = {
    r"cond_stage_model\..*": "the text encoder: EMO reads no text",
    r"model_ema\..*": "the EMA of the weights: the weights themselves are used",
    r"(first_stage_model\.)?loss\..*": "the loss that the autoencoder was trained with",
    r"(alphas_cumprod|betas|posterior_|sqrt_|log_one_minus|logvar|lvlb)\w*": _SCHEDULE,
}
_OTHER_COMPONENTS = {
    "text_encoder": "EMO reads no text",
    "tokenizer": "EMO reads no text",
    "safety_checker": "not part of the network",
    "feature_extractor": "of the safety checker",
    "image_encoder": "EMO encodes the image with its ReferenceNet",
    "scheduler": "the pipeline has its own",
}


def read_sd15(path: Path) -> Imported:
    """UNet, autoencoder or both. Raises CheckpointError."""
    return _read_folder(path) if path.is_dir() else _read_single_file(path)


def _read_folder(folder: Path) -> Imported:
    """A pipeline folder must have both; the folder of one component stands alone."""
    if (folder / "config.json").is_file() and not (folder / "unet").is_dir():
        kind = read_json(folder / "config.json").get("_class_name")
        readers: dict[Any, Callable[[Path], Imported]] = {
            "UNet2DConditionModel": _read_unet_folder,
            "AutoencoderKL": _read_vae_folder,
        }
        if kind not in readers:
            raise CheckpointError(f"{folder} is no part of SD-1.5", got=kind, expected=" or ".join(readers))
        return readers[kind](folder)
    for name in ("unet", "vae"):
        if not (folder / name / "config.json").is_file():
            raise CheckpointError(
                f"{folder} is no Stable Diffusion folder",
                got=f"no {name}/config.json",
                expected="unet/ and vae/ as diffusers writes them, or a single .safetensors or .ckpt file",
            )
    unet, vae = _read_unet_folder(folder / "unet"), _read_vae_folder(folder / "vae")
    others = {
        f"{child.name}/": _OTHER_COMPONENTS.get(child.name, "not a component that EMO has")
        for child in sorted(folder.iterdir())
        if child.is_dir() and child.name not in {"unet", "vae"} and not child.name.startswith(".")
    }
    return Imported(unet.parts + vae.parts, unet.left_over | vae.left_over | others, unet.files + vae.files)


def _read_unet_folder(folder: Path) -> Imported:
    settings = read_json(folder / "config.json")
    unsupported = [
        key
        for key in (
            "use_linear_projection",
            "class_embed_type",
            "addition_embed_type",
            "dual_cross_attention",
        )
        if settings.get(key)
    ]
    if unsupported:
        raise CheckpointError(
            f"{folder} is not SD-1.5's UNet", got=some(unsupported), expected="none of these"
        )
    raw = read_weights(find_weights(folder, _WEIGHTS_STEM))
    heads = settings.get("num_attention_heads") or settings.get("attention_head_dim")
    known = {key: settings.get(key) for key in ("norm_num_groups", "norm_eps")} | {
        "attention_head_dim": heads
    }
    config = unet_config_of(raw.tensors, {key: value for key, value in known.items() if value is not None})
    own, left_over = _unet_map(config, {}).to_own(raw.tensors)
    return _imported([_unet_part(config, split(own)["unet"])], left_over, raw)


def _read_vae_folder(folder: Path) -> Imported:
    raw = read_weights(find_weights(folder, _WEIGHTS_STEM))
    part, left_over = autoencoder_part(raw.tensors, read_json(folder / "config.json"))
    return _imported([part], left_over, raw)


def autoencoder_part(
    tensors: Mapping[str, Tensor], settings: Mapping[str, Any]
) -> tuple[Part, dict[str, str]]:
    """The autoencoder in diffusers' names, present or old. Raises CheckpointError."""
    old = any(".attentions." in key and key.endswith(".query.weight") for key in tensors)
    return _vae_part(tensors, settings, _old_attention_name if old else lambda own: own)


def _read_single_file(path: Path) -> Imported:
    raw = read_tensors(path)
    tensors = {name: _as_linear(name, tensor) for name, tensor in raw.tensors.items()}
    unet = {key for key in tensors if key.startswith(_UNET_PREFIX)}
    vae = {key for key in tensors if key.startswith(_VAE_PREFIX) and ".loss." not in key}
    if not unet and not vae:  # the autoencoder alone is published without a prefix
        vae = {
            key for key in tensors if key.startswith(("encoder.", "decoder.", "quant_conv.", "post_quant_"))
        }
    if not unet and not vae:
        raise CheckpointError(
            f"{path} is no Stable Diffusion file",
            got=f"keys such as {some(sorted(tensors))}",
            expected=f"keys that start with {_UNET_PREFIX} and {_VAE_PREFIX}",
        )
    parts: list[Part] = []
    left_over: dict[str, str] = dict.fromkeys(raw.extras, _NO_WEIGHT)
    # What belongs to neither goes through the first map, which knows or rejects it.
    rest = {key: tensors[key] for key in tensors.keys() - unet - vae}
    if unet:
        names = _ldm_names(convert_ldm_unet_checkpoint, unet, {"layers_per_block": 2})
        config = unet_config_of({own: tensors[key] for own, key in names.items()}, _SD15_SETTINGS)
        own, left = _unet_map(config, names).to_own({key: tensors[key] for key in unet} | rest)
        parts.append(_unet_part(config, split(own)["unet"]))
        left_over |= left
        rest = {}
    if vae:
        num_levels = len({key.split("down.")[1].split(".")[0] for key in vae if "encoder.down." in key})
        blocks = {"down_block_types": [""] * num_levels, "up_block_types": [""] * num_levels}
        names = _ldm_names(convert_ldm_vae_checkpoint, vae, blocks)
        own_tensors = {own: tensors[key] for own, key in names.items()}
        settings = {"scaling_factor": SD15_SCALING_FACTOR, "norm_num_groups": 32}
        part, left = _vae_part(
            {key: tensors[key] for key in vae} | rest, settings, lambda own: names.get(own, own), own_tensors
        )
        parts.append(part)
        left_over |= left
    return _imported(parts, left_over, raw)


def _unet_map(config: dict[str, Any], names: Mapping[str, str]) -> KeyMap:
    network = on_meta(EmoUNet, config)
    return KeyMap.of_networks(
        "SD-1.5's UNet (SD-2, SDXL and inpainting models are others)",
        {"unet": network},
        lambda own: names.get(own.removeprefix("unet."), own.removeprefix("unet.")),
        _LEFT_OVER,
    )


def _unet_part(config: dict[str, Any], state: dict[str, Tensor]) -> Part:
    return Part("unet", "EmoUNet", config, state)


def _vae_part(
    tensors: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    rename: Callable[[str], str],
    own_tensors: Mapping[str, Tensor] | None = None,
) -> tuple[Part, dict[str, str]]:
    config = vae_config_of(own_tensors or tensors, settings)
    key_map = KeyMap.of_networks(
        "the autoencoder of SD-1.5",
        {"autoencoder": on_meta(AutoencoderKL, config)},
        lambda own: rename(own.removeprefix("autoencoder.")),
        _LEFT_OVER,
    )
    own, left_over = key_map.to_own(tensors)
    # diffusers' AutoencoderKL loads these files, too: the keys and settings are the same.
    return Part("autoencoder", "ImageAutoencoder", config, split(own)["autoencoder"]), left_over


def _ldm_names(
    convert: Callable[..., dict[str, Tensor]], keys: set[str], config: dict[str, Any]
) -> dict[str, str]:
    """Own name -> LDM name. diffusers' converter gets numbered tensors in place of the weights."""
    ordered = sorted(keys)
    numbers = {key: torch.full((1, 1, 1, 1), i) for i, key in enumerate(ordered)}
    try:
        converted = convert(numbers, config)
    except Exception as error:  # it takes the names apart as if they were right
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointError("the file's keys are not those of Stable Diffusion", got=reason) from error
    return {own: ordered[int(number.flatten()[0])] for own, number in converted.items() if number is not None}


def _as_linear(name: str, tensor: Tensor) -> Tensor:
    """LDM's autoencoder stores its attention layers as 1x1 convolutions."""
    is_attention = ".mid.attn_1." in f".{name}" and tensor.ndim == 4 and tensor.shape[2:] == (1, 1)
    return tensor.flatten(1) if is_attention else tensor


def _old_attention_name(own: str) -> str:
    """Autoencoders from before diffusers 0.17 have other names for attention layers."""
    for new, old in _OLD_ATTENTION.items():
        if ".attentions." in own:
            own = own.replace(f".{new}.", f".{old}.")
    return own


def _imported(parts: list[Part], left_over: dict[str, str], raw: RawWeights) -> Imported:
    return Imported(tuple(parts), left_over, raw.files)
