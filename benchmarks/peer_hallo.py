"""Time Hallo's own backbone, by its own interpreter and libraries: called by `full_scale.py --peer`.

Needs nothing of openemo. As the checkout's own inference runs it: blocks patched by its reference control,
training mode with checkpointing, under `no_grad`; without guidance. The reference features are random, and
made before the clock starts, so the ReferenceNet is not needed. Answers in lines of JSON: one when the first
call, which does not count, is done; then the seconds of one call for each line that it reads.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
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


def main(checkout: str, size: int, frames: int, motion: int, device: str, dtype_name: str) -> None:
    sys.path.insert(0, checkout)
    kind = importlib.import_module("hallo.models.unet_3d").UNet3DConditionModel
    control = importlib.import_module("hallo.models.mutual_self_attention").ReferenceAttentionControl
    dtype = getattr(torch, dtype_name)
    with torch.device("meta"):
        # As the checkout does it: its forward reads a setting that its constructor does not take.
        network = kind.from_config(SETTINGS)
    network = network.to(dtype).to_empty(device=device).train()
    network.enable_gradient_checkpointing()
    control(network, mode="read", fusion_blocks="full", do_classifier_free_guidance=False, batch_size=1)
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

    def fill_bank(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        """The portrait's features and the motion frames', once per block: in the call that is not timed."""
        if not module.bank:
            _, places, channels = inputs[0].shape
            module.bank = [draw(1 + motion, places, channels)]

    for module in network.modules():
        if hasattr(module, "bank"):
            module.register_forward_pre_hook(fill_bank)
    inputs: dict[str, Any] = dict(
        encoder_hidden_states=draw(1, 4, 768),
        audio_embedding=draw(1, frames, 32, 768),
        mask_cond_fea=draw(1, 320, frames, side, side),
        full_mask=masks,
        face_mask=masks,
        lip_mask=masks,
        motion_scale=[1.0, 1.0, 1.0],
        return_dict=False,
    )
    sample, timestep = draw(1, 4, frames, side, side), torch.tensor([500], device=device)

    def timed_call() -> float:
        started = time.perf_counter()
        with torch.no_grad():
            network(sample, timestep, **inputs)
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() - started

    timed_call()
    answer({"parameters": sum(parameter.numel() for parameter in network.parameters())})
    for _ in sys.stdin:
        answer({"seconds": timed_call()})


def answer(result: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    folder, px, clip, before, place, number, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    main(folder, int(px), int(clip), int(before), place, number)
