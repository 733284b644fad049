"""Published checkpoints in their true on-disk formats, with random weights and tiny sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from openemo.models import EmoUNet

# Widths that 8 heads and 32 groups divide, because a single file has no settings.
CHANNELS = (32, 64, 96, 96)
TEXT_DIM = 20
WAV2VEC2 = dict(
    hidden_size=24,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=36,
    conv_dim=[16] * 7,
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
    vocab_size=11,
)


def randomise(state: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(tensor.shape, generator=generator) * 0.1 for name, tensor in sorted(state.items())
    }


@pytest.fixture(scope="session")
def sd15_unet() -> UNet2DConditionModel:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return UNet2DConditionModel(
            block_out_channels=CHANNELS, cross_attention_dim=TEXT_DIM, attention_head_dim=8
        ).eval()


@pytest.fixture(scope="session")
def sd15_vae() -> AutoencoderKL:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(32, 64, 96, 96),
            layers_per_block=2,
            latent_channels=4,
        ).eval()


@pytest.fixture(scope="session")
def sd15_folder(
    sd15_unet: UNet2DConditionModel, sd15_vae: AutoencoderKL, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A diffusers pipeline folder, with a component that EMO does not have."""
    folder = tmp_path_factory.mktemp("sd15")
    sd15_unet.save_pretrained(folder / "unet")
    sd15_vae.save_pretrained(folder / "vae")
    (folder / "text_encoder").mkdir()
    (folder / "text_encoder" / "config.json").write_text("{}")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    return folder


@pytest.fixture(scope="session")
def ldm_state(sd15_unet: UNet2DConditionModel, sd15_vae: AutoencoderKL) -> dict[str, Tensor]:
    """The same weights under the names of the original single file."""
    state = {
        f"model.diffusion_model.{ldm_unet_name(name)}": tensor
        for name, tensor in sd15_unet.state_dict().items()
    }
    for name, tensor in sd15_vae.state_dict().items():
        new = f"first_stage_model.{ldm_vae_name(name)}"
        is_matrix = ".attentions." in name and tensor.ndim == 2
        state[new] = tensor[:, :, None, None] if is_matrix else tensor
    return state


def ldm_unet_name(name: str) -> str:
    """SD-1.5's diffusers name -> the name in the original file (2 layers per block, 4 levels)."""
    fixed = {
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "conv_in": "input_blocks.0.0",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }
    stem, _, kind = name.rpartition(".")
    if stem in fixed:
        return f"{fixed[stem]}.{kind}"
    parts = name.split(".")
    if parts[0] == "mid_block":
        index = 1 if parts[1] == "attentions" else 2 * int(parts[2])
        prefix, rest = f"middle_block.{index}", parts[3:]
    else:
        level, kind_of, index = int(parts[1]), parts[2], int(parts[3])
        rest = parts[4:]
        if parts[0] == "down_blocks":
            block = 1 + 3 * level + (2 if kind_of == "downsamplers" else index)
            inner = {"resnets": "0", "attentions": "1", "downsamplers": "0"}[kind_of]
            rest = ["op", *rest[1:]] if kind_of == "downsamplers" else rest
            prefix = f"input_blocks.{block}.{inner}"
        else:
            block = 3 * level + (2 if kind_of == "upsamplers" else index)
            inner = {"resnets": "0", "attentions": "1", "upsamplers": "1" if level == 0 else "2"}[kind_of]
            prefix = f"output_blocks.{block}.{inner}"
    return f"{prefix}.{resnet_name('.'.join(rest), unet=True)}"


def ldm_vae_name(name: str) -> str:
    """SD-1.5's diffusers name -> the name in the original file (4 levels; the decoder's are reversed)."""
    parts = name.split(".")
    if len(parts) == 2 or parts[1] in {"conv_in", "conv_out", "conv_norm_out"}:
        return name.replace("conv_norm_out", "norm_out")
    side, block = parts[0], parts[1]
    if block == "mid_block":
        if parts[2] == "attentions":
            names = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out": "proj_out"}
            return f"{side}.mid.attn_1.{names[parts[4]]}.{parts[-1]}"
        return f"{side}.mid.block_{int(parts[3]) + 1}.{resnet_name('.'.join(parts[4:]), unet=False)}"
    level = int(parts[2]) if side == "encoder" else 3 - int(parts[2])
    way = "down" if side == "encoder" else "up"
    if parts[3] == "resnets":
        return f"{side}.{way}.{level}.block.{parts[4]}.{resnet_name('.'.join(parts[5:]), unet=False)}"
    return f"{side}.{way}.{level}.{way}sample.{'.'.join(parts[5:])}"


def resnet_name(name: str, *, unet: bool) -> str:
    if not unet:
        return name.replace("conv_shortcut", "nin_shortcut")
    for new, old in (
        ("norm1", "in_layers.0"),
        ("conv1", "in_layers.2"),
        ("norm2", "out_layers.0"),
        ("conv2", "out_layers.3"),
        ("time_emb_proj", "emb_layers.1"),
        ("conv_shortcut", "skip_connection"),
    ):
        if name.startswith(f"{new}."):
            return name.replace(new, old, 1)
    return name


@pytest.fixture(scope="session")
def motion_state() -> Callable[..., dict[str, Tensor]]:
    """AnimateDiff's tensors for `CHANNELS`; v2 has a module in the middle block, v3 has none."""

    def make(*, mid: bool, max_frames: int) -> dict[str, Tensor]:
        with torch.device("meta"):
            unet = EmoUNet(
                block_out_channels=CHANNELS,
                audio_feature_dim=None,
                locator_downscale=None,
                speed_dim=None,
                temporal_mid=mid,
                max_frames=max_frames,
            )
        return randomise({name: t for name, t in unet.state_dict().items() if ".motion_modules." in name})

    return make


@pytest.fixture(scope="session")
def wav2vec2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As on the hub: with a text head, the older names of weight norm, and the mask embedding."""
    folder = tmp_path_factory.mktemp("wav2vec2")
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = Wav2Vec2ForCTC(Wav2Vec2Config(**WAV2VEC2))
    renames = {
        "parametrizations.weight.original0": "weight_g",
        "parametrizations.weight.original1": "weight_v",
    }
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        for new, old in renames.items():
            name = name.replace(new, old)
        state[name] = tensor.contiguous()
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(model.config.to_dict()))
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True}))
    return folder


@pytest.fixture
def openai_whisper(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.pt"
    write_openai_whisper(path, width=12, layers=2, positions=30)
    return path


def write_openai_whisper(path: Path, *, width: int, layers: int, positions: int) -> None:
    """A .pt as OpenAI publishes it: sizes, encoder, and a part of the decoder."""
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * 0.2

    dims = dict(n_mels=80, n_audio_ctx=positions, n_audio_state=width, n_audio_head=3, n_audio_layer=layers)
    state = {
        "encoder.positional_embedding": torch.zeros(positions, width),
        "encoder.conv1.weight": draw(width, 80, 3),
        "encoder.conv1.bias": draw(width),
        "encoder.conv2.weight": draw(width, width, 3),
        "encoder.conv2.bias": draw(width),
        "encoder.ln_post.weight": draw(width),
        "encoder.ln_post.bias": draw(width),
        "decoder.positional_embedding": draw(4, width),
    }
    for i in range(layers):
        block = f"encoder.blocks.{i}"
        for name in ("attn.query", "attn.key", "attn.value", "attn.out"):
            state[f"{block}.{name}.weight"] = draw(width, width)
            if name != "attn.key":
                state[f"{block}.{name}.bias"] = draw(width)
        for name in ("attn_ln", "mlp_ln"):
            state[f"{block}.{name}.weight"] = draw(width)
            state[f"{block}.{name}.bias"] = draw(width)
        state[f"{block}.mlp.0.weight"] = draw(4 * width, width)
        state[f"{block}.mlp.0.bias"] = draw(4 * width)
        state[f"{block}.mlp.2.weight"] = draw(width, 4 * width)
        state[f"{block}.mlp.2.bias"] = draw(width)
    torch.save({"dims": dims, "model_state_dict": state}, path)
