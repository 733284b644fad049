"""Pictures with opacity: (height, width, 4) uint8, straight, that is, not multiplied into the colours."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from PIL import Image as Pillow

from openemo.arrays import Image

__all__ = ["bleed_colours", "on_white"]

# Of 255. Colours of what can hardly be seen are whatever the program that wrote them left there.
_LEAST_OPACITY: Final = 16


def on_white(image: Image) -> Image:
    """(height, width, 3): the picture before a white background."""
    picture = Pillow.fromarray(image)
    return np.array(Pillow.alpha_composite(Pillow.new("RGBA", picture.size, "white"), picture).convert("RGB"))


def bleed_colours(image: Image) -> Image:
    """The same picture, with the colour of the nearest visible pixel where it is transparent.

    Programs leave black, white or the old background there. It would show as a fringe as soon as pixels are
    mixed: when the picture is moved or resized, and in video with a colour for 2 x 2 pixels.
    """
    is_hidden = image[..., 3] < _LEAST_OPACITY
    if is_hidden.all() or not is_hidden.any():
        return image
    _, labels = cv2.distanceTransformWithLabels(
        is_hidden.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((int(labels.max()) + 1, 3), np.uint8)
    colours[labels[~is_hidden]] = image[~is_hidden][:, :3]
    result = image.copy()
    result[is_hidden, :3] = colours[labels[is_hidden]]
    return result
