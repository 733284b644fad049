"""How fast, and in how much memory, models of SD-1.5's size run; with random weights, which change no speed.

    python benchmarks/full_scale.py --model hallo --device cuda --dtype float16
    python benchmarks/full_scale.py --model sd15 --dtype bfloat16 --size 256 --frames 4
    python benchmarks/full_scale.py --train

The yardstick is the device's own matrix product, measured in the same run. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from openemo.checkpoints.formats.shapes import on_meta
from openemo.face.masks import level_sizes
from openemo.models import EmoUNet, ReferenceNet, reference_config, unet_config
from openemo.models.attention import slice_attention
from openemo.models.image_autoencoder import ImageAutoencoder
from openemo.models.network_presets import Preset
from openemo.pipeline_presets import pipeline_config
from openemo.training.datasets.denoiser_dataset import ClipBatch
from openemo.training.recipes import DenoiserRecipe
from openemo.training.stages.denoiser_stage import StageName, is_trained_in, predict

STRIDE = 8
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# EMO's own numbers for sd15; the relatives' are in their settings.
EMO: dict[str, Any] = dict(clip_frames=12, motion_frames=4, num_inference_steps=40, guidance_scale=3.5)
GIB = 2**30
STAGES: tuple[StageName, ...] = ("image", "video", "speed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--model", choices=("sd15", "hallo", "echomimic", "echomimic_acc"), default="sd15")
    add("--size", type=int, default=512, help="side of the picture, px")
    add("--frames", type=int, help="of a clip (default: the model's)")
    add("--device", default="cpu")
    add("--dtype", choices=tuple(DTYPES), default="bfloat16")
    add("--repeats", type=int, default=3, help="timed calls of each network, after one that is not timed")
    add("--threads", type=int, help="of the processor")
    add("--attention-slice", type=int, help="frames per attention call")
    add("--train", action="store_true", help="memory of a training step of each stage, and the step")
    add("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="those to train (default: all)")
    add("--memory-gib", type=float, help="what training may use (default: what is free)")
    add("--peer", type=Path, metavar="CHECKOUT", help="of Hallo: time its own backbone beside ours (hallo)")
    add("--peer-python", default=sys.executable, help="interpreter with the libraries that the peer needs")
    arguments = parser.parse_args()
    if arguments.peer is not None and arguments.model != "hallo":
        parser.error("--peer needs --model hallo")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device, dtype = torch.device(arguments.device), DTYPES[arguments.dtype]
    report: dict[str, Any] = {
        "machine": machine(device),
        "dtype": arguments.dtype,
        "size_px": arguments.size,
        "matrix_product_tflops": round(matrix_tflops(device, dtype), 3),
    }
    if arguments.train:
        free_gib = arguments.memory_gib or free_bytes(device) / GIB
        report["training"] = training(arguments.stages, arguments.size, device, dtype, free_gib)
    else:
        report |= inference(arguments, device, dtype, report["matrix_product_tflops"])
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


def inference(
    arguments: argparse.Namespace, device: torch.device, dtype: torch.dtype, matrix: float
) -> dict[str, Any]:
    """Seconds, work and memory of each network; of a frame at the model's number of steps."""
    model: Preset = arguments.model
    settings = EMO if model == "sd15" else pipeline_config(arguments.model).model_dump()
    frames: int = arguments.frames or settings["clip_frames"]
    motion: int = settings["motion_frames"]
    shape = (arguments.size, frames, motion)

    meta_unet, meta_reference = networks(model)
    say("counting the work")
    counted = {
        name: tflop(call)
        for name, call in calls(meta_unet, meta_reference, vae(), *shape, torch.float32).items()
    }
    say("making weights")
    unet, reference_net, autoencoder = (
        with_random_weights(network, device, dtype) for network in (meta_unet, meta_reference, vae())
    )
    slice_attention(unet, arguments.attention_slice)
    timed: dict[str, Any] = {}
    made = calls(unet, reference_net, autoencoder, *shape, dtype)
    for name, call in made.items():
        say(f"timing {name}")
        reset_peak(device)
        seconds = median_s(call, arguments.repeats, device)
        timed[name] = {
            "seconds": round(seconds, 4),
            "tflop": round(counted[name], 3),
            "tflops": round(counted[name] / seconds, 3),
            "share_of_matrix_product": round(counted[name] / seconds / matrix, 3),
            "peak_gib": round(peak_bytes(device) / GIB, 2),
        }
    branches = 1 if settings["guidance_scale"] == 1 else 2
    steps = settings["num_inference_steps"]
    new_frames = frames - min(settings.get("window_overlap") or 0, frames - 1)
    clip_s = steps * branches * timed["backbone"]["seconds"] + timed["reference_net"]["seconds"]
    report = {
        "model": model,
        "frames": frames,
        "motion_frames": motion,
        "weights": {"unet": size_of(unet), "reference_net": size_of(reference_net)},
        "calls": timed,
        "seconds_per_step": round(branches * timed["backbone"]["seconds"], 4),
        "seconds_per_frame": round(clip_s / new_frames + timed["decode_one_frame"]["seconds"], 4),
        "at": f"{steps} steps, {'with' if branches == 2 else 'without'} guidance",
    }
    if arguments.peer is not None:
        ours = made["backbone"]
        del made, call, reference_net, autoencoder  # the peer needs the memory
        report["peer"] = time_beside_peer(arguments, frames, motion, ours, device)
    return report


def time_beside_peer(
    arguments: argparse.Namespace, frames: int, motion: int, ours: Callable[[], Any], device: torch.device
) -> dict[str, Any]:
    """Our backbone and the peer's own (`peer_hallo.py`, by its interpreter), one call each in turn."""
    script = Path(__file__).with_name("peer_hallo.py")
    options = (arguments.size, frames, motion, arguments.device, arguments.dtype, torch.get_num_threads())
    command = [str(part) for part in (arguments.peer_python, script, arguments.peer.resolve(), *options)]
    say("loading the peer")
    # The user names the interpreter and the checkout, and both run as the user.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:  # noqa: S603
        asked, answers = cast(TextIO, peer.stdin), cast(TextIO, peer.stdout)  # both are pipes

        def answer() -> dict[str, Any]:
            if not (line := answers.readline()):
                sys.exit(f"the peer stopped (exit code {peer.wait()}); its error is above")
            result: dict[str, Any] = json.loads(line)
            return result

        report: dict[str, Any] = answer()
        times: dict[str, list[float]] = {"ours": [], "peer": []}
        for _ in range(arguments.repeats):
            say("timing both")
            times["ours"].append(median_s(ours, 1, device))
            asked.write("\n")
            asked.flush()
            times["peer"].append(answer()["seconds"])
        asked.close()
    medians = {name: statistics.median(values) for name, values in times.items()}
    return report | {
        "seconds": {name: [round(value, 4) for value in values] for name, values in times.items()},
        "ours_over_peer": round(medians["ours"] / medians["peer"], 3),
    }


def networks(model: Preset) -> tuple[EmoUNet, ReferenceNet]:
    """On the meta device."""
    return on_meta(EmoUNet, unet_config(model)), on_meta(ReferenceNet, reference_config(model))


def vae() -> ImageAutoencoder:
    autoencoder: ImageAutoencoder = on_meta(ImageAutoencoder, {})
    return autoencoder


def calls(
    unet: EmoUNet,
    reference_net: ReferenceNet,
    autoencoder: ImageAutoencoder,
    size: int,
    frames: int,
    motion: int,
    dtype: torch.dtype,
) -> dict[str, Callable[[], Any]]:
    """The networks of a clip with all their conditions, as the pipeline calls them without guidance."""
    device, config = next(unet.parameters()).device, unet.config
    grid = (size // STRIDE, size // STRIDE)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, device=device).to(dtype)

    timestep = torch.full((1,), 500, device=device)
    tokens = draw(1, config.identity_tokens, config.cross_attention_dim or 0) if config.identity_dim else None
    pictures = draw(1, 4, 1 + motion, *grid)
    conditions: dict[str, Any] = {
        "audio_BFTD": draw(
            1, frames, config.audio_window or config.audio_tokens, config.audio_feature_dim or 0
        ),
        "locator_features_BCHW": draw(1, config.block_out_channels[0], *grid),
        "encoder_hidden_states": tokens,
    }
    if config.speed_dim is not None:
        conditions["speed_BF"] = draw(1, frames)
    if config.audio_attention == "regions":
        masks = [torch.zeros(1, 3, h, w, device=device, dtype=dtype) for h, w in levels(grid, config)]
        conditions["region_masks"] = tuple(masks)
    sample = draw(1, 4, frames, *grid)

    def look() -> Any:
        return reference_net(pictures, encoder_hidden_states=tokens)

    with torch.no_grad():
        reference = look()
    return {
        "reference_net": look,
        "backbone": lambda: unet(sample, timestep, reference=reference, **conditions),
        "decode_one_frame": lambda: autoencoder.decode(sample[:, :, :1]),
    }


def levels(grid: tuple[int, int], config: Any) -> list[tuple[int, int]]:
    return [(height, width) for width, height in level_sizes(grid, len(config.block_out_channels))]


def training(
    stages: list[StageName], size: int, device: torch.device, dtype: torch.dtype, free_gib: float
) -> dict[str, Any]:
    """Of each stage: memory that the training loop needs, and a step without optimizer where it fits."""
    frames, motion = 2, 2
    report: dict[str, Any] = {"free_gib": round(free_gib, 1), "clip_frames": frames, "motion_frames": motion}
    unet, reference_net = networks("sd15")
    place = Path()
    recipe = DenoiserRecipe(data=place, output=place, autoencoder=place, steps=1, learning_rate=0)
    total = sum(p.numel() for net in (unet, reference_net) for p in net.parameters())
    made: list[nn.Module] = []
    for stage in stages:
        is_trained = is_trained_in(stage, recipe)
        trained = sum(
            p.numel() for net in (unet, reference_net) for key, p in net.named_parameters() if is_trained(key)
        )
        # The loop: float32 weights; of what is trained also gradients, Adam's two moments, the running mean.
        loop_gib = (4 * total + 16 * trained) / GIB
        width = torch.finfo(dtype).bits // 8
        step_gib = width * (total + trained) / GIB
        row: dict[str, Any] = {
            "trained_parameters": trained,
            "parameters": total,
            "loop_gib_without_activations": round(loop_gib, 1),
            "step_gib_without_activations": round(step_gib, 1),
        }
        report[stage] = row
        if step_gib * 1.25 + 2 > free_gib:
            row["step"] = f"not run: it needs {step_gib:.1f} GiB and its activations"
            continue
        say(f"a step of the {stage} stage")
        if not made:
            made = [with_random_weights(net, device, dtype).train() for net in (unet, reference_net)]
            for network in made:
                network.enable_gradient_checkpointing()  # type: ignore[operator]
        row |= train_step(stage, made, recipe, size, 1 if stage == "image" else frames, motion)
    return report


def train_step(
    stage: StageName, made: list[nn.Module], recipe: DenoiserRecipe, size: int, frames: int, motion: int
) -> dict[str, Any]:
    """Forward, backward, and a plain gradient step, all in the networks' number type."""
    unet: Any = made[0]
    device, dtype, grid = unet.device, unet.dtype, size // STRIDE

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, device=device).to(dtype)

    config = unet.config
    batch = ClipBatch(
        latents_BCFHW=draw(1, 4, frames, grid, grid),
        motion_BCNHW=draw(1, 4, motion, grid, grid),
        features_BCHW=draw(1, 4, grid, grid),
        audio_BFTD=draw(1, frames, config.audio_tokens, config.audio_feature_dim),
        locator_BMHW=draw(1, 1, size, size),
        speed_BF=draw(1, frames),
        motion_conditions_BFK=torch.zeros(1, frames, 0),
        expression_guide_BFGHW=torch.zeros(1, frames, 0, grid, grid),
        weight_BC1HW=torch.ones(1),
        face_BK2=torch.zeros(1, 478, 2),
    )
    is_trained = is_trained_in(stage, recipe)
    for network in made:
        for key, parameter in network.named_parameters():
            parameter.requires_grad_(is_trained(key))
    reset_peak(device)
    started = time.perf_counter()
    prediction = predict(
        unet,
        made[1],  # type: ignore[arg-type]
        vae(),
        batch,
        batch.latents_BCFHW,
        torch.full((1,), 500, device=device),
        is_clip=stage != "image",
        has_audio=stage != "image",
        has_speed=stage == "speed",
    )
    loss = prediction.float().square().mean()
    loss.backward()
    with torch.no_grad():
        for parameter in (p for network in made for p in network.parameters()):
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=1e-6)
                parameter.grad = None
    synchronize(device)
    return {
        "step_seconds": round(time.perf_counter() - started, 2),
        "frames": frames,
        "loss_is_finite": bool(torch.isfinite(loss)),
        "peak_gib": round(peak_bytes(device) / GIB, 2),
    }


def with_random_weights(network: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """A network of the meta device, filled with small random numbers."""
    generator = torch.Generator().manual_seed(1)
    block = (0.02 * torch.randn(1 << 20, generator=generator)).to(device, dtype)
    made = nn.Module.to(network, dtype).to_empty(device=device)
    with torch.no_grad():
        for tensor in (*made.parameters(), *made.buffers()):
            flat = tensor.view(-1)
            for start in range(0, flat.numel(), block.numel()):
                part = flat[start : start + block.numel()]
                part.copy_(block[: part.numel()])
    return made.eval()


def matrix_tflops(device: torch.device, dtype: torch.dtype) -> float:
    side = 2048 if device.type == "cpu" else 8192
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / median_s(lambda: left @ right, 5, device) / 1e12


def tflop(call: Callable[[], Any]) -> float:
    """Of products, convolutions and attention, two for each multiplication with addition."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops()) / 1e12


def median_s(call: Callable[[], Any], repeats: int, device: torch.device) -> float:
    times: list[float] = []
    with torch.no_grad():
        for _ in range(1 + repeats):
            started = time.perf_counter()
            call()
            synchronize(device)
            times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def synchronize(device: torch.device) -> None:
    if device.type in ("cuda", "mps"):
        getattr(torch, device.type).synchronize()


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """CUDA: of the call; elsewhere the most that the process has had since it started."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) * 1024


def size_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def say(what: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {what}\n")


def machine(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    return f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


if __name__ == "__main__":
    main()
