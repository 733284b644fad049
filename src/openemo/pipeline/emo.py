"""One portrait and one voice to frames, in nine numbered steps.

Shape letters: B batch (1 here), F frames, C latent channels, H W latent grid, N motion frames, T speech
tokens in the window of a frame, D their width, K motion conditions, S side of the crop that networks read,
P side of the crop as it is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import count, repeat
from typing import TYPE_CHECKING, Final, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from openemo.audio import Audio, SpeechFeatures
from openemo.audio.articulatory_features import ArticulatoryFeatures
from openemo.behaviour import Behaviour
from openemo.behaviour.expression import (
    NEUTRAL,
    Emotions,
    check_emotions,
    expression_track,
    is_neutral,
    own_smile_track,
)
from openemo.behaviour.motion_conditions import motion_conditions
from openemo.config import PipelineConfig
from openemo.decoding_limits import DEFAULT_LIMITS, DecodingLimits
from openemo.image_tensors import images_to_tensor, tensor_to_images
from openemo.pipeline.audio_encoding import AudioEncodingMixin
from openemo.pipeline.compositing import Framing, HeadMotion
from openemo.pipeline.conditions import ClipConditions, ReferenceConditions, clip_conditions
from openemo.pipeline.controls import behaviour_of_person, check_controls
from openemo.pipeline.inputs import to_inputs, to_integer, to_seed
from openemo.pipeline.lip_amplitude import scale_lip_motion
from openemo.pipeline.motion_clip import MotionClip, read_motion_clip
from openemo.pipeline.output import Animation, Frame, Progress
from openemo.pipeline.portrait import PreparedPortrait, prepare_portrait
from openemo.pipeline.sampling import ClipPlan, initial_noise, sample_clip
from openemo.pipeline.stream_options import StreamOptions, start_stream
from openemo.pipeline.streaming import LiveStream
from openemo.pipeline.working_ahead import working_ahead
from openemo.provenance.origin import Origin
from openemo.rendering.expression_flow import expression_weights
from openemo.rendering.portrait_layers import PortraitPicture
from openemo.timing import ClipSpan, parse_fps

if TYPE_CHECKING:
    from openemo.pipeline.inputs import MediaFile, Portrait, Sound
    from openemo.pipeline.streaming import Chunk

__all__ = ["EmoPipeline"]

DEFAULT_STRENGTH: Final = 0.6  # of an emotion


class EmoPipeline(AudioEncodingMixin):
    """EMO at inference (EMO 3.3): clip after clip, each denoised with the last frames of the one before.

    A call goes through these steps, which are public and can be called one by one. The first four run once
    per video, the others once per clip:

    1. `prepare_portrait`: find the face, cut it out, draw its masks.
    2. `encode_audio`: speech features of the whole sound.
    3. `encode_reference`: the portrait as the networks read it.
    4. `prepare_behaviour`: head, gaze, blinks, brows, expression, from the voice and the seed; and
       `prepare_lip_motion`: how far the mouth moves.
    5. `prepare_motion_frames`: the end of the clip before.
    6. `prepare_conditions`: what the UNet is told of this clip.
    7. `denoise_clip`: from noise to latents.
    8. `decode`: from latents to animated crops.
    9. `composite`: from crops to frames of the video.

    A step changes no component and keeps nothing, so one pipeline can serve several animations at a time
    (unless its networks are offloaded, which are moved by each call). Where a step takes a `config`, None is
    the pipeline's own; `config.override(num_inference_steps=4)` makes another.

    Loading, saving, moving and offloading are `PretrainedPipeline`'s.
    """

    def __call__(
        self,
        portrait: Portrait,
        audio: Sound,
        *,
        seed: int = 0,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        speed: float | None = None,
        blinks_per_minute: float | None = None,
        lip_motion: float | None = None,
        head_motion: float | None = None,
        gaze: float | None = None,
        brows: float | None = None,
        expression: float | None = None,
        emotion: Emotions = NEUTRAL,
        emotion_strength: float = DEFAULT_STRENGTH,
        motion_from: MediaFile | None = None,
        motion_style_from: MediaFile | None = None,
        fps: int | float | str | Fraction | None = None,
        size_px: int | None = None,
        framing: Framing = "full",
        face_index: int | None = None,
        transparent: bool = False,
        audio_track: int | None = None,
        limits: DecodingLimits = DEFAULT_LIMITS,
        sandbox: bool = True,
    ) -> Animation:
        """Plan the video; its frames are made while they are read.

        Args:
            portrait: path, bytes or open file of a picture, PIL image, array or tensor, see `to_image`.
            audio: path, bytes or open file with sound, `Audio`, gradio's or ComfyUI's sound, see `to_audio`.
            seed: of the noise, 0 to 2**63 - 1; -1 draws one. The same seed gives the same video.
            num_inference_steps, guidance_scale, speed, blinks_per_minute, lip_motion, head_motion, gaze,
                brows, expression, fps: None takes the checkpoint's own, see `PipelineConfig`.
            emotion: one of `openemo.behaviour.EMOTIONS` for the whole video, or a list of (time in seconds,
                name, strength); "neutral" is what the voice carries.
            emotion_strength: 0 to 1.
            motion_from: a video of somebody whose head, gaze, brows and blinks are taken over.
            motion_style_from: a video of somebody whose habits are: how far and how fast they move. The
                motion is drawn as without it.
            size_px: side of the crop (None: 512); with "full", longest side of the video (None: up to 1920).
            framing: "full" for the whole picture with the animated face in it, "crop" for the square alone.
            face_index: which face, 0 the leftmost; None takes the largest.
            transparent: keep the portrait's transparency: frames are (height, width, 4). Otherwise its
                transparent pixels are put on white.
            audio_track: which sound track of a file, 0 the first; None takes the one that players take.
            limits: of pictures and sounds that are decoded.
            sandbox: decode files in processes of their own, which can do nothing else and end alone if they
                crash. It costs about 0.3 s; arrays, tensors and images of PIL need none.

        Raises:
            ImageError, AudioError, FaceError, ConfigError: what was given cannot be used.
        """
        seed, emotion = to_seed(seed), check_emotions(emotion)
        config = self.config.override(
            num_inference_steps=to_integer("num_inference_steps", num_inference_steps),
            guidance_scale=guidance_scale,
            speed=speed,
            blinks_per_minute=blinks_per_minute,
            lip_motion=lip_motion,
            head_motion=head_motion,
            gaze=gaze,
            brows=brows,
            expression=expression,
        )
        given = {
            "transparency": transparent,
            "emotion": not is_neutral(emotion),
            "motion from a clip": motion_from is not None,
            "motion style from a clip": motion_style_from is not None,
        }
        check_controls(config, given, unet=self.unet, autoencoder=self.autoencoder)
        rate = parse_fps(config.fps if fps is None else fps)
        image, sound = to_inputs(
            portrait, audio, transparent=transparent, audio_track=audio_track, limits=limits, sandbox=sandbox
        )
        length = self.num_frames(sound, rate)
        # 1. Portrait: find the face, cut it out, draw its masks.
        prepared = self.prepare_portrait(
            image, framing=framing, size_px=size_px, face_index=face_index, config=config
        )
        # 2. Audio: speech features of the whole sound.
        speech = self.encode_audio(sound, fps=rate, config=config)
        # 4. Behaviour: head, gaze, blinks, brows, expression.
        behaviour = self.prepare_behaviour(
            sound,
            prepared,
            fps=rate,
            seed=seed,
            config=config,
            emotion=emotion,
            emotion_strength=emotion_strength,
            motion_from=self._read_clip(motion_from, sound, limits, sandbox),
            motion_style_from=self._read_clip(motion_style_from, sound, limits, sandbox),
        )
        origin = Origin.of(self.model_name, self.weights_sha256, seed, image, sound.samples)
        request = _Request(prepared, sound, speech, config, rate, behaviour, length, seed)
        return Animation(
            num_frames=length,
            fps=rate,
            width=prepared.width,
            height=prepared.height,
            audio=sound,
            transparent=transparent,
            seed=seed,
            warnings=prepared.warnings + _sound_warnings(sound),
            origin=origin.with_files(portrait, audio),
            make=partial(self._frames, request),
        )

    def stream(
        self, portrait: Portrait, chunks: Iterable[Chunk] | None = None, **options: Unpack[StreamOptions]
    ) -> LiveStream:
        """Speak sound as it comes: a microphone's, or a speech synthesiser's. In silence the person lives on.

        The frames do not depend on how the sound is cut into chunks. They are not those of a call, which
        knows the whole sound: docs/guides/live.md says what that changes.

        Args:
            portrait: see a call.
            chunks: the sound; None if it comes by `LiveStream.send`.
            options: see `StreamOptions`.

        Raises:
            ImageError, FaceError, ConfigError: what was given cannot be used, or this model needs the whole
                sound.
        """
        return start_stream(self, portrait, chunks, options)

    def _frames(self, request: _Request, progress: Progress | None) -> Generator[Frame]:
        """Steps 3 to 9. Frames are composited while the next ones are denoised and decoded."""
        for crops_B3FHW, head_motion in working_ahead(self._crops(request, progress)):
            yield from self.composite(crops_B3FHW, request.portrait, head_motion)

    def _crops(
        self, request: _Request, progress: Progress | None
    ) -> Generator[tuple[Tensor, list[HeadMotion] | None]]:
        """Steps 3 to 8. Clip after clip is denoised, and decoded a few frames at a time."""
        config, plan = request.config, ClipPlan.of(request.num_frames, request.config)
        total = len(plan.clips) * (config.num_inference_steps * plan.calls_per_step + 1)
        done = count(1)
        report: Callable[[], None] = (lambda: progress(next(done), total)) if progress else (lambda: None)
        # 3. Reference: the portrait as the networks read it; 4. how far its mouth moves with this voice.
        reference = self.encode_reference(request.portrait, config=config)
        reference = self.prepare_lip_motion(
            request.audio, request.portrait, request.speech, reference, fps=request.fps, config=config
        )
        behaviour = request.behaviour
        articulation = self.hear_articulation(
            request.speech, request.num_frames, fps=request.fps, config=config
        )
        generator = torch.Generator("cpu").manual_seed(request.seed)
        latents_BCFHW: Tensor | None = None
        for clip in plan.clips:
            # 5. Motion frames: the end of the clip before.
            motion_frames_BCNHW = self.prepare_motion_frames(reference, latents_BCFHW, config=config)
            # 6. Conditions of this clip.
            conditions = self.prepare_conditions(
                reference,
                request.speech,
                range(clip.start, clip.start + plan.clip_frames),
                motion_frames_BCNHW=motion_frames_BCNHW,
                behaviour=behaviour,
                fps=request.fps,
                config=config,
            )
            # 7. Denoising.
            latents_BCFHW = self.denoise_clip(
                conditions, motion_frames_BCNHW, generator=generator, plan=plan, config=config, on_step=report
            )
            # 8. Decoding.
            yield from self._decode_clip(clip, latents_BCFHW, reference, behaviour, articulation)
            report()

    def _decode_clip(
        self,
        clip: ClipSpan,
        latents_BCFHW: Tensor,
        reference: ReferenceConditions,
        behaviour: Behaviour,
        articulation: ArticulatoryFeatures | None,
    ) -> Iterator[tuple[Tensor, list[HeadMotion] | None]]:
        """Crops of a clip and how the head moves, a few frames at a time."""
        first = clip.start
        for part_BCFHW in torch.split(latents_BCFHW[:, :, : len(clip)], self.decode_frames, dim=2):
            part = behaviour.frames(first, first + part_BCFHW.shape[2])
            first += len(part)
            heard = None if articulation is None else articulation.frames(first - len(part), first)
            yield self.decode(part_BCFHW, reference, part, heard), self.head_motion(part_BCFHW, part)

    def prepare_portrait(
        self,
        image: Frame,
        *,
        framing: Framing = "full",
        size_px: int | None = None,
        face_index: int | None = None,
        config: PipelineConfig | None = None,
    ) -> PreparedPortrait:
        """Step 1. Find the face, cut it out, draw its masks; arguments as in a call.

        Raises:
            FaceError: no usable face. ConfigError: unknown framing, or a size out of range.
        """
        config = config or self.config
        return prepare_portrait(
            image,
            self.face_analyzer,
            crop_px=config.crop_px or int(self.autoencoder.config.sample_size),
            config=config,
            framing=framing,
            size_px=to_integer("size_px", size_px),
            face_index=to_integer("face_index", face_index),
            moves_head=self._moves_head,
            embed=self.face_embedder,
        )

    @torch.no_grad()
    def encode_reference(
        self, portrait: PreparedPortrait, *, config: PipelineConfig | None = None
    ) -> ReferenceConditions:
        """Step 3. The portrait as the networks read it: once per video."""
        image_B3SS = images_to_tensor([portrait.crop]).to(self.device, self.unet.dtype)
        config = config or self.config
        picture = PortraitPicture(
            portrait.picture,
            portrait.points,
            lip_motion=config.lip_motion,
            lip_width=config.lip_width,
            lip_corners=config.lip_corners,
            lip_closing=config.lip_closing,
            is_mouth_covered=portrait.is_mouth_covered,
            own_smile=portrait.own_smile,
            own_teeth=portrait.own_teeth,
        )
        reference = self.autoencoder.encode_reference(image_B3SS, picture)
        return ReferenceConditions.encode(self.unet, self.autoencoder, reference, portrait)

    def prepare_behaviour(
        self,
        audio: Audio,
        portrait: PreparedPortrait,
        *,
        fps: Fraction | None = None,
        seed: int = 0,
        config: PipelineConfig | None = None,
        emotion: Emotions = NEUTRAL,
        emotion_strength: float = DEFAULT_STRENGTH,
        motion_from: MotionClip | None = None,
        motion_style_from: MotionClip | None = None,
    ) -> Behaviour:
        """Step 4. What the person does beside forming words: from the voice, who it is, and the seed.

        It has tracks for all frames that are denoised: the last clip may be longer than the video.

        Args:
            emotion, emotion_strength: as in a call.
            motion_from, motion_style_from: as in a call, from `read_motion_clip`.

        Raises:
            ConfigError: an unknown emotion. FaceError: too little to see in a clip.
        """
        config = config or self.config
        rate = fps or parse_fps(config.fps)
        num_shown = self.num_frames(audio, rate)
        num_frames = ClipPlan.of(num_shown, config).num_frames
        if not self.autoencoder.moves_portrait:
            return Behaviour.neutral(num_frames)
        drawn = behaviour_of_person(
            audio,
            portrait.points,
            num_frames,
            rate,
            seed=seed,
            config=config,
            num_shown=num_shown,
            motion_from=motion_from,
            motion_style_from=motion_style_from,
        )
        asked = expression_track(emotion, num_frames, rate, strength=emotion_strength)
        smile = own_smile_track(drawn.expression_FE, asked, portrait.own_smile * config.expression)
        return replace(drawn, expression_FE=np.clip(drawn.expression_FE + asked + smile, 0, 1))

    @torch.no_grad()
    def prepare_lip_motion(
        self,
        audio: Audio,
        portrait: PreparedPortrait,
        speech: SpeechFeatures,
        reference: ReferenceConditions,
        *,
        fps: Fraction | None = None,
        config: PipelineConfig | None = None,
    ) -> ReferenceConditions:
        """Step 4, the mouth. The reference with lip motion scaled to people's, for this face and voice.

        A few clips of the voice are denoised for it; nothing is drawn. Without `lip_spread` nothing changes.

        Args:
            speech: from `encode_audio`. reference: from `encode_reference`.
        """
        config = config or self.config
        return scale_lip_motion(
            self, audio, portrait, speech, reference, fps=fps or parse_fps(config.fps), config=config
        )

    def _read_clip(
        self, clip: MediaFile | None, sound: Audio, limits: DecodingLimits, sandbox: bool
    ) -> MotionClip | None:
        if clip is None:
            return None
        seconds = sound.duration_s
        return read_motion_clip(clip, self.face_analyzer, duration_s=seconds, limits=limits, sandbox=sandbox)

    @torch.no_grad()
    def prepare_motion_frames(
        self,
        reference: ReferenceConditions,
        previous_BCFHW: Tensor | None = None,
        *,
        config: PipelineConfig | None = None,
    ) -> Tensor:
        """Step 5. Latents (1, C, N, H, W) of the motion frames (EMO 3.2).

        Args:
            previous_BCFHW: latents of the clip before; None for the first clip.
        """
        config = config or self.config
        if previous_BCFHW is None:
            still_BCNHW = self.autoencoder.still_latents(reference.features_BCHW, config.motion_frames)
            return torch.zeros_like(still_BCNHW) if config.first_motion == "zeros" else still_BCNHW
        motion_frames_BCNHW = previous_BCFHW[:, :, previous_BCFHW.shape[2] - config.motion_frames :]
        if config.motion_source == "frames" and config.motion_frames:
            return self.autoencoder.reencode(
                motion_frames_BCNHW.to(reference.features_BCHW), reference.encoded
            )
        return motion_frames_BCNHW

    @torch.no_grad()
    def prepare_conditions(
        self,
        reference: ReferenceConditions,
        speech: SpeechFeatures,
        frames: range,
        *,
        motion_frames_BCNHW: Tensor,
        behaviour: Behaviour,
        fps: Fraction | None = None,
        config: PipelineConfig | None = None,
    ) -> ClipConditions:
        """Step 6. What the denoising UNet is told of one clip; the ReferenceNet runs here.

        Args:
            frames: of the video, that are denoised together.
            motion_frames_BCNHW: from `prepare_motion_frames`.
            behaviour: from `prepare_behaviour`, for the whole video.
            fps: of the video; None takes the checkpoint's.
        """
        config = config or self.config
        audio_FTD = speech.windows(frames, fps or parse_fps(config.fps), config.speech_window_tokens)
        part = behaviour.frames(frames.start, frames.stop)
        conditions_FK = None
        if self.unet.config.num_motion_conditions is not None:
            conditions_FK = torch.from_numpy(motion_conditions(part))[None]
        return clip_conditions(
            self.unet,
            self.reference_net,
            reference,
            self.autoencoder.reference_input(reference.features_BCHW, motion_frames_BCNHW),
            audio_FTD[None].to(reference.features_BCHW),
            config,
            conditions_FK,
            reference.expression_guide(expression_weights(part, gain=config.expression_motion)),
            self.engine,
        )

    @torch.no_grad()
    def denoise_clip(
        self,
        conditions: ClipConditions,
        motion_frames_BCNHW: Tensor,
        *,
        generator: torch.Generator,
        plan: ClipPlan | None = None,
        config: PipelineConfig | None = None,
        on_step: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """Step 7. Latents (1, C, F, H, W) of one clip, float32, from noise that `generator` draws.

        Args:
            motion_frames_BCNHW: from `prepare_motion_frames`; it gives the size of the latents.
            generator: on the CPU; the same one for all clips of a video, in order.
            plan: says whether the clip is denoised in windows; None denoises it whole.
            on_step: called after each step, or after each window of each step.
        """
        config, audio_BFTD = config or self.config, conditions.audio_BFTD
        shape = (*motion_frames_BCNHW.shape[:2], audio_BFTD.shape[1], *motion_frames_BCNHW.shape[3:])
        return sample_clip(
            self.engine(self.unet),
            self.scheduler,
            initial_noise(shape, generator, config.noise_limit),
            num_inference_steps=config.num_inference_steps,
            guidance_scale=config.guidance_scale,
            unconditional=conditions.unconditional_changes,
            windows=None if plan is None else plan.windows,
            generator=generator,
            on_step=on_step,
            **conditions.conditional,
        )

    @torch.no_grad()
    def decode(
        self,
        latents_BCFHW: Tensor,
        reference: ReferenceConditions,
        behaviour: Behaviour | None = None,
        articulation: ArticulatoryFeatures | None = None,
    ) -> Tensor:
        """Step 8. Animated crops (1, 3, F, height, width) in [-1, 1], at the autoencoder's own size.

        The head is still in them; `head_motion` says how it moves.

        Args:
            behaviour: of these frames: gaze, lids and folds of the skin; None leaves them as they are.
            articulation: of these frames, from `hear_articulation`; None leaves the tongue down.
        """
        decoded_B3FHW: Tensor = self.autoencoder.decode(
            latents_BCFHW.to(reference.features_BCHW),
            reference.encoded,
            gaze_F2=None if behaviour is None else behaviour.gaze_F2,
            eyes_closed_F2=None if behaviour is None else behaviour.eyes_closed_F2,
            expression_FE=None if behaviour is None else behaviour.expression_FE,
            tongue_F=None if articulation is None else articulation.tongue_F,
            pressed_F=None if articulation is None else articulation.shut_F,
            engine=self.engine,
        )
        return decoded_B3FHW

    def head_motion(self, latents_BCFHW: Tensor, behaviour: Behaviour) -> list[HeadMotion] | None:
        """How head and torso stand in each frame; None for models that draw whole frames."""
        flow_F2gg = self.autoencoder.head_flow(latents_BCFHW)
        if flow_F2gg is None:
            return None
        pairs = zip(flow_F2gg.cpu().numpy(), behaviour.torso_F2, strict=True)
        return [HeadMotion(flow, torso) for flow, torso in pairs]

    def composite(
        self, crops_B3FHW: Tensor, portrait: PreparedPortrait, head_motion: list[HeadMotion] | None = None
    ) -> Iterator[Frame]:
        """Step 9. Frames of the video, (height, width, 3 or 4) uint8: the crops in the picture, heads moved.

        Args:
            head_motion: from the method of this name; None leaves the head where it is.
        """
        crops = tensor_to_images(_resize(crops_B3FHW, len(portrait.picture)))
        return map(portrait.composite, crops, head_motion or repeat(None))

    @property
    def _moves_head(self) -> bool:
        return getattr(self.autoencoder.config, "head_flow_scale", None) is not None


@dataclass(frozen=True, slots=True)
class _Request:
    """All that decides what the frames will be, beside the networks."""

    portrait: PreparedPortrait
    audio: Audio
    speech: SpeechFeatures
    config: PipelineConfig
    fps: Fraction
    behaviour: Behaviour
    num_frames: int
    seed: int


def _sound_warnings(sound: Audio) -> tuple[str, ...]:
    if sound.samples.any():
        return ()
    return ("the sound is silent throughout; if its file has several sound tracks, choose another",)


def _resize(frames_B3FHW: Tensor, size_px: int) -> Tensor:
    """The frames at the size that is shown, where the autoencoder knows only that of the networks."""
    size = (size_px, size_px)
    if frames_B3FHW.shape[-2:] == size:
        return frames_B3FHW
    flat = frames_B3FHW.transpose(1, 2).flatten(0, 1).float()
    resized = F.interpolate(flat, size=size, mode="bicubic", align_corners=False, antialias=True)
    return torch.unflatten(resized, 0, (len(frames_B3FHW), -1)).transpose(1, 2)
