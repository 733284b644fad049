"""A portrait whose background was cut out: opacity moves with the face, edges keep their colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from openemo.audio import Audio
from openemo.errors import ConfigError, ImageError, OutputError
from openemo.models.image_autoencoder import ImageAutoencoder
from openemo.models.motion_autoencoder import MotionAutoencoder
from openemo.pipeline import EmoPipeline
from openemo.pipeline.output import Animation, Frame
from openemo.rendering.portrait_layers import PortraitPicture
from openemo.video.transparency import bleed_colours, on_white


@pytest.fixture(scope="module")
def cut_out(portrait_path: Path) -> Frame:
    """The demo's portrait at half size; an oval with a soft edge is opaque."""
    photo = np.array(Image.open(portrait_path).convert("RGB").resize((512, 512)))
    y, x = np.mgrid[:512, :512]
    inside = 1 - np.hypot((x - 257) / 150, (y - 245) / 200)
    return np.dstack([photo, np.clip(inside * 1500 + 128, 0, 255).astype(np.uint8)])


@pytest.fixture(scope="module")
def sound() -> Audio:
    times_s = np.arange(5_000) / 16_000
    return Audio(0.3 * np.sin(900 * times_s + 3000 * times_s**2).astype(np.float32)[None], 16_000)


def animate(pipeline: EmoPipeline, image: Frame, sound: Audio, *, transparent: bool) -> Animation:
    return pipeline(image, sound, head_motion=3, lip_motion=2, transparent=transparent)


def stack(animation: Animation) -> Frame:
    return np.stack(list(animation))


def test_opaque_parts_are_those_of_the_ordinary_video(
    tiny_pipeline: EmoPipeline, cut_out: Frame, sound: Audio
) -> None:
    cut = stack(animate(tiny_pipeline, cut_out, sound, transparent=True))
    plain = stack(animate(tiny_pipeline, cut_out, sound, transparent=False))
    assert cut.shape == (8, 512, 512, 4)
    assert plain.shape == (8, 512, 512, 3)
    middle = (slice(None), slice(150, 380), slice(180, 340))
    assert (cut[middle][..., 3] == 255).all()
    difference = np.abs(cut[middle][..., :3].astype(int) - plain[middle])
    # The inside of the mouth takes tones of the face, which lies on white in the other one.
    assert difference.max() <= 4
    assert (difference > 0).mean() < 5e-3
    assert not np.array_equal(plain[0], plain[4])


def test_opacity_moves(tiny_pipeline: EmoPipeline, cut_out: Frame, sound: Audio) -> None:
    frames = stack(animate(tiny_pipeline, cut_out, sound, transparent=True))
    moved = np.abs(frames[..., 3].astype(int) - cut_out[..., 3])
    assert moved.max() > 40
    assert not moved[:, :20].any()  # outside the animated square


@pytest.mark.parametrize("framing", ["full", "crop"])
def test_what_is_hidden_is_never_seen(
    tiny_pipeline: EmoPipeline, cut_out: Frame, sound: Audio, framing: str
) -> None:
    """Whatever colours a program left under transparent pixels, the frames are the same."""
    videos = []
    for hidden in (0, 255, None):
        image = cut_out.copy()
        noise = np.random.default_rng(1).integers(0, 255, image[..., :3].shape, np.uint8)
        is_hidden = image[..., 3] == 0
        image[is_hidden, :3] = noise[is_hidden] if hidden is None else hidden
        videos.append(stack(tiny_pipeline(image, sound, framing=framing, size_px=200, transparent=True)))  # type: ignore[arg-type]
    assert np.array_equal(videos[0], videos[1])
    assert np.array_equal(videos[0], videos[2])


def test_opacity_moves_as_a_colour_does(toy_face: NDArray[np.float64]) -> None:
    """A picture whose opacity equals its red: both are the same in each frame, where nothing is drawn."""
    network = MotionAutoencoder(
        sample_size=64, fine_channels=8, middle_channels=8, reference_channels=8, decoder_channels=(8, 8, 8)
    ).eval()
    rng = np.random.default_rng(4)
    pixels = np.kron(rng.integers(0, 255, (16, 16, 3)), np.ones((5, 5, 1))).astype(np.uint8)
    pixels = np.dstack([pixels, pixels[..., 0]])
    latents = torch.randn(1, network.latent_channels, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    points = toy_face[:, :2].astype(np.float32)
    gaze, eyes_closed = np.full((3, 2), 0.1), np.array([[0, 0], [0.5, 0.3], [1, 1]])
    with torch.no_grad():
        image = torch.zeros(1, 3, 64, 64)
        with_alpha, without = (
            network.decode(
                latents,
                network.encode_reference(image, PortraitPicture(given, points)),
                gaze_F2=gaze,
                eyes_closed_F2=eyes_closed,
            )
            for given in (pixels, pixels[..., :3])
        )
    assert with_alpha.shape == (1, 4, 3, 80, 80)
    assert torch.equal(with_alpha[:, :3], without)
    away = with_alpha[..., 60:, :]  # of eyes and mouth
    assert torch.allclose(away[:, 3], away[:, 0], atol=1e-6)
    assert (away[:, 3, 0] - away[:, 3, 1]).abs().max() > 0.1


def test_every_way_to_give_opacity(
    tiny_pipeline: EmoPipeline, cut_out: Frame, sound: Audio, tmp_path: Path
) -> None:
    Image.fromarray(cut_out).save(tmp_path / "cut.png")
    Image.fromarray(cut_out).save(tmp_path / "cut.webp", lossless=True, exact=True)
    expected = next(iter(animate(tiny_pipeline, cut_out, sound, transparent=True)))
    for given in (
        tmp_path / "cut.png",
        (tmp_path / "cut.webp").read_bytes(),
        Image.fromarray(cut_out),
        torch.from_numpy(cut_out).permute(2, 0, 1)[None] / 255,
    ):
        frame = next(iter(tiny_pipeline(given, sound, head_motion=3, lip_motion=2, transparent=True)))
        assert np.array_equal(frame, expected)


def test_nothing_to_leave_out(tiny_pipeline: EmoPipeline, cut_out: Frame, sound: Audio) -> None:
    for opaque in (cut_out[..., :3], np.dstack([cut_out[..., :3], np.full((512, 512), 255, np.uint8)])):
        with pytest.raises(
            ImageError, match=r"nothing of the portrait is transparent.*leave `transparent` out"
        ):
            tiny_pipeline(np.ascontiguousarray(opaque), sound, transparent=True)


def test_a_file_without_alpha_is_refused_before_frames_are_made(
    tiny_pipeline: EmoPipeline, cut_out: Frame, sound: Audio, tmp_path: Path
) -> None:
    calls: list[int] = []
    animation = animate(tiny_pipeline, cut_out, sound, transparent=True)
    with pytest.raises(OutputError, match=r"a \.mp4 video has no transparency"):
        animation.save(tmp_path / "out.mp4", progress=lambda done, _: calls.append(done))
    assert (calls, list(tmp_path.iterdir())) == ([], [])
    assert animation.save(tmp_path / "out.webm").is_file()


def test_models_that_draw_every_pixel_say_so(
    tiny_pipeline: EmoPipeline, cut_out: Frame, sound: Audio
) -> None:
    pipeline = EmoPipeline(
        tiny_pipeline.unet,
        tiny_pipeline.reference_net,
        ImageAutoencoder(block_out_channels=(4, 4, 4, 4), norm_num_groups=2, layers_per_block=1),
        tiny_pipeline.scheduler,
        tiny_pipeline.speech_encoder,
        tiny_pipeline.face_analyzer,
        tiny_pipeline.config,
    )
    with pytest.raises(ConfigError, match="without transparency"):
        animate(pipeline, cut_out, sound, transparent=True)


def test_colours_bleed_from_the_nearest_visible_pixel() -> None:
    image = np.zeros((5, 7, 4), np.uint8)
    image[:, 0] = (10, 20, 30, 255)
    image[:, 6] = (200, 100, 50, 16)
    image[2, 3] = (255, 255, 255, 15)  # hardly visible
    bled = bleed_colours(image)
    assert np.array_equal(bled[..., 3], image[..., 3])
    assert (bled[:, :3, :3] == (10, 20, 30)).all()
    assert (bled[:, 4:, :3] == (200, 100, 50)).all()
    assert np.array_equal(bleed_colours(image[:, 1:3]), image[:, 1:3])  # nothing visible
    assert (on_white(image)[1, 3] == 255).all()
    assert np.array_equal(on_white(image)[:, 0], image[:, 0, :3])
