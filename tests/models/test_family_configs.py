"""The options with which our networks are Hallo's and EchoMimic's: their effect, and refused values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from openemo.errors import ConfigError
from openemo.models import EmoUNet, ReferenceFeatures, ReferenceNet, reference_config, unet_config
from openemo.pipeline.guidance import hallo_halves
from tests.family_configs import (
    echomimic_reference_config,
    echomimic_unet_config,
    hallo_reference_config,
    hallo_unet_config,
)
from tests.parity import HALLO_UNET, UNET

from .conftest import CLIPS, FRAMES, HEIGHT, WIDTH, Inputs

MakeUnet = Callable[..., EmoUNet]
MakeReference = Callable[..., ReferenceNet]
MakeInputs = Callable[..., Inputs]

REGIONAL: dict[str, Any] = dict(
    audio_attention="regions",
    audio_window=7,
    audio_hidden_dim=10,
    audio_time_embedding=False,
    temporal_needs_attention=True,
)
MASK_SIZES = ((HEIGHT, WIDTH), (HEIGHT // 2, WIDTH // 2))

# The arguments of Hallo's condition encoders at full size.
CONDITIONING: dict[str, Any] = dict(
    face_locator=dict(
        conditioning_embedding_channels=320, conditioning_channels=3, block_out_channels=[16, 32, 64, 128]
    ),
    imageproj=dict(cross_attention_dim=768, clip_embeddings_dim=512, clip_extra_context_tokens=4),
    audioproj=dict(
        seq_len=5, blocks=12, channels=768, intermediate_dim=512, output_dim=768, context_tokens=32
    ),
)


def resolved(cls: type, settings: dict[str, Any]) -> dict[str, Any]:
    with torch.device("meta"):
        config = dict(cls(**settings).config)
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in config.items()
        if not key.startswith("_")  # diffusers' notes on which defaults were used
    }


class TestPresets:
    def test_hallo_equals_the_converted_original_config(self) -> None:
        assert resolved(EmoUNet, unet_config("hallo")) == resolved(
            EmoUNet, hallo_unet_config(HALLO_UNET, CONDITIONING)
        )
        assert resolved(ReferenceNet, reference_config("hallo")) == resolved(
            ReferenceNet, hallo_reference_config(UNET)
        )

    def test_echomimic_equals_the_converted_original_config(self) -> None:
        locator = dict(
            conditioning_embedding_channels=320, conditioning_channels=1, block_out_channels=[16, 32, 96, 256]
        )
        unet = UNET | dict(cross_attention_dim=384)
        assert resolved(EmoUNet, unet_config("echomimic")) == resolved(
            EmoUNet, echomimic_unet_config(unet, 50, locator)
        )
        assert resolved(ReferenceNet, reference_config("echomimic")) == resolved(
            ReferenceNet, echomimic_reference_config(UNET)
        )

    @pytest.mark.parametrize(
        "change",
        [
            {"use_inflated_groupnorm": False},
            {"motion_module_resolutions": [1, 2]},
            {"stack_enable_blocks_name": ["up"]},
            {"unheard_of": 1},
            {"audio_attention_dim": 5},
        ],
    )
    def test_settings_without_equivalent_are_refused(self, change: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=next(iter(change))):
            hallo_unet_config(HALLO_UNET | change, CONDITIONING)


def masks(value: float = 0.5) -> list[Tensor]:
    return [torch.full((1, 3, *size), value) for size in MASK_SIZES]


def predict(unet: EmoUNet, inputs: Inputs, **changes: Any) -> Tensor:
    arguments = dict(audio_BFTD=torch.linspace(-1, 1, CLIPS * FRAMES * 7 * 11).reshape(CLIPS, FRAMES, 7, 11))
    with torch.no_grad():
        output: Tensor = unet(
            inputs.sample, inputs.timestep, **(arguments | dict(region_masks=masks()) | changes)
        )
    return output


class TestRegions:
    def test_weights_and_masks_decide_where_audio_acts(
        self, make_unet: MakeUnet, make_inputs: MakeInputs
    ) -> None:
        unet, inputs = make_unet(**REGIONAL), make_inputs()
        lips = torch.tensor([0.0, 0.0, 1.0])
        no_lips = [mask * torch.tensor([1.0, 1.0, 0.0]).reshape(3, 1, 1) for mask in masks()]
        assert not torch.equal(predict(unet, inputs), predict(unet, inputs, region_weights=lips))
        silent = predict(unet, inputs, region_masks=no_lips, region_weights=lips)
        other = predict(unet, inputs, audio_BFTD=torch.zeros(CLIPS, FRAMES, 7, 11), region_masks=no_lips)
        again = predict(
            unet,
            inputs,
            audio_BFTD=torch.randn(CLIPS, FRAMES, 7, 11),
            region_masks=no_lips,
            region_weights=lips,
        )
        assert not torch.equal(silent, other)
        torch.testing.assert_close(silent, again, atol=0, rtol=0)

    def test_audio_needs_masks_that_fit(self, make_unet: MakeUnet, make_inputs: MakeInputs) -> None:
        unet, inputs = make_unet(**REGIONAL), make_inputs()
        wrong: list[dict[str, Any]] = [
            dict(region_masks=[]),
            dict(region_masks=masks()[:1]),
            dict(region_masks=masks()[::-1]),
            dict(region_masks=[mask[:, :2] for mask in masks()]),
            dict(region_weights=torch.ones(2)),
        ]
        for change in wrong:
            with pytest.raises(ConfigError):
                predict(unet, inputs, **change)

    def test_masks_without_regions_are_refused(self, make_unet: MakeUnet, make_inputs: MakeInputs) -> None:
        inputs = make_inputs()
        with pytest.raises(ConfigError, match="no audio regions"):
            make_unet()(inputs.sample, inputs.timestep, region_masks=masks())

    def test_at_zero_initialisation_audio_has_no_effect(
        self, make_unet: MakeUnet, make_inputs: MakeInputs
    ) -> None:
        unet, inputs = make_unet(zero_init=True, **REGIONAL), make_inputs()
        other = torch.randn(CLIPS, FRAMES, 7, 11)
        assert torch.equal(predict(unet, inputs), predict(unet, inputs, audio_BFTD=other))


class TestAudioAsText:
    def test_audio_replaces_text(self, make_unet: MakeUnet, make_inputs: MakeInputs) -> None:
        inputs = make_inputs()
        unet = make_unet(
            audio_attention="text", audio_feature_dim=13, audio_gain=3.0, audio_time_embedding=False
        )
        plain = make_unet(audio_feature_dim=None)
        weights = unet.state_dict()
        plain.load_state_dict(weights)
        for name, parameter in plain.named_parameters():
            if "attn2.to_out" in name:
                parameter.data.mul_(3)
        audio = torch.randn(CLIPS, 1, 4, 13)
        with torch.no_grad():
            scaled = unet(inputs.sample, inputs.timestep, audio_BFTD=audio.expand(-1, FRAMES, -1, -1))
            text = plain(inputs.sample, inputs.timestep, encoder_hidden_states=audio[:, 0])
        torch.testing.assert_close(scaled, text, atol=1e-4, rtol=0)  # 3(x+b) or 3x+3b: float32 rounding
        with pytest.raises(ConfigError, match="no text cross-attention"):
            unet(inputs.sample, inputs.timestep, encoder_hidden_states=inputs.text)

    def test_widths_and_gain_must_fit(self, make_unet: MakeUnet) -> None:
        with pytest.raises(ConfigError, match="text cross-attention"):
            make_unet(audio_attention="text", audio_feature_dim=5)
        with pytest.raises(ConfigError, match="audio_gain"):
            make_unet(audio_gain=3.0)
        with pytest.raises(ConfigError, match="unknown audio attention"):
            make_unet(audio_attention="elsewhere")


class TestReference:
    def test_rows_select_the_reference_of_each_frame(
        self, make_unet: MakeUnet, make_reference_net: MakeReference, make_inputs: MakeInputs
    ) -> None:
        unet, inputs = make_unet(temporal_modules=False), make_inputs()
        with torch.no_grad():
            features = make_reference_net()(inputs.images[:, :, :1])
            own = unet(inputs.sample, inputs.timestep, reference=features)
            alternating = ReferenceFeatures(
                features.attention, rows=tuple(i % 2 for i in range(CLIPS * FRAMES))
            )
            mixed = unet(inputs.sample, inputs.timestep, reference=alternating)
        torch.testing.assert_close(mixed[0, :, ::2], own[0, :, ::2], atol=1e-5, rtol=0)
        torch.testing.assert_close(mixed[1, :, 1::2], own[1, :, 1::2], atol=1e-5, rtol=0)
        assert (mixed[0, :, 1::2] - own[0, :, 1::2]).abs().max() > 1e-3

    @pytest.mark.parametrize(("frames", "rows"), [(3, (1, 0, 1)), (4, (0, 1, 0, 1))])
    def test_halves_of_guidance(self, frames: int, rows: tuple[int, ...]) -> None:
        features = ReferenceFeatures((torch.randn(2, 5, 3),), (torch.randn(2, 3, 4, 7, 6),))
        unconditional, conditional = hallo_halves(features, frames)
        assert unconditional.attention == ()
        assert conditional.rows == rows
        assert torch.equal(unconditional.motion[0], features.motion[0][:1])
        assert torch.equal(conditional.motion[0], features.motion[0][1:])
        with pytest.raises(ConfigError, match="two halves"):
            hallo_halves(ReferenceFeatures((torch.randn(3, 5, 3),)), frames)

    def test_wrong_number_of_rows_is_refused(
        self, make_unet: MakeUnet, make_reference_net: MakeReference, make_inputs: MakeInputs
    ) -> None:
        inputs = make_inputs()
        features = ReferenceFeatures(make_reference_net()(inputs.images).attention, rows=(0, 1))
        with pytest.raises(ConfigError, match="another number of frames"):
            make_unet()(inputs.sample, inputs.timestep, reference=features)

    def test_tokens_as_motion_features_are_those_of_each_image(
        self, make_reference_net: MakeReference, make_inputs: MakeInputs
    ) -> None:
        net, images = make_reference_net(motion_features="attention"), make_inputs().images
        with torch.no_grad():
            features, second = net(images), net(images[:, :, 2:3])
        for maps, tokens in zip(features.motion, second.attention, strict=True):
            torch.testing.assert_close(maps[:, :, 1].flatten(2).transpose(1, 2), tokens, atol=1e-5, rtol=0)
        with pytest.raises(ConfigError, match="motion features"):
            make_reference_net(motion_features="elsewhere")
