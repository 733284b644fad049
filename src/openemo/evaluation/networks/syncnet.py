"""The published SyncNet, second version: the network behind Sync-C and Sync-D in papers.

Chung and Zisserman, "Out of time: automated lip sync in the wild", 2016. Layers, sizes and parameter names
are those of its published weights, which are not part of this project.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

__all__ = ["SyncNet"]

CROP_PX = 224
MFCC_ROWS = 20
EMBEDDING_DIM = 1024


class SyncNet(nn.Module):
    """Embeds five frames of a face, and their 0.2 s of sound, as vectors of 1024 numbers each."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_layer2d(1, 64, 3, padding=1),
            nn.MaxPool2d(1, 1),  # changes nothing, but counts in the names of the weights
            *_layer2d(64, 192, 3, padding=1),
            nn.MaxPool2d(3, (1, 2)),
            *_layer2d(192, 384, 3, padding=1),
            *_layer2d(384, 256, 3, padding=1),
            *_layer2d(256, 256, 3, padding=1),
            nn.MaxPool2d(3, 2),
            *_layer2d(256, 512, (5, 4)),
        )
        self.netcnnlip = nn.Sequential(
            *_layer3d(3, 96, (5, 7, 7), (1, 2, 2)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_layer3d(96, 256, (1, 5, 5), (1, 2, 2), (0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_layer3d(256, 256, (1, 3, 3), padding=(0, 1, 1)),
            *_layer3d(256, 256, (1, 3, 3), padding=(0, 1, 1)),
            *_layer3d(256, 256, (1, 3, 3), padding=(0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_layer3d(256, 512, (1, 6, 6)),
        )
        self.netfcaud = _head()
        self.netfclip = _head()

    def embed_pictures(self, faces_N3FHW: Tensor) -> Tensor:
        """(N, 1024) of (N, 3, 5, 224, 224) crops: blue, green, red in [0, 255], five frames at 25 fps."""
        return cast(Tensor, self.netfclip(self.netcnnlip(faces_N3FHW).flatten(1)))

    def embed_sound(self, mfcc_N1CT: Tensor) -> Tensor:
        """(N, 1024) of (N, 1, 13, 20) cepstral coefficients at 100 Hz."""
        return cast(Tensor, self.netfcaud(self.netcnnaud(mfcc_N1CT).flatten(1)))


def _layer2d(*sizes: Any, **options: Any) -> tuple[nn.Module, ...]:
    return nn.Conv2d(*sizes, **options), nn.BatchNorm2d(sizes[1]), nn.ReLU()


def _layer3d(
    channels_in: int,
    channels_out: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int] = (1, 1, 1),
    padding: tuple[int, int, int] = (0, 0, 0),
) -> tuple[nn.Module, ...]:
    convolution = nn.Conv3d(channels_in, channels_out, kernel, stride, padding)
    return convolution, nn.BatchNorm3d(channels_out), nn.ReLU()


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, EMBEDDING_DIM))
