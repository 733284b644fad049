"""Faces that are drawn by a script, at the landmarks of the toy face."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

from openemo.face.landmarks import LEFT_IRIS, RIGHT_IRIS

SIDE = 400
SKIN, LINE, MOUTH, WHITE = (255, 224, 200), (44, 20, 40), (160, 50, 60), (255, 255, 255)
LINE_PX = 5
Floats = NDArray[np.float64]
Image = NDArray[np.uint8]


def with_irises(face: Floats) -> Floats:
    """The toy face with irises in its eyes."""
    face = face.copy()
    for iris, x in ((RIGHT_IRIS, 0.41), (LEFT_IRIS, 0.59)):
        face[list(iris), :2] = np.array([x, 0.42]) + 0.013 * np.array(
            [(0, 0), (1, 0), (0, 1), (-1, 0), (0, -1)]
        )
    return face


def draw_cartoon(mouth: Literal["line", "lips", "open"] = "line", side: int = SIDE) -> Image:
    """A face of flat colours with hard edges; its mouth is in the middle of the toy face's."""
    picture = Pillow.new("RGB", (side, side), (200, 225, 250))
    draw = ImageDraw.Draw(picture)

    def box(x: float, y: float, half_width: float, half_height: float) -> tuple[float, ...]:
        edges = (x - half_width, y - half_height, x + half_width, y + half_height)
        return tuple(round(edge * side) for edge in edges)

    draw.ellipse(box(0.5, 0.5, 0.25, 0.32), fill=SKIN, outline=LINE, width=LINE_PX)
    for x in (0.41, 0.59):
        draw.ellipse(box(x, 0.42, 0.045, 0.03), fill=WHITE, outline=LINE, width=3)
        draw.ellipse(box(x, 0.42, 0.02, 0.025), fill=LINE)
    if mouth == "line":
        y = round(0.64 * side)
        draw.line((round(0.44 * side), y, round(0.56 * side), y), fill=MOUTH, width=LINE_PX)
    elif mouth == "lips":
        draw.ellipse(box(0.5, 0.64, 0.09, 0.04), fill=(200, 70, 80))
        draw.line(
            (round(0.43 * side), round(0.64 * side), round(0.57 * side), round(0.64 * side)),
            fill=LINE,
            width=3,
        )
    else:
        draw.ellipse(box(0.5, 0.64, 0.06, 0.035), fill=(120, 20, 30), outline=LINE, width=LINE_PX)
    return np.asarray(picture)
