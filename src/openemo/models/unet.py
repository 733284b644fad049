"""SD-1.5 denoising UNet with reference attention, audio cross-attention and motion frames (EMO 3.2).

Shape letters: B clips, F frames, C channels, H and W latent size, T audio tokens, D speech features, n
    motion frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openemo.errors import ConfigError
from openemo.models.audio_layers import (
    AudioProjection,
    AudioTimeEmbedding,
    WindowAudioProjection,
    check_features,
)
from openemo.models.conditioning import (
    SPEED_CENTRES_RAD_S,
    SPEED_RADII_RAD_S,
    Conditions,
    FaceLocator,
    IdentityProjection,
    MotionConditionEncoder,
    SpeedEncoder,
    fold,
    modulate,
    zero_,
)
from openemo.models.layers import TimestepEmbedding, Timesteps
from openemo.models.network import Network
from openemo.models.reference_net import ReferenceFeatures
from openemo.models.region_audio import with_regions
from openemo.models.unet_blocks import Layer, build_unet, run_layer
from openemo.models.unet_spec import AudioAttention, UNetConfig, backbone_spec
from openemo.network_settings import register_to_config

__all__ = ["EmoUNet"]

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class EmoUNet(Network):
    """Denoises a clip of F latent frames (EMO 3.2, fig. 2).

    Spatial layers have the names and shapes of SD-1.5, temporal layers those of AnimateDiff. The outputs of
    all other layers start at zero, so a new network with SD-1.5's weights computes what SD-1.5 computes. All
    conditions are optional.

    Args:
        in_channels, out_channels: channels of the latents.
        block_out_channels, attention_levels: per level, the finest first.
        layers_per_block: ResNet blocks per down block; an up block has one more.
        num_attention_heads: heads of spatial attention, one number or one per level.
        norm_num_groups, norm_eps: of all GroupNorms, except that SD-1.5's transformers have an eps of 1e-6.
        ff_mult: hidden width of the spatial feed-forwards, relative to their channels.
        cross_attention_dim: width of the tokens for text cross-attention, or None for a network without it.
        audio_feature_dim: D, or None for a network without audio.
        audio_tokens, audio_dim: T, and the width of the tokens after the projection.
        audio_attention: where the audio enters. "own": audio cross-attention in each spatial transformer.
            "text": text cross-attention with the features as they are, so D = `cross_attention_dim`
            (EchoMimic). "regions": a transformer after each spatial one, with masks of face regions (Hallo).
        audio_gain: factor on the output of text cross-attention, if the audio enters there.
        audio_window, audio_hidden_dim: None projects each feature by itself. A number of features per window
            selects `WindowAudioProjection`, to `audio_tokens` tokens.
        identity_dim, identity_tokens: width of a face embedding, and the number of tokens it becomes for text
            cross-attention; None for a network without identity projection.
        audio_time_embedding: also add an embedding of the audio tokens to the frame's timestep embedding.
        temporal_modules: False for an image network.
        temporal_mid: the mid block has a temporal module too (AnimateDiff v2).
        temporal_num_heads, temporal_blocks, temporal_attentions, temporal_ff_mult: sizes of the temporal
            modules.
        temporal_norm_num_groups: None is `norm_num_groups`.
        temporal_needs_attention: temporal modules of levels without spatial attention do not run (Hallo).
        max_frames: length of the position tables, motion frames included.
        locator_downscale: mask pixels per latent cell, a power of two, or None for no face locator.
        locator_in_channels, locator_channels: see `FaceLocator`.
        locator_gain: each frame's embedding (timestep, audio, motion conditions) scales the locator features.
            This gives the product of where the mouth is and how far it opens, which convolutions with a
            spatially constant bias learn late.
        time_scale_shift: each frame's embedding scales and shifts the second norm of each ResNet block
            (Dhariwal and Nichol 2021), instead of being added before it, and the norm before the last
            convolution (Peebles and Xie 2023). So the output can become small in silence; a norm alone gives
            it the same size as in speech.
        num_motion_conditions: K, motion conditions per frame (pose of the head), or None.
        expression_guide_channels: G, channels of the expression guide, or None.
        speed_dim: width of the speed tokens, or None for no speed layers.
        speed_centres_rad_s, speed_radii_rad_s, speed_window: see `SpeedEncoder`.
    """

    config: UNetConfig

    @register_to_config
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
        num_motion_conditions: int | None = None,
        expression_guide_channels: int | None = None,
        speed_dim: int | None = 256,
        speed_centres_rad_s: Sequence[float] = SPEED_CENTRES_RAD_S,
        speed_radii_rad_s: Sequence[float] = SPEED_RADII_RAD_S,
        speed_window: int = 2,
    ) -> None:
        super().__init__()
        channels = tuple(block_out_channels)
        time_embed_dim = 4 * channels[0]
        self.conv_in = nn.Conv2d(in_channels, channels[0], 3, padding=1)
        self.time_proj = Timesteps(channels[0])
        self.time_embedding = TimestepEmbedding(channels[0], time_embed_dim)
        self.down_blocks, self.mid_block, self.up_blocks = build_unet(backbone_spec(self.config))
        self.conv_norm_out = nn.GroupNorm(norm_num_groups, channels[0], eps=norm_eps)
        self.modulation_out = zero_(nn.Linear(time_embed_dim, 2 * channels[0])) if time_scale_shift else None
        self.conv_out = nn.Conv2d(channels[0], out_channels, 3, padding=1)

        self.audio_projection: AudioProjection | WindowAudioProjection | None = None
        self.audio_embedding: AudioTimeEmbedding | None = None
        self.identity_projection: IdentityProjection | None = None
        self.face_locator: FaceLocator | None = None
        self.locator_scale: nn.Linear | None = None
        self.motion_condition_encoder: MotionConditionEncoder | None = None
        self.expression_guide_in: nn.Conv2d | None = None
        self.speed_encoder: SpeedEncoder | None = None
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
                self.locator_scale = zero_(nn.Linear(time_embed_dim, channels[0]))
        if num_motion_conditions is not None:
            self.motion_condition_encoder = MotionConditionEncoder(num_motion_conditions, time_embed_dim)
        if expression_guide_channels is not None:
            self.expression_guide_in = zero_(nn.Conv2d(expression_guide_channels, channels[0], 3, padding=1))
        if temporal_modules and speed_dim is not None:
            self.speed_encoder = SpeedEncoder(
                speed_centres_rad_s, speed_radii_rad_s, speed_window, speed_dim, max_frames
            )

    def encode_audio(self, audio_BFTD: Tensor) -> Tensor:
        """Speech features to audio tokens (B, F, T, A), the same for all denoising steps.

        Raises:
            ConfigError: the network has no audio layers, or needs features of another shape.
        """
        if self.config.audio_attention == "text" and self.config.audio_feature_dim is not None:
            check_features(audio_BFTD, (self.config.audio_tokens, self.config.audio_feature_dim))
            return audio_BFTD
        projection: nn.Module = _require(self.audio_projection, "audio layers", "audio_feature_dim")
        return cast(Tensor, projection(audio_BFTD))

    def encode_locator(self, mask_BMHW: Tensor) -> Tensor:
        """Mask of the face region to locator features (B, C, H, W), the same for all frames and steps."""
        return _require(self.face_locator, "face locator", "locator_downscale")(mask_BMHW)

    def encode_identity(self, embedding_BD: Tensor) -> Tensor:
        """Face embedding to tokens (B, L, cross_attention_dim), for this network and its ReferenceNet."""
        return _require(self.identity_projection, "identity layers", "identity_dim")(embedding_BD)

    def forward(
        self,
        sample_BCFHW: Tensor,
        timestep: Tensor,
        *,
        reference: ReferenceFeatures | None = None,
        audio_BFTD: Tensor | None = None,
        audio_tokens_BFTA: Tensor | None = None,
        locator_BMHW: Tensor | None = None,
        locator_features_BCHW: Tensor | None = None,
        speed_BF: Tensor | None = None,
        motion_conditions_BFK: Tensor | None = None,
        expression_guide_BFGHW: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        region_masks: Sequence[Tensor] = (),
        region_weights: Tensor | None = None,
        is_clip: bool = True,
        body: Callable[..., Tensor] | None = None,
    ) -> Tensor:
        """Predict noise, velocity or clean latents (whichever the scheduler expects) for a noisy clip.

        Args:
            sample_BCFHW: noisy latents.
            timestep: (B,) or a scalar, integer or float.
            reference: from `ReferenceNet`; None is plain self-attention and no motion frames.
            audio_BFTD: speech features of each frame's window; None skips audio attention.
            audio_tokens_BFTA: instead of `audio_BFTD`, from `encode_audio`; zeros for the unconditional run.
            locator_BMHW: masks of the face region in pixels, (B, M, H*s, W*s), s = `locator_downscale`,
                M = `locator_in_channels`, in [0, 1].
            locator_features_BCHW: instead of `locator_BMHW`, from `encode_locator`.
            speed_BF: head-rotation speed of each frame in rad/s.
            motion_conditions_BFK: see `openemo.behaviour.motion_conditions`.
            expression_guide_BFGHW: see `openemo.rendering.expression_flow`; None for no expression.
            encoder_hidden_states: (B, L, cross_attention_dim), text or identity tokens for text
                cross-attention; EMO has none.
            region_masks: for each level (B or 1, 3, H, W) in [0, 1]: full image, face, lips. Needed if
                `audio_attention` is "regions".
            region_weights: (3,), factor on the audio attention of each region; None is 1.
            is_clip: False if the frames are not consecutive (image stage): temporal modules do not run.
            body: computes what `body` computes, for example in another precision; None takes that.

        Returns:
            (B, out_channels, F, H, W).

        Raises:
            ConfigError: an input for which this network has no layers, or of a wrong shape.
        """
        reference = reference or ReferenceFeatures()
        batch, _, frames = sample_BCFHW.shape[:3]
        if locator_BMHW is not None:
            locator_features_BCHW = self.encode_locator(locator_BMHW)
        if audio_BFTD is not None:
            audio_tokens_BFTA = self.encode_audio(audio_BFTD)
        conditions = self._conditions(
            timestep.expand(batch),
            frames,
            sample_BCFHW.dtype,
            audio_tokens_BFTA,
            speed_BF,
            motion_conditions_BFK,
            encoder_hidden_states,
            reference,
            is_clip,
        )
        if region_masks:
            if self.config.audio_attention != "regions":
                raise ConfigError("this network has no audio regions", fix="Leave the region masks out")
            conditions = with_regions(conditions, region_masks, region_weights)
        hidden = (body or self.body)(
            sample_BCFHW, conditions, reference, locator_features_BCHW, expression_guide_BFGHW
        )
        hidden = self.conv_norm_out(hidden)
        if self.modulation_out is not None:
            hidden = modulate(hidden, self.modulation_out(conditions.time_embedding))
        output: Tensor = self.conv_out(F.silu(hidden))
        return torch.unflatten(output, 0, (batch, frames)).transpose(1, 2).contiguous()

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward

    def body(
        self,
        sample_BCFHW: Tensor,
        conditions: Conditions,
        reference: ReferenceFeatures,
        locator_features_BCHW: Tensor | None = None,
        expression_guide_BFGHW: Tensor | None = None,
    ) -> Tensor:
        """The blocks: noisy latents to hidden states (BF, C, H, W), before the last norm.

        Nearly all of the computing is here. It bears a coarser precision than what is before and after it:
        rounding of the frames' embeddings and of the last layers shifts whole heads.
        """
        hidden = self.conv_in(fold(sample_BCFHW))
        if locator_features_BCHW is not None:
            hidden = self._add_locator(hidden, locator_features_BCHW, conditions)
        if expression_guide_BFGHW is not None:
            hidden = self._add_guide(hidden, expression_guide_BFGHW)
        features = reference.per_layer(
            [
                layer
                for block in (*self.down_blocks, self.mid_block, *self.up_blocks)
                for layer in block.layers()
            ]
        )
        skips = [hidden]
        for block in self.down_blocks:
            for layer in block.layers():
                hidden = self._run(layer, hidden, conditions, *next(features))
                skips.append(hidden)
            if block.downsamplers is not None:
                hidden = block.downsamplers[0](hidden)
                skips.append(hidden)
        for layer in self.mid_block.layers():
            hidden = self._run(layer, hidden, conditions, *next(features))
        for block in self.up_blocks:
            for layer in block.layers():
                hidden = torch.cat([hidden, skips.pop()], dim=1)
                hidden = self._run(layer, hidden, conditions, *next(features))
            if block.upsamplers is not None:
                hidden = block.upsamplers[0](hidden, skips[-1].shape[-2:])
        return cast(Tensor, hidden)

    def _run(
        self,
        layer: Layer,
        hidden: Tensor,
        conditions: Conditions,
        tokens: Tensor | None,
        motion: Tensor | None,
    ) -> Tensor:
        return run_layer(self, layer, hidden, conditions, tokens, motion)[0]

    def _add_locator(self, hidden: Tensor, locator_features_BCHW: Tensor, conditions: Conditions) -> Tensor:
        """Add the locator features to the output of `conv_in` for every frame (EMO 3.2)."""
        if locator_features_BCHW.shape[-3:] != hidden.shape[-3:]:
            raise ConfigError(
                "the face mask does not fit the latents",
                got=f"a mask for {tuple(locator_features_BCHW.shape[-2:])} latent cells",
                expected=f"{tuple(hidden.shape[-2:])}, {self.config.locator_downscale} pixels per cell",
            )
        features = locator_features_BCHW.repeat_interleave(conditions.num_frames, 0)
        if self.locator_scale is not None:
            features = features * (1 + self.locator_scale(conditions.time_embedding)[..., None, None])
        return hidden + features

    def _add_guide(self, hidden: Tensor, guide_BFGHW: Tensor) -> Tensor:
        """Add the expression guide to the output of `conv_in`."""
        guide_in = _require(self.expression_guide_in, "expression guide", "expression_guide_channels")
        guide = guide_BFGHW.flatten(0, 1).to(hidden.dtype)
        expected = (len(hidden), guide_in.in_channels, *hidden.shape[-2:])
        if guide.shape != expected:
            raise ConfigError(
                "the expression guide does not fit the latents",
                got=f"{tuple(guide.shape)} for all frames",
                expected=str(tuple(expected)),
            )
        return hidden + cast(Tensor, guide_in(guide.contiguous(memory_format=torch.channels_last)))

    def _conditions(
        self,
        timestep_B: Tensor,
        frames: int,
        dtype: torch.dtype,
        audio_BFTA: Tensor | None,
        speed_BF: Tensor | None,
        motion_conditions_BFK: Tensor | None,
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
                raise ConfigError(
                    "this network has no text cross-attention", fix="Build it with cross_attention_dim"
                )
            text = text_BLD.repeat_interleave(frames, 0)
        if audio_BFTA is not None:
            if audio_BFTA.shape[1] != frames:
                raise ConfigError(
                    "audio and video differ in length", got=audio_BFTA.shape[1], expected=f"{frames} frames"
                )
            audio = audio_BFTA.flatten(0, 1)
            if self.audio_embedding is not None:
                time_embedding = time_embedding + self.audio_embedding(audio_BFTA)
            if self.config.audio_attention == "text":
                text, audio = audio, None
        if motion_conditions_BFK is not None:
            motion_encoder = _require(
                self.motion_condition_encoder, "motion condition layers", "num_motion_conditions"
            )
            time_embedding = time_embedding + motion_encoder(motion_conditions_BFK.to(dtype))
        if speed_BF is not None:
            speed_encoder = _require(self.speed_encoder, "speed layers", "speed_dim")
            speed = speed_encoder(speed_BF, reference.num_motion_frames).to(dtype)
        time_embedding = F.silu(time_embedding.flatten(0, 1))
        rows = reference.frame_rows(time_embedding)
        return Conditions(frames, time_embedding, text, audio, speed, rows, is_clip=is_clip)


def _require(module: ModuleT | None, what: str, setting: str) -> ModuleT:
    """`module`, or a ConfigError if the network was built without it."""
    if module is None:
        raise ConfigError(
            f"this network has no {what}", fix=f"Build it with {setting}, or leave the input out"
        )
    return module
