"""EMO's three stages on coded sequences: image, video, speed (EMO 3.3)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from openemo.audio.features import SpeechFeatures
from openemo.checkpoints.components import load_scheduler, move
from openemo.errors import ConfigError, TrainingError
from openemo.face.geometry import LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from openemo.face.masks import part_masks
from openemo.models import EmoUNet, ReferenceNet, reference_config, unet_config
from openemo.models.autoencoder import MotionAutoencoder
from openemo.models.motion_decoder import ReferencePyramid
from openemo.models.places import region_weight
from openemo.models.vae import ImageAutoencoder
from openemo.timing import parse_fps
from openemo.training.audio import is_audio_layer, load_audio_layers
from openemo.training.exports import load_export
from openemo.training.heads import add_head_motion, draw_head_motion
from openemo.training.latents import CodedSequence, encode_sequences
from openemo.training.objective import add_noise, arithmetic, draw_timesteps, make_scheduler, weighted_mse
from openemo.training.recipe import DenoiserRecipe
from openemo.training.voices import load_voices, pick_voice

__all__ = ["Batch", "DenoiserStage", "StageName", "predict", "trained_in"]

log = logging.getLogger(__name__)
StageName = Literal["image", "video", "speed"]
Autoencoder = MotionAutoencoder | ImageAutoencoder
_FPS = parse_fps(25)
_HUSH = 0.6  # of what is left of a movement, one frame after the next: two frames' time constant


def trained_in(stage: StageName, recipe: DenoiserRecipe) -> Callable[[str], bool]:
    """Which parameters a stage trains, by name (EMO 3.3).

    EMO's video stage trains temporal and audio layers on SD-1.5's ready backbone. A backbone that starts from
    nothing has no such ground to stand on: `recipe.whole_network` lets the video stage train all but speed.
    Layers that the audio stage has taught to hear (`recipe.audio`) stay as they are; with them, the image
    stage hears, too.
    """

    def is_speed(name: str) -> bool:
        return "speed" in name

    def is_temporal(name: str) -> bool:
        return "motion_modules" in name and not is_speed(name)

    def is_audio(name: str) -> bool:
        return "audio" in name

    def is_taught(name: str) -> bool:
        return recipe.audio is not None and is_audio_layer(name)

    rules: dict[StageName, Callable[[str], bool]] = {
        "image": lambda name: (
            not (is_temporal(name) or is_speed(name) or is_taught(name))
            and (recipe.audio is not None or not is_audio(name))
        ),
        "video": lambda name: (
            (recipe.whole_network or is_temporal(name) or is_audio(name))
            and not is_speed(name)
            and not is_taught(name)
        ),
        "speed": lambda name: is_temporal(name) or is_speed(name),
    }
    return rules[stage]


@dataclass(frozen=True)
class Batch:
    """B clips of n + f frames. Shapes as the networks take them."""

    latents_BCFHW: Tensor
    motion_BCNHW: Tensor
    features_BCHW: Tensor
    audio_BFTD: Tensor
    locator_BMHW: Tensor
    speed_BF: Tensor
    gestures_BFG: Tensor
    weight_BC1HW: Tensor

    def to(self, device: torch.device | str) -> Batch:
        return Batch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def predict(
    unet: EmoUNet,
    reference_net: ReferenceNet,
    autoencoder: Autoencoder,
    batch: Batch,
    noisy_BCFHW: Tensor,
    timesteps_B: Tensor,
    *,
    is_clip: bool,
    has_sound: bool,
    has_speed: bool,
    has_gestures: bool = False,
) -> Tensor:
    """What the backbone predicts in a training step (EMO 3.3).

    Args:
        is_clip: the frames follow each other, and motion frames go before; not so in the image stage.
        has_sound: also the voice.
        has_speed: also the speed.
        has_gestures: also blinks and head.
    """
    features = _reference(autoencoder, batch.features_BCHW)
    pictures = autoencoder.reference_input(features, batch.motion_BCNHW if is_clip else None)
    prediction: Tensor = unet(
        noisy_BCFHW,
        timesteps_B,
        reference=reference_net(pictures),
        audio_BFTD=batch.audio_BFTD if has_sound else None,
        locator_BMHW=batch.locator_BMHW,
        speed_BF=batch.speed_BF if has_speed else None,
        gestures_BFG=batch.gestures_BFG if has_gestures else None,
        is_clip=is_clip,
    )
    return prediction


class DenoiserStage:
    """One of EMO's stages. The networks start from `recipe.start`, or from nothing in the image stage."""

    def __init__(self, name: StageName, recipe: DenoiserRecipe) -> None:
        if name not in get_args(StageName):
            raise ConfigError("there is no such stage", got=name, expected=" or ".join(get_args(StageName)))
        self.name, self.recipe = name, recipe
        self.is_clip = name != "image"
        kind = ImageAutoencoder if recipe.latents == "image" else MotionAutoencoder
        self.autoencoder: Autoencoder = load_export(kind, recipe.autoencoder).requires_grad_(False)
        self.unet, self.reference_net = _networks(recipe)
        self.modules: Mapping[str, nn.Module] = {"unet": self.unet, "reference_net": self.reference_net}
        wanted = trained_in(name, recipe)
        for module in self.modules.values():
            for key, parameter in module.named_parameters():
                parameter.requires_grad_(wanted(key))
        self.scheduler = _schedule(recipe)
        self.groups = _load_sequences(recipe, self.autoencoder)
        self.voices = load_voices(recipe.data / "voices")

    def loss(self, generator: torch.Generator) -> dict[str, Tensor]:
        """The diffusion loss (EMO Eq. 1 in the scheduler's parametrisation), weighted towards the mouth."""
        recipe, batch = self.recipe, self._batch(generator)
        clean = batch.latents_BCFHW
        noise = torch.randn(clean.shape, generator=generator)
        timesteps = draw_timesteps(
            self.scheduler, len(clean), generator, noisiest_share=recipe.noisiest_share
        )
        noisy, target = add_noise(self.scheduler, clean, noise, timesteps)
        has_speed = self.name == "speed" and (
            float(torch.rand((), generator=generator)) >= recipe.speed_dropout
        )
        has_gestures = self.unet.config.num_gestures is not None and (
            float(torch.rand((), generator=generator)) >= recipe.gesture_dropout
        )
        device = torch.device(recipe.device)
        batch = batch.to(device)
        with arithmetic(recipe.compute, device):
            prediction = predict(
                self.unet,
                self.reference_net,
                self.autoencoder,
                batch,
                noisy.to(device),
                timesteps.to(device),
                is_clip=self.is_clip,
                has_sound=self.is_clip or recipe.audio is not None,
                has_speed=has_speed,
                has_gestures=has_gestures,
            )
        loss = weighted_mse(
            prediction, target.to(device), batch.weight_BC1HW, change_weight=recipe.change_weight
        )
        return {"loss": loss}

    def export(self, modules: Mapping[str, nn.Module], folder: Path) -> None:
        """Writes unet, reference_net and scheduler as a pipeline loads them."""
        for name, module in modules.items():
            module.save_pretrained(folder / name)  # type: ignore[operator]
        self.scheduler.save_pretrained(folder / "scheduler")

    def _batch(self, generator: torch.Generator) -> Batch:
        recipe = self.recipe
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        clips = [self._clip(rng) for _ in range(recipe.clips)]
        stacked = [torch.stack(parts) for parts in zip(*clips, strict=True)]
        return Batch(*stacked)

    def _clip(self, rng: np.random.Generator) -> tuple[Tensor, ...]:
        """One clip's tensors, in the order of `Batch`."""
        recipe = self.recipe
        # In this order, so that a share of zero changes no other draw.
        shares = {"quiet": recipe.quiet_share, "real": recipe.real_share, "hushed": recipe.hushed_share}
        ends = np.cumsum(list(shares.values()))
        group = [*shares, "driven"][int(np.searchsorted(ends, rng.random(), side="right"))]
        sequences = self.groups.get(group) or self.groups["driven"]
        sequence = sequences[int(rng.integers(len(sequences)))]
        n, f = recipe.motion_frames, recipe.clip_frames
        if self.is_clip:
            indices = int(rng.integers(len(sequence.latents) - n - f + 1)) + np.arange(n + f)
        else:  # as many sounds as there are frames
            indices = rng.choice(len(sequence.latents), n + f, replace=False)
        latents = torch.from_numpy(sequence.latents[indices]).float().transpose(0, 1)
        gestures = sequence.gestures[indices]
        first = not self.is_clip or rng.random() < recipe.first_clip
        if group == "hushed":
            latents, gestures = self._hush(latents, gestures, sequence, first, rng)
        if recipe.head_spread and isinstance(self.autoencoder, MotionAutoencoder):
            added = draw_head_motion(n + f, recipe.head_spread * rng.random(), rng)
            flow = add_head_motion(self.autoencoder.unpack(latents.transpose(0, 1)), sequence.face, added)
            latents, gestures = self.autoencoder.pack(flow).transpose(0, 1), gestures + added
        motion, clean = latents[:, :n].clone(), latents[:, n:]
        if first:
            motion.zero_()
        else:
            noise = rng.standard_normal(motion.shape) * recipe.motion_noise * rng.random()
            motion += torch.from_numpy(noise).float()
        frames = indices[n:]
        return (
            clean,
            motion,
            torch.from_numpy(sequence.features).float(),
            self._audio("" if group == "hushed" else sequence.clip, sequence.first_frame, frames, rng),
            self._locator(sequence, frames, clean.shape[-1] * self.autoencoder.stride, rng),
            torch.from_numpy(sequence.speed_rad_s[frames]),
            torch.from_numpy(gestures[n:]),
            _loss_weight(sequence.face, clean.shape[-1], recipe.mouth_weight, recipe.eye_weight),
        )

    def _hush(
        self,
        latents_CFHW: Tensor,
        gestures_FG: NDArray[np.float32],
        sequence: CodedSequence,
        first: bool,
        rng: np.random.Generator,
    ) -> tuple[Tensor, NDArray[np.float32]]:
        """The portrait as it is when the voice has ended: it was at rest already, or goes back to it.

        Quiet clips of a corpus are few, and of its few faces; every portrait can be at rest. The `first` clip
        of a video begins with it: to go back from what no motion frame shows would teach a jump in each clip.
        """
        n, f = self.recipe.motion_frames, self.recipe.clip_frames
        was = 0.0 if first else float(rng.integers(2))
        gain_F = torch.tensor([was] * n + [was * _HUSH**time for time in range(1, f + 1)])
        features = _reference(self.autoencoder, torch.from_numpy(sequence.features).float()[None])
        rest = self.autoencoder.still(features, 1)[0]
        last_F = torch.arange(n + f).clamp(max=max(n - 1, 0))
        gestures = gestures_FG[last_F.numpy()] * gain_F[:, None].numpy()
        return torch.lerp(rest, latents_CFHW[:, last_F], gain_F[:, None, None]), gestures

    def _locator(
        self, sequence: CodedSequence, frames: NDArray[np.int64], size_px: int, rng: np.random.Generator
    ) -> Tensor:
        """(M, S, S) masks of the face region, and of the portrait's parts where the network reads them."""
        region = _face_region(sequence.boxes[frames], size_px, self.recipe.open_locator, rng)
        if self.unet.config.locator_in_channels == 1:
            return region
        return torch.cat([region, torch.from_numpy(part_masks(sequence.face, size_px))])

    def _audio(
        self, clip: str, first_frame: int, frames: NDArray[np.int64], rng: np.random.Generator
    ) -> Tensor:
        """(F, T, D) windows of one of the clip's voices; zeros where guidance learns to do without."""
        values = pick_voice(self.voices, clip, rng)
        first = first_frame if clip else int(rng.integers(50))
        heard = (first + frames).tolist()
        config = self.unet.config
        speech = SpeechFeatures(values) if self.recipe.speech == "whisper" else SpeechFeatures(values, _FPS)
        windows = speech.windows(heard, _FPS, int(config.audio_window or config.audio_tokens))
        return windows * float(rng.random() >= self.recipe.audio_dropout)


def _reference(autoencoder: Autoencoder, features_BCHW: Tensor) -> Any:
    """Coded features of the reference as `encode_reference` returns them; only the coarse ones are read."""
    if isinstance(autoencoder, MotionAutoencoder):
        return ReferencePyramid(features_BCHW, features_BCHW, features_BCHW)
    return features_BCHW


def _networks(recipe: DenoiserRecipe) -> tuple[EmoUNet, ReferenceNet]:
    if recipe.start is None:
        torch.manual_seed(recipe.seed)
        unet = EmoUNet(**unet_config(recipe.preset))
        reference_net = ReferenceNet(**reference_config(recipe.preset))
    else:
        unet = load_export(EmoUNet, recipe.start / "unet")
        reference_net = load_export(ReferenceNet, recipe.start / "reference_net")
    if recipe.audio is not None:
        load_audio_layers(unet, recipe.audio)
    for network in (unet, reference_net):
        move(network, recipe.device, None).to(memory_format=torch.channels_last).train()
        if recipe.checkpointing:
            network.enable_gradient_checkpointing()
    return unet, reference_net


def _schedule(recipe: DenoiserRecipe) -> Any:
    if recipe.target != "start":
        return make_scheduler(recipe.target, recipe.schedule_shift)
    if recipe.start is None:
        raise ConfigError("there is no start whose schedule could be taken", fix="Set `start`, or `target`")
    return load_scheduler(recipe.start / "scheduler")


def _load_sequences(recipe: DenoiserRecipe, autoencoder: Autoencoder) -> dict[str, list[CodedSequence]]:
    """Coded sequences by kind: driven, real, quiet. Codes what is not coded yet."""
    groups: dict[str, list[CodedSequence]] = {}
    shortest = recipe.motion_frames + recipe.clip_frames
    coded = recipe.output.parent / ("latents" if recipe.latents == "motion" else "latents-image")
    for path in encode_sequences(recipe.data / "sequences", autoencoder, coded):
        sequence = CodedSequence.load(path)
        if len(sequence.latents) >= shortest:
            groups.setdefault(path.name.split("-")[0], []).append(sequence)
    if "driven" not in groups:
        raise TrainingError(
            f"no driven portraits in {recipe.data}",
            fix="Run `openemo data prepare` first, with the same folder",
        )
    log.info("sequences: %s", {kind: len(group) for kind, group in groups.items()})
    return groups


def _face_region(
    boxes: NDArray[np.float32], size: int, open_share: float, rng: np.random.Generator
) -> Tensor:
    """(1, S, S) mask: the clip's face boxes together, enlarged; or all white."""
    if rng.random() < open_share:
        return torch.ones(1, size, size)
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    grow = (high - low) * rng.uniform(0.15, 0.35)
    x0, y0, x1, y1 = (np.concatenate([low - grow, high + grow]) * size).round().clip(0, size).astype(int)
    mask = torch.zeros(1, size, size)
    mask[:, y0:y1, x0:x1] = 1
    return mask


def _loss_weight(face: NDArray[np.float32], size: int, mouth_weight: float, eye_weight: float) -> Tensor:
    """(1, 1, size, size), for all channels and frames: 1, and more at the reference's mouth and eyes."""
    weight, points = torch.ones(1, 1, size, size), torch.from_numpy(face)[None]
    for part, strength in ((OUTER_LIPS, mouth_weight), (RIGHT_EYE, eye_weight), (LEFT_EYE, eye_weight)):
        weight += strength * region_weight(points, size, part, reach=0.45, least=0.05)
    return weight
