"""Stable Diffusion's autoencoder: diffusers' numbers, and the role that the pipeline asks of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from openemo.checkpoints.formats.sd15 import autoencoder_part
from openemo.errors import ConfigError
from openemo.models.image_autoencoder import ImageAutoencoder
from tests.parity import assert_close, cases, config, folder_of, load


@pytest.fixture(scope="module")
def tiny() -> ImageAutoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network: ImageAutoencoder = ImageAutoencoder(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(4, 8, 12),
            layers_per_block=1,
            latent_channels=5,
            norm_num_groups=4,
            sample_size=24,
            scaling_factor=0.7,
        )
        network.eval()
    return network


@pytest.mark.parametrize("case", cases("sd15_vae"))
@pytest.mark.parametrize("file", ["weights", "weights_old_attention_names"])
def test_numbers_are_diffusers(case: str, file: str) -> None:
    folder = folder_of(case)
    settings = config(folder)["constructor"]
    autoencoder = ImageAutoencoder(**settings).eval()
    part, left_over = autoencoder_part(load(folder / f"{file}.safetensors"), settings)
    assert not left_over
    autoencoder.load_state_dict(part.state)
    inputs, expected = (load(folder / f"{part}.safetensors") for part in ("inputs", "outputs"))
    factor = settings["scaling_factor"]
    with torch.no_grad():
        posterior = autoencoder.posterior(inputs["image"])
        decoded = autoencoder.decoder(autoencoder.post_quant_conv(inputs["latents"]))
        latents = autoencoder.encode(inputs["image"])
        clamped = autoencoder.decode(inputs["latents"][:, :, None] * factor)
    for name in ("mean", "logvar", "std"):
        assert_close(getattr(posterior, name), expected[name])
    assert_close(decoded, expected["decoded"])
    assert_close(latents / factor, expected["mean"])
    assert_close(clamped[:, :, 0], expected["decoded"].clamp(-1, 1))


def test_frames_do_not_see_each_other(tiny: ImageAutoencoder) -> None:
    latents = torch.randn(2, 5, 3, 6, 7, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        together = tiny.decode(latents)
        alone = tiny.decode(latents[1:, :, 2:])
    assert together.shape == (2, 3, 3, 24, 28)
    # Float32 rounding: convolutions over another batch are summed in another order.
    torch.testing.assert_close(together[1:, :, 2:], alone, atol=1e-5, rtol=0)


def test_what_the_reference_net_reads(tiny: ImageAutoencoder) -> None:
    image = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(2)) * 2 - 1
    with torch.no_grad():
        reference = tiny.encode_reference(image).features_BCHW
        frames = torch.stack([image, image.flip(-1)], dim=2)
        motion = tiny.encode_frames(frames)
    assert tiny.stride == 4
    assert reference.shape == (1, 5, 6, 6)
    pictures = tiny.reference_input(reference, motion)
    assert pictures.shape == (1, 5, 3, 6, 6)
    assert torch.equal(pictures[:, :, 0], reference)
    assert torch.equal(pictures[:, :, 1], tiny.still_latents(reference, 4)[:, :, 3])  # the same picture again
    assert not torch.equal(pictures[:, :, 2], reference)
    assert tiny.reference_input(reference, None).shape == (1, 5, 1, 6, 6)


def test_frames_are_coded_again_as_they_were_decoded(tiny: ImageAutoencoder) -> None:
    """So Hallo's motion frames are; a mean of many decodings would not be this one."""
    image = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(3)) * 2 - 1
    with torch.no_grad():
        reference = tiny.encode_reference(image)
        latents = torch.randn(1, 5, 2, 6, 6, generator=torch.Generator().manual_seed(4))
        again = tiny.reencode(latents, reference)
        frames = tiny.decode(latents, reference)
    torch.testing.assert_close(again, tiny.encode_frames(frames), atol=1e-5, rtol=0)  # rounding


@pytest.mark.parametrize("track", ["gaze_F2", "eyes_closed_F2", "tongue_F", "pressed_F"])
def test_nothing_is_moved_by_rule(tiny: ImageAutoencoder, track: str) -> None:
    latents = torch.zeros(1, 5, 1, 6, 6)
    moved: dict[str, Any] = {track: np.array([[0.5, 0]]) if track.endswith("2") else np.array([0.5])}
    with pytest.raises(ConfigError, match="cannot move eyes"):
        tiny.decode(latents, **moved)
