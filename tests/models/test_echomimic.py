"""With EchoMimic v1's options and weights, our networks give the recorded outputs of its own code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from openemo.checkpoints.families import echomimic
from openemo.checkpoints.key_map import split
from openemo.models import EmoUNet, ReferenceFeatures, ReferenceNet
from tests.family_configs import echomimic_reference_config, echomimic_unet_config
from tests.parity import (
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


def build(unet_folder: Path) -> tuple[EmoUNet, ReferenceNet]:
    """The networks of a recorded checkpoint; the weights of the face locator are in the pipeline's case."""
    settings = config(unet_folder)
    reference_weights = unet_folder / settings["reference_weights"]
    audio_tokens = load(unet_folder / "inputs.safetensors")["audio_cond_fea_cond"].shape[2]
    files = {
        "denoising_unet": load(unet_folder / "weights.safetensors"),
        "motion_module": load(unet_folder / "motion_module.safetensors"),
        "reference_unet": load(reference_weights),
    }
    locator = None
    pipeline_folder = unet_folder.parent / unet_folder.name.replace("unet", "pipeline")
    if pipeline_folder.is_dir():
        locator = config(pipeline_folder)["face_locator"]
        files["face_locator"] = load(pipeline_folder / "face_locator.safetensors")
    with torch.device("meta"):
        unet = EmoUNet(**echomimic_unet_config(settings["constructor"], audio_tokens, locator))
        reference_net = ReferenceNet(
            **echomimic_reference_config(config(reference_weights.parent)["constructor"])
        )
    own, left_over = echomimic.key_map(unet, reference_net).to_own(echomimic.join(files))
    assert not left_over
    states = split(own)
    unet.load_state_dict(states["unet"], strict=True, assign=True)
    reference_net.load_state_dict(states["reference_net"], strict=True, assign=True)
    return unet, reference_net


@pytest.mark.parametrize("case", cases("echomimic_reference"))
def test_reference_network(case: str) -> None:
    folder = folder_of(case)
    reference_net = ReferenceNet(**echomimic_reference_config(config(folder)["constructor"]))
    reference_net.load_state_dict(load(folder / "weights.safetensors"))
    inputs, outputs = (load(folder / f"{part}.safetensors") for part in ("inputs", "outputs"))
    with torch.no_grad():
        features = reference_net(inputs["ref_image_latents"][:, :, None])
    names = attention_names(reference_net)
    assert {f"bank.{name}" for name in names} == outputs.keys()
    assert features.motion == ()
    for name, tokens in zip(names, features.attention, strict=True):
        assert_close(tokens, outputs[f"bank.{name}"])


@pytest.mark.parametrize("case", cases("echomimic_unet"))
def test_a_step_with_and_without_guidance(case: str) -> None:
    folder = folder_of(case)
    unet, reference_net = build(folder)
    inputs, outputs = (load(folder / f"{part}.safetensors") for part in ("inputs", "outputs"))
    audio, locator_features = inputs["audio_cond_fea_cond"], inputs["face_musk_fea_cond"][:, :, 0]
    with torch.no_grad():
        features = reference_net(inputs["ref_image_latents"][:, :, None])
        unconditional = unet(
            inputs["latents"],
            inputs["timestep"],
            audio_BFTD=torch.zeros_like(audio),
            locator_features_BCHW=torch.zeros_like(locator_features),
        )

        def conditioned(reference: ReferenceFeatures) -> torch.Tensor:
            return unet(
                inputs["latents"],
                inputs["timestep"],
                reference=reference,
                audio_BFTD=audio,
                locator_features_BCHW=locator_features,
            )

        exact, through_half = conditioned(features), conditioned(rounded(features))
    for prediction, name, tolerance in (
        (exact, "bank_fp32", TOLERANCE),
        (through_half, "bank_fp16", ROUNDED_TOLERANCE),
    ):
        assert_close(torch.cat([unconditional, prediction]), outputs[f"noise_pred.{name}"], tolerance)
        assert_close(prediction, outputs[f"noise_pred_no_cfg.{name}"], tolerance)
