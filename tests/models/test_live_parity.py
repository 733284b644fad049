"""Our networks against diffusers' own, with the same random weights at tiny size.

The recorded cases of `test_parity` have the published weights; these here need no files. Everything runs in
float64, where another order of the same sums changes outputs of order one by about 1e-13.
The speech encoders are compared with those of transformers in `tests/audio`.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, UNetMotionModel
from diffusers.loaders.single_file_utils import convert_animatediff_checkpoint_to_diffusers
from torch import Tensor, nn

from openemo.models import EmoUNet, ReferenceNet
from openemo.models.conditioning import fold
from openemo.models.image_autoencoder import ImageAutoencoder

from .conftest import randomize_zeros

TOLERANCE = 1e-10

CLIPS, FRAMES, TEXT_TOKENS = 2, 4, 11
# 9x14 latents have odd sizes in the down blocks: 5x7, 3x4, 2x2.
HEIGHT, WIDTH = 9, 14
CHANNELS, HEADS = (8, 12, 16, 20), (2, 3, 4, 5)
SHARED: dict[str, Any] = dict(
    in_channels=3,
    out_channels=6,
    block_out_channels=CHANNELS,
    layers_per_block=2,
    norm_num_groups=4,
    cross_attention_dim=13,
)
# SD-1.5 has attention in all levels but the last. In diffusers' UNet2DConditionModel, `attention_head_dim` is
# the number of heads.
OURS = SHARED | dict(attention_levels=(True, True, True, False), num_attention_heads=HEADS)
IMAGE_ONLY: dict[str, Any] = dict(
    audio_feature_dim=None, temporal_modules=False, locator_downscale=None, speed_dim=None
)


@pytest.fixture(autouse=True)
def _float64() -> None:
    torch.manual_seed(7)


@pytest.fixture
def sd15() -> UNet2DConditionModel:
    return UNet2DConditionModel(**SHARED, attention_head_dim=HEADS).double().eval()


@pytest.fixture
def sample() -> Tensor:
    return torch.randn(CLIPS, 3, FRAMES, HEIGHT, WIDTH, dtype=torch.float64)


@pytest.fixture
def text() -> Tensor:
    return torch.randn(CLIPS, TEXT_TOKENS, 13, dtype=torch.float64)


def assert_equal(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, atol=TOLERANCE, rtol=0, check_stride=False)


def test_image_unet_is_diffusers_unet(sd15: UNet2DConditionModel, sample: Tensor, text: Tensor) -> None:
    unet = EmoUNet(**OURS, **IMAGE_ONLY).double().eval()
    unet.load_state_dict(sd15.state_dict(), strict=True)
    timestep = torch.tensor([17.0, 801.0])
    with torch.no_grad():
        got = unet(sample, timestep, encoder_hidden_states=text)
        expected = sd15(
            fold(sample),
            timestep.repeat_interleave(FRAMES),
            encoder_hidden_states=text.repeat_interleave(FRAMES, 0),
        ).sample
    assert_equal(fold(got), expected)


def test_reference_features_are_those_of_diffusers_unet(
    sd15: UNet2DConditionModel, sample: Tensor, text: Tensor
) -> None:
    """The tokens after norm1 of every spatial transformer, at timestep 0."""
    weights = sd15.state_dict()
    settings = {key: value for key, value in OURS.items() if key != "out_channels"}
    reference_net = ReferenceNet(**settings).double().eval()
    reference_net.load_state_dict({key: weights[key] for key in reference_net.state_dict()}, strict=True)
    expected: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        expected.append(output)

    for name, module in sd15.named_modules():
        if name.endswith(".transformer_blocks.0.norm1"):
            module.register_forward_hook(keep)
    image = sample[:, :, :1]
    with torch.no_grad():
        features = reference_net(image, encoder_hidden_states=text)
        sd15(image[:, :, 0], 0, encoder_hidden_states=text)
    assert len(features.attention) == len(expected) == 16
    for got, tokens in zip(features.attention, expected, strict=True):
        assert_equal(got, tokens)


class FrameGroupNorm(nn.GroupNorm):
    """GroupNorm of each frame of (B, C, F, H, W)."""

    def forward(self, clip_BCFHW: Tensor) -> Tensor:
        normed = super().forward(clip_BCFHW.transpose(1, 2).flatten(0, 1))
        return torch.unflatten(normed, 0, (len(clip_BCFHW), -1)).transpose(1, 2)


@pytest.mark.parametrize("temporal_mid", [True, False])
def test_video_unet_is_diffusers_animatediff(sample: Tensor, text: Tensor, temporal_mid: bool) -> None:
    published = UNetMotionModel(
        **SHARED,
        num_attention_heads=HEADS,
        motion_num_attention_heads=HEADS,
        motion_max_seq_length=5,
        use_motion_mid_block=temporal_mid,
    )
    temporal: dict[str, Any] = dict(
        temporal_num_heads=HEADS,
        temporal_mid=temporal_mid,
        max_frames=5,
        audio_feature_dim=None,
        locator_downscale=None,
        speed_dim=None,
    )
    unet = EmoUNet(**OURS, **temporal)
    randomize_zeros(unet)
    # The converter drops AnimateDiff's position tables; diffusers computes its own.
    weights = convert_animatediff_checkpoint_to_diffusers(unet.state_dict())
    missing, unexpected = published.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(key.endswith(".pos_embed.pe") for key in missing)
    # diffusers' temporal modules normalise all frames together. Ours normalise each frame, as the code does
    # with which AnimateDiff's weights were trained.
    for name, module in published.named_modules():
        if name.rpartition(".")[0].endswith("motion_modules"):
            norm = FrameGroupNorm(4, module.norm.num_channels, eps=1e-6)
            norm.load_state_dict(module.norm.state_dict())
            module.norm = norm
    unet.double().eval()
    published.double().eval()
    timestep, texts = torch.tensor([17.0, 801.0]), text.repeat_interleave(FRAMES, 0)
    with torch.no_grad():
        got = unet(sample, timestep, encoder_hidden_states=text)
        expected = published(sample, timestep, encoder_hidden_states=texts).sample
    assert_equal(got, expected)


def test_image_autoencoder_is_diffusers_autoencoder() -> None:
    settings: dict[str, Any] = dict(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 12, 16),
        layers_per_block=1,
        latent_channels=5,
        norm_num_groups=4,
        scaling_factor=0.7,
    )
    published = AutoencoderKL(**settings).double().eval()
    ours = ImageAutoencoder(**settings).double().eval()
    ours.load_state_dict(published.state_dict(), strict=True)
    image = torch.rand(2, 3, 12, 20, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        latents = ours.encode(image)
        raw = published.encode(image).latent_dist.mode()
        frames = ours.decode(latents[:, :, None])[:, :, 0]
        decoded = published.decode(raw).sample
    assert_equal(latents, raw * 0.7)
    assert_equal(frames, decoded.clamp(-1, 1))
    assert (decoded.abs() < 1).any()
