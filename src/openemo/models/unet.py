"""EMO's backbone: the SD-1.5 UNet that also sees the person, hears the voice and remembers what it just did.

Shape letters: B clips, F frames, C channels, H and W latent size, T audio tokens, D speech features, n
    motion frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from openemo.errors import ConfigError
from openemo.models.blocks import Layer, build_u, run_layer, upsample
from openemo.models.conditioning import (
    SPEED_CENTRES_RAD_S,
    SPEED_RADII_RAD_S,
    AudioProjection,
    AudioTimeEmbedding,
    Conditions,
    FaceLocator,
    GestureEncoder,
    IdentityProjection,
    SpeedEncoder,
    WindowAudioProjection,
    check_features,
    fold,
    modulate,
    zero_,
)
from openemo.models.reference import ReferenceFeatures
from openemo.models.regions import with_regions
from openemo.models.spec import AudioAttention, backbone_spec

__all__ = ["EmoUNet"]


class EmoUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Denoiser of a clip of F latent frames (EMO 3.2, fig. 2).

    Spatial layers have SD-1.5's names and shapes, temporal ones AnimateDiff's. Everything else starts at
    zero, so a fresh network on SD-1.5 weights computes SD-1.5. Each condition may be left out.

    Args:
        in_channels, out_channels: of the latents.
        block_out_channels, attention_levels: per level, finest first.
        layers_per_block: ResNet blocks per level on the way down; one more on the way up.
        num_attention_heads: of spatial attention, one number or one per level.
        norm_num_groups, norm_eps: of all GroupNorms; SD-1.5's transformers have their own eps, 1e-6.
        ff_mult: hidden width of the spatial feed-forwards over their channels.
        cross_attention_dim: width of the text tokens of SD-1.5's slot, or None to leave it out.
        audio_feature_dim: D, or None for a network without sound.
        audio_tokens, audio_dim: T, and the width of the tokens after the projection.
        audio_attention: where the sound enters. "own": an attention of its own in each spatial transformer;
            "text": SD-1.5's text slot, the features as they are, so D = `cross_attention_dim` (EchoMimic);
            "regions": a transformer after each spatial one, by masks of the face's regions (Hallo).
        audio_gain: factor on what the sound adds in the text slot.
        audio_window, audio_hidden_dim: None projects each token by itself; a number of tokens makes it
            `WindowAudioProjection`, from so many to `audio_tokens`.
        identity_dim, identity_tokens: width of a face embedding, and the number of tokens that it gives to
            the text slot; None leaves the projection out.
        audio_time_embedding: also add an embedding of the window to the frame's timestep embedding.
        temporal_modules: False for an image network.
        temporal_mid: a temporal module in the middle of the U as well (AnimateDiff v2).
        temporal_num_heads, temporal_blocks, temporal_attentions, temporal_ff_mult: their shape.
        temporal_norm_num_groups: None is `norm_num_groups`.
        temporal_needs_attention: temporal modules of levels without spatial attention do not run (Hallo).
        max_frames: length of the position tables, motion frames included.
        locator_downscale: pixels of the mask per latent cell, a power of two, or None for no face locator.
        locator_in_channels, locator_channels: see `FaceLocator`.
        locator_gain: each frame's embedding (timestep, window of sound, gestures) scales what the locator
            adds: the mouth's place times how far it opens, which convolutions and a bias that is the same
            everywhere learn late.
        time_scale_shift: each frame's embedding scales and shifts the second norm of each ResNet block
            (Dhariwal and Nichol 2021) and the norm before the last convolution (Peebles and Xie 2023),
            instead of being added before the former. So what a frame hears can also be that nothing moves: a
            norm alone makes the last map as large in silence as in speech.
        num_gestures: G, values per frame of what the person does without the sound (blinks, head), or None.
        speed_dim: width of the speed tokens, or None for no speed layers.
        speed_centres_rad_s, speed_radii_rad_s, speed_window: see `SpeedEncoder`.
    """

    _supports_gradient_checkpointing = True

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 4,
        block_out_channels: Sequence[int] = (320, 640, 1280, 1280),
        attention_levels: Sequence[bool] = (True, True, True, False),
        layers_per_block: int = 2,
        num_attention_heads: int | Sequence[int] = 8,
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
        ff_mult: int = 4,
        cross_attention_dim: int | None = 768,
        audio_feature_dim: int | None = 9216,
        audio_tokens: int = 5,
        audio_dim: int = 768,
        audio_attention: AudioAttention = "own",
        audio_gain: float = 1.0,
        audio_window: int | None = None,
        audio_hidden_dim: int = 512,
        identity_dim: int | None = None,
        identity_tokens: int = 4,
        audio_time_embedding: bool = False,
        temporal_modules: bool = True,
        temporal_mid: bool = True,
        temporal_num_heads: int | Sequence[int] = 8,
        temporal_blocks: int = 1,
        temporal_attentions: int = 2,
        temporal_ff_mult: int = 4,
        temporal_norm_num_groups: int | None = None,
        temporal_needs_attention: bool = False,
        max_frames: int = 32,
        locator_downscale: int | None = 8,
        locator_in_channels: int = 1,
        locator_channels: Sequence[int] | None = None,
        locator_gain: bool = False,
        time_scale_shift: bool = False,
        num_gestures: int | None = None,
        speed_dim: int | None = 256,
        speed_centres_rad_s: Sequence[float] = SPEED_CENTRES_RAD_S,
        speed_radii_rad_s: Sequence[float] = SPEED_RADII_RAD_S,
        speed_window: int = 2,
    ) -> None:
        super().__init__()
        channels = tuple(block_out_channels)
        time_embed_dim = 4 * channels[0]
        self.conv_in = nn.Conv2d(in_channels, channels[0], 3, padding=1)
        self.time_proj = Timesteps(channels[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(channels[0], time_embed_dim)
        self.down_blocks, self.mid_block, self.up_blocks = build_u(backbone_spec(self.config))
        self.conv_norm_out = nn.GroupNorm(norm_num_groups, channels[0], eps=norm_eps)
        self.modulation_out = zero_(nn.Linear(time_embed_dim, 2 * channels[0])) if time_scale_shift else None
        self.conv_out = nn.Conv2d(channels[0], out_channels, 3, padding=1)

        self.audio_projection: nn.Module | None = None
        self.audio_embedding: nn.Module | None = None
        self.identity_projection: nn.Module | None = None
        self.face_locator: nn.Module | None = None
        self.place_gain: nn.Module | None = None
        self.gesture_encoder: nn.Module | None = None
        self.speed_encoder: nn.Module | None = None
        if audio_feature_dim is not None and audio_attention != "text":
            self.audio_projection = (
                AudioProjection(audio_feature_dim, audio_tokens, audio_dim)
                if audio_window is None
                else WindowAudioProjection(
                    audio_window, audio_feature_dim, audio_hidden_dim, audio_tokens, audio_dim
                )
            )
            if audio_time_embedding:
                self.audio_embedding = AudioTimeEmbedding(audio_tokens, audio_dim, time_embed_dim)
        if identity_dim is not None and cross_attention_dim is not None:
            self.identity_projection = IdentityProjection(identity_dim, identity_tokens, cross_attention_dim)
        if locator_downscale is not None:
            self.face_locator = FaceLocator(
                channels[0], locator_downscale, locator_in_channels, locator_channels
            )
            if locator_gain:
                self.place_gain = zero_(nn.Linear(time_embed_dim, channels[0]))
        if num_gestures is not None:
            self.gesture_encoder = GestureEncoder(num_gestures, time_embed_dim)
        if temporal_modules and speed_dim is not None:
            self.speed_encoder = SpeedEncoder(
                speed_centres_rad_s, speed_radii_rad_s, speed_window, speed_dim, max_frames
            )
        self.gradient_checkpointing = False

    def encode_audio(self, audio_BFTD: Tensor) -> Tensor:
        """Raw speech features to audio tokens (B, F, T, A); they hold for all steps of the denoising.

        Raises:
            ConfigError: the network has no audio layers, or other features.
        """
        if self.config.audio_attention == "text" and self.config.audio_feature_dim is not None:
            check_features(audio_BFTD, (self.config.audio_tokens, self.config.audio_feature_dim))
            return audio_BFTD
        tokens: Tensor = _has(self.audio_projection, "audio layers", "audio_feature_dim")(audio_BFTD)
        return tokens

    def encode_locator(self, mask_BMHW: Tensor) -> Tensor:
        """Mask of the face region to what is added to the first feature map of every frame, (B, C, H, W)."""
        place: Tensor = _has(self.face_locator, "face locator", "locator_downscale")(mask_BMHW)
        return place

    def encode_identity(self, embedding_BD: Tensor) -> Tensor:
        """Face embedding to tokens (B, L, cross_attention_dim), for this network and its ReferenceNet."""
        tokens: Tensor = _has(self.identity_projection, "identity layers", "identity_dim")(embedding_BD)
        return tokens

    def forward(
        self,
        sample_BCFHW: Tensor,
        timestep: Tensor,
        *,
        reference: ReferenceFeatures | None = None,
        audio_BFTD: Tensor | None = None,
        audio_tokens_BFTA: Tensor | None = None,
        locator_BMHW: Tensor | None = None,
        place_BCHW: Tensor | None = None,
        speed_BF: Tensor | None = None,
        gestures_BFG: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        region_masks: Sequence[Tensor] = (),
        region_weights: Tensor | None = None,
        is_clip: bool = True,
    ) -> Tensor:
        """Predict what the schedule asks for, noise, velocity or clean latents, of a noisy clip.

        Args:
            sample_BCFHW: noisy latents.
            timestep: (B,) or a scalar; whole numbers or not.
            reference: from `ReferenceNet`; None is plain self-attention and no motion frames.
            audio_BFTD: raw speech features in each frame's window; None switches audio off.
            audio_tokens_BFTA: in place of `audio_BFTD`, from `encode_audio`, or zeros for what is not heard.
            locator_BMHW: masks of the face region at pixel size (B, M, H*s, W*s), s = `locator_downscale`,
                M = `locator_in_channels`, in [0, 1].
            place_BCHW: in place of `locator_BMHW`, from `encode_locator`.
            speed_BF: head-rotation speed of each frame in rad/s.
            gestures_BFG: blinks and head of each frame, see `openemo.face.gestures`.
            encoder_hidden_states: (B, L, cross_attention_dim), text for SD-1.5's own slot, or identity
                tokens; EMO has none.
            region_masks: for each level (B or 1, 3, H, W) at its own size, in [0, 1]: the picture, the face,
                the lips. Needed where the sound goes by regions.
            region_weights: (3,), how strongly the sound moves each region; None is 1.
            is_clip: False for frames that do not follow each other (image stage): no temporal modules.

        Returns:
            (B, out_channels, F, H, W).

        Raises:
            ConfigError: an input that this network has no layers for, or of the wrong shape.
        """
        reference = reference or ReferenceFeatures.empty()
        batch, _, frames = sample_BCFHW.shape[:3]
        hidden = self.conv_in(fold(sample_BCFHW))
        if locator_BMHW is not None:
            place_BCHW = self.encode_locator(locator_BMHW)
        if audio_BFTD is not None:
            audio_tokens_BFTA = self.encode_audio(audio_BFTD)
        conditions = self._conditions(
            timestep.expand(batch),
            frames,
            hidden.dtype,
            audio_tokens_BFTA,
            speed_BF,
            gestures_BFG,
            encoder_hidden_states,
            reference,
            is_clip,
        )
        if place_BCHW is not None:
            hidden = self._locate(hidden, place_BCHW, conditions)
        if region_masks:
            if self.config.audio_attention != "regions":
                raise ConfigError("this network has no audio regions", fix="Leave the region masks out")
            conditions = with_regions(conditions, region_masks, region_weights)
        features = reference.per_layer(
            [
                layer
                for stage in (*self.down_blocks, self.mid_block, *self.up_blocks)
                for layer in stage.layers()
            ]
        )
        skips = [hidden]
        for stage in self.down_blocks:
            for layer in stage.layers():
                hidden = self._run(layer, hidden, conditions, *next(features))
                skips.append(hidden)
            if stage.downsamplers is not None:
                hidden = stage.downsamplers[0](hidden)
                skips.append(hidden)
        for layer in self.mid_block.layers():
            hidden = self._run(layer, hidden, conditions, *next(features))
        for stage in self.up_blocks:
            for layer in stage.layers():
                hidden = torch.cat([hidden, skips.pop()], dim=1)
                hidden = self._run(layer, hidden, conditions, *next(features))
            if stage.upsamplers is not None:
                hidden = upsample(stage.upsamplers, hidden, skips[-1].shape[-2:])
        hidden = self.conv_norm_out(hidden)
        if self.modulation_out is not None:
            hidden = modulate(hidden, self.modulation_out(conditions.time_embedding))
        output: Tensor = self.conv_out(F.silu(hidden))
        return torch.unflatten(output, 0, (batch, frames)).transpose(1, 2).contiguous()

    def _run(
        self,
        layer: Layer,
        hidden: Tensor,
        conditions: Conditions,
        tokens: Tensor | None,
        motion: Tensor | None,
    ) -> Tensor:
        return run_layer(self, layer, hidden, conditions, tokens, motion)[0]

    def _locate(self, hidden: Tensor, place_BCHW: Tensor, conditions: Conditions) -> Tensor:
        """Add the face region to the first feature map of every frame (EMO 3.2)."""
        if place_BCHW.shape[-3:] != hidden.shape[-3:]:
            raise ConfigError(
                "the face mask does not fit the latents",
                got=f"a mask for {tuple(place_BCHW.shape[-2:])} latent cells",
                expected=f"{tuple(hidden.shape[-2:])}, {self.config.locator_downscale} pixels per cell",
            )
        place = place_BCHW.repeat_interleave(conditions.num_frames, 0)
        if self.place_gain is not None:
            place = place * (1 + self.place_gain(conditions.time_embedding)[..., None, None])
        return hidden + place

    def _conditions(
        self,
        timestep_B: Tensor,
        frames: int,
        dtype: torch.dtype,
        audio_BFTA: Tensor | None,
        speed_BF: Tensor | None,
        gestures_BFG: Tensor | None,
        text_BLD: Tensor | None,
        reference: ReferenceFeatures,
        is_clip: bool,
    ) -> Conditions:
        time_embedding = self.time_embedding(self.time_proj(timestep_B).to(dtype))[:, None].expand(
            -1, frames, -1
        )
        text = audio = speed = None
        if text_BLD is not None:
            if self.config.cross_attention_dim is None or self.config.audio_attention == "text":
                raise ConfigError("this network reads no text", fix="Build it with cross_attention_dim")
            text = text_BLD.repeat_interleave(frames, 0)
        if audio_BFTA is not None:
            if audio_BFTA.shape[1] != frames:
                raise ConfigError(
                    "sound and picture differ in length", got=audio_BFTA.shape[1], expected=f"{frames} frames"
                )
            audio = audio_BFTA.flatten(0, 1)
            if self.audio_embedding is not None:
                time_embedding = time_embedding + self.audio_embedding(audio_BFTA)
            if self.config.audio_attention == "text":
                text, audio = audio, None
        if gestures_BFG is not None:
            listener = _has(self.gesture_encoder, "gesture layers", "num_gestures")
            time_embedding = time_embedding + listener(gestures_BFG.to(dtype))
        if speed_BF is not None:
            encoder = _has(self.speed_encoder, "speed layers", "speed_dim")
            speed = encoder(speed_BF, reference.num_motion_frames).to(dtype)
        time_embedding = F.silu(time_embedding.flatten(0, 1))
        rows = reference.frame_rows(time_embedding)
        return Conditions(frames, time_embedding, text, audio, speed, rows, is_clip=is_clip)


def _has(module: nn.Module | None, what: str, setting: str) -> nn.Module:
    if module is None:
        raise ConfigError(
            f"this network has no {what}", fix=f"Build it with {setting}, or leave the input out"
        )
    return module
