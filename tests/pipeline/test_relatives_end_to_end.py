"""From portrait and voice to frames with tiny networks of the open relatives' kinds, through checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from openemo.audio import Audio, Wav2VecEncoder, WhisperEncoder
from openemo.audio.whisper_network import WhisperConfig, WhisperNetwork
from openemo.checkpoints.completing import complete
from openemo.config import PipelineConfig
from openemo.ddim_scheduler import DDIMScheduler
from openemo.errors import CheckpointError, ConfigError
from openemo.face import FaceAnalyzer
from openemo.models import EmoUNet, ReferenceNet
from openemo.models.image_autoencoder import ImageAutoencoder
from openemo.pipeline import EmoPipeline
from openemo.pipeline.output import Frame
from openemo.pipeline_presets import Family, pipeline_config, scheduler_config, speech_options
from openemo.video.images import read_image

SPATIAL: dict[str, Any] = dict(
    block_out_channels=(8, 12),
    attention_levels=(True, False),
    layers_per_block=1,
    num_attention_heads=2,
    norm_num_groups=4,
    ff_mult=1,
)
TEMPORAL: dict[str, Any] = dict(
    temporal_num_heads=2, temporal_attentions=1, temporal_ff_mult=1, max_frames=16, speed_dim=None
)
TINY: dict[str, Any] = dict(clip_frames=5, num_inference_steps=2, crop_px=48)
WIDTH = 14  # of the speech states
Build = Callable[[Family], EmoPipeline]


def hallo_networks() -> tuple[EmoUNet, ReferenceNet, Any]:
    speech = Wav2Vec2Model(
        Wav2Vec2Config(
            hidden_size=WIDTH,
            conv_dim=(6, 8),
            conv_stride=(20, 16),
            conv_kernel=(30, 18),
            num_feat_extract_layers=2,
            num_conv_pos_embeddings=6,
            num_conv_pos_embedding_groups=2,
            num_hidden_layers=3,
            intermediate_size=10,
            num_attention_heads=2,
            vocab_size=7,
        )
    )
    unet = EmoUNet(
        **SPATIAL,
        **TEMPORAL,
        cross_attention_dim=6,
        audio_attention="regions",
        audio_feature_dim=3 * WIDTH,
        audio_window=5,
        audio_hidden_dim=9,
        audio_tokens=3,
        audio_dim=11,
        identity_dim=13,
        identity_tokens=2,
        temporal_needs_attention=True,
        locator_downscale=4,
        locator_in_channels=3,
        locator_channels=(5, 6, 7),
    )
    reference_net = ReferenceNet(
        **SPATIAL, cross_attention_dim=6, motion_features="attention", tile_text=True
    )
    return unet, reference_net, Wav2VecEncoder(speech, **speech_options("hallo"))


def echomimic_networks() -> tuple[EmoUNet, ReferenceNet, Any]:
    speech = WhisperNetwork(
        WhisperConfig(
            d_model=WIDTH,
            encoder_layers=4,
            encoder_attention_heads=2,
            encoder_ffn_dim=20,
            num_mel_bins=80,
            max_source_positions=1500,
        )
    )
    unet = EmoUNet(
        **SPATIAL,
        **TEMPORAL,
        cross_attention_dim=WIDTH,
        audio_attention="text",
        audio_gain=3.0,
        audio_feature_dim=WIDTH,
        audio_tokens=50,
        locator_downscale=4,
        locator_channels=(5, 6, 7),
    )
    return (
        unet,
        ReferenceNet(**SPATIAL, cross_attention_dim=None),
        WhisperEncoder(speech, **speech_options("echomimic")),
    )


@pytest.fixture(scope="module")
def build(face_analyzer: FaceAnalyzer) -> Build:
    def pipeline(family: Family) -> EmoPipeline:
        with torch.random.fork_rng():
            torch.manual_seed(11)
            unet, reference_net, speech = hallo_networks() if family == "hallo" else echomimic_networks()
            autoencoder = ImageAutoencoder(
                down_block_types=("DownEncoderBlock2D",) * 3,
                up_block_types=("UpDecoderBlock2D",) * 3,
                block_out_channels=(4, 4, 8),
                layers_per_block=1,
                norm_num_groups=4,
                sample_size=24,
            )
            for network in (unet, reference_net):
                for parameter in network.parameters():
                    if not parameter.any():  # zero layers would hide what they are connected to
                        torch.nn.init.normal_(parameter, std=0.05)
        settings = pipeline_config(family).override(**TINY)
        scheduler = DDIMScheduler(**scheduler_config(family))
        return EmoPipeline(unet, reference_net, autoencoder, scheduler, speech, face_analyzer, settings)

    return pipeline


@pytest.fixture(scope="module")
def portrait(portrait_path: Path) -> Frame:
    return read_image(portrait_path)


def voice(duration_s: float) -> Audio:
    times_s = np.arange(round(duration_s * 16_000)) / 16_000
    return Audio(0.3 * np.sin(2 * np.pi * (180 * times_s + 90 * times_s**2)).astype(np.float32)[None], 16_000)


def frames_of(pipeline: EmoPipeline, portrait: Frame, *, sound: Audio | None = None, **options: Any) -> Frame:
    settings: dict[str, Any] = {"framing": "crop", "size_px": 64} | options
    return np.stack(list(pipeline(portrait, sound or voice(0.4), **settings)))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["hallo", "echomimic"])
def test_a_checkpoint_makes_the_same_video(
    build: Build, portrait: Frame, tmp_path: Path, family: Family
) -> None:
    pipeline = build(family)
    pipeline.save_pretrained(tmp_path, dtype=torch.float32)
    again = EmoPipeline.from_pretrained(tmp_path)
    assert again.config == pipeline.config
    assert again.speech_encoder.options() == pipeline.speech_encoder.options()
    frames = frames_of(pipeline, portrait)
    assert np.array_equal(frames, frames_of(again, portrait))
    assert frames.shape == (10, 64, 64, 3)  # 0.4 s are 10 frames at 25 per second, and 9.6 at 24


@pytest.mark.slow
@pytest.mark.parametrize("family", ["hallo", "echomimic"])
def test_everything_reaches_the_frames(build: Build, portrait: Frame, family: Family) -> None:
    pipeline = build(family)
    plain = frames_of(pipeline, portrait)
    backwards = Audio(voice(0.4).samples[:, ::-1].copy(), 16_000)
    others = {
        "sound": frames_of(pipeline, portrait, sound=backwards),
        "guidance": frames_of(pipeline, portrait, guidance_scale=1.0),
        "portrait": frames_of(pipeline, np.ascontiguousarray(portrait[:, ::-1])),
        "steps": frames_of(pipeline, portrait, num_inference_steps=3),
        "seed": frames_of(pipeline, portrait, seed=5),
    }
    for name, other in others.items():
        assert other.shape == plain.shape, name
        assert not np.array_equal(other, plain), name


@pytest.mark.slow
@pytest.mark.parametrize("family", ["hallo", "echomimic"])
@pytest.mark.parametrize("kind", ["model", "sequential"])
def test_offloaded_networks_make_the_same_video(
    build: Build, portrait: Frame, family: Family, kind: Any
) -> None:
    plain, pipeline = frames_of(build(family), portrait), build(family)
    pipeline.enable_offload(kind, "cpu")
    assert np.array_equal(frames_of(pipeline, portrait), plain)


@pytest.mark.slow
def test_full_frame_of_a_picture_that_is_not_square(build: Build, portrait: Frame) -> None:
    photo = portrait[:, 150:]
    for family in ("hallo", "echomimic"):
        animation = build(family)(photo, voice(0.2))
        assert (animation.height, animation.width) == photo.shape[:2]
        assert all(frame.shape == photo.shape for frame in animation)


@pytest.mark.slow
def test_hallo_remembers_the_frames_it_showed(build: Build, portrait: Frame) -> None:
    """The first clip starts from the portrait; the second from what was decoded, not from the latents."""
    pipeline = build("hallo")
    remembering = frames_of(pipeline, portrait)
    for setting, value in (("motion_source", "latents"), ("first_motion", "zeros")):
        pipeline.config = build("hallo").config.override(**{setting: value})
        other = frames_of(pipeline, portrait)
        first_is_the_same = np.array_equal(other[:5], remembering[:5])
        assert first_is_the_same == (setting == "motion_source")
        assert not np.array_equal(other[5:], remembering[5:])


@pytest.mark.slow
def test_identity_is_off_unless_brought(build: Build, portrait: Frame) -> None:
    class Someone:
        def __call__(self, image: Frame, face: object) -> np.ndarray[Any, np.dtype[np.float32]]:
            return np.linspace(-1, 1, 13, dtype=np.float32)

    hallo = build("hallo")
    nobody = frames_of(hallo, portrait)
    hallo.face_embedder = Someone()  # type: ignore[assignment]
    assert not np.array_equal(frames_of(hallo, portrait), nobody)
    echomimic = build("echomimic")
    echomimic.face_embedder = Someone()  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="no identity layers"):
        frames_of(echomimic, portrait)


@pytest.mark.parametrize("family", ["hallo", "echomimic", "echomimic_acc"])
def test_imported_networks_are_completed(
    build: Build, tmp_path: Path, face_weights_dir: Path, family: Family
) -> None:
    """An import holds the networks alone."""
    pipeline = build(family)
    for name in ("unet", "reference_net", "autoencoder", "speech_encoder"):
        getattr(pipeline, name).save_pretrained(tmp_path / name)
    complete(tmp_path, family, face=face_weights_dir, licence="MIT")
    assert EmoPipeline.from_pretrained(tmp_path).config == pipeline_config(family)
    (tmp_path / "unet" / "config.json").unlink()
    with pytest.raises(CheckpointError, match="not complete"):
        complete(tmp_path, family, face=face_weights_dir, licence="MIT")


def test_families_settings() -> None:
    with pytest.raises(ConfigError, match="unknown family"):
        pipeline_config("emo")  # type: ignore[arg-type]
    assert pipeline_config("echomimic_acc").guidance_scale == 1
    for settings in ({"window_overlap": 12, "motion_frames": 0}, {"window_overlap": 3, "motion_frames": 2}):
        with pytest.raises(ConfigError):
            PipelineConfig.parse(settings)
