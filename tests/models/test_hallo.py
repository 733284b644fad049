"""With Hallo's options and weights, our networks give the recorded outputs of its own code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from openemo.checkpoints.families import hallo
from openemo.checkpoints.key_map import split
from openemo.models import EmoUNet, ReferenceFeatures, ReferenceNet
from openemo.models.region_audio import REGIONS
from openemo.pipeline.guidance import hallo_halves
from tests.family_configs import hallo_reference_config, hallo_unet_config
from tests.parity import (
    HALLO_UNET,
    ROUNDED_TOLERANCE,
    TOLERANCE,
    assert_close,
    attention_names,
    cases,
    config,
    folder_of,
    load,
    rounded,
)


class Hallo(NamedTuple):
    """The networks of a recorded checkpoint, with its weights."""

    unet: EmoUNet
    reference_net: ReferenceNet


def build(unet_folder: Path) -> Hallo:
    """Load the three files of a case, which together are one net.pth; every tensor is used."""
    settings = config(unet_folder)
    weights = [unet_folder / "weights.safetensors"]
    weights += [unet_folder / settings[f"{part}_weights"] for part in ("reference", "conditioning")]
    reference_folder, conditioning_folder = (path.parent for path in weights[1:])
    with torch.device("meta"):
        network = Hallo(
            EmoUNet(**hallo_unet_config(settings["constructor"], config(conditioning_folder))),
            ReferenceNet(
                **hallo_reference_config(
                    config(reference_folder)["constructor"],
                    temporal_mid=settings["constructor"]["motion_module_mid_block"],
                )
            ),
        )
    net_pth = {key: tensor for path in weights for key, tensor in load(path).items()}
    own, left_over = hallo.key_map(*network).to_own(net_pth)
    assert not left_over
    for name, state in split(own).items():
        getattr(network, name).load_state_dict(state, strict=True, assign=True)
    return network


def condition_encoders(folder: Path) -> EmoUNet:
    """The face locator and the two projections of a case, in a UNet of one level that is not used."""
    settings = config(folder)
    channels, text_dim = (
        settings["face_locator"]["conditioning_embedding_channels"],
        settings["imageproj"]["cross_attention_dim"],
    )
    constructor = HALLO_UNET | dict(
        block_out_channels=[channels],
        down_block_types=["CrossAttnDownBlock3D"],
        up_block_types=["CrossAttnUpBlock3D"],
        attention_head_dim=1,
        norm_num_groups=1,
        motion_module_resolutions=[1],
        stack_enable_blocks_depth=[0],
        cross_attention_dim=text_dim,
        audio_attention_dim=settings["audioproj"]["output_dim"],
    )
    unet = EmoUNet(**(hallo_unet_config(constructor, settings) | dict(temporal_modules=False)))
    reference_net = ReferenceNet(**hallo_reference_config(constructor))
    ours = {name: own for own, name in hallo.key_map(unet, reference_net).published.items()}
    weights = {ours[key]: tensor for key, tensor in load(folder / "weights.safetensors").items()}
    for part in ("face_locator", "identity_projection", "audio_projection"):
        prefix = f"unet.{part}."
        state = {
            key.removeprefix(prefix): weights.pop(key) for key in list(weights) if key.startswith(prefix)
        }
        getattr(unet, part).load_state_dict(state)
    assert not weights
    return unet


def reference_features(
    reference_net: ReferenceNet, latents_NCHW: Tensor, tokens_BLD: Tensor
) -> ReferenceFeatures:
    """Both halves of guidance get the same images."""
    images = latents_NCHW.transpose(0, 1)[None].expand(2, -1, -1, -1, -1)
    with torch.no_grad():
        return reference_net(images, encoder_hidden_states=tokens_BLD)


@pytest.mark.parametrize("case", cases("hallo_conditioning"))
def test_condition_encoders(case: str) -> None:
    folder = folder_of(case)
    unet = condition_encoders(folder)
    inputs, outputs = (load(folder / f"{part}.safetensors") for part in ("inputs", "outputs"))
    images = inputs["face_locator"]
    settings = config(folder)["unet_case_face_region"]
    height, width = settings["size"]
    rows, columns = (slice(*settings[name]) for name in ("rows", "cols"))
    region = torch.full((1, settings["channels"], height, width), settings["value_outside"])
    region[..., rows, columns] = settings["value_inside"]
    face = inputs["unet_case.face_emb"]
    with torch.no_grad():
        locator_features = unet.encode_locator(images.transpose(1, 2).flatten(0, 1))
        got = {
            "face_locator": torch.unflatten(locator_features, 0, (len(images), -1)).transpose(1, 2),
            "imageproj": unet.encode_identity(inputs["imageproj"]),
            "imageproj_zeros": unet.encode_identity(torch.zeros_like(face)),
            "audioproj": unet.encode_audio(inputs["audioproj"].flatten(3)),
            "unet_case.audio_embedding_cond": unet.encode_audio(
                inputs["unet_case.audio_emb_windowed"].flatten(3)
            ),
            "unet_case.encoder_hidden_states": unet.encode_identity(
                torch.cat([torch.zeros_like(face), face])
            ),
            "unet_case.mask_cond_fea_cond_frame0": unet.encode_locator(region)[:, :, None],
        }
    assert got.keys() == outputs.keys()
    for name, tensor in got.items():
        assert_close(tensor, outputs[name], 1e-5)  # few layers: rounding of single sums


@pytest.mark.parametrize("case", cases("hallo_reference"))
def test_reference_network(case: str) -> None:
    folder = folder_of(case)
    reference_net = ReferenceNet(**hallo_reference_config(config(folder)["constructor"]))
    weights = load(folder / "weights.safetensors")
    reference_net.load_state_dict(
        {key.removeprefix("reference_unet."): tensor for key, tensor in weights.items()}
    )
    inputs, outputs = (load(folder / f"{part}.safetensors") for part in ("inputs", "outputs"))
    features = reference_features(reference_net, inputs["ref_image_latents"], inputs["encoder_hidden_states"])
    names = attention_names(reference_net)
    assert {f"bank.{name}" for name in names} == outputs.keys()
    for name, tokens, maps in zip(names, features.attention, features.motion, strict=True):
        bank = torch.cat([tokens[:, None], maps.flatten(3).permute(0, 2, 3, 1)], dim=1).flatten(0, 1)
        assert_close(bank, outputs[f"bank.{name}"])


class Step(NamedTuple):
    """A recorded denoising step with guidance."""

    network: Hallo
    inputs: dict[str, Tensor]
    features: ReferenceFeatures

    def halves(self, features: ReferenceFeatures | None = None) -> Tensor:
        """Unconditional and conditional prediction, (2, C, F, H, W)."""
        inputs, features = self.inputs, features or self.features
        audio, locator_features = (
            inputs["audio_embedding_cond"],
            inputs["mask_cond_fea_cond_frame0"][:, :, 0],
        )
        common: dict[str, Any] = dict(region_masks=self.masks(), region_weights=inputs["motion_scale"])
        with torch.no_grad():
            return torch.cat(
                [
                    self.network.unet(
                        inputs["latents"],
                        inputs["timestep"],
                        reference=reference,
                        audio_tokens_BFTA=tokens,
                        locator_features_BCHW=region,
                        encoder_hidden_states=identity[None],
                        **common,
                    )
                    for reference, tokens, region, identity in zip(
                        hallo_halves(features, audio.shape[1]),
                        (torch.zeros_like(audio), audio),
                        (torch.zeros_like(locator_features), locator_features),
                        inputs["encoder_hidden_states"],
                        strict=True,
                    )
                ]
            )

    def masks(self) -> list[Tensor]:
        """(1, 3, H, W) for each level, from the recorded rows of pixels."""
        height, width = self.inputs["latents"].shape[-2:]
        return [
            torch.stack([self.inputs[f"{region}_mask.{level}"] for region in REGIONS], dim=1).reshape(
                1, len(REGIONS), -(-height // 2**level), -(-width // 2**level)
            )
            for level in range(len(self.network.unet.down_blocks))
        ]


def step_of(folder: Path) -> Step:
    network = build(folder)
    inputs = load(folder / "inputs.safetensors")
    features = reference_features(
        network.reference_net, inputs["ref_image_latents"], inputs["encoder_hidden_states"]
    )
    return Step(network, inputs, features)


@pytest.fixture(scope="module", params=cases("hallo_unet"))
def step(request: pytest.FixtureRequest) -> tuple[Step, dict[str, Tensor]]:
    folder = folder_of(request.param)
    return step_of(folder), load(folder / "outputs.safetensors")


def test_a_step_with_guidance(step: tuple[Step, dict[str, Tensor]]) -> None:
    run, outputs = step
    assert_close(run.halves(), outputs["noise_pred.bank_fp32"])
    assert_close(run.halves(rounded(run.features)), outputs["noise_pred.bank_fp16"], ROUNDED_TOLERANCE)


def test_temporal_modules_without_spatial_attention_have_weights_but_do_not_run(
    step: tuple[Step, dict[str, Tensor]],
) -> None:
    run, outputs = step
    idle = [
        block.motion_modules
        for block in (*run.network.unet.down_blocks, *run.network.unet.up_blocks)
        if len(block.attentions) == 0
    ]
    layers = run.network.unet.config.layers_per_block
    assert [len(modules) for modules in idle] == [layers, layers + 1]
    saved = [[parameter.clone() for parameter in modules.parameters()] for modules in idle]
    for modules in idle:
        for parameter in modules.parameters():
            parameter.data.fill_(torch.nan)
    try:
        assert_close(run.halves(), outputs["noise_pred.bank_fp32"])
    finally:
        for modules, values in zip(idle, saved, strict=True):
            for parameter, value in zip(modules.parameters(), values, strict=True):
                parameter.data.copy_(value)


def test_training_mode_and_gradient_checkpointing_change_nothing(
    step: tuple[Step, dict[str, Tensor]],
) -> None:
    """Hallo's own code drops motion frames and region weights in evaluation mode; ours does not."""
    run, outputs = step
    run.network.unet.train()
    run.network.unet.enable_gradient_checkpointing()
    try:
        assert_close(run.halves(), outputs["noise_pred.bank_fp32"])
    finally:
        run.network.unet.disable_gradient_checkpointing()
        run.network.unet.eval()


def test_omissions_change_the_result(step: tuple[Step, dict[str, Tensor]]) -> None:
    """The omissions in the fixtures' README change the result by more than 100 times the tolerance."""
    run, outputs = step
    wrong = [run.halves(replace(run.features, motion=()))]
    if run.features.num_motion_frames > 1:
        wrong.append(run.halves(replace(run.features, motion=tuple(m.flip(2) for m in run.features.motion))))
    if not torch.equal(run.inputs["motion_scale"], torch.ones(3)):
        wrong.append(run._replace(inputs=run.inputs | {"motion_scale": torch.ones(3)}).halves())
    for prediction in wrong:
        assert (prediction - outputs["noise_pred.bank_fp32"]).abs().max() > 100 * TOLERANCE
