"""The sync networks: receptive fields, refused inputs, shapes of the published SyncNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from openemo.checkpoints.components import load_network
from openemo.errors import ConfigError
from openemo.evaluation.networks.syncnet import SyncNet
from openemo.models.sync_embedder import MEL_BINS, SyncEmbedder, rows_of_frames

TINY: dict[str, Any] = {
    "height": 32,
    "width": 48,
    "picture_channels": (8, 16, 24),
    "audio_channels": (6, 8, 10, 12),
    "frame_dim": 14,
    "hidden_dim": 18,
    "embedding_dim": 20,
}
FRAMES = 9


@pytest.fixture(scope="module")
def network() -> SyncEmbedder:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return SyncEmbedder(**TINY)


def _inputs(batch: int = 2, frames: int = FRAMES) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(11)
    crops = torch.randint(0, 256, (batch, frames, 32, 48), generator=generator, dtype=torch.uint8)
    return crops, torch.randn(batch, rows_of_frames(frames), MEL_BINS, generator=generator)


def test_one_unit_vector_for_each_window_of_five_frames(network: SyncEmbedder) -> None:
    images, audio = network(*_inputs())
    assert images.shape == audio.shape == (2, FRAMES - 4, 20)
    for vectors in (images, audio):
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2, FRAMES - 4))


def test_a_window_depends_on_its_own_five_frames_and_21_rows_only(network: SyncEmbedder) -> None:
    crops, rows = _inputs()
    crops = crops.float().requires_grad_()
    rows.requires_grad_()
    images, audio = network(crops, rows)
    (crops_grad,) = torch.autograd.grad(images[1, 2].sum(), crops)
    (rows_grad,) = torch.autograd.grad(audio[1, 2].sum(), rows)
    frames = crops_grad.abs().sum((2, 3)) > 0
    assert frames.nonzero().tolist() == [[1, frame] for frame in range(2, 7)]
    assert (rows_grad.abs().sum(2) > 0).nonzero().tolist() == [[1, row] for row in range(4 * 2, 4 * 7 + 1)]


def test_windows_of_a_part_equal_those_of_the_whole(network: SyncEmbedder) -> None:
    crops, rows = _inputs()
    whole, part = network(crops, rows), network(crops[:, 2:], rows[:, 8:])
    for a, b in zip(whole, part, strict=True):
        # Another size adds in another order.
        torch.testing.assert_close(a[:, 2:], b, atol=1e-5, rtol=1e-5)


def test_inputs_that_do_not_fit_are_refused(network: SyncEmbedder) -> None:
    crops, rows = _inputs()
    with pytest.raises(ConfigError, match="got 4; expected 5 or more"):
        network.embed_pictures(crops[:, :4])
    with pytest.raises(ConfigError, match="whole frames"):
        network.embed_sound(rows[:, :-1])
    with pytest.raises(ConfigError, match="whole frames"):
        network.embed_sound(rows[..., :-1])
    with pytest.raises(ConfigError, match="multiples of 16"):
        SyncEmbedder(height=40)


def test_a_loaded_network_equals_the_saved_one(network: SyncEmbedder, tmp_path: Path) -> None:
    network.save_pretrained(tmp_path)
    again = load_network(SyncEmbedder, tmp_path)
    for a, b in zip(network(*_inputs()), again(*_inputs()), strict=True):
        assert torch.equal(a, b)


def test_the_default_size_is_small() -> None:
    with torch.device("meta"):
        network = SyncEmbedder()
    assert sum(parameter.numel() for parameter in network.parameters()) < 1e6


# Some names and shapes in the published weights: parts of each stream, and all heads.
PUBLISHED = {
    "netcnnaud.0.weight": (64, 1, 3, 3),
    "netcnnaud.4.weight": (192, 64, 3, 3),
    "netcnnaud.8.weight": (384, 192, 3, 3),
    "netcnnaud.11.weight": (256, 384, 3, 3),
    "netcnnaud.14.weight": (256, 256, 3, 3),
    "netcnnaud.18.weight": (512, 256, 5, 4),
    "netcnnaud.19.running_var": (512,),
    "netcnnlip.0.weight": (96, 3, 5, 7, 7),
    "netcnnlip.4.weight": (256, 96, 1, 5, 5),
    "netcnnlip.8.weight": (256, 256, 1, 3, 3),
    "netcnnlip.11.weight": (256, 256, 1, 3, 3),
    "netcnnlip.14.weight": (256, 256, 1, 3, 3),
    "netcnnlip.18.weight": (512, 256, 1, 6, 6),
    "netcnnlip.19.running_mean": (512,),
    "netfcaud.0.weight": (512, 512),
    "netfcaud.3.weight": (1024, 512),
    "netfclip.1.weight": (512,),
    "netfclip.3.bias": (1024,),
}


def test_the_published_network_has_its_names_and_shapes() -> None:
    with torch.device("meta"):
        network = SyncNet()
        shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        assert {name: shapes[name] for name in PUBLISHED} == PUBLISHED
        convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d | nn.Linear)]
        assert len(convolutions) == 6 + 6 + 2 + 2
        network.eval()
        assert network.embed_pictures(torch.empty(3, 3, 5, 224, 224)).shape == (3, 1024)
        assert network.embed_sound(torch.empty(3, 1, 13, 20)).shape == (3, 1024)
