"""Reads the published folders of Hallo and EchoMimic: the networks, their autoencoder and speech encoder.

Hallo: `hallo/net.pth`, `sd-vae-ft-mse/`, `wav2vec/wav2vec2-base-960h/`. EchoMimic v1: four files (two of the
accelerated weights end in "_acc"), `sd-vae-ft-mse/`, `audio_processor/whisper_tiny.pt`. `net.pth` alone, or
EchoMimic's four files alone, give only the networks.

Sizes come from the tensors. Settings that shapes do not show are the published ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from openemo.checkpoints.families import echomimic, hallo
from openemo.checkpoints.formats.animatediff import motion_config_of
from openemo.checkpoints.formats.sd15 import read_sd15
from openemo.checkpoints.formats.shapes import axes, count, on_meta, unet_config_of
from openemo.checkpoints.formats.speech_encoders import read_wav2vec2, read_whisper
from openemo.checkpoints.key_map import KeyMap, split
from openemo.checkpoints.parts import Imported, Part
from openemo.checkpoints.tensor_files import RawWeights, read_tensors
from openemo.errors import CheckpointError
from openemo.models import EmoUNet, ReferenceNet, reference_config, unet_config
from openemo.models.network_presets import Preset

__all__ = ["read_echomimic", "read_echomimic_acc", "read_hallo"]

State = Mapping[str, Tensor]
_AUTOENCODER = "sd-vae-ft-mse"
_NO_WEIGHT = "a record of its training, not a weight"
_NOT_READ = {
    "face_analysis": "InsightFace's networks, not for commercial use: bring your own face embedding",
    "audio_separator": "separates voices from music, before the pipeline",
    "motion_module": "the start of Hallo's training; net.pth has the result",
    "stable-diffusion-v1-5": "the start of Hallo's training; net.pth has the result",
    "sd-image-variations-diffusers": "the start of EchoMimic's training",
}
# Settings taken from the shapes of the image layers and of the motion modules.
_SPATIAL = ("block_out_channels", "attention_levels", "layers_per_block", "ff_mult", "cross_attention_dim")
_TEMPORAL = ("temporal_mid", "temporal_blocks", "temporal_attentions", "temporal_ff_mult", "max_frames")


def read_hallo(path: Path) -> Imported:
    """`net.pth`, or the complete published folder. Raises CheckpointError."""
    net = next((file for file in (path / "hallo" / "net.pth", path / "net.pth") if file.is_file()), path)
    if net.is_dir():
        raise CheckpointError(f"{path} is not Hallo's folder", got="no net.pth", expected="hallo/net.pth")
    raw = read_tensors(net)
    networks = _networks("hallo", raw.tensors, "denoising_unet.", "reference_unet.", _hallo_sizes)
    found = _imported(hallo.key_map(*networks), networks, raw)
    if net is path:
        return found
    helpers = [
        _helper(path, _AUTOENCODER, read_sd15),
        _helper(path, "wav2vec/wav2vec2-base-960h", read_wav2vec2),
    ]
    return _with_helpers(path, found, helpers)


def read_echomimic(path: Path) -> Imported:
    """The published folder of EchoMimic v1. Raises CheckpointError."""
    return _read_echomimic(path, "")


def read_echomimic_acc(path: Path) -> Imported:
    """The accelerated weights in the same folder. Raises CheckpointError."""
    return _read_echomimic(path, "_acc")


def _read_echomimic(path: Path, suffix: str) -> Imported:
    # Plain and accelerated weights share two files.
    stems = [f"denoising_unet{suffix}", f"motion_module{suffix}", "reference_unet", "face_locator"]
    files = {stem: read_tensors(path / f"{stem}.pth") for stem in stems}
    joined = echomimic.join({stem: raw.tensors for stem, raw in files.items()})
    extras = {f"{stem}/{key}": value for stem, raw in files.items() for key, value in raw.extras.items()}
    raw = RawWeights(joined, extras, tuple(file for raw in files.values() for file in raw.files))
    networks = _networks("echomimic", joined, "denoising_unet/", "reference_unet/", _echomimic_sizes)
    found = _imported(echomimic.key_map(*networks), networks, raw)
    whisper = "audio_processor/whisper_tiny.pt"
    if not (path / _AUTOENCODER).exists() and not (path / whisper).exists():
        return found
    return _with_helpers(
        path, found, [_helper(path, _AUTOENCODER, read_sd15), _helper(path, whisper, read_whisper)]
    )


def _networks(
    preset: Preset,
    tensors: State,
    unet_prefix: str,
    reference_prefix: str,
    sizes_of: Callable[[State], dict[str, Any]],
) -> tuple[EmoUNet, ReferenceNet]:
    """Networks on the meta device, with the sizes of the tensors."""
    unet = {key.removeprefix(unet_prefix): t for key, t in tensors.items() if key.startswith(unet_prefix)}
    image, motion = unet_config_of(unet, {}), motion_config_of(unet)
    spatial = {name: image[name] for name in _SPATIAL}
    temporal = {name: motion[name] for name in _TEMPORAL}
    reference = reference_config(preset) | spatial | {"temporal_mid": temporal["temporal_mid"]}
    if reference_config(preset)["cross_attention_dim"] is None:
        reference["cross_attention_dim"] = None
    reference["in_channels"] = axes(tensors, f"{reference_prefix}conv_in.weight", 4)[1]
    settings = unet_config(preset) | spatial | temporal | sizes_of(tensors)
    return on_meta(EmoUNet, settings), on_meta(ReferenceNet, reference)


def _hallo_sizes(tensors: State) -> dict[str, Any]:
    window = unet_config("hallo")["audio_window"]
    hidden, features = axes(tensors, "audioproj.proj1.weight", 2)
    dim = axes(tensors, "audioproj.norm.weight", 1)[0]
    face_dim = axes(tensors, "imageproj.norm.weight", 1)[0]
    face_tokens, identity = axes(tensors, "imageproj.proj.weight", 2)
    return dict(
        audio_feature_dim=features // window,
        audio_hidden_dim=hidden,
        audio_tokens=axes(tensors, "audioproj.proj3.weight", 2)[0] // dim,
        audio_dim=dim,
        identity_dim=identity,
        identity_tokens=face_tokens // face_dim,
        **_locator_sizes(tensors, "face_locator."),
    )


def _echomimic_sizes(tensors: State) -> dict[str, Any]:
    key = "denoising_unet/mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    return dict(audio_feature_dim=axes(tensors, key, 2)[1], **_locator_sizes(tensors, "face_locator/"))


def _locator_sizes(tensors: State, prefix: str) -> dict[str, Any]:
    """One convolution at full size, then pairs of a plain and a strided convolution."""
    first, *_ = (shape := axes(tensors, f"{prefix}conv_in.weight", 4))
    pairs = count(tensors, f"{prefix}blocks.{{}}.weight") // 2
    channels = [first] + [axes(tensors, f"{prefix}blocks.{2 * i + 1}.weight", 4)[0] for i in range(pairs)]
    return dict(locator_in_channels=shape[1], locator_channels=channels, locator_downscale=2**pairs)


def _imported(key_map: KeyMap, networks: tuple[EmoUNet, ReferenceNet], raw: RawWeights) -> Imported:
    own, left_over = key_map.to_own(raw.tensors)
    states = split(own)
    parts = tuple(
        Part(folder, type(network).__name__, _settings(network), states[folder])
        for folder, network in zip(("unet", "reference_net"), networks, strict=True)
    )
    return Imported(parts, left_over | dict.fromkeys(raw.extras, _NO_WEIGHT), raw.files)


def _settings(network: Any) -> dict[str, Any]:
    return {name: value for name, value in network.config.items() if not name.startswith("_")}


def _helper(folder: Path, name: str, read: Callable[[Path], Imported]) -> Imported:
    if not (folder / name).exists():
        raise CheckpointError(
            f"a network is missing in {folder}", got=f"no {name}", expected="the published folder"
        )
    found = read(folder / name)
    return Imported(
        found.parts, {f"{name}: {key}": reason for key, reason in found.left_over.items()}, found.files
    )


def _with_helpers(folder: Path, found: Imported, helpers: list[Imported]) -> Imported:
    others = {f"{name}/": reason for name, reason in _NOT_READ.items() if (folder / name).is_dir()}
    for helper in helpers:
        found = Imported(
            found.parts + helper.parts, found.left_over | helper.left_over, found.files + helper.files
        )
    return Imported(found.parts, found.left_over | others, found.files)
