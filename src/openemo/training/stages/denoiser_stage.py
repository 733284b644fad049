"""EMO's three stages on coded sequences: image, video, speed (EMO 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor, nn

from openemo.checkpoints.components import load_scheduler, move
from openemo.errors import ConfigError
from openemo.models import EmoUNet, ReferenceNet, reference_config, unet_config
from openemo.models.autoencoder import Autoencoder
from openemo.models.motion_autoencoder import MotionAutoencoder
from openemo.training.audio_exports import is_audio_layer, load_audio_layers, swap_audio_layers
from openemo.training.datasets.denoiser_dataset import ClipBatch, DenoiserDataset
from openemo.training.datasets.latent_coders import load_coder
from openemo.training.exports import load_export, load_widened
from openemo.training.mouth_shape_loss import mouth_shape_error
from openemo.training.objective import add_noise, autocast, make_scheduler, sample_timesteps, weighted_mse
from openemo.training.recipes import DenoiserRecipe

__all__ = ["DenoiserStage", "StageName", "is_trained_in", "predict"]

StageName = Literal["image", "video", "speed"]
_MOTION_CONDITION_DROPOUT: Final = 0.1  # part of the steps without them, so that they stay optional


def is_trained_in(stage: StageName, recipe: DenoiserRecipe) -> Callable[[str], bool]:
    """Which parameters a stage trains, by name (EMO 3.3).

    EMO's video stage trains temporal and audio layers on SD-1.5's trained backbone. For a backbone without
    initial weights, `recipe.train_backbone` lets the video stage train all but the speed layers. Layers that
    the audio stage trained (`recipe.audio`) stay as they are; with them the image stage has audio
    conditioning too.
    """

    def is_speed(name: str) -> bool:
        return "speed" in name

    def is_temporal(name: str) -> bool:
        return "motion_modules" in name and not is_speed(name)

    def is_audio(name: str) -> bool:
        return "audio" in name

    def is_frozen(name: str) -> bool:
        return recipe.audio is not None and is_audio_layer(name)

    rules: dict[StageName, Callable[[str], bool]] = {
        "image": lambda name: (
            not (is_temporal(name) or is_speed(name) or is_frozen(name))
            and (recipe.audio is not None or not is_audio(name))
        ),
        "video": lambda name: (
            (recipe.train_backbone or is_temporal(name) or is_audio(name))
            and not is_speed(name)
            and not is_frozen(name)
        ),
        "speed": lambda name: is_temporal(name) or is_speed(name),
    }
    return rules[stage]


def predict(
    unet: EmoUNet,
    reference_net: ReferenceNet,
    autoencoder: Autoencoder[Any],
    batch: ClipBatch,
    noisy_BCFHW: Tensor,
    timesteps_B: Tensor,
    *,
    is_clip: bool,
    has_audio: bool,
    has_speed: bool,
    has_motion_conditions: bool = False,
    has_guide: bool = False,
) -> Tensor:
    """What the backbone predicts in a training step (EMO 3.3).

    Args:
        is_clip: the frames are consecutive and motion frames precede them; False in the image stage.
        has_audio, has_speed, has_motion_conditions, has_guide: what of the batch the network reads.
    """
    pictures = autoencoder.reference_input(batch.features_BCHW, batch.motion_BCNHW if is_clip else None)
    prediction: Tensor = unet(
        noisy_BCFHW,
        timesteps_B,
        reference=reference_net(pictures),
        audio_BFTD=batch.audio_BFTD if has_audio else None,
        locator_BMHW=batch.locator_BMHW,
        speed_BF=batch.speed_BF if has_speed else None,
        motion_conditions_BFK=batch.motion_conditions_BFK if has_motion_conditions else None,
        expression_guide_BFGHW=batch.expression_guide_BFGHW if has_guide else None,
        is_clip=is_clip,
    )
    return prediction


class DenoiserStage:
    """One of EMO's stages. The networks start from `recipe.initial_weights`, or from random weights."""

    def __init__(self, name: StageName, recipe: DenoiserRecipe) -> None:
        if name not in get_args(StageName):
            raise ConfigError("there is no such stage", got=name, expected=" or ".join(get_args(StageName)))
        self.name, self.recipe = name, recipe
        self.is_clip = name != "image"
        coder = load_coder(recipe.latents, recipe.autoencoder)
        self.autoencoder = coder.autoencoder
        self.unet, self.reference_net = _networks(recipe)
        self.modules: Mapping[str, nn.Module] = {"unet": self.unet, "reference_net": self.reference_net}
        is_trained = is_trained_in(name, recipe)
        for module in self.modules.values():
            for key, parameter in module.named_parameters():
                parameter.requires_grad_(is_trained(key))
        self.scheduler = _scheduler(recipe)
        channels, wanted = self.autoencoder.latent_channels, int(self.unet.config.in_channels)
        if channels != wanted:
            raise ConfigError(
                "the autoencoder's latents do not fit the networks",
                got=f"{channels} channels",
                expected=f"{wanted} channels",
                fix="Give the autoencoder of these networks; that of `embedded` has a `head_flow_scale`",
            )
        self.shape_autoencoder = _shape_autoencoder(recipe, self.autoencoder, self.scheduler)
        self.dataset = DenoiserDataset(
            recipe, coder, network=self.unet.config, frames_are_consecutive=self.is_clip
        )

    def loss(self, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """The diffusion loss (EMO Eq. 1 in the scheduler's parametrisation), weighted towards the mouth."""
        recipe, clean = self.recipe, batch.latents_BCFHW
        noise = torch.randn(clean.shape, generator=generator)
        timesteps = sample_timesteps(
            self.scheduler, len(clean), generator, terminal_share=recipe.terminal_timestep_share
        )
        noisy, target = add_noise(self.scheduler, clean, noise, timesteps)
        has_speed = self.name == "speed" and _is_kept(recipe.speed_dropout, generator)
        is_told = _is_kept(_MOTION_CONDITION_DROPOUT, generator)
        network = self.unet.config
        device = torch.device(recipe.device)
        batch = batch.to(device)
        with autocast(recipe.mixed_precision, device):
            prediction = predict(
                self.unet,
                self.reference_net,
                self.autoencoder,
                batch,
                noisy.to(device),
                timesteps.to(device),
                is_clip=self.is_clip,
                has_audio=self.is_clip or recipe.audio is not None,
                has_speed=has_speed,
                has_motion_conditions=is_told and network.num_motion_conditions is not None,
                has_guide=is_told and network.expression_guide_channels is not None,
            )
        loss = weighted_mse(
            prediction,
            target.to(device),
            batch.weight_BC1HW,
            temporal_change_weight=recipe.temporal_change_weight,
        )
        if self.shape_autoencoder is None:
            return {"loss": loss}
        shape_error = mouth_shape_error(
            self.shape_autoencoder,
            prediction,
            batch.latents_BCFHW,
            batch.face_BK2,
            temporal_change_weight=recipe.temporal_change_weight,
        )
        return {"loss": loss + recipe.mouth_shape_weight * shape_error, "mouth_shape": shape_error}

    def export(self, modules: Mapping[str, nn.Module], folder: Path) -> None:
        """Writes unet, reference_net and scheduler as a pipeline loads them."""
        for name, module in modules.items():
            module.save_pretrained(folder / name)  # type: ignore[operator]
        self.scheduler.save_pretrained(folder / "scheduler")


def _is_kept(dropout: float, generator: torch.Generator) -> bool:
    return float(torch.rand((), generator=generator)) >= dropout


def _networks(recipe: DenoiserRecipe) -> tuple[EmoUNet, ReferenceNet]:
    if recipe.initial_weights is None or recipe.widen:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(recipe.seed)
            unet = EmoUNet(**unet_config(recipe.preset))
            reference_net = ReferenceNet(**reference_config(recipe.preset))
        if recipe.initial_weights is not None:
            load_widened(unet, recipe.initial_weights / "unet")
            load_widened(reference_net, recipe.initial_weights / "reference_net")
    else:
        unet = load_export(EmoUNet, recipe.initial_weights / "unet")
        reference_net = load_export(ReferenceNet, recipe.initial_weights / "reference_net")
    if recipe.audio is not None:
        (swap_audio_layers if recipe.keep_audio_readers else load_audio_layers)(unet, recipe.audio)
    for network in (unet, reference_net):
        move(network, recipe.device, None).to(memory_format=torch.channels_last).train()
        if recipe.gradient_checkpointing:
            network.enable_gradient_checkpointing()
    return unet, reference_net


def _shape_autoencoder(
    recipe: DenoiserRecipe, autoencoder: Autoencoder[Any], scheduler: Any
) -> MotionAutoencoder | None:
    """What reads the mouth's shape in predicted latents; None where it is not in the loss."""
    if not recipe.mouth_shape_weight:
        return None
    if not isinstance(autoencoder, MotionAutoencoder):
        raise ConfigError(
            "`mouth_shape_weight` needs latents that are motion",
            got=f"`latents: {recipe.latents}`",
            fix="Set `mouth_shape_weight: 0`",
        )
    if scheduler.config.get("prediction_type") != "sample":
        raise ConfigError(
            "`mouth_shape_weight` needs a network that predicts latents",
            got=f"the prediction type {scheduler.config.get('prediction_type', 'flow_prediction')}",
            fix="Set `prediction_type: sample`, or `mouth_shape_weight: 0`",
        )
    return autoencoder


def _scheduler(recipe: DenoiserRecipe) -> Any:
    if recipe.prediction_type is not None:
        return make_scheduler(recipe.prediction_type)
    if recipe.initial_weights is None:
        raise ConfigError(
            "without `initial_weights` there is no scheduler to take",
            fix="Set `initial_weights` or `prediction_type`",
        )
    return load_scheduler(recipe.initial_weights / "scheduler")
