"""Varies faces, cameras, voices and rooms of the training clips. Timing stays as it is."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["augment_audio", "augment_pictures"]


def augment_pictures(crops: NDArray[np.uint8], size_px: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """One sequence of larger crops (F, H, W) through another camera: (F, height, width) in [0, 255].

    All frames have the same change, and a small jitter each, as tracked landmarks have.
    """
    pictures = torch.from_numpy(crops).float()[:, None] / 255
    pictures = F.grid_sample(
        pictures, _grid(len(crops), crops.shape[1:], size_px, rng), padding_mode="border", align_corners=False
    )
    if rng.random() < 0.4:
        scale = float(rng.uniform(0.3, 0.8))
        small = [max(4, round(side * scale)) for side in size_px]
        pictures = F.interpolate(pictures, small, mode="bilinear", antialias=True)
        pictures = F.interpolate(pictures, list(size_px), mode="bilinear")
    pictures = pictures.clamp(0, 1) ** float(np.exp(rng.uniform(-0.4, 0.4)))
    gain, offset = float(np.exp(rng.uniform(-0.5, 0.15))), float(rng.uniform(-0.15, 0.15))
    down, across = (
        float(rng.uniform(-0.15, 0.15)) * torch.linspace(-1, 1, side) for side in size_px
    )  # light from one side
    pictures = gain * pictures + offset + down[:, None] + across
    if rng.random() < 0.5:
        noise = rng.standard_normal(pictures.shape, np.float32) * np.float32(rng.uniform(0, 0.03))
        pictures = pictures + torch.from_numpy(noise)
    return 255 * pictures[:, 0].clamp(0, 1)


def _grid(
    num_frames: int, stored_px: tuple[int, ...], size_px: tuple[int, int], rng: np.random.Generator
) -> Tensor:
    """(F, height, width, 2): mirror, rotate, scale, stretch and shift, in half sides of the stored crop."""
    angle = float(rng.uniform(-0.14, 0.14))
    scale = np.exp(rng.uniform(-0.15, 0.15) + np.array([0.5, -0.5]) * rng.uniform(-0.12, 0.12))
    mirror = 1.0 if rng.random() < 0.5 else -1.0
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    half = np.array([size_px[1], size_px[0]]) / 2
    matrix = rotation * scale * half * np.array([mirror, 1.0])  # columns: x and y, in px of the stored crop
    jitter_px = rng.uniform(0, 0.5) if rng.random() < 0.5 else 0.0
    shift = rng.uniform(-4, 4, 2) + rng.normal(0, 1, (num_frames, 2)) * jitter_px
    stored_half = np.array([stored_px[1], stored_px[0]]) / 2
    theta = np.concatenate([np.broadcast_to(matrix, (num_frames, 2, 2)), shift[..., None]], -1)
    theta = theta / stored_half[:, None]
    return F.affine_grid(torch.from_numpy(theta).float(), [num_frames, 1, *size_px], align_corners=False)


def augment_audio(rows: NDArray[np.float16], rng: np.random.Generator) -> Tensor:
    """Log-mel rows (T, 80) through another microphone, in the noise of another room."""
    audio = rows.astype(np.float32) + np.float32(rng.uniform(-0.1, 0.1))
    bins = np.arange(audio.shape[1])
    tone = np.interp(bins, np.linspace(0, bins[-1], 6), rng.normal(0, 0.1, 6))
    audio = audio + tone.astype(np.float32)
    if rng.random() < 0.5:  # a noise floor that covers all quieter sounds
        level = rng.uniform(-1.0, 0.1) + np.interp(bins, (0, bins[-1]), rng.uniform(-0.2, 0.2, 2))
        audio = np.maximum(audio, level + rng.normal(0, 0.08, audio.shape)).astype(np.float32)
    if rng.random() < 0.5:  # a missing band
        width = int(rng.integers(4, 16))
        start = int(rng.integers(len(bins) - width))
        audio[:, start : start + width] = audio.min()
    return torch.from_numpy(audio)
