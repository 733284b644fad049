"""Makes EMO at SD-1.5's size, ready to train, from the layers of SD-1.5 and AnimateDiff.

EMO 3.3: backbone and ReferenceNet both start from SD-1.5, the temporal modules from AnimateDiff. Audio, speed
and face layers are new. Their outputs are zero, so that at the start the network computes what SD-1.5 and
AnimateDiff compute.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from openemo import __version__
from openemo.audio.speech_networks import speech_config
from openemo.checkpoints.folder import (
    CheckpointIndex,
    Wav2VecOptions,
    file_sha256,
    write_hashes,
)
from openemo.checkpoints.folder import write_index as write_model_index
from openemo.checkpoints.formats.animatediff import MOTION_MODULES
from openemo.checkpoints.formats.shapes import on_meta
from openemo.checkpoints.parts import (
    SOURCE_NAME,
    Part,
    SourceRecord,
    read_source,
    some,
    write_part,
)
from openemo.checkpoints.verifying import verify
from openemo.config import PipelineConfig
from openemo.ddim_scheduler import DDIMScheduler
from openemo.errors import CheckpointError
from openemo.files import fresh_folder, read_json
from openemo.models import EmoUNet, ReferenceNet, reference_config, unet_config
from openemo.models.network import WEIGHTS_NAME, Network
from openemo.weight_files import map_weights

__all__ = ["StartNetworks", "combine", "start_networks"]

# Settings that the combined networks take over from the imported image network.
_SPATIAL = (
    "block_out_channels",
    "attention_levels",
    "layers_per_block",
    "num_attention_heads",
    "norm_num_groups",
    "norm_eps",
    "ff_mult",
    "cross_attention_dim",
)
_TEMPORAL = (
    "temporal_mid",
    "temporal_num_heads",
    "temporal_norm_num_groups",
    "temporal_blocks",
    "temporal_attentions",
    "temporal_ff_mult",
    "max_frames",
)
_HEAD = ("conv_norm_out.", "conv_out.")
# SD-1.5's noise schedule. EMO predicts the noise and samples with 40 DDIM steps (EMO 4).
_SCHEDULE: dict[str, Any] = dict(
    num_train_timesteps=1000,
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    clip_sample=False,
    set_alpha_to_one=False,
    steps_offset=1,
    prediction_type="epsilon",
)
_PIPELINE = dict(num_inference_steps=40, clip_frames=12, motion_frames=4, speech_window_tokens=5, crop_px=512)


class StartNetworks(NamedTuple):
    """Backbone and ReferenceNet, float32 on the CPU. `new`: tensors of the backbone that no import has."""

    unet: EmoUNet
    reference_net: ReferenceNet
    new: tuple[str, ...]


def start_networks(sd15: Path, animatediff: Path, *, audio_feature_dim: int, seed: int = 0) -> StartNetworks:
    """EMO's networks from imported SD-1.5 and AnimateDiff; at full size 2.3 billion weights, about 9 GB.

    Args:
        sd15, animatediff: imported folders.
        audio_feature_dim: width of the speech features, all layers together.
        seed: of the new layers. Their outputs are zero, so the seed only matters for training.

    Raises:
        CheckpointError: a folder is not this import or is damaged, or the sizes of the two differ.
    """
    image, image_config = _load(sd15, "unet", "EmoUNet")
    motion, motion_config = _load(animatediff, MOTION_MODULES, "MotionModules")
    for config, names in ((image_config, _SPATIAL), (motion_config, _TEMPORAL)):
        missing = [name for name in (*names, "block_out_channels", "layers_per_block") if name not in config]
        if missing:
            raise CheckpointError("an import lacks settings", got=f"no {', '.join(missing)}")
    for name in ("block_out_channels", "layers_per_block"):
        if list(_as_list(image_config[name])) != list(_as_list(motion_config[name])):
            raise CheckpointError(
                "the motion modules are not of this UNet's size",
                got=f"{name} {motion_config[name]}",
                expected=str(image_config[name]),
            )
    spatial = {name: image_config[name] for name in _SPATIAL}
    temporal = {name: motion_config[name] for name in _TEMPORAL}
    in_out = {name: image_config[name] for name in ("in_channels", "out_channels")}
    settings = unet_config("sd15") | spatial | temporal | in_out | {"audio_feature_dim": audio_feature_dim}
    given = image | motion
    _check_fit(given, settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = EmoUNet(**settings)
    state = unet.state_dict()
    unet.load_state_dict(state | given)

    reference_settings = reference_config("sd15") | spatial | {"temporal_mid": motion_config["temporal_mid"]}
    reference_net = on_meta(ReferenceNet, reference_settings | {"in_channels": image_config["in_channels"]})
    body = {name: tensor.float() for name, tensor in image.items() if not name.startswith(_HEAD)}
    reference_net.load_state_dict(body, assign=True)
    return StartNetworks(unet, reference_net, tuple(sorted(state.keys() - given.keys())))


def _check_fit(given: Mapping[str, Tensor], settings: dict[str, Any]) -> None:
    """Before memory is taken for the network: that it has these tensors, in these shapes."""
    state = on_meta(EmoUNet, settings).state_dict()
    unknown = sorted(given.keys() - state.keys())
    if unknown:
        raise CheckpointError("EMO's network does not have some of the tensors", got=some(unknown))
    other = [name for name in given if given[name].shape != state[name].shape]
    if other:
        raise CheckpointError("some tensors have another shape than EMO's network", got=some(other))


def combine(
    sd15: Path,
    animatediff: Path,
    speech: Path,
    face: Path,
    output: Path,
    *,
    autoencoder: Path | None = None,
    dtype: torch.dtype = torch.float16,
    seed: int = 0,
) -> StartNetworks:
    """Writes a model folder from which training starts.

    Args:
        sd15, animatediff, speech: imported folders.
        face: folder of the face networks, as in any checkpoint of openemo.
        output: a folder that does not exist, or is empty.
        autoencoder: imported folder with another autoencoder than SD-1.5's own.
        dtype: of the written networks.

    Raises:
        CheckpointError: as `start_networks`. OutputError: the folder exists or cannot be written.
    """
    sources = {"sd15": sd15, "animatediff": animatediff, "speech": speech, "autoencoder": autoencoder or sd15}
    for folder in set(sources.values()):
        verify(folder)
    records = {role: read_source(folder) for role, folder in sources.items()}
    speech_kind = _kind(records["speech"], "speech_encoder", speech)
    autoencoder_kind = _kind(records["autoencoder"], "autoencoder", sources["autoencoder"])
    layers, width = _speech_size(speech)
    networks = start_networks(sd15, animatediff, audio_feature_dim=layers * width, seed=seed)
    kinds = {
        "unet": "EmoUNet",
        "reference_net": "ReferenceNet",
        "autoencoder": autoencoder_kind,
        "scheduler": "DDIMScheduler",
        "speech_encoder": speech_kind,
        "face_analyzer": "FaceAnalyzer",
    }
    licence = " AND ".join(sorted({record.licence for record in records.values()}))
    with fresh_folder(output) as folder:
        for name, network in (("unet", networks.unet), ("reference_net", networks.reference_net)):
            write_part(folder, _part(name, network), dtype=dtype)
        shutil.copytree(sources["autoencoder"] / "autoencoder", folder / "autoencoder")
        shutil.copytree(speech / "speech_encoder", folder / "speech_encoder")
        shutil.copytree(face, folder / "face")
        DDIMScheduler(**_SCHEDULE).save_pretrained(folder / "scheduler")
        index = CheckpointIndex(
            components=kinds,
            speech=Wav2VecOptions(layers=tuple(range(1, layers + 1))),
            pipeline=PipelineConfig.parse(_PIPELINE).model_dump(),
            licence=licence,
            version=__version__,
        )
        write_model_index(folder, index)
        record = _record(kinds, licence, records, sources)
        (folder / SOURCE_NAME).write_text(record.model_dump_json(indent=1) + "\n")
        write_hashes(folder)
    return networks


def _load(folder: Path, part: str, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and settings of one part of an import."""
    _kind(read_source(folder), part, folder, kind)
    path = folder / part / WEIGHTS_NAME
    return map_weights(path), read_json(folder / part / "config.json")


def _kind(record: SourceRecord, part: str, folder: Path, expected: str | None = None) -> str:
    kind = record.components.get(part)
    if kind is None or expected not in (None, kind):
        raise CheckpointError(
            f"{folder} is not the import that is needed here",
            got=f"{record.format}: {', '.join(record.components)}",
            expected=f"one with {part}/",
        )
    return kind


def _speech_size(folder: Path) -> tuple[int, int]:
    """Number of layers and width. transformers' config files leave out the sizes of the base network."""
    from transformers import Wav2Vec2Config

    path = folder / "speech_encoder" / "config.json"
    config = read_json(path)
    if config.get("model_type", "wav2vec2") != "wav2vec2":
        raise CheckpointError(f"{folder} is no wav2vec 2.0 import", got=config.get("model_type"))
    encoder = speech_config(Wav2Vec2Config, config, path)
    return int(encoder.num_hidden_layers), int(encoder.hidden_size)


def _part(name: str, network: Network) -> Part:
    return Part(name, type(network).__name__, dict(network.config), dict(network.state_dict()))


def _record(
    kinds: Mapping[str, str], licence: str, records: Mapping[str, SourceRecord], sources: Mapping[str, Path]
) -> SourceRecord:
    return SourceRecord(
        format="combined",
        components=dict(kinds),
        licence=licence,
        commercial=all(record.commercial for record in records.values()),
        hub=None,
        revision=None,
        files={
            f"{role}/{SOURCE_NAME}": file_sha256(folder / SOURCE_NAME) for role, folder in sources.items()
        },
        left_over={},
        version=__version__,
    )


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
