"""Draws the inside of a portrait's mouth: its own teeth if the photo shows them, else those of the model.

Shapes: P side of the portrait in px, h x w the box around the mouth in px, G x G the grid of the refined
    flow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openemo.arrays import Floats, Image
from openemo.face.landmarks import STABLE
from openemo.face.masks import fill_contour
from openemo.grids import centre_array
from openemo.image_tensors import images_to_tensor, layer_to_tensor
from openemo.rendering.corner_line import CornerLine
from openemo.rendering.drawing_palette import DrawingPalette
from openemo.rendering.drawn_mouth import find_drawn_mouth
from openemo.rendering.lip_closure import LipClosure
from openemo.rendering.lip_contour import LipContour, find_lip_contour
from openemo.rendering.mouth_cavity import MouthCavity
from openemo.rendering.mouth_colours import MouthColours, edge_width_px
from openemo.rendering.mouth_interior import (
    SMILE_WIDTH_CELLS,
    TEETH_ARCH,
    TEETH_BOUNDARIES,
    TEETH_EDGE_ROW,
    TEETH_SIZE,
    MouthInterior,
)
from openemo.rendering.picture_manner import PictureManner, face_pixels
from openemo.rendering.smile_teeth import complete_teeth
from openemo.rendering.tone import PictureTone

__all__ = ["draw_mouth_interior"]


_JAW: Final = (152, 148, 377, 176, 400, 199, 175, 200)
_FINE_GRID: Final = 256  # cells of the refined flow along a side
# Lengths in widths of the mouth.
_SMILE_WIDTH: Final = 1.2  # of a smiling mouth; teeth are as wide as that
_UPPER_TEETH_DROP: Final = 0.075  # edge of the upper teeth below the line where the lips meet
_LOWER_TEETH_DROP: Final = 0.025  # edge of the lower teeth below that line
_LIP_REGION: Final = 0.08  # above and below the gap; what is stretched further away is skin
_BOX: Final = (0.8, 0.75, 1.0)  # half the width of the box, its height above and below the middle
_OWN_MOTION: Final = 0.1  # distance from a lip's edge where the lip's own motion is read
_DRAWN_BEHIND: Final = 0.3  # how far the photo's own teeth are continued behind the upper lip
_SURELY_VISIBLE: Final = 0.9
_SHADED: Final = (0.55, 0.75)  # limits of the brightness of teeth in and out of the lips' shadow, over white
_TEETH_EDGE_REACH: Final = 0.08  # below the visible gap the teeth may end
_TEETH_EDGE_STEP_PX: Final = 0.5
_MIN_CONTRAST: Final = 30.0  # grey levels between teeth and lip
_SHARP_EDGE_PX, _LEAST_BLUR = 2.0, 0.4  # edges of this width need no blur; px
_SOFTNESS: Final = 4.0  # width of an edge over the standard deviation of the blur
_MIXED_PX: Final = 1.0  # at each edge of the photo's own teeth
# Shares of the width, from each corner inwards.
_CORNER_FADE: Final = 0.03  # within this nothing opens
_CLOSURE_FADE: Final = 0.25  # within this the lip closure fades to the flow
# Colours over the white point. In speech the teeth lie deeper than in a smile and get light reflected by the
# lips. Lower teeth are darker.
_UPPER_SHADE: Final = np.array([0.9, 0.885, 0.855])
_LOWER_SHADE: Final = np.array([0.63, 0.55, 0.52])
# Contrast that is added between teeth and the lines between them; over the mean in this many cells.
_DISTINCT, _DISTINCT_LIMITS, _TOOTH_CELLS = 0.7, (0.75, 1.0), 9.0
_SIDE_SHADE: Final = 0.5  # share of brightness lost at the last boundary between teeth
_MAX_WHITE: Final = 230.0  # grey level; above it boundaries between teeth vanish in a bright photo
# Lower teeth have nearly equal widths and stand in a straighter row.
_LOWER_BOUNDARIES: Final = (0, 14, 29, 44, 57)
_OVERBITE: Final = 0.12  # of the upper teeth's edge below that of the lower teeth, over the mouth's width
_LOWER_HEIGHT: Final = 0.6  # over that of the upper teeth
_STONE_SHADOW, _STONE_RELIEF = 0.3, 0.12  # of a statue's brightness: the inside, and the teeth in it
_REDRAWN: Final = 0.5  # share of drawing from which the line of a mouth is drawn again
_DRAWN_TEETH_DROP: Final = 0.05
# Gaps over the width of the mouth: from the first on the photo shows teeth, from the second on it needs no
# others.
_MIN_GAP, _FULL_GAP = 0.03, 0.08
_DRAWN_LINE: Final = 0.06  # thickness of a line between drawn lips, over the width of the mouth


def draw_mouth_interior(
    image: Image,
    points: Floats,
    teeth: NDArray[np.float32],
    own_teeth: NDArray[np.float32] | None = None,
) -> MouthInterior:
    """The layers of one portrait's mouth.

    Args:
        image: (P, P, 3) uint8 RGB, the square at the resolution of the frames.
        points: (478, 2 or more) landmarks, in units of the square's side.
        teeth: (4, *TEETH_SIZE), a row of upper teeth: RGB over the white point, and opacity.
        own_teeth: (4, *TEETH_SIZE), the same of this person; None if no photo shows them.
    """
    side_px = image.shape[0]
    points_px = np.asarray(points[:, :2] * side_px, np.float64)
    lips = find_lip_contour(image, points_px)
    mouth = _Mouth.of(lips, side_px)
    colours = MouthColours.of(image, points_px, lips, is_open=mouth.gap > _MIN_GAP)
    if own_teeth is not None:  # they have their own tint
        teeth = complete_teeth(own_teeth, teeth)
        colours = replace(colours, teeth_tint=np.ones(3))
    else:
        teeth = _distinct(teeth)
    layers = _Layers.of(image, mouth, teeth, colours)
    manner, drawn_mouth = PictureManner.of(image, points_px), None
    if manner.stone:
        layers = layers.of_stone(face_pixels(image, points_px), manner.stone)
    if manner.drawn:
        palette = DrawingPalette.of(image, points_px)
        layers = layers.drawn(mouth, palette, manner.drawn)
        if manner.drawn > _REDRAWN:
            drawn_mouth = find_drawn_mouth(
                image, points_px, (*mouth.low.tolist(), *mouth.high.tolist()), palette
            )
    edge_px = edge_width_px(image, points_px)
    if own_teeth is None:  # own ones are as soft as their photo
        layers = layers.softened(edge_px)
    visible: Floats = np.zeros(layers.upper.shape[:2])
    upper, opacity, own_share = layers.upper, layers.upper_opacity, 0.0
    if mouth.gap > _MIN_GAP:
        own, own_opacity, visible = _own_teeth(image, mouth)
        share = mouth.shown_share(manner.drawn)
        # A thin strip of teeth may lie in the lips' shadow. Drawn on, it would be dark blocks, so the model's
        # teeth take its place the more the thinner it is; in a mouth that rests the photo itself shows it.
        own_share = 1 - (1 - _lit_share(own, visible, colours.white)) * (1 - share)
        own_share = share if manner.drawn else own_share
        own_opacity, visible = own_share * own_opacity, own_share * visible
        model_share = max(1 - share, min(1.0, 2 - 2 * own_share))
        opacity = own_opacity + (1 - own_opacity) * model_share * opacity
        upper = own * own_opacity + upper * (1 - own_opacity)
    return MouthInterior(
        box=mouth.box(side_px),
        upper_layer_14hw=_rgba(upper, opacity),
        lower_layer_14hw=_rgba(layers.lower, layers.lower_opacity),
        cavity=MouthCavity(
            lower_edge_2=_to_units(layers.lower_edge_px, side_px),
            across_2=_to_units(mouth.line.width_px * mouth.line.across, side_px),
            down_2=_to_units(mouth.line.width_px * mouth.line.down, side_px),
            colours_33=_to_values(layers.cavity),
            depth=1 - manner.drawn,
        ),
        line_colour_3=_to_values(layers.line),
        corners_22=_to_units(mouth.line.to_pixels(np.array([0.0, 1.0]), np.zeros(2)), side_px),
        lip_region_11hw=layer_to_tensor(_lip_region(mouth)[..., None]),
        visible_gap_11hw=layer_to_tensor(visible[..., None]),
        flow_positions_GG2=_to_units(lips.landmark_positions(_fine_grid(side_px)), side_px),
        mouth_line_GG3=_mouth_line(lips, side_px),
        skull_points_K2=torch.from_numpy(points[list(STABLE), :2]).float(),
        jaw_points_J2=torch.from_numpy(points[list(_JAW), :2]).float(),
        lip_closure=_lip_closure(lips, mouth, side_px),
        drawn_mouth=drawn_mouth,
        manner=manner,
        edge_px=edge_px,
        shading=(1 - manner.drawn) * (1 - own_share),
    )


@dataclass(frozen=True, slots=True)
class _Mouth:
    """Where the mouth is in the portrait, px.

    Attributes:
        low, high: (2,) corners of the box around all that the mouth may open to.
        contour_px: (n, 2) around the visible gap between the lips.
        line: from corner to corner.
        gap: height of the visible gap over the width of the mouth.
        upper_px, lower_px: (2,) middle of each lip's edge. The corners of a smile lie higher.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    contour_px: Floats
    line: CornerLine
    gap: float
    upper_px: Floats
    lower_px: Floats

    @classmethod
    def of(cls, lips: LipContour, side_px: int) -> _Mouth:
        line, half_way = lips.line, np.array(0.5)
        middle = line.to_pixels(half_way, np.zeros(()))
        half, above, below = (share * line.width_px for share in _BOX)
        low = np.floor(np.clip(middle - np.array([half, above]), 0, side_px - 2)).astype(np.int64)
        high = np.ceil(np.clip(middle + np.array([half, below]), low + 2, side_px)).astype(np.int64)
        upper, lower = (np.interp(half_way, lips.s, curve) for curve in (lips.gap_top, lips.gap_bottom))
        gap = float(lower - upper) / line.width_px
        edges = (line.to_pixels(half_way, np.asarray(edge)) for edge in (upper, lower))
        return cls(low, high, lips.contour_px, line, gap, *edges)

    def shown_share(self, drawn: float = 0.0) -> float:
        """How far the picture shows teeth of its own: 0 if closed, 1 if no others are needed.

        Args:
            drawn: share of drawing, see `PictureManner`: a line between drawn lips is no gap.
        """
        gap = self.gap - _DRAWN_LINE * drawn
        return float(np.clip((gap - _MIN_GAP) / (_FULL_GAP - _MIN_GAP), 0, 1))

    def box(self, side_px: int) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 in units of the side."""
        return (*(self.low / side_px), *(self.high / side_px))

    def pixel_centres(self) -> Floats:
        """(h, w, 2) x, y of the box's pixels."""
        width, height = (self.high - self.low).tolist()
        y, x = np.indices((height, width))
        return np.stack([x, y], -1) + 0.5 + self.low

    def line_coordinates(self) -> tuple[Floats, Floats]:
        """s and t (h, w) of the box's pixels, see `CornerLine`."""
        return self.line.to_line(self.pixel_centres())

    def gap_mask(self, line_px: int = 0) -> Image:
        """(h, w) uint8: the visible gap, see `fill_contour`."""
        width, height = (self.high - self.low).tolist()
        return fill_contour(self.contour_px - self.low, (width, height), line_px=line_px)

    def draw_teeth(
        self, teeth: NDArray[np.float32], edge_px: Floats, *, lower: bool = False
    ) -> tuple[Floats, Floats]:
        """Colour (h, w, 3) over the white point and opacity (h, w, 1) of a row of teeth.

        Args:
            edge_px: (2,) middle of the biting edge.
            lower: draws lower teeth: upside down, with their own widths.
        """
        cell_px = _SMILE_WIDTH * self.line.width_px / SMILE_WIDTH_CELLS
        offset = (self.pixel_centres() - edge_px) / cell_px
        across, down = offset @ self.line.across, offset @ self.line.down
        if lower:
            beyond = TEETH_SIZE[1]
            across = np.sign(across) * np.interp(
                np.abs(across),
                (*_LOWER_BOUNDARIES, _LOWER_BOUNDARIES[-1] + beyond),
                (*TEETH_BOUNDARIES, TEETH_BOUNDARIES[-1] + beyond),
            )
            down = -down / _LOWER_HEIGHT - TEETH_ARCH * across**2
        row = np.ascontiguousarray(teeth.transpose(1, 2, 0))
        if cell_px < 1:  # without a blur a small mouth would show some cells and skip others
            row = cv2.GaussianBlur(row, (0, 0), 0.5 * (1 / cell_px**2 - 1) ** 0.5 + 1e-3)
        drawn = cv2.remap(
            row,
            (across + (TEETH_SIZE[1] - 1) / 2).astype(np.float32),
            (down + TEETH_EDGE_ROW).astype(np.float32),
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        shade = 1 - _SIDE_SHADE * np.clip(across / TEETH_BOUNDARIES[-1], -1.3, 1.3) ** 2
        return drawn[..., :3].clip(0) * shade[..., None], drawn[..., 3:].clip(0, 1)


@dataclass(frozen=True, slots=True)
class _Layers:
    """What is drawn of a portrait's mouth, in grey levels.

    Attributes:
        upper, lower: (h, w, 3) rows of teeth; upper_opacity, lower_opacity: (h, w, 1).
        lower_edge_px: (2,) middle of the lower teeth's edge, in the portrait.
        cavity: (3, 3) colours of throat, cheeks and tongue. line: (3,) between closed lips.
    """

    upper: Floats
    upper_opacity: Floats
    lower: Floats
    lower_opacity: Floats
    lower_edge_px: Floats
    cavity: Floats
    line: Floats

    @classmethod
    def of(cls, image: Image, mouth: _Mouth, teeth: NDArray[np.float32], colours: MouthColours) -> _Layers:
        """Teeth of the model in the light of the picture."""
        width, down = mouth.line.width_px, mouth.line.down
        white = colours.white * colours.teeth_tint
        upper, upper_opacity = mouth.draw_teeth(teeth, mouth.upper_px + _UPPER_TEETH_DROP * width * down)
        upper = _UPPER_SHADE * white * upper
        upper *= min(1.0, _MAX_WHITE / max(float((upper * upper_opacity).max()), 1.0))
        # Behind upper teeth that the photo shows stand the lower ones, not a dark gap between teeth and lip.
        shown = mouth.shown_share()
        rise = _OVERBITE * shown - _LOWER_TEETH_DROP * (1 - shown)
        lower_edge_px = mouth.lower_px - rise * width * down
        lower, lower_opacity = mouth.draw_teeth(teeth, lower_edge_px, lower=True)
        cavity = np.stack([colours.throat, colours.cheeks, colours.tongue, colours.line])
        tone = _Tone.of(image)
        *cavity, line = tone.match(cavity[None])[0]
        return cls(
            tone.match(upper),
            upper_opacity,
            tone.match(_LOWER_SHADE * white * lower),
            lower_opacity,
            lower_edge_px,
            np.stack(cavity),
            line,
        )

    def of_stone(self, face: Image, share: float) -> _Layers:
        """By a share in [0, 1] as shadow in the tone of the face's pixels (N, 3)."""
        tone = _Tone.of(face[None])
        mean = tone.mean
        shadow = tone.match(np.full((1, 1, 3), _STONE_SHADOW * mean.mean()))[0, 0]
        relief = tone.match(np.repeat(self.upper.mean(-1, keepdims=True), 3, -1)) - mean
        shaded = shadow + _STONE_RELIEF * (relief + (1 - _STONE_SHADOW) * mean)
        return replace(
            self,
            upper=self.upper + share * (shaded - self.upper),
            lower_opacity=(1 - share) * self.lower_opacity,
            cavity=self.cavity + share * (shadow - self.cavity),
            line=self.line + share * (shadow - self.line),
        )

    def drawn(self, mouth: _Mouth, palette: DrawingPalette, share: float) -> _Layers:
        """By a share in [0, 1] in flat colours of the drawing."""
        # A row of teeth is one shape: its opacity with a sharp edge, without the lines between teeth.
        row = np.ones((4, *TEETH_SIZE), np.float32)
        row[3, TEETH_EDGE_ROW + 1 :] = 0
        edge_px = mouth.upper_px + _DRAWN_TEETH_DROP * mouth.line.width_px * mouth.line.down
        _, band = mouth.draw_teeth(row, edge_px)
        flat = np.stack([palette.dark, palette.dark, palette.tongue])
        return replace(
            self,
            upper=self.upper + share * (palette.light - self.upper),
            upper_opacity=self.upper_opacity + share * (band - self.upper_opacity),
            lower_opacity=(1 - share) * self.lower_opacity,
            cavity=self.cavity + share * (flat - self.cavity),
            line=self.line + share * (palette.dark - self.line),
        )

    def softened(self, edge_px: float) -> _Layers:
        """As soft as edges of this width are in the picture."""
        sigma = (max(edge_px, _SHARP_EDGE_PX) ** 2 - _SHARP_EDGE_PX**2) ** 0.5 / _SOFTNESS
        if sigma < _LEAST_BLUR:
            return self

        def blur(layer: Floats) -> Floats:
            return np.asarray(cv2.GaussianBlur(layer, (0, 0), sigma)).reshape(layer.shape)

        return replace(
            self,
            upper=blur(self.upper),
            upper_opacity=blur(self.upper_opacity),
            lower=blur(self.lower),
            lower_opacity=blur(self.lower_opacity),
        )


def _distinct(teeth: NDArray[np.float32]) -> NDArray[np.float32]:
    """A mean row of teeth (4, *TEETH_SIZE) with lines as dark as one person's: those of a mean are even."""
    colour = teeth[:3]
    even = np.stack([cv2.GaussianBlur(channel, (0, 0), _TOOTH_CELLS, sigmaY=1) for channel in colour])
    ratio = np.clip(colour / np.maximum(even, 1e-3), *_DISTINCT_LIMITS)
    return np.asarray(np.concatenate([colour * ratio**_DISTINCT, teeth[3:]]), np.float32)


def _own_teeth(image: Image, mouth: _Mouth) -> tuple[Floats, Floats, Floats]:
    """The inside of the mouth that the photo shows, continued behind the upper lip.

    Returns:
        RGB (h, w, 3) in grey levels; its opacity (h, w, 1); where the photo shows it, (h, w) in [0, 1].
    """
    (x0, y0), (x1, y1), width = mouth.low, mouth.high, mouth.line.width_px
    s, t = mouth.line_coordinates()
    lower, upper = np.split(mouth.contour_px, 2)
    top = np.interp(s, *mouth.line.curve(upper))
    bottom = np.interp(s, *_teeth_edge(image, mouth, lower, upper))
    # The outermost pixels are mixed with the lips. Beyond them the last pure ones are repeated, so that no
    # lip and no shadow of one moves with the teeth.
    first, last = top + _MIXED_PX, bottom - _MIXED_PX
    is_open = ((last > first) & (s > 0) & (s < 1)).astype(np.float64)
    source_t = np.where(is_open > 0, np.clip(t, first, np.maximum(first, last)), t)
    x, y = np.moveaxis(mouth.line.to_pixels(s, source_t) - mouth.low - 0.5, -1, 0).astype(np.float32)
    own = cv2.remap(image[y0:y1, x0:x1], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    covered, visible = (
        np.clip(np.minimum(t - above, below - t) + 0.5, 0, 1) * is_open
        for above, below in ((top - _DRAWN_BEHIND * width, bottom), (first, last))
    )
    return own.astype(np.float64), covered[..., None], visible


def _teeth_edge(image: Image, mouth: _Mouth, lower_px: Floats, upper_px: Floats) -> tuple[Floats, Floats]:
    """s and t (K,) of the lower edge of the visible teeth: where their colour turns into that of the lip.

    The visible gap ends above it, in the shade of the upper lip or of the teeth. What is left out would stick
    to the lower lip, below a dark line.

    Args:
        lower_px, upper_px: (K, 2) edges of the visible gap.
    """
    line, width = mouth.line, mouth.line.width_px
    s, t = line.curve(lower_px)
    top = np.interp(s, *line.curve(upper_px))
    steps = np.arange(0, _TEETH_EDGE_REACH * width, _TEETH_EDGE_STEP_PX)[:, None]
    teeth_t = top + (t - top) * np.linspace(0.5, 0.8, 4)[:, None]
    teeth = np.median(_sample(image, line, s, teeth_t), 0)
    lip = np.median(
        _sample(image, line, s, t + (_TEETH_EDGE_REACH + 0.02 * np.arange(3)[:, None]) * width), 0
    )
    contrast = teeth - lip
    power = np.maximum((contrast**2).sum(-1), 1.0)
    likeness = ((_sample(image, line, s, t + steps) - lip) * contrast).sum(-1) / power
    is_lip = likeness < 0.5
    found = np.where(is_lip.any(0) & (power > _MIN_CONTRAST**2), is_lip.argmax(0), 0) * _TEETH_EDGE_STEP_PX
    return s, t + np.where(t > top, _smooth(found), 0)


def _sample(image: Image, line: CornerLine, s: Floats, t: Floats) -> Floats:
    """(T, K, 3) colours at positions s (K,) and t (T, K)."""
    x, y = np.moveaxis(line.to_pixels(np.broadcast_to(s, t.shape), t) - 0.5, -1, 0).astype(np.float32)
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float64)


def _smooth(values_K: Floats) -> Floats:
    """Median, then mean, of 9 columns."""
    for combine in (np.median, np.mean):
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(values_K, 4, mode="edge"), 9)
        values_K = np.asarray(combine(windows, -1), np.float64)
    return values_K


def _lit_share(own: Floats, visible: Floats, white: Floats) -> float:
    """How well lit the visible teeth are: from 0 in the lips' shadow to 1."""
    if not (visible > _SURELY_VISIBLE).any():
        return 0.0
    brightness = float(np.median(own[visible > _SURELY_VISIBLE].mean(-1)) / white.mean())
    return float(np.clip((brightness - _SHADED[0]) / (_SHADED[1] - _SHADED[0]), 0, 1))


def _lip_region(mouth: _Mouth) -> Floats:
    """(h, w) in [0, 1]: soft mask of the gap, or of the line where lips meet, with a margin."""
    margin_px = _LIP_REGION * mouth.line.width_px
    mask = cv2.GaussianBlur(mouth.gap_mask(round(2 * margin_px)), (0, 0), 0.3 * margin_px) / 255.0
    s, _ = mouth.line_coordinates()
    return np.asarray(mask * np.clip(np.minimum(s, 1 - s) / _CORNER_FADE, 0, 1))


def _lip_closure(lips: LipContour, mouth: _Mouth, side_px: int) -> LipClosure:
    """Its weight fades towards the corners, and beyond the distance where the lips' own motion is read."""
    s, t = mouth.line_coordinates()
    reach_px = (mouth.gap / 2 + _OWN_MOTION) * mouth.line.width_px
    offset = t - np.interp(s, lips.s, (lips.gap_top + lips.gap_bottom) / 2)
    corner_fade = np.sin(np.pi / 2 * np.clip(np.minimum(s, 1 - s) / _CLOSURE_FADE, 0, 1))
    weight = corner_fade * np.clip(2 - np.abs(offset) / reach_px, 0, 1)
    return LipClosure(
        box=mouth.box(side_px),
        offset_and_weight_12hw=layer_to_tensor(np.stack([offset / side_px, weight], -1)),
        lip_edges_22=_to_units(np.stack([mouth.upper_px, mouth.lower_px]), side_px),
        down_2=_to_units(mouth.line.down, 1),
        reach=reach_px / side_px,
    )


def _mouth_line(lips: LipContour, side_px: int) -> Tensor:
    """(G, G, 3), see `MouthInterior.mouth_line_GG3`."""
    positions_px, hold = lips.mouth_line_positions(_fine_grid(side_px))
    return torch.cat([_to_units(positions_px, side_px), torch.from_numpy(hold)[..., None].float()], -1)


def _fine_grid(side_px: int) -> Floats:
    """(G, G, 2) px: centres of the cells of the refined flow."""
    ticks = centre_array(_FINE_GRID) * side_px
    return np.stack(np.meshgrid(ticks, ticks), -1)


def _to_units(positions_px: Floats, side_px: int) -> Tensor:
    """The same positions in units of the side, float32."""
    return torch.from_numpy(positions_px / side_px).float()


def _to_values(colours: Floats) -> Tensor:
    """Grey levels -> [-1, 1], float32."""
    return torch.from_numpy(colours / 127.5 - 1).float()


def _rgba(colour: Floats, opacity: Floats) -> Tensor:
    """(1, 4, h, w): colour in grey levels to [-1, 1], opacity as it is."""
    return layer_to_tensor(np.concatenate([colour / 127.5 - 1, opacity], -1))


@dataclass(frozen=True, slots=True)
class _Tone:
    """The tone of an image, for colours in grey levels.

    Attributes:
        mean: colour of the image, (3,).
    """

    tone: PictureTone
    mean: Floats

    @classmethod
    def of(cls, image: Image) -> _Tone:
        return cls(PictureTone.of(images_to_tensor([image])), image.reshape(-1, 3).mean(0))

    def match(self, colours: Floats) -> Floats:
        """Colours (h, w, 3), reduced to the tone of the image."""
        change_1N3hw = layer_to_tensor((colours - self.mean) / 127.5)[:, None]
        toned = self.tone.match(change_1N3hw)[0, 0]
        return np.asarray(toned.permute(1, 2, 0).numpy() * 127.5 + self.mean)
