"""The features that the ReferenceNet returns."""

from __future__ import annotations

from collections.abc import Callable

import torch

from openemo.models import EmoUNet, ReferenceFeatures, ReferenceNet

from .conftest import CLIPS, HEIGHT, MOTION_FRAMES, WIDTH, Inputs

MakeReference = Callable[..., ReferenceNet]
MakeInputs = Callable[..., Inputs]

FINE, COARSE = HEIGHT * WIDTH, HEIGHT * WIDTH // 4


def test_one_token_map_per_attention_and_one_feature_map_per_temporal_module(
    make_reference_net: MakeReference, make_inputs: MakeInputs
) -> None:
    with torch.no_grad():
        features = make_reference_net()(make_inputs().images)
    tokens = [(FINE, 8), (COARSE, 12), (COARSE, 12), (COARSE, 12), (COARSE, 12), (FINE, 8), (FINE, 8)]
    assert [tuple(feature.shape) for feature in features.attention] == [(CLIPS, *shape) for shape in tokens]
    assert [tuple(feature.shape[:3]) for feature in features.motion] == [
        (CLIPS, channels, MOTION_FRAMES) for _, channels in tokens
    ]


def test_features_fit_a_unet_without_a_temporal_module_in_the_mid_block(
    make_unet: Callable[..., EmoUNet], make_reference_net: MakeReference, make_inputs: MakeInputs
) -> None:
    inputs = make_inputs()
    with torch.no_grad():
        features = make_reference_net(temporal_mid=False)(inputs.images)
        make_unet(temporal_mid=False)(inputs.sample, inputs.timestep, reference=features)
    assert len(features.motion) == 6


def test_images_do_not_mix(make_reference_net: MakeReference, make_inputs: MakeInputs) -> None:
    net, images = make_reference_net(), make_inputs().images
    with torch.no_grad():
        all_features = net(images)
        reference = net(images[:, :, :1])
        motion = net(images[:, :, [0, 3]])
    assert reference.motion == ()
    # Another batch size adds in another order: float32 rounding.
    for one, other in zip(reference.attention, all_features.attention, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    for one, other in zip(motion.motion, all_features.motion, strict=True):
        torch.testing.assert_close(one, other[:, :, 2:], atol=1e-5, rtol=0, check_stride=False)


def test_nothing_is_stored_on_the_network(make_reference_net: MakeReference, make_inputs: MakeInputs) -> None:
    net, inputs = make_reference_net(), make_inputs()
    before = [set(vars(module)) for module in net.modules()]
    with torch.no_grad():
        first = net(inputs.images)
        net(torch.randn_like(inputs.images))
        again = net(inputs.images)
    assert [set(vars(module)) for module in net.modules()] == before
    for one, other in zip(first.attention + first.motion, again.attention + again.motion, strict=True):
        assert torch.equal(one, other)


def test_features_without_their_reference_in_another_dtype() -> None:
    features = ReferenceFeatures((torch.randn(2, 5, 3),), (torch.randn(2, 3, 4, 7, 6),))
    assert features.to(dtype=torch.float64).motion[0].dtype == torch.float64
    without = features.without_reference()
    assert without.attention == ()
    assert without.motion is features.motion
    assert without.num_motion_frames == 4
