"""Time Hallo's own backbone, by its own interpreter and libraries: called by `full_scale.py --peer`.

Needs nothing of openemo. Without reference features, which the checkout hands over by patching its blocks,
and without guidance; `full_scale.py` times our backbone in the same way beside it.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

# Hallo's settings at full size, as its configuration files have them.
SETTINGS: dict[str, Any] = dict(
    sample_size=64,
    center_input_sample=False,
    in_channels=4,
    out_channels=4,
    cross_attention_dim=768,
    attention_head_dim=8,
    use_inflated_groupnorm=True,
    unet_use_cross_frame_attention=False,
    unet_use_temporal_attention=False,
    use_motion_module=True,
    use_audio_module=True,
    motion_module_resolutions=[1, 2, 4, 8],
    motion_module_mid_block=True,
    motion_module_decoder_only=False,
    motion_module_type="Vanilla",
    motion_module_kwargs=dict(
        num_attention_heads=8,
        num_transformer_block=1,
        attention_block_types=["Temporal_Self", "Temporal_Self"],
        temporal_position_encoding=True,
        temporal_position_encoding_max_len=32,
        temporal_attention_dim_div=1,
    ),
    audio_attention_dim=768,
    stack_enable_blocks_name=["up", "down", "mid"],
    stack_enable_blocks_depth=[0, 1, 2, 3],
)


def _paired(forward: Callable[..., torch.Tensor], *args: Any, **options: Any) -> tuple[torch.Tensor, None]:
    return forward(*args, **options), None


def main(checkout: str, size: int, frames: int, device: str, dtype_name: str, repeats: int) -> None:
    sys.path.insert(0, checkout)
    kind = importlib.import_module("hallo.models.unet_3d").UNet3DConditionModel
    dtype = getattr(torch, dtype_name)
    with torch.device("meta"):
        # As the checkout does it: its forward reads a setting that its constructor does not take.
        network = kind.from_config(SETTINGS)
    network = network.to(dtype).to_empty(device=device).eval()
    for module in network.modules():
        if type(module).__name__ == "TemporalBasicTransformerBlock":
            # Its caller unpacks a pair, which only a block patched by the reference control returns.
            module.forward = functools.partial(_paired, module.forward)
    block = (0.02 * torch.randn(1 << 20)).to(device, dtype)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            flat = tensor.view(-1)
            for start in range(0, flat.numel(), block.numel()):
                part = flat[start : start + block.numel()]
                part.copy_(block[: part.numel()])
    side = size // 8

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device=device).to(dtype)

    masks = [torch.ones(frames, (side >> level) ** 2, device=device, dtype=dtype) for level in range(4)]
    inputs: dict[str, Any] = dict(
        encoder_hidden_states=draw(1, 4, 768),
        audio_embedding=draw(1, frames, 32, 768),
        mask_cond_fea=draw(1, 320, frames, side, side),
        full_mask=masks,
        face_mask=masks,
        lip_mask=masks,
        return_dict=False,
    )
    sample, timestep = draw(1, 4, frames, side, side), torch.tensor([500], device=device)
    times: list[float] = []
    with torch.no_grad():
        for _ in range(1 + repeats):
            started = time.perf_counter()
            network(sample, timestep, **inputs)
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    result = {"backbone_alone_seconds": sorted(times[1:])[(len(times) - 1) // 2], "parameters": parameters}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5], int(sys.argv[6]))
