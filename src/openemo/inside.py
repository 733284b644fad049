"""The inside of a portrait's mouth: its own teeth where the photo shows them, else those the model brings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openemo.face.geometry import FACE_OVAL, OUTER_LIPS, STABLE
from openemo.face.lines import CornerLine
from openemo.face.masks import fill_contour
from openemo.lipline import LipLine, find_lip_line
from openemo.models.inside import TEETH_ARCH, TEETH_EDGE, TEETH_LINES, TEETH_SIZE, TEETH_WIDTH, MouthInside
from openemo.models.seam import LipSeam
from openemo.models.tone import to_tone_of

__all__ = ["light_on", "look_inside"]

Floats = NDArray[np.floating]
Image = NDArray[np.uint8]

_JAW: Final = (152, 148, 377, 176, 400, 199, 175, 200)
# Lengths in widths of the mouth. A smile is that much wider than lips at rest, and the teeth with it.
_SMILE: Final = 1.2
_UPPER_BELOW: Final = 0.04  # the upper teeth's edge below the line where lips meet, at rest
_LIPS: Final = 0.08  # beyond the line where lips meet, what is drawn out is skin
_END: Final = 0.03  # from a corner, where nothing opens
_BOX: Final = (0.8, 0.75, 1.0)  # half the width, above, below
_TORN_SIZE: Final = 256  # cells along a side: finer than the flow's own
# Teeth in speech lie deeper than in a smile, in light that lips have coloured; lower ones further in the
# shade, and both the more the further back they are.
_UPPER_SHADE: Final = np.array([0.87, 0.83, 0.815])
_LOWER_SHADE: Final = np.array([0.66, 0.61, 0.59])
_WHITEST: Final = 230.0  # else teeth have no lines in a bright photo
_BACK_SHADE: Final = 0.4  # what is gone at the last line between teeth
# Lower teeth are as wide as each other, and stand in a straighter row.
_LOWER_LINES: Final = (0, 14, 29, 44, 57)
_LOWER_HEIGHT: Final = 0.6
_DARK: Final = np.array([0.22, 0.14, 0.13])  # over the light
_TONGUE: Final = np.array([0.45, 0.25, 0.24])
_TONGUE_HEIGHT: Final = 0.3
# The skin's colour is its own more than the light's; the brightest of a face is brighter than teeth.
_TINT, _HIGHLIGHT = 0.35, 0.75
_STIFF: Final = 0.1  # widths of the mouth from a lip's edge: so far in its own motion is read
_SEAM_ENDS: Final = 0.15  # and from a corner, where lips close as the flow says
# From which gap between the lips on a photo shows an inside, and at which it has no need of other teeth.
_GAP_SEEN, _GAP_FULL = 0.03, 0.08


def light_on(picture: Image, points_px: Floats) -> NDArray[np.float64]:
    """RGB in grey levels that something white would have: from the skin, or the highlights of a dark one."""
    mask = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, np.round(points_px[list(FACE_OVAL), :2]).astype(np.int32), (1,))
    lips = points_px[list(OUTER_LIPS), :2]
    middle = lips.mean(0)
    around = np.zeros_like(mask)
    cv2.fillPoly(around, [np.round(middle + 1.5 * (lips - middle)).astype(np.int32)], (1,))
    cv2.fillPoly(around, [np.round(middle + 1.1 * (lips - middle)).astype(np.int32)], (0,))
    face, skin = picture[mask > 0], picture[around > 0]
    if not len(face) or not len(skin):
        return np.asarray(picture.reshape(-1, 3).mean(0), np.float64)
    colour = np.median(skin, 0).astype(np.float64) + 1
    brightness = max(colour.mean(), _HIGHLIGHT * float(np.percentile(face.mean(1), 95)))
    tint = (colour / colour.mean()) ** _TINT
    return np.asarray(tint * brightness, np.float64)


def look_inside(picture: Image, points: Floats, teeth: NDArray[np.float32]) -> MouthInside:
    """Layers of one portrait.

    Args:
        picture: (P, P, 3), the square at the resolution that is shown.
        points: (478, 2 or more) landmarks at rest, in units of the square's side.
        teeth: (4, *TEETH_SIZE), a row of upper teeth: colour over the face's light, and opacity.
    """
    side = picture.shape[0]
    points_px = np.asarray(points[:, :2] * side, np.float64)
    lips = find_lip_line(picture, points_px)
    mouth, light = _Mouth.of(lips, side), light_on(picture, points_px)
    upper, opacity = mouth.draw(teeth, mouth.upper_px + _UPPER_BELOW * mouth.line.width_px * mouth.line.down)
    lower, shown = mouth.draw(teeth, mouth.lower_px, lower=True)
    upper = _UPPER_SHADE * light * upper
    upper = _in_tone_of(picture, upper * min(1.0, _WHITEST / max(float((upper * opacity).max()), 1.0)))
    lower = _LOWER_SHADE * light * lower * shown + _depths(mouth) * light.mean() * (1 - shown)
    lower = _in_tone_of(picture, lower)
    seen: Floats = np.zeros(upper.shape[:2])
    if mouth.gap > _GAP_SEEN:
        own, covered, seen = _own_teeth(picture, mouth)
        opacity = np.maximum(
            opacity * np.clip((_GAP_FULL - mouth.gap) / (_GAP_FULL - _GAP_SEEN), 0, 1), covered
        )
        upper = own * covered + upper * (1 - covered)
    return MouthInside(
        box=(*(mouth.low / side), *(mouth.high / side)),
        upper_14hw=_to_tensor(np.concatenate([upper / 127.5 - 1, opacity], -1)),
        lower_13hw=_to_tensor(lower / 127.5 - 1),
        near_11hw=_to_tensor(_near_lips(mouth)[..., None]),
        gap_11hw=_to_tensor(seen[..., None]),
        torn_gg2=_to_places(lips.sources(_grid(side)), side),
        held_gg3=_held(lips, side),
        skull_K2=torch.from_numpy(points[list(STABLE), :2]).float(),
        jaw_J2=torch.from_numpy(points[list(_JAW), :2]).float(),
        seam=_seam(lips, mouth, side) if mouth.gap > _GAP_SEEN else None,
    )


@dataclass(frozen=True, slots=True)
class _Mouth:
    """Where a mouth lies at rest, px.

    Attributes:
        low, high: corners of the box around all that it may open to.
        contour: (n, 2) around what shows between the lips.
        line: from corner to corner. gap: between the lips, over its width.
        upper_px, lower_px: middle of either lip's edge. Not of the corners: those of a smile lie higher.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    contour: Floats
    line: CornerLine
    gap: float
    upper_px: Floats
    lower_px: Floats

    @classmethod
    def of(cls, lips: LipLine, side_px: int) -> _Mouth:
        line, half_way = lips.line, np.array(0.5)
        middle = line.places(half_way, np.zeros(()))
        half, above, below = (share * line.width_px for share in _BOX)
        low = np.floor(np.clip(middle - np.array([half, above]), 0, side_px - 2)).astype(np.int64)
        high = np.ceil(np.clip(middle + np.array([half, below]), low + 2, side_px)).astype(np.int64)
        upper, lower = (np.interp(half_way, lips.s, curve) for curve in (lips.upper, lips.lower))
        gap = float(lower - upper) / line.width_px
        edges = (line.places(half_way, np.asarray(edge)) for edge in (upper, lower))
        return cls(low, high, lips.contour, line, gap, *edges)

    def local(self) -> tuple[Floats, Floats]:
        """s and t of each pixel of the box, (h, w), see `CornerLine`."""
        width, height = (self.high - self.low).tolist()
        y, x = np.indices((height, width))
        return self.line.local(np.stack([x, y], -1) + 0.5 + self.low)

    def fill(self, line_px: int = 0) -> Image:
        """(h, w): the gap between the lips within the box, see `fill_contour`."""
        width, height = (self.high - self.low).tolist()
        return fill_contour(self.contour - self.low, (width, height), line_px=line_px)

    def draw(
        self, teeth: NDArray[np.float32], edge_px: Floats, *, lower: bool = False
    ) -> tuple[Floats, Floats]:
        """Colour (h, w, 3) and opacity (h, w, 1) of a row of teeth within the box, the middle of its edge at
        `edge_px`; as lower ones upside down and with their widths."""
        cell_px = _SMILE * self.line.width_px / TEETH_WIDTH
        width, height = (self.high - self.low).tolist()
        y, x = np.indices((height, width)) + 0.5
        places = (np.stack([x, y], -1) + self.low - edge_px) / cell_px
        across, down = places @ self.line.across, places @ self.line.down
        if lower:
            ends = (*_LOWER_LINES, _LOWER_LINES[-1] + TEETH_SIZE[1])
            across = np.sign(across) * np.interp(
                np.abs(across), ends, (*TEETH_LINES, TEETH_LINES[-1] + TEETH_SIZE[1])
            )
            down = -down / _LOWER_HEIGHT - TEETH_ARCH * across**2
        picture = np.ascontiguousarray(teeth.transpose(1, 2, 0))
        if cell_px < 1:  # else a small mouth would show some cells and not others
            picture = cv2.GaussianBlur(picture, (0, 0), 0.5 * (1 / cell_px**2 - 1) ** 0.5 + 1e-3)
        drawn = cv2.remap(
            picture,
            (across + (TEETH_SIZE[1] - 1) / 2).astype(np.float32),
            (down + TEETH_EDGE).astype(np.float32),
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        light = 1 - _BACK_SHADE * np.clip(across / TEETH_LINES[-1], -1.3, 1.3) ** 2
        return drawn[..., :3].clip(0) * light[..., None], drawn[..., 3:].clip(0, 1)


def _depths(mouth: _Mouth) -> Floats:
    """(h, w, 3), over the light: above the lower teeth the tongue, further up the dark."""
    _, t = mouth.local()
    lower = mouth.line.local(mouth.lower_px)[1]
    depth = np.clip((lower - t) / (_TONGUE_HEIGHT * mouth.line.width_px), 0, 1)[..., None]
    return np.asarray(depth * _DARK + (1 - depth) * _TONGUE)


def _near_lips(mouth: _Mouth) -> Floats:
    """(h, w) soft mask of the line where lips meet, or of the gap between them, and a little more."""
    mask = mouth.fill(line_px=round(2 * _LIPS * mouth.line.width_px))
    soft = cv2.GaussianBlur(mask, (0, 0), 0.3 * _LIPS * mouth.line.width_px) / 255.0
    s, _ = mouth.local()
    return np.asarray(soft * np.clip(np.minimum(s, 1 - s) / _END, 0, 1))


def _seam(lips: LipLine, mouth: _Mouth, side_px: int) -> LipSeam:
    """Fades towards the corners, and beyond where the lips' own motion is read."""
    s, t = mouth.local()
    reach_px = (mouth.gap / 2 + _STIFF) * mouth.line.width_px
    below = t - np.interp(s, lips.s, (lips.upper + lips.lower) / 2)
    stiff = np.clip(np.minimum(s, 1 - s) / _SEAM_ENDS, 0, 1) * np.clip(2 - np.abs(below) / reach_px, 0, 1)
    return LipSeam(
        box=(*(mouth.low / side_px), *(mouth.high / side_px)),
        below_and_stiff_12hw=_to_tensor(np.stack([below / side_px, stiff], -1)),
        edges_22=_to_places(np.stack([mouth.upper_px, mouth.lower_px]), side_px),
        down_2=_to_places(mouth.line.down, 1),
        reach=reach_px / side_px,
    )


def _held(lips: LipLine, side_px: int) -> Tensor:
    """(g, g, 3), see `MouthInside`."""
    places, share = lips.held(_grid(side_px))
    return torch.cat([_to_places(places, side_px), torch.from_numpy(share)[..., None].float()], -1)


def _grid(side_px: int) -> Floats:
    """(g, g, 2): middles of the cells that lips are parted by, px."""
    ticks = (np.arange(_TORN_SIZE) + 0.5) / _TORN_SIZE * side_px
    return np.stack(np.meshgrid(ticks, ticks), -1)


def _to_places(places_px: Floats, side_px: int) -> Tensor:
    return torch.from_numpy(places_px / side_px).float()


def _in_tone_of(picture: Image, colours: Floats) -> Floats:
    """Colours (h, w, 3) in grey levels, without colour where the picture has none."""
    mean = picture.reshape(-1, 3).mean(0)
    whole = torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1
    change = to_tone_of(whole, _to_tensor((colours - mean) / 127.5)[:, None])[0, 0]
    return np.asarray(change.permute(1, 2, 0).numpy() * 127.5 + mean)


def _to_tensor(image: Floats) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float()


def _own_teeth(picture: Image, mouth: _Mouth) -> tuple[Floats, Floats, Floats]:
    """The photo's own inside, drawn on behind the upper lip; what it covers (h, w, 1); where it is seen."""
    (x0, y0), (x1, y1), width = mouth.low, mouth.high, mouth.line.width_px
    part = picture[y0:y1, x0:x1].astype(np.float64)
    core = cv2.erode(mouth.fill(), np.ones((3, 1))) > 127
    own, covers = part.copy(), core.astype(np.float64)
    behind = round(0.3 * width)
    for x in np.flatnonzero(core.any(0)):
        top = int(np.argmax(core[:, x]))
        own[max(top - behind, 0) : top, x] = part[top, x]
        covers[max(top - behind, 0) : top, x] = 1
    soft = 0.008 * width
    # Covers a little more than is seen, or a dark line would appear at rest.
    rim = 2 * round(np.ceil(2 * soft)) + 1
    covers = cv2.dilate(covers, np.ones((rim, rim)))
    covers, seen = (cv2.GaussianBlur(mask, (0, 0), soft) for mask in (covers, core.astype(np.float64)))
    return own, covers[..., None], np.asarray(seen)
