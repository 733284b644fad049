"""Portrait + voice -> frames: the whole story on one page.

Shape letters: B batch (1 here), F frames of a clip, C latent channels, H W latent grid, N motion frames,
T speech tokens that a frame hears, D their width, S side of the crop that networks see, P of the crop shown,
Q twice that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from openemo import checkpoints
from openemo.animation import Animation, Frame, Progress
from openemo.audio import Audio, SpeechEncoder, SpeechFeatures, Wav2VecEncoder, read_audio
from openemo.checkpoints.components import Components, load_components, move, save_components
from openemo.clips import ClipMaker, Division
from openemo.conditions import MovedPicture, Sight
from openemo.config import PipelineConfig
from openemo.errors import AudioError, ConfigError
from openemo.face import FaceAnalyzer
from openemo.face.geometry import OUTER_LIPS
from openemo.face.identity import FaceEmbedder
from openemo.inside import look_inside
from openemo.lids import EyeLids
from openemo.liveliness import draw_blinks, draw_gestures
from openemo.models import EmoUNet, ReferenceNet
from openemo.models.attention import slice_attention
from openemo.models.autoencoder import MotionAutoencoder
from openemo.models.lips import LipMotion
from openemo.models.places import region_weight
from openemo.models.vae import ImageAutoencoder
from openemo.offload import Offload, OffloadKind
from openemo.scene import Framing, Scene, stage
from openemo.timing import num_frames, parse_fps
from openemo.video.images import read_image

__all__ = ["EmoPipeline"]

_LIP_REACH = 0.7  # over the mouth's width: cheeks and chin go with the lips


class EmoPipeline:
    """EMO at inference (EMO 3.3): clip after clip, each denoised with the last frames of the one before.

    A call changes no component and keeps nothing, so one pipeline can serve several animations at a time
    (unless its networks are offloaded, which are moved by each call).

    Args:
        scheduler: any scheduler of diffusers; each clip gets a copy.
        config: what a call gets that does not say otherwise.
        face_embedder: for networks with identity layers; without it they see nobody in particular. No
            checkpoint has one: the user brings it.
        decode_frames: decoded together: enough to keep the cores busy, few enough to bound the memory.
    """

    def __init__(
        self,
        unet: EmoUNet,
        reference_net: ReferenceNet,
        autoencoder: MotionAutoencoder | ImageAutoencoder,
        scheduler: Any,
        speech_encoder: SpeechEncoder | Wav2VecEncoder,
        face_analyzer: FaceAnalyzer,
        config: PipelineConfig,
        face_embedder: FaceEmbedder | None = None,
        *,
        decode_frames: int = 4,
    ) -> None:
        if decode_frames < 1:
            raise ConfigError("too few frames are decoded together", got=decode_frames, expected="1 or more")
        # Convolutions are up to a fifth faster on a CPU in this layout.
        layout = torch.channels_last
        self.unet = unet.eval().to(memory_format=layout)
        self.reference_net = reference_net.eval().to(memory_format=layout)
        self.autoencoder = autoencoder.eval().to(memory_format=layout)
        self.scheduler = scheduler
        self.speech_encoder = speech_encoder
        self.face_analyzer = face_analyzer
        self.config = config
        self.face_embedder = face_embedder
        self.decode_frames = decode_frames
        self._offload: Offload | None = None

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path = checkpoints.EMBEDDED,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        verify: bool = True,
        offload: OffloadKind = "none",
        decode_frames: int = 4,
    ) -> Self:
        """Load "embedded", a name, a folder, or "hub:owner/name[@revision]".

        Args:
            verify: check the files' hashes.
            offload: see `offload`; unless it is "none", networks go to `device` only when they are called.

        Raises:
            CheckpointError: no such model, or a part of it is missing, damaged or does not fit.
            ConfigError: accelerate is not installed, which sequential offload needs.
        """
        folder = checkpoints.resolve(name_or_folder)
        index = checkpoints.read_index(folder)
        if verify:
            checkpoints.verify_hashes(folder)
        first = device if offload == "none" else "cpu"
        parts = load_components(folder, index, device=first, dtype=dtype)
        pipeline = cls(*parts, index.config(), decode_frames=decode_frames)
        if offload != "none":
            pipeline.offload(offload, device)
        return pipeline

    def save_pretrained(
        self, folder: str | Path, *, dtype: torch.dtype = torch.float16, licence: str = "Apache-2.0"
    ) -> None:
        """Write a folder that `from_pretrained` reads, with hashes; the weights as `dtype`."""
        self._check_not_offloaded("saved")
        parts = Components(
            self.unet,
            self.reference_net,
            self.autoencoder,
            self.scheduler,
            self.speech_encoder,
            self.face_analyzer,
        )
        save_components(Path(folder), parts, self.config, dtype=dtype, licence=licence)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move all networks in place and return the pipeline; the face networks stay on the CPU.

        Raises:
            ConfigError: they are offloaded, and move by themselves.
        """
        self._check_not_offloaded("moved")
        for part in (self.unet, self.reference_net, self.autoencoder, self.speech_encoder):
            move(part, device, dtype)
        return self

    def offload(self, kind: OffloadKind, device: torch.device | str) -> None:
        """From now on networks come to `device` only to compute; there is no way back.

        Args:
            kind: "model", one network at a time; "sequential", of the two large ones one layer at a time;
                "none" does nothing.

        Raises:
            ConfigError: they are offloaded already, or accelerate is not installed.
        """
        if kind == "none":
            return
        self._check_not_offloaded("offloaded again")
        self._offload = Offload(
            kind,
            device,
            large=(self.unet, self.reference_net),
            small=(self.autoencoder, self.speech_encoder.encoder),
        )

    def slice_attention(self, rows: int | None) -> None:
        """Compute attention for at most so many frames at once: less memory, more time; None for all."""
        for network in (self.unet, self.reference_net):
            slice_attention(network, rows)

    def _check_not_offloaded(self, what: str) -> None:
        if self._offload is not None:
            raise ConfigError(
                f"an offloaded pipeline cannot be {what}",
                got=f"offload {self._offload.kind}",
                fix="Load it again without offload",
            )

    @property
    def device(self) -> torch.device:
        """Where the networks compute."""
        device: torch.device = self.unet.device if self._offload is None else self._offload.device
        return device

    def __call__(
        self,
        portrait: str | Path | Frame,
        audio: str | Path | Audio,
        *,
        seed: int = 0,
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        speed: float | None = None,
        blinks_per_minute: float | None = None,
        lip_motion: float | None = None,
        head_motion: float | None = None,
        fps: int | float | str | Fraction | None = None,
        size_px: int | None = None,
        frame: Framing = "full",
        face_index: int | None = None,
    ) -> Animation:
        """Plan the video; its frames are made while they are read.

        Args:
            portrait: picture file, or (height, width, 3) uint8 RGB.
            audio: any file with sound, or samples.
            seed: of the noise. The same seed gives the same video.
            num_steps, guidance_scale, speed, blinks_per_minute, lip_motion, head_motion, fps: None takes the
                checkpoint's own, see `PipelineConfig`.
            size_px: side of the crop (None: 512); with "full", longest side of the video (None: up to 1920).
            frame: "full" for the whole picture with the animated face in it, "crop" for the square around it.
            face_index: which face, 0 the leftmost; None takes the largest.

        Raises:
            ImageError, AudioError, FaceError, ConfigError: what was given cannot be used.
        """
        settings = self.config.override(
            num_steps=num_steps,
            guidance_scale=guidance_scale,
            speed=speed,
            blinks_per_minute=blinks_per_minute,
            lip_motion=lip_motion,
            head_motion=head_motion,
        )
        if settings.speed is not None and self.unet.config.speed_dim is None:
            raise ConfigError(
                "this model has no speed layers", got=f"speed {settings.speed}", fix="Leave the speed out"
            )
        has_gestures = self.unet.config.num_gestures is not None
        refused = [
            f"{what} {value:g}"
            for what, value, neutral, can in (
                ("blinks per minute", settings.blinks_per_minute, 0, self._moves_pictures),
                ("lip motion", settings.lip_motion, 1, self._moves_pictures),
                ("head motion", settings.head_motion, 0, has_gestures),
            )
            if value != neutral and not can
        ]
        if refused:
            raise ConfigError(
                "this model leaves blinks, lips and head to the noise",
                got=", ".join(refused),
                fix="Leave them out",
            )
        rate = parse_fps(settings.fps if fps is None else fps)
        image = read_image(portrait) if isinstance(portrait, (str, Path)) else portrait
        sound = audio if isinstance(audio, Audio) else read_audio(audio)
        length = num_frames(sound.num_samples, sound.sample_rate_hz, rate)
        if length == 0:
            raise AudioError(
                "the sound is shorter than a frame",
                got=f"{1000 * sound.duration_s:.1f} ms",
                expected=f"{float(500 / rate):.1f} ms or more at {float(rate):g} frames per second",
            )
        scene = stage(
            image,
            self.face_analyzer,
            crop_px=settings.crop_px or int(self.autoencoder.config.sample_size),
            settings=settings,
            framing=frame,
            size_px=size_px,
            face_index=face_index,
        )
        identity = None if self.face_embedder is None else self.face_embedder(image, scene.face)
        if self._offload is not None:  # the encoder asks its weights where the sound shall go
            self._offload.bring(self.speech_encoder.encoder)
        speech = self.speech_encoder.hear(sound, fps=rate, clip_frames=settings.clip_frames)
        plan = _Plan(scene, identity, speech, settings, rate, length, seed)
        return Animation(
            num_frames=length,
            fps=rate,
            width=scene.width,
            height=scene.height,
            audio=sound,
            warnings=scene.warnings,
            make=partial(self._frames, plan),
        )

    def _frames(self, plan: _Plan, progress: Progress | None) -> Iterator[Frame]:
        """Clip after clip: denoise, decode a few frames at a time, put them into the picture."""
        division = Division.of(plan.num_frames, plan.settings)
        per_clip = plan.settings.num_steps * division.calls_per_step + 1
        done, total = count(1), len(division.clips) * per_clip
        report: Callable[[], None] = (lambda: progress(next(done), total)) if progress else (lambda: None)
        rng = np.random.default_rng(plan.seed)
        blinks_F = draw_blinks(plan.num_frames, plan.fps, per_minute=plan.settings.blinks_per_minute, rng=rng)
        sight = self._look(plan)
        maker = ClipMaker(self.unet, self.reference_net, self.autoencoder, self.scheduler)
        clips = maker.clips(
            sight,
            plan.speech,
            plan.settings,
            fps=plan.fps,
            division=division,
            seed=plan.seed,
            on_step=report,
            gestures_FG=self._gestures(plan, division, rng),
        )
        frame = 0
        for clip, latents_BCFHW in zip(division.clips, clips, strict=True):
            for part_BCFHW in torch.split(latents_BCFHW[:, :, : len(clip)], self.decode_frames, dim=2):
                shut_F = blinks_F[frame : frame + part_BCFHW.shape[2]]
                frame += len(shut_F)
                decoded_B3FPP = maker.decode(part_BCFHW, sight, _with_lids(sight.moved, shut_F))
                yield from map(plan.scene.show, _to_images(_fit(decoded_B3FPP, sight.size_px)))
            report()

    @property
    def _moves_pictures(self) -> bool:
        """Frames are the portrait itself, moved: what is drawn on it goes along."""
        return isinstance(self.autoencoder, MotionAutoencoder)

    def _gestures(self, plan: _Plan, division: Division, rng: np.random.Generator) -> Tensor | None:
        """(F, G) for all frames that are denoised; None for networks without gesture layers."""
        if self.unet.config.num_gestures is None:
            return None
        beyond = 0 if division.windows is not None else plan.settings.clip_frames
        gestures = draw_gestures(
            plan.num_frames + beyond, plan.fps, head_motion=plan.settings.head_motion, rng=rng
        )
        return torch.from_numpy(gestures)

    @torch.no_grad()
    def _look(self, plan: _Plan) -> Sight:
        """The scene as the networks see it."""
        scene = plan.scene
        image = _to_tensor(scene.crop).to(self.device, self.unet.dtype)
        return Sight.of(
            self.unet,
            image_B3SS=image,
            size_px=len(scene.picture),
            features=self.autoencoder.encode_reference(image),
            moved=self._moved_picture(scene, plan.settings.lip_motion),
            scene=scene,
            identity=plan.identity,
            stride=self.autoencoder.stride,
        )

    def _moved_picture(self, scene: Scene, lip_motion: float) -> MovedPicture | None:
        if not isinstance(self.autoencoder, MotionAutoencoder):
            return None
        teeth = self.autoencoder.teeth.float().cpu().numpy()
        inside = look_inside(scene.picture, scene.points, teeth).to(self.device)
        points, size = torch.from_numpy(scene.points)[None], self.autoencoder.flow_size
        mouth = region_weight(points, size, OUTER_LIPS, reach=_LIP_REACH, least=1 / size)
        gain = 1 + (lip_motion - 1) * mouth
        return MovedPicture(
            _to_tensor(_double(scene.picture)).to(self.device, self.unet.dtype),
            inside,
            EyeLids(scene.picture, scene.points, finish=_double),
            LipMotion(gain.to(self.device), inside.skull_K2),
        )


@dataclass(frozen=True, slots=True)
class _Plan:
    """All that decides what the frames will be, beside the networks."""

    scene: Scene
    identity: NDArray[np.float32] | None
    speech: SpeechFeatures
    settings: PipelineConfig
    fps: Fraction
    num_frames: int
    seed: int


def _with_lids(moved: MovedPicture | None, shut_F: NDArray[np.floating]) -> Tensor | None:
    """(F, 3, Q, Q) pictures with lids that far down; None where all are open."""
    if moved is None or not shut_F.any():
        return None
    pictures = torch.cat([_to_tensor(moved.lids.shut(float(share))) for share in shut_F])
    return pictures.to(moved.picture_B3QQ)


def _double(image: Frame) -> Frame:
    """Twice as high and wide, with Lanczos' kernel, which leaves nearly all frequencies as they are."""
    return np.asarray(cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LANCZOS4), np.uint8)


def _fit(frames_B3FHW: Tensor, size_px: int) -> Tensor:
    """The frames at the size that is shown, where the autoencoder knows only that of the networks."""
    size = (size_px, size_px)
    if frames_B3FHW.shape[-2:] == size:
        return frames_B3FHW
    flat = frames_B3FHW.transpose(1, 2).flatten(0, 1).float()
    resized = F.interpolate(flat, size=size, mode="bicubic", align_corners=False, antialias=True)
    return torch.unflatten(resized, 0, (len(frames_B3FHW), -1)).transpose(1, 2)


def _to_tensor(image: Frame) -> Tensor:
    """(height, width, 3) uint8 -> (1, 3, height, width) float32 in [-1, 1]."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1


def _to_images(frames_B3FHW: Tensor) -> Iterator[Frame]:
    """(1, 3, F, height, width) in [-1, 1] -> F images (height, width, 3) uint8."""
    values = ((frames_B3FHW[0].float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    yield from np.ascontiguousarray(values.permute(1, 2, 3, 0).cpu().numpy())
