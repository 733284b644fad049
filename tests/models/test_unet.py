"""How each part of EMO may and may not change the output of the UNet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor

from openemo.errors import ConfigError
from openemo.models import EmoUNet, ReferenceFeatures, ReferenceNet
from openemo.models.attention import SpatialTransformerBlock
from openemo.models.conditioning import Conditions
from openemo.models.temporal import TemporalTransformerBlock
from openemo.models.unet_blocks import ResnetBlock

from .conftest import CLIPS, FRAMES, HEIGHT, MOTION_FRAMES, WIDTH, Inputs

MakeUnet = Callable[..., EmoUNet]
MakeReference = Callable[..., ReferenceNet]
MakeInputs = Callable[..., Inputs]

# float32 rounding in a tiny network with outputs of order one; a real effect is above 1e-3.
ROUNDING = 1e-5


def same(left: Tensor, right: Tensor) -> bool:
    return torch.allclose(left, right, atol=ROUNDING, rtol=0)


def differs(left: Tensor, right: Tensor) -> bool:
    return bool((left - right).abs().max() > 1e-3)


def sensitivity(output: Tensor, source: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Largest gradient of `output` with respect to `source`, over all axes of the source except `dims`."""
    (gradient,) = torch.autograd.grad(output.square().sum(), source, retain_graph=True)
    rest = tuple(axis for axis in range(source.ndim) if axis not in dims)
    return gradient.abs().amax(rest)


class TestNewLayers:
    def test_at_zero_initialisation_they_change_nothing(
        self, make_unet: MakeUnet, make_inputs: MakeInputs
    ) -> None:
        video = make_unet(zero_init=True)
        image = make_unet(
            zero_init=True,
            audio_feature_dim=None,
            temporal_modules=False,
            locator_downscale=None,
            num_motion_conditions=None,
            expression_guide_channels=None,
        )
        weights = video.state_dict()
        image.load_state_dict({key: weights[key] for key in image.state_dict()})
        inputs = make_inputs()
        with torch.no_grad():
            everything = video(
                inputs.sample,
                inputs.timestep,
                **inputs.conditions(ReferenceFeatures()),
            )
            picture = image(inputs.sample, inputs.timestep, encoder_hidden_states=inputs.text)
        assert same(everything, picture)

    @pytest.mark.parametrize(
        "name",
        [
            "audio_BFTD",
            "locator_BMHW",
            "speed_BF",
            "motion_conditions_BFK",
            "expression_guide_BFGHW",
            "encoder_hidden_states",
        ],
    )
    def test_after_training_they_change_the_output(
        self, make_unet: MakeUnet, make_inputs: MakeInputs, name: str
    ) -> None:
        unet, inputs = make_unet(), make_inputs()
        value = inputs.conditions(ReferenceFeatures())[name]
        with torch.no_grad():
            without = unet(inputs.sample, inputs.timestep)
            first = unet(inputs.sample, inputs.timestep, **{name: value})
            second = unet(inputs.sample, inputs.timestep, **{name: value.flip(0)})
        assert differs(first, without)
        assert differs(first, second)

    def test_locator_features_are_scaled_by_each_frames_embedding(
        self, make_unet: MakeUnet, make_inputs: MakeInputs
    ) -> None:
        """At first there is no scaling; with trained weights, each frame's embedding changes the features."""
        inputs = make_inputs()
        plain = make_unet(temporal_modules=False)
        scaled = make_unet(temporal_modules=False, locator_gain=True, zero_init=True)
        scaled.load_state_dict(plain.state_dict(), strict=False)
        conditions: dict[str, Any] = dict(
            locator_BMHW=inputs.locator, motion_conditions_BFK=inputs.motion_conditions
        )
        with torch.no_grad():
            before = scaled(inputs.sample, inputs.timestep, **conditions)
            assert same(before, plain(inputs.sample, inputs.timestep, **conditions))
            assert isinstance(scaled.locator_scale, torch.nn.Linear)
            torch.nn.init.normal_(scaled.locator_scale.weight, std=0.3)
            after = scaled(inputs.sample, inputs.timestep, **conditions)
            assert differs(after, before)
            without = [
                net(inputs.sample, inputs.timestep, motion_conditions_BFK=inputs.motion_conditions)
                for net in (plain, scaled)
            ]
        assert same(*without)  # without a mask there is nothing to scale

    def test_resnet_block_with_scale_and_shift_equals_diffusers(self) -> None:
        block = ResnetBlock(8, 12, embed_dim=10, norm_num_groups=4, norm_eps=1e-6, scale_shift=True)
        published = ResnetBlock2D(
            in_channels=8, out_channels=12, temb_channels=10, groups=4, time_embedding_norm="scale_shift"
        )
        published.load_state_dict(block.state_dict())
        hidden, embedding = torch.randn(CLIPS, 8, HEIGHT, WIDTH), torch.randn(CLIPS, 10)
        with torch.no_grad():
            assert same(block(hidden, F.silu(embedding)), published(hidden, embedding))

    def test_scale_and_shift_can_make_the_output_constant(
        self, make_unet: MakeUnet, make_inputs: MakeInputs
    ) -> None:
        """A norm alone gives the last map a fixed size; a scale can make it zero."""
        inputs = make_inputs()
        unet = make_unet(time_scale_shift=True, zero_init=True)
        conditions = inputs.conditions(ReferenceFeatures())
        with torch.no_grad():
            varying = unet(inputs.sample, inputs.timestep, **conditions)
            assert differs(varying, varying.mean((-1, -2), keepdim=True))
            modulation = unet.modulation_out
            assert isinstance(modulation, torch.nn.Linear)
            modulation.bias[: unet.conv_norm_out.num_channels] = -1
            constant = unet(inputs.sample, inputs.timestep, **conditions)
        bias = unet.conv_out.bias
        assert bias is not None
        assert same(constant, bias[:, None, None, None].expand_as(constant))


class TestIndependence:
    def test_without_temporal_modules_frames_are_independent(
        self, make_unet: MakeUnet, make_inputs: MakeInputs
    ) -> None:
        unet, inputs = make_unet(temporal_modules=False), make_inputs()
        with torch.no_grad():
            clip = unet(inputs.sample, inputs.timestep, audio_BFTD=inputs.audio)
            frame = unet(inputs.sample[:, :, 4:5], inputs.timestep, audio_BFTD=inputs.audio[:, 4:5])
        assert same(clip[:, :, 4:5], frame)

    def test_frames_that_are_not_a_clip_are_independent(
        self, make_unet: MakeUnet, make_inputs: MakeInputs
    ) -> None:
        unet, inputs = make_unet(), make_inputs()
        image = make_unet(temporal_modules=False)
        image.load_state_dict({key: unet.state_dict()[key] for key in image.state_dict()})
        with torch.no_grad():
            frames = unet(inputs.sample, inputs.timestep, audio_BFTD=inputs.audio, is_clip=False)
            images = image(inputs.sample, inputs.timestep, audio_BFTD=inputs.audio)
        assert same(frames, images)

    def test_a_frame_depends_on_its_own_audio_window_only(
        self, make_unet: MakeUnet, make_inputs: MakeInputs
    ) -> None:
        """With temporal modules at zero initialisation; trained ones mix frames."""
        unet, inputs = make_unet(), make_inputs()
        for name, parameter in unet.named_parameters():
            if "temporal_transformer.proj_out" in name:
                torch.nn.init.zeros_(parameter)
        audio = inputs.audio.requires_grad_()
        output = unet(inputs.sample, inputs.timestep, audio_BFTD=audio)
        for frame in range(FRAMES):
            by_window = sensitivity(output[:, :, frame], audio, dims=(1,))
            assert by_window[frame] > 0
            assert by_window.sum() == by_window[frame]

    def test_temporal_modules_connect_all_frames(self, make_unet: MakeUnet, make_inputs: MakeInputs) -> None:
        unet, inputs = make_unet(), make_inputs()
        sample = inputs.sample.requires_grad_()
        output = unet(sample, inputs.timestep)
        assert (sensitivity(output[:, :, 2], sample, dims=(2,)) > 0).all()

    def test_clips_of_a_batch_do_not_mix(
        self, make_unet: MakeUnet, make_reference_net: MakeReference, make_inputs: MakeInputs
    ) -> None:
        unet, reference_net, inputs = make_unet(), make_reference_net(), make_inputs()
        images = inputs.images.requires_grad_()
        conditions = inputs.conditions(reference_net(images))
        sources = [
            inputs.sample,
            inputs.audio,
            inputs.locator,
            inputs.speed,
            inputs.motion_conditions,
            inputs.guide,
            inputs.text,
        ]
        for source in sources:
            source.requires_grad_()
        output = unet(inputs.sample, inputs.timestep, **conditions)
        for source in [*sources, images]:
            by_clip = sensitivity(output[1], source, dims=(0,))
            assert by_clip[0] == 0
            assert by_clip[1] > 0

    def test_a_clip_gives_the_same_alone_and_in_a_batch(
        self, make_unet: MakeUnet, make_reference_net: MakeReference, make_inputs: MakeInputs
    ) -> None:
        unet, reference_net, inputs = make_unet(), make_reference_net(), make_inputs()
        alone = Inputs(**{name: getattr(inputs, name)[1:] for name in Inputs.__dataclass_fields__})
        with torch.no_grad():
            both, one = (
                unet(some.sample, some.timestep, **some.conditions(reference_net(some.images)))
                for some in (inputs, alone)
            )
        assert same(both[1:], one)


class TestReference:
    def test_without_features_it_is_plain_self_attention(
        self, make_unet: MakeUnet, make_inputs: MakeInputs
    ) -> None:
        unet, inputs = make_unet(), make_inputs()
        blocks = [module for module in unet.modules() if isinstance(module, SpatialTransformerBlock)]
        widths = [block.attn1.to_k.in_features for block in blocks]
        no_tokens = ReferenceFeatures(attention=tuple(torch.zeros(CLIPS, 0, width) for width in widths))
        with torch.no_grad():
            plain = unet(inputs.sample, inputs.timestep)
            for empty in (ReferenceFeatures(), no_tokens):
                assert same(unet(inputs.sample, inputs.timestep, reference=empty), plain)

    def test_its_tokens_extend_the_frames_own(self, make_unet: MakeUnet) -> None:
        """Attention over [own ; own] has the same weights twice, so it equals attention over [own]."""
        block = next(
            module for module in make_unet().modules() if isinstance(module, SpatialTransformerBlock)
        )
        tokens = torch.randn(CLIPS, 21, 8)
        conditions = Conditions(num_frames=1, time_embedding=torch.zeros(1))
        with torch.no_grad():
            plain, normed = block(tokens, conditions)
            doubled, _ = block(tokens, conditions, normed)
            other, _ = block(tokens, conditions, normed.flip(0))
        assert same(plain, doubled)
        assert differs(plain, other)

    def test_it_affects_every_frame(
        self, make_unet: MakeUnet, make_reference_net: MakeReference, make_inputs: MakeInputs
    ) -> None:
        unet = make_unet(zero_init=True)
        reference_net, inputs = make_reference_net(), make_inputs()
        image = inputs.images[:, :, :1].requires_grad_()
        output = unet(inputs.sample, inputs.timestep, reference=reference_net(image))
        for frame in range(FRAMES):
            assert sensitivity(output[:, :, frame], image, dims=(0,)).min() > 0

    def test_features_of_another_network_are_refused(
        self, make_unet: MakeUnet, make_inputs: MakeInputs
    ) -> None:
        inputs = make_inputs()
        wrong = ReferenceFeatures(attention=(torch.zeros(CLIPS, 5, 8),))
        with pytest.raises(ConfigError, match="another network"):
            make_unet()(inputs.sample, inputs.timestep, reference=wrong)


class TestMotionFrames:
    def test_they_affect_the_output_and_are_not_part_of_it(
        self, make_unet: MakeUnet, make_reference_net: MakeReference, make_inputs: MakeInputs
    ) -> None:
        unet, reference_net, inputs = make_unet(), make_reference_net(), make_inputs()
        images = inputs.images.requires_grad_()
        features = reference_net(images)
        assert features.num_motion_frames == MOTION_FRAMES
        output = unet(inputs.sample, inputs.timestep, reference=features)
        assert output.shape == (CLIPS, 5, FRAMES, HEIGHT, WIDTH)
        for frame in range(FRAMES):
            assert (sensitivity(output[:, :, frame], images, dims=(2,)) > 0).all()

    def test_they_act_through_temporal_modules_only(
        self, make_unet: MakeUnet, make_reference_net: MakeReference, make_inputs: MakeInputs
    ) -> None:
        unet = make_unet(zero_init=True)
        reference_net, inputs = make_reference_net(), make_inputs()
        with torch.no_grad():
            features = reference_net(inputs.images)
            output = unet(inputs.sample, inputs.timestep, reference=features)
            without = unet(inputs.sample, inputs.timestep, reference=replace(features, motion=()))
        assert same(output, without)

    def test_dropping_them_early_changes_nothing(self, make_unet: MakeUnet) -> None:
        """They are dropped after the last self-attention; keeping them gives the same video frames."""
        block = next(
            module for module in make_unet().modules() if isinstance(module, TemporalTransformerBlock)
        )
        tokens, speed = torch.randn(CLIPS * 15, MOTION_FRAMES + FRAMES, 8), torch.randn(CLIPS, FRAMES, 14)
        with torch.no_grad():
            early, late = (block(tokens, dropped, speed) for dropped in (MOTION_FRAMES, 0))
        assert same(early, late[:, MOTION_FRAMES:])

    def test_too_many_frames_are_refused(
        self, make_unet: MakeUnet, make_reference_net: MakeReference, make_inputs: MakeInputs
    ) -> None:
        inputs = make_inputs(motion_frames=4)
        features = make_reference_net()(inputs.images)
        with pytest.raises(ConfigError, match="6 video and 4 motion frames; expected at most 9"):
            make_unet()(inputs.sample, inputs.timestep, reference=features)


class TestInputs:
    @pytest.mark.parametrize(("height", "width"), [(9, 15), (5, 7), (3, 10)])
    def test_odd_latent_sizes(
        self,
        make_unet: MakeUnet,
        make_reference_net: MakeReference,
        make_inputs: MakeInputs,
        height: int,
        width: int,
    ) -> None:
        inputs = make_inputs(height, width)
        with torch.no_grad():
            conditions = inputs.conditions(make_reference_net()(inputs.images))
            output = make_unet()(inputs.sample, inputs.timestep, **conditions)
        assert output.shape == (CLIPS, 5, FRAMES, height, width)
        assert output.isfinite().all()

    def test_sd15_layout_with_all_conditions(
        self, make_unet: MakeUnet, make_reference_net: MakeReference, make_inputs: MakeInputs
    ) -> None:
        """Four levels of two layers, no attention in the last; 10x16 latents get odd sizes in it."""
        shape: dict[str, Any] = dict(
            block_out_channels=(8, 12, 16, 16),
            attention_levels=(True, True, True, False),
            layers_per_block=2,
            num_attention_heads=4,
        )
        unet = make_unet(**shape, temporal_num_heads=4)
        reference_net, inputs = make_reference_net(**shape), make_inputs()
        with torch.no_grad():
            features = reference_net(inputs.images)
            output = unet(inputs.sample, inputs.timestep, **inputs.conditions(features))
        assert len(features.attention) == 16
        assert len(features.motion) == 21
        assert output.shape == (CLIPS, 5, FRAMES, HEIGHT, WIDTH)

    def test_a_scalar_timestep_applies_to_all_clips(
        self, make_unet: MakeUnet, make_inputs: MakeInputs
    ) -> None:
        unet, inputs = make_unet(), make_inputs()
        with torch.no_grad():
            scalar = unet(inputs.sample, torch.tensor(40))
            vector = unet(inputs.sample, torch.full((CLIPS,), 40))
        assert torch.equal(scalar, vector)

    def test_an_input_without_layers_is_refused(self, make_unet: MakeUnet, make_inputs: MakeInputs) -> None:
        inputs = make_inputs()
        unet = make_unet(
            audio_feature_dim=None,
            locator_downscale=None,
            num_motion_conditions=None,
            expression_guide_channels=None,
            speed_dim=None,
            cross_attention_dim=None,
        )
        for name, value in inputs.conditions(ReferenceFeatures()).items():
            if name != "reference":
                with pytest.raises(ConfigError):
                    unet(inputs.sample, inputs.timestep, **{name: value})

    def test_wrong_sizes_are_refused(self, make_unet: MakeUnet, make_inputs: MakeInputs) -> None:
        unet, inputs = make_unet(), make_inputs()
        wrong: dict[str, tuple[Any, ...]] = {
            "audio_BFTD": (inputs.audio[:, 1:], inputs.audio[:, :, 1:], inputs.audio[..., 1:]),
            "locator_BMHW": (inputs.locator[..., 8:],),
            "motion_conditions_BFK": (inputs.motion_conditions[..., 1:],),
            "expression_guide_BFGHW": (inputs.guide[:, 1:], inputs.guide[:, :, 1:], inputs.guide[..., 1:]),
        }
        for name, values in wrong.items():
            for value in values:
                with pytest.raises(ConfigError):
                    unet(inputs.sample, inputs.timestep, **{name: value})

    def test_levels_that_disagree_are_refused(self, make_unet: MakeUnet) -> None:
        with pytest.raises(ConfigError, match="one entry per level"):
            make_unet(attention_levels=(True, True, False))
        with pytest.raises(ConfigError, match="heads"):
            make_unet(num_attention_heads=5)


class TestModel:
    def test_gradient_checkpointing_changes_nothing(
        self, make_unet: MakeUnet, make_reference_net: MakeReference, make_inputs: MakeInputs
    ) -> None:
        unet, reference_net, inputs = make_unet().train(), make_reference_net().train(), make_inputs()

        def step() -> tuple[Tensor, list[Tensor]]:
            conditions = inputs.conditions(reference_net(inputs.images))
            loss = unet(inputs.sample, inputs.timestep, **conditions).square().mean()
            parameters = [*unet.parameters(), *reference_net.parameters()]
            return loss, [
                g for g in torch.autograd.grad(loss, parameters, allow_unused=True) if g is not None
            ]

        loss, gradients = step()
        unet.enable_gradient_checkpointing()
        reference_net.enable_gradient_checkpointing()
        saved_loss, saved_gradients = step()
        assert torch.equal(loss, saved_loss)
        assert all(same(a, b) for a, b in zip(gradients, saved_gradients, strict=True))

    @pytest.mark.parametrize("kind", ["unet", "reference"])
    def test_a_loaded_network_equals_the_saved_one(
        self, make_unet: MakeUnet, make_reference_net: MakeReference, kind: str, tmp_path: Path
    ) -> None:
        network = make_unet() if kind == "unet" else make_reference_net()
        network.save_pretrained(tmp_path)
        loaded = type(network).from_pretrained(tmp_path)
        assert loaded.config.block_out_channels == [8, 12]
        saved = network.state_dict()
        assert all(torch.equal(value, saved[key]) for key, value in loaded.state_dict().items())
        assert loaded.state_dict().keys() == saved.keys()

    def test_bfloat16(
        self, make_unet: MakeUnet, make_reference_net: MakeReference, make_inputs: MakeInputs
    ) -> None:
        unet, reference_net, inputs = make_unet(), make_reference_net(), make_inputs()
        half = Inputs(
            **{name: getattr(inputs, name).to(torch.bfloat16) for name in Inputs.__dataclass_fields__}
        )
        with torch.no_grad():
            exact = unet(inputs.sample, inputs.timestep, **inputs.conditions(reference_net(inputs.images)))
            unet, reference_net = unet.to(torch.bfloat16), reference_net.to(torch.bfloat16)
            features = reference_net(half.images)
            output = unet(half.sample, inputs.timestep, **half.conditions(features))
        assert output.dtype == torch.bfloat16
        # bfloat16 has 8 bits of mantissa; over a few dozen layers the errors add up to some per cent.
        assert (output - exact).abs().mean() < 0.1 * exact.abs().mean()
