"""What many tests need: data and weights where there are any, a pipeline of real classes at tiny size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from openemo import checkpoints
from openemo.audio import WhisperEncoder
from openemo.audio.whisper_network import WhisperConfig, WhisperNetwork
from openemo.behaviour.motion_conditions import MOTION_CONDITIONS
from openemo.config import PipelineConfig
from openemo.ddim_scheduler import DDIMScheduler
from openemo.face import FaceAnalyzer
from openemo.face.landmarks import FACE_OVAL, INNER_LIPS, LEFT_EYE, LIDS, NUM_POINTS, OUTER_LIPS, RIGHT_EYE
from openemo.models import EmoUNet, ReferenceNet
from openemo.models.motion_autoencoder import MotionAutoencoder
from openemo.pipeline import EmoPipeline

REPOSITORY = Path(__file__).resolve().parents[1]
ASSETS = REPOSITORY / "src" / "openemo" / "assets"

# Every dimension is another number, so that a swapped axis fails.
_SPATIAL: dict[str, Any] = {
    "block_out_channels": (8, 12),
    "attention_levels": (True, True),
    "layers_per_block": 1,
    "num_attention_heads": (2, 3),
    "norm_num_groups": 4,
    "ff_mult": 1,
    "cross_attention_dim": None,
}
_SPEECH_DIM, _SPEECH_LAYERS, _HEARD_TOKENS = 14, (1, 2), 6


@pytest.fixture(scope="session", autouse=True)
def _data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The certificate that signs is made here, not among the user's data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Data for tests that is not part of the repository."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the data folder `shared` is not beside the repository")
    return folder


@pytest.fixture(scope="session")
def embedded_dir() -> Path:
    """The checkpoint that ships with the package."""
    folder = checkpoints.resolve(checkpoints.EMBEDDED)
    if not (folder / "model_index.json").is_file():
        pytest.skip("this checkout has no embedded weights")
    return folder


@pytest.fixture(scope="session")
def face_weights_dir() -> Path:
    """The shipped face networks, or those of the data folder beside the repository."""
    folders = (
        checkpoints.resolve(checkpoints.EMBEDDED) / "face",
        REPOSITORY.parent / "shared/data/weights/face",
    )
    for folder in folders:
        if (folder / "face_landmarks_detector.onnx").is_file():
            return folder
    pytest.skip("the face networks are neither in the package nor in ../shared/data/weights/face")


@pytest.fixture(scope="session")
def face_analyzer(face_weights_dir: Path) -> FaceAnalyzer:
    return FaceAnalyzer.from_pretrained(face_weights_dir)


@pytest.fixture(scope="session")
def portrait_path() -> Path:
    return ASSETS / "demo_portrait.jpg"


@pytest.fixture(scope="session")
def voice_path() -> Path:
    return ASSETS / "demo_voice.flac"


@pytest.fixture(scope="session")
def tiny_pipeline(face_analyzer: FaceAnalyzer) -> EmoPipeline:
    return make_tiny_pipeline(face_analyzer)


def make_tiny_pipeline(face_analyzer: FaceAnalyzer) -> EmoPipeline:
    """The real classes with a few thousand random weights each; the face networks are the real ones."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        autoencoder = MotionAutoencoder(
            sample_size=64,
            fine_channels=8,
            middle_channels=16,
            reference_channels=24,
            decoder_channels=(8, 12, 16),
            decoder_blocks=1,
            head_flow_scale=0.004,  # noise of this size moves a head without tearing it
        )
        channels = autoencoder.latent_channels
        unet = EmoUNet(
            in_channels=channels,
            out_channels=channels,
            **_SPATIAL,
            audio_feature_dim=_SPEECH_DIM * len(_SPEECH_LAYERS),
            audio_tokens=_HEARD_TOKENS,
            audio_dim=10,
            audio_time_embedding=True,
            temporal_num_heads=(2, 3),
            temporal_attentions=1,
            temporal_ff_mult=1,
            max_frames=16,
            locator_downscale=16,
            locator_in_channels=4,
            num_motion_conditions=len(MOTION_CONDITIONS),
            expression_guide_channels=autoencoder.face_channels,
            speed_dim=18,
        )
        reference_net = ReferenceNet(in_channels=24 + channels, **_SPATIAL)
        for network in (unet, reference_net, autoencoder):
            _wake(network)
        speech_encoder = WhisperEncoder(
            WhisperNetwork(
                WhisperConfig(
                    d_model=_SPEECH_DIM,
                    encoder_layers=2,
                    encoder_attention_heads=2,
                    encoder_ffn_dim=20,
                    num_mel_bins=80,
                )
            ),
            layers=_SPEECH_LAYERS,
        )
    config = PipelineConfig(
        clip_frames=5,
        motion_frames=2,
        speech_window_tokens=_HEARD_TOKENS,
        num_inference_steps=3,
        guidance_scale=1,
        locator="parts",
        blinks_per_minute=30,
        head_motion=1,
        gaze=1,
        brows=1,
    )
    # Most of the noise is left by networks that predict nothing, so much moves. Nothing imports diffusers.
    scheduler = DDIMScheduler(
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        clip_sample=False,
    )
    return EmoPipeline(unet, reference_net, autoencoder, scheduler, speech_encoder, face_analyzer, config)


@pytest.fixture(scope="session")
def tiny_dir(tiny_pipeline: EmoPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny pipeline as a checkpoint folder. Tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_pipeline.save_pretrained(folder, dtype=torch.float32)
    return folder


def _wake(network: torch.nn.Module) -> None:
    """Zero-initialised layers would hide what they are connected to."""
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)


def _ellipse(
    count: int, centre: tuple[float, float], radii: tuple[float, float], start: float
) -> NDArray[np.float64]:
    """Counter-clockwise in a picture (y down), from angle `start` in turns: 0 right, 0.25 top, 0.5 left."""
    angle = 2 * np.pi * (start + np.arange(count) / count)
    return np.stack([centre[0] + radii[0] * np.cos(angle), centre[1] - radii[1] * np.sin(angle)], 1)


@pytest.fixture
def toy_face() -> NDArray[np.float64]:
    return draw_toy_face()


def draw_toy_face() -> NDArray[np.float64]:
    """A face drawn by formulas, on which every motion is known.

    (478, 3) landmarks in a square of side 1: contours in true order, the rest anywhere in the oval.
    """
    rng = np.random.default_rng(17)
    turn, radius = rng.uniform(0, 2 * np.pi, NUM_POINTS), 0.9 * np.sqrt(rng.random(NUM_POINTS))
    points = np.stack([0.5 + 0.24 * radius * np.cos(turn), 0.5 + 0.31 * radius * np.sin(turn)], 1)
    points[list(FACE_OVAL)] = _ellipse(len(FACE_OVAL), (0.5, 0.5), (0.24, 0.31), 0.25)[::-1]
    points[list(FACE_OVAL)] = np.roll(points[list(FACE_OVAL)], 1, axis=0)
    points[list(OUTER_LIPS)] = _ellipse(len(OUTER_LIPS), (0.5, 0.64), (0.09, 0.04), 0.5)
    points[list(INNER_LIPS)] = _ellipse(len(INNER_LIPS), (0.5, 0.64), (0.07, 0.004), 0.5)
    points[list(RIGHT_EYE)] = _ellipse(len(RIGHT_EYE), (0.41, 0.42), (0.04, 0.015), 0.5)
    points[list(LEFT_EYE)] = _ellipse(len(LEFT_EYE), (0.59, 0.42), (0.04, 0.015), 0.0)[::-1]
    points[list(LIDS[:16])] = _ellipse(16, (0.41, 0.42), (0.055, 0.03), 0.5)[::-1]
    points[list(LIDS[16:])] = _ellipse(16, (0.59, 0.42), (0.055, 0.03), 1 / 16)
    depth = 0.1 * ((points[:, :1] - 0.5) ** 2 + (points[:, 1:] - 0.5) ** 2)
    return np.concatenate([points, depth], 1)
