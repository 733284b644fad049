"""AnimateDiff's motion modules for SD-1.5: v2 (with one in the middle block) and v3 (without).

The published names equal ours. An import writes the motion modules of an `EmoUNet` as a part of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from openemo.checkpoints.formats.shapes import axes, count, on_meta
from openemo.checkpoints.key_map import KeyMap
from openemo.checkpoints.parts import Imported, Part, some
from openemo.checkpoints.tensor_files import find_weights, read_tensors
from openemo.errors import CheckpointError
from openemo.models import EmoUNet

__all__ = ["MOTION_MODULES", "motion_config_of", "motion_part", "motion_shapes", "read_animatediff"]

MOTION_MODULES = "motion_modules"
_HEADS, _GROUPS = 8, 32  # the same in all of AnimateDiff; shapes do not show them
_DATA_PARALLEL = "module."
_STEMS = ("diffusion_pytorch_model", "model", "motion_module")
_NO_WEIGHT = "a record of its training, not a weight"


def read_animatediff(path: Path) -> Imported:
    """Motion modules from a file, or from a folder with one file. Raises CheckpointError."""
    raw = read_tensors(find_weights(path, _STEMS) if path.is_dir() else path)
    names = {key.removeprefix(_DATA_PARALLEL): key for key in raw.tensors}
    own = {name: raw.tensors[key] for name, key in names.items()}
    if not any(f".{MOTION_MODULES}." in name for name in own):
        raise CheckpointError(
            f"{path} has no motion modules",
            got=f"keys such as {some(sorted(own))}",
            expected="AnimateDiff v2 or v3 for SD-1.5 (mm_sd_v15_v2.ckpt, v3_sd15_mm.ckpt)",
        )
    part, left_over = motion_part(own)
    return Imported((part,), left_over | dict.fromkeys(raw.extras, _NO_WEIGHT), raw.files)


def motion_part(tensors: Mapping[str, Tensor]) -> tuple[Part, dict[str, str]]:
    """Raises CheckpointError for a key or shape that motion modules of SD-1.5 do not have."""
    config = motion_config_of(tensors)
    shapes = motion_shapes(config)
    key_map = KeyMap(
        "AnimateDiff's motion modules (v2, v3)",
        {name: name for name in shapes},
        shapes,
        {r"animatediff_config.*": _NO_WEIGHT},
    )
    own, left_over = key_map.to_own(tensors)
    return Part(MOTION_MODULES, "MotionModules", config, own), left_over


def motion_config_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The `EmoUNet` arguments for motion modules of these shapes. Raises CheckpointError."""
    module = "down_blocks.{}.motion_modules.0.temporal_transformer"
    channels = [
        axes(state, f"{module}.proj_in.weight".format(i), 2)[0]
        for i in range(count(state, f"{module}.proj_in.weight"))
    ]
    if not channels:
        raise CheckpointError("these are no motion modules", got=f"no {module.format(0)}")
    blocks = f"{module.format(0)}.transformer_blocks"
    attentions = f"{blocks}.0.attention_blocks"
    return dict(
        block_out_channels=channels,
        layers_per_block=count(state, "down_blocks.0.motion_modules.{}.temporal_transformer.norm.weight"),
        temporal_mid="mid_block.motion_modules.0.temporal_transformer.norm.weight" in state,
        temporal_num_heads=_HEADS,
        temporal_norm_num_groups=_GROUPS,
        temporal_blocks=count(state, f"{blocks}.{{}}.ff_norm.weight"),
        temporal_attentions=count(state, f"{attentions}.{{}}.to_q.weight"),
        temporal_ff_mult=axes(state, f"{blocks}.0.ff.net.2.weight", 2)[1] // channels[0],
        max_frames=axes(state, f"{attentions}.0.pos_encoder.pe", 3)[1],
    )


def motion_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the motion-module tensors of an `EmoUNet` with these arguments and no speed layers."""
    channels = config.get("block_out_channels")
    if not isinstance(channels, (list, tuple)):
        raise CheckpointError("these are no settings of motion modules", got="no block_out_channels")
    levels = len(channels)
    others = dict(
        attention_levels=(False,) * levels, audio_feature_dim=None, locator_downscale=None, speed_dim=None
    )
    network = on_meta(EmoUNet, {**others, **config})
    return {
        name: tuple(tensor.shape)
        for name, tensor in network.state_dict().items()
        if f".{MOTION_MODULES}." in name
    }
