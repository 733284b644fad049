"""The open relatives through the very pipeline of the embedded model: their recorded numbers end to end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from openemo.audio import SpeechFeatures
from openemo.behaviour import Behaviour
from openemo.checkpoints.families import echomimic, hallo
from openemo.checkpoints.key_map import split
from openemo.config import PipelineConfig
from openemo.ddim_scheduler import DDIMScheduler
from openemo.models import EmoUNet, ReferenceNet
from openemo.models.image_autoencoder import ImageAutoencoder
from openemo.pipeline import EmoPipeline
from openemo.pipeline.conditions import ReferenceConditions
from openemo.pipeline.sampling import ClipPlan
from openemo.pipeline_presets import Family, pipeline_config
from tests.family_configs import (
    echomimic_reference_config,
    echomimic_unet_config,
    hallo_reference_config,
    hallo_unet_config,
)
from tests.parity import assert_close, cases, config, folder_of, load

# Of the fixtures' README: some 60 times the recorded float32-float64 difference; the second clip starts from
# the first one's decoded frames, which makes errors larger.
TOLERANCE, SECOND_CLIP_TOLERANCE = 1e-3, 5e-3


@dataclass
class Networks:
    """The networks of one recorded checkpoint, with its weights."""

    unet: EmoUNet
    reference_net: ReferenceNet
    autoencoder: ImageAutoencoder

    def take(self, own: dict[str, Tensor], autoencoder: Path) -> Networks:
        for name, state in split(own).items():
            getattr(self, name).load_state_dict(state, strict=True, assign=True)
        self.autoencoder.load_state_dict(load(autoencoder))
        for network in (self.unet, self.reference_net, self.autoencoder):
            network.eval()
        return self


def hallo_networks(folder: Path) -> Networks:
    settings = config(folder)
    files = {name: folder / path for name, path in settings["weights_from"].items() if name != "vae"}
    folders = {name: path.parent for name, path in files.items()}
    denoising = config(folders["denoising_unet"])["constructor"]
    with torch.device("meta"):
        unet = EmoUNet(**hallo_unet_config(denoising, config(folders["face_locator_imageproj_audioproj"])))
        reference_net = ReferenceNet(
            **hallo_reference_config(
                config(folders["reference_unet"])["constructor"],
                temporal_mid=denoising["motion_module_mid_block"],
            )
        )
    networks = Networks(unet, reference_net, ImageAutoencoder(**settings["vae"]["constructor"]))
    weights = {key: tensor for path in files.values() for key, tensor in load(path).items()}
    own, _ = hallo.key_map(unet, reference_net).to_own(weights)
    return networks.take(own, folder / "weights.safetensors")


def echomimic_networks(folder: Path) -> Networks:
    settings = config(folder)
    sources = settings["weights_from"]
    denoising, motion = (folder / path for path in sources["denoising_unet"])
    reference, locator = (folder / sources[name] for name in ("reference_unet", "face_locator"))
    tokens = load(folder / "inputs.safetensors")["audio_chunks"].shape[1]
    with torch.device("meta"):
        unet = EmoUNet(
            **echomimic_unet_config(config(denoising.parent)["constructor"], tokens, settings["face_locator"])
        )
        reference_net = ReferenceNet(**echomimic_reference_config(config(reference.parent)["constructor"]))
    networks = Networks(unet, reference_net, ImageAutoencoder(**settings["vae"]["constructor"]))
    own, _ = echomimic.key_map(unet, reference_net).to_own(
        echomimic.join(
            {
                "denoising_unet": load(denoising),
                "motion_module": load(motion),
                "reference_unet": load(reference),
                "face_locator": load(locator),
            }
        )
    )
    return networks.take(own, folder / "weights.safetensors")


def run(
    networks: Networks,
    folder: Path,
    like: EmoPipeline,
    reference: ReferenceConditions,
    speech: SpeechFeatures,
    settings: PipelineConfig,
    num_frames: int,
    noises: list[Tensor],
) -> Iterator[Tensor]:
    """The clips' latents, from the recorded noise instead of a seed's, which not every case names.

    Args:
        like: a pipeline with the parts that denoising does not need.
    """
    pipeline = EmoPipeline(
        networks.unet,
        networks.reference_net,
        networks.autoencoder,
        DDIMScheduler(**config(folder)["scheduler"]["constructor"]),
        like.speech_encoder,
        like.face_analyzer,
        settings,
    )
    plan, fps = ClipPlan.of(num_frames, settings), Fraction(25)
    behaviour = Behaviour.neutral(plan.num_frames)
    recorded, latents = iter(noises), None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn", lambda shape, **_: next(recorded).reshape(shape))
        for clip in plan.clips:
            motion_frames_BCNHW = pipeline.prepare_motion_frames(reference, latents)
            conditions = pipeline.prepare_conditions(
                reference,
                speech,
                range(clip.start, clip.start + plan.clip_frames),
                motion_frames_BCNHW=motion_frames_BCNHW,
                behaviour=behaviour,
                fps=fps,
            )
            latents = pipeline.denoise_clip(
                conditions, motion_frames_BCNHW, generator=torch.Generator(), plan=plan
            )
            yield latents


def rectangle(settings: dict[str, Any], size: tuple[int, ...], channels: int) -> Tensor:
    region = torch.zeros(1, channels, *size)
    rows, columns = (slice(*settings[name]) for name in ("rows", "cols"))
    region[..., rows, columns] = settings["value_inside"]
    return region


@pytest.mark.slow
@pytest.mark.parametrize("case", cases("hallo_pipeline"))
def test_hallos_clips(case: str, tiny_pipeline: EmoPipeline) -> None:
    folder = folder_of(case)
    settings, networks = config(folder), hallo_networks(folder)
    inputs, outputs = (load(folder / f"{part}.safetensors") for part in ("inputs", "outputs"))
    unet, autoencoder = networks.unet, networks.autoencoder
    image = inputs["source_image"][None]
    with torch.no_grad():
        reference = autoencoder.encode_reference(image)
        features = reference.features_BCHW
        faces = torch.cat([torch.zeros_like(inputs["face_emb"]), inputs["face_emb"]])
        conditions = ReferenceConditions(
            reference,
            locator_features_BCHW=unet.encode_locator(
                rectangle(settings["face_region"], image.shape[-2:], unet.config.locator_in_channels)
            ),
            region_masks=tuple(
                torch.stack(
                    [
                        inputs[f"{region}_mask.{level}"].reshape(
                            1, features.shape[-2] >> level, features.shape[-1] >> level
                        )
                        for region in ("full", "face", "lip")
                    ],
                    1,
                )
                for level in range(len(unet.config.block_out_channels))
            ),
            identity_2LD=unet.encode_identity(faces),
        )
    pictures = outputs["clip0.ref_image_latents.bank_fp32"]
    assert_close(features, pictures[:1], TOLERANCE)
    speech = SpeechFeatures(inputs["audio_emb"].flatten(1), Fraction(25))
    clip_frames = settings["frames_per_clip"]
    assert_close(
        speech.windows(range(clip_frames), Fraction(25), 5),
        outputs["audio_windowed_clip0"].flatten(2),
        TOLERANCE,
    )
    pipeline = pipeline_config("hallo").override(
        clip_frames=clip_frames,
        motion_frames=settings["n_motion_frames"],
        num_inference_steps=settings["num_inference_steps"],
        guidance_scale=settings["guidance_scale"],
        region_weights=settings["motion_scale"],
    )
    noises = [inputs[f"clip{clip}.init_latents"] for clip in range(settings["clips"])]
    latents = run(
        networks, folder, tiny_pipeline, conditions, speech, pipeline, settings["clips"] * clip_frames, noises
    )
    for clip, got in enumerate(latents):
        expected = outputs[f"clip{clip}.final_latents.bank_fp32"]
        assert_close(got, expected, TOLERANCE if clip == 0 else SECOND_CLIP_TOLERANCE)
        frames = torch.cat([autoencoder.decode(part) for part in torch.split(got, 2, 2)], 2).detach()
        debug = outputs[f"debug.clip{clip}.video.bank_fp32"]
        assert_close((frames + 1) / 2, debug, 1e-2)  # stored as float16


@pytest.mark.slow
@pytest.mark.parametrize("case", cases("echomimic_pipeline"))
@pytest.mark.parametrize("family", ["echomimic", "echomimic_acc"])
def test_echomimics_windows(case: str, family: Family, tiny_pipeline: EmoPipeline) -> None:
    folder = folder_of(case)
    settings, networks = config(folder), echomimic_networks(folder)
    inputs, outputs = (load(folder / f"{part}.safetensors") for part in ("inputs", "outputs"))
    unet, autoencoder = networks.unet, networks.autoencoder
    image = inputs["source_image_uint8_hwc"].permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        conditions = ReferenceConditions(
            autoencoder.encode_reference(image),
            locator_features_BCHW=unet.encode_locator(rectangle(settings["face_mask"], image.shape[-2:], 1)),
            region_masks=(),
            identity_2LD=None,
        )
    assert_close(conditions.features_BCHW, outputs["ref_image_latents"], TOLERANCE)
    chunks = inputs["audio_chunks"]
    speech = SpeechFeatures(chunks.flatten(1), Fraction(25), tokens_per_row=chunks.shape[1])
    accelerated = family == "echomimic_acc"
    pipeline = pipeline_config(family).override(
        clip_frames=settings["context_frames"],
        window_overlap=settings["context_overlap"],
        speech_window_tokens=1,  # a row here is all that a frame hears
        num_inference_steps=settings["num_inference_steps"],
        guidance_scale=settings["acc_guidance_scale" if accelerated else "guidance_scale"],
        noise_limit=settings["latents_clamped_to"],
    )
    num_frames = settings["video_length"]
    windows = ClipPlan.of(num_frames, pipeline).windows
    assert windows is not None
    recorded = settings["windows_per_step"]
    assert [windows.at(step, num_frames) for step in range(len(recorded))] == recorded
    (got,) = run(
        networks, folder, tiny_pipeline, conditions, speech, pipeline, num_frames, [inputs["init_latents"]]
    )
    name = "acc" if accelerated else "pipeline"
    assert_close(got, outputs[f"{name}.final_latents.bank_fp32"], TOLERANCE)
    if not accelerated:
        frames = torch.cat([autoencoder.decode(part) for part in torch.split(got, 3, 2)], 2).detach()
        assert_close((frames + 1) / 2, outputs["debug.video.bank_fp32"], 1e-2)  # stored as float16
