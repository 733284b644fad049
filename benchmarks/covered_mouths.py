"""Trains and measures the network that tells a covered mouth from one that can be seen.

Few pictures of covered mouths are free, so covers are drawn over portraits: masks, scarves, microphones,
hands and other things, of any colour and pattern. The same things beside the mouth are examples of no cover.

    python benchmarks/covered_mouths.py --sheets openpeople/data/curated/*/assets/emotions_sheet.jpg \\
        --output covered_mouth.safetensors
    python benchmarks/covered_mouths.py --data ../shared/data --hold-out microphone   # measures a kind unseen
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from openemo import checkpoints
from openemo.arrays import Floats, Image
from openemo.face import FaceAnalyzer
from openemo.face.covered_mouth import INPUT_PX, CoveredMouthNet, mouth_square
from openemo.face.landmarks import FACE_OVAL, OUTER_LIPS
from openemo.face.square_sampling import sample_square
from openemo.video.images import read_image

_PATCH_PX: Final = 160  # a face's patch, from which inputs are cut
_PATCH_SCALE: Final = 2.0  # its side over that of an input
# How much of the lips is hidden: at least, in an example of a cover; at most, in one of none.
_COVERED, _CLEAR = 0.45, 0.08
_BATCH, _RATE = 64, 2e-3
Rng = np.random.Generator
Patch = tuple[Image, Floats]
"""(P, P, 3) around a mouth, upright, and the landmarks (478, 2) in its pixels."""


def load_patches(analyzer: FaceAnalyzer, portraits: list[Path], sheets: list[Path]) -> list[Patch]:
    """The largest face of each portrait, and every face of each sheet."""
    patches = []
    for file in portraits + sheets:
        image = read_image(file)
        faces = analyzer.find_all(image)
        if file not in sheets:
            faces = faces[:1]
        patches += [cut_patch(image, face.points_px) for face in faces]
    return patches


def cut_patch(image: Image, points_px: Floats) -> Patch:
    centre, side, angle = mouth_square(points_px)
    side *= _PATCH_SCALE
    pixels = sample_square(image, centre, side, angle, _PATCH_PX, cv2.BORDER_REPLICATE)
    cos, sin = np.cos(angle), np.sin(angle)
    points = (points_px[:, :2] - centre) @ np.array([[cos, -sin], [sin, cos]]) * _PATCH_PX / side
    return pixels, np.asarray(points + _PATCH_PX / 2, np.float64)


# Textures (P, P, 3) in grey levels.


def _colour(rng: Rng) -> Floats:
    kind = rng.integers(4)
    if kind == 0:
        return np.full(3, rng.uniform(0, 255))  # grey, black, white
    if kind == 1:
        return np.clip(np.array([150, 190, 215]) + rng.normal(0, 25, 3), 0, 255)  # surgical
    return rng.uniform(0, 255, 3)


def _noise(rng: Rng, cells: int) -> Floats:
    noise = rng.normal(0, 1, (cells, cells))
    return np.asarray(cv2.resize(noise, (_PATCH_PX, _PATCH_PX), interpolation=cv2.INTER_CUBIC))


def _cloth(rng: Rng) -> Floats:
    """Plain, striped, checked, dotted, woven or printed."""
    y, x = np.mgrid[:_PATCH_PX, :_PATCH_PX].astype(np.float64)
    a = rng.uniform(0, np.pi)
    u, v = x * np.cos(a) + y * np.sin(a), y * np.cos(a) - x * np.sin(a)
    period = rng.uniform(3, 40)
    kind = rng.integers(7)
    first, second = _colour(rng), _colour(rng)
    if kind == 0:
        share = np.sin(2 * np.pi * u / period) > rng.uniform(-0.7, 0.7)
    elif kind == 1:
        share = (np.sin(2 * np.pi * u / period) > 0) * 0.5 + (np.sin(2 * np.pi * v / period) > 0) * 0.5
    elif kind == 2:
        share = np.sin(2 * np.pi * u / period) * np.sin(2 * np.pi * v / period) > rng.uniform(0.2, 0.8)
    elif kind == 3:
        share = _noise(rng, int(rng.integers(3, 40))) > rng.uniform(-0.5, 0.8)
    else:
        share = np.zeros_like(x)
    share = cv2.GaussianBlur(np.asarray(share, np.float64), (0, 0), rng.uniform(0.4, 1.5))
    return np.asarray(first + (second - first) * share[..., None])


def _shading(rng: Rng) -> Floats:
    """Light from one side, roundness and folds: a factor about 1."""
    y, x = np.mgrid[:_PATCH_PX, :_PATCH_PX] / _PATCH_PX - 0.5
    shade = 1 + rng.uniform(-0.6, 0.6) * x + rng.uniform(-0.6, 0.6) * y - rng.uniform(0, 1.5) * x**2
    for _ in range(rng.integers(0, 5)):
        a, f = rng.normal(np.pi / 2, 0.5), rng.uniform(2, 14)
        wave = np.sin(2 * np.pi * f * (x * np.cos(a) + y * np.sin(a)) + rng.uniform(0, 6.3) + _noise(rng, 4))
        shade = shade + rng.uniform(0, 0.12) * np.sign(wave) * np.abs(wave) ** rng.uniform(0.5, 3)
    return np.asarray(shade * (1 + rng.uniform(0, 0.08) * _noise(rng, 8)))


def _skin(rng: Rng, patch: Patch) -> Floats:
    """Skin of the same person: of cheek, nose or forehead, or a smooth surface of its colour."""
    image, points = patch
    place = points[int(rng.choice([50, 280, 205, 425, 4, 117, 346]))]
    half = rng.uniform(4, 12)
    x0, y0 = np.clip(place - half, 0, _PATCH_PX - 9).astype(int)
    piece = image[y0 : y0 + int(2 * half), x0 : x0 + int(2 * half)]
    mean = piece.reshape(-1, 3).mean(0)
    if rng.random() < 0.6:
        grain = rng.normal(0, 1, (_PATCH_PX, _PATCH_PX, 1))
        return np.asarray(mean + rng.normal(0, 6, 3) + rng.uniform(0, 4) * grain)
    piece = cv2.resize(piece, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    tiles = -(-_PATCH_PX // (2 * min(piece.shape[:2])))
    piece = np.concatenate([np.concatenate([piece, piece[:, ::-1]], 1)] * tiles, 1)
    piece = np.concatenate([np.concatenate([piece, piece[::-1]], 0)] * tiles, 0)
    return np.asarray(piece[:_PATCH_PX, :_PATCH_PX], np.float64)


def _borrowed(rng: Rng, others: list[Patch]) -> Floats:
    """A piece of another picture: clothes, hair, background, skin, anything but a mouth in its place."""
    image, _ = others[rng.integers(len(others))]
    size = int(rng.integers(24, 70))
    corner = rng.integers(0, _PATCH_PX - size, 2)
    if np.abs(corner + size / 2 - _PATCH_PX / 2).max() < 35:
        corner[1] = 0 if rng.random() < 0.5 else _PATCH_PX - size
    piece = image[corner[1] : corner[1] + size, corner[0] : corner[0] + size]
    return np.asarray(cv2.resize(piece, (_PATCH_PX, _PATCH_PX), interpolation=cv2.INTER_CUBIC), np.float64)


# Shapes (P, P) in [0, 1]. `at` is where the mouth is, `unit` the width of the face, px.


def _polygon(points: Floats) -> Floats:
    mask = np.zeros((_PATCH_PX, _PATCH_PX), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], (255,), cv2.LINE_AA, 4)
    return mask / 255.0


def _capsules(lines: Sequence[tuple[Floats, Floats, float]]) -> tuple[Floats, Floats]:
    """The union of thick lines, and a shade that darkens towards their edges."""
    y, x = np.mgrid[:_PATCH_PX, :_PATCH_PX] + 0.5
    mask, shade = np.zeros_like(x), np.ones_like(x)
    for a, b, radius in lines:
        d = b - a
        share = np.clip(((x - a[0]) * d[0] + (y - a[1]) * d[1]) / max(float(d @ d), 1e-6), 0, 1)
        distance = np.hypot(x - a[0] - share * d[0], y - a[1] - share * d[1]) / radius
        inside = np.clip((1 - distance) * radius + 0.5, 0, 1)
        shade = np.where(inside > 0.5, 1 - 0.35 * np.clip(distance, 0, 1) ** 3, shade)
        mask = np.maximum(mask, inside)
    return mask, shade


def mask_cover(rng: Rng, patch: Patch, others: list[Patch], at: Floats, unit: float) -> tuple[Floats, Floats]:
    _, points = patch
    shift = at - points[list(OUTER_LIPS)].mean(0)
    top = float(rng.uniform(0.05, 0.5)) * unit
    oval = points[list(FACE_OVAL)] + shift
    lower = oval[oval[:, 1] > at[1] - top]
    middle = oval.mean(0)
    lower = middle + (lower - middle) * rng.uniform(0.8, 1.12, 2)
    lower = lower[np.argsort(np.arctan2(*(lower - at).T))]
    bridge = at + np.array([0, -top * rng.uniform(0.9, 1.5)])
    order = np.argsort(np.arctan2(*(np.concatenate([lower, bridge[None]]) - at - [0, unit * 0.1]).T))
    mask = _polygon(np.concatenate([lower, bridge[None]])[order])
    colour = _skin(rng, patch) if rng.random() < 0.12 else _cloth(rng)
    if rng.random() < 0.25:
        colour = _borrowed(rng, others)
    y = np.mgrid[:_PATCH_PX, :_PATCH_PX][0]
    for _ in range(rng.integers(0, 5)):  # pleats and seams
        row = at[1] + rng.uniform(-0.3, 0.35) * unit + 2 * _noise(rng, 3)
        colour = (
            colour * (1 - rng.uniform(0, 0.35) * np.exp(-(((y - row) / rng.uniform(0.5, 2)) ** 2)))[..., None]
        )
    return mask, colour * _shading(rng)[..., None]


def scarf_cover(
    rng: Rng, patch: Patch, others: list[Patch], at: Floats, unit: float
) -> tuple[Floats, Floats]:
    y, x = np.mgrid[:_PATCH_PX, :_PATCH_PX].astype(np.float64)
    edge = at[1] - rng.uniform(0.1, 0.45) * unit + rng.uniform(-0.25, 0.25) * (x - at[0])
    edge = edge + rng.uniform(0, 6) * _noise(rng, 4) + rng.uniform(-0.006, 0.006) * (x - at[0]) ** 2
    mask = np.clip(y - edge + 0.5, 0, 1)
    if rng.random() < 0.4:  # a strip
        mask = mask * np.clip(edge + rng.uniform(0.35, 0.7) * unit - y + 0.5, 0, 1)
    colour = _borrowed(rng, others) if rng.random() < 0.4 else _cloth(rng)
    return mask, colour * _shading(rng)[..., None]


def microphone_cover(
    rng: Rng, patch: Patch, others: list[Patch], at: Floats, unit: float
) -> tuple[Floats, Floats]:
    radius = rng.uniform(0.2, 0.38) * unit
    centre = at + rng.normal(0, 0.07, 2) * unit
    tilt = rng.normal(np.pi / 2, 0.5)
    end = centre + 2 * unit * np.array([np.cos(tilt), np.sin(tilt)])
    mask, shade = _capsules(
        [
            (centre, end, radius * rng.uniform(0.3, 0.7)),
            (centre, centre + 0.2 * (end - centre) * rng.random(), radius),
        ]
    )
    y, x = np.mgrid[:_PATCH_PX, :_PATCH_PX].astype(np.float64)
    base = _colour(rng) * (0.35 if rng.random() < 0.6 else 1.0)
    period, angle = rng.uniform(2, 7), rng.uniform(0, np.pi)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    grille = np.maximum(np.sin(2 * np.pi * u / period), np.sin(2 * np.pi * v / period)) * rng.uniform(0, 60)
    light = centre + rng.normal(0, 0.4, 2) * radius
    glow = rng.uniform(0, 110) * np.exp(-(((x - light[0]) ** 2 + (y - light[1]) ** 2) / (0.3 * radius**2)))
    colour = base + (grille + glow + rng.uniform(0, 12) * rng.normal(0, 1, x.shape))[..., None]
    return mask, colour * shade[..., None]


def hand_cover(rng: Rng, patch: Patch, others: list[Patch], at: Floats, unit: float) -> tuple[Floats, Floats]:
    side = rng.choice([-1.0, 1.0])
    angle = rng.normal(0, 0.5) + (np.pi / 2 if rng.random() < 0.25 else 0)
    along = np.array([side * np.cos(angle), -np.sin(angle)])
    across = np.array([-along[1], along[0]])
    radius = rng.uniform(0.055, 0.1) * unit
    count, spread = int(rng.integers(3, 5)), rng.uniform(1.6, 2.1)
    lines = []
    for finger in range(count):
        off = (finger - (count - 1) / 2) * spread * radius
        tip = at + along * rng.uniform(0.15, 0.5) * unit + across * off * rng.uniform(0.9, 1.1)
        lines.append(
            (at - along * rng.uniform(0.3, 1.0) * unit + across * off, tip, radius * rng.uniform(0.85, 1.1))
        )
    if rng.random() < 0.7:
        palm = at - along * rng.uniform(0.1, 0.8) * unit
        lines.insert(0, (palm, palm - along * unit, radius * count * 0.9))
    if rng.random() < 0.4:
        lines.append((at - along * 0.6 * unit, at + across * rng.choice([-1, 1]) * 0.5 * unit, radius * 1.1))
    mask, shade = _capsules(lines)
    colour = _skin(rng, patch)
    if rng.random() < 0.2:
        colour = _cloth(rng) if rng.random() < 0.4 else colour * rng.uniform(0.6, 1.3)
    return mask, colour * (shade ** rng.uniform(0.5, 1.8) * (0.5 + 0.5 * _shading(rng)))[..., None]


def thing_cover(
    rng: Rng, patch: Patch, others: list[Patch], at: Floats, unit: float
) -> tuple[Floats, Floats]:
    """A cup, a phone, a book, a bar, a blob."""
    count = int(rng.choice([4, 4, 5, 8, 24]))
    angles = np.sort(np.arange(count) * 2 * np.pi / count + rng.normal(0, 0.15, count)) + rng.uniform(0, 6.3)
    radius = rng.uniform(0.24, 0.5, 2) * unit * np.array([1.0, rng.uniform(0.5, 1.3)])
    mask = _polygon(
        at + rng.normal(0, 0.07, 2) * unit + np.stack([np.cos(angles), np.sin(angles)], 1) * radius
    )
    colour = (_cloth(rng), _borrowed(rng, others), _skin(rng, patch))[rng.choice(3, p=[0.45, 0.4, 0.15])]
    return mask, colour * _shading(rng)[..., None]


Cover = Callable[[Rng, Patch, list[Patch], Floats, float], tuple[Floats, Floats]]
COVERS: Final[dict[str, Cover]] = {
    "mask": mask_cover,
    "scarf": scarf_cover,
    "microphone": microphone_cover,
    "hand": hand_cover,
    "thing": thing_cover,
}


def draw_cover(
    rng: Rng, patch: Patch, others: list[Patch], kind: str, *, away: bool = False
) -> tuple[Image, float]:
    """The patch with a cover, and how much of the lips it hides, 0 to 1.

    Args:
        away: draws it beside the mouth.
    """
    image, points = patch
    unit = float(np.linalg.norm(points[454] - points[234]))
    lips = points[list(OUTER_LIPS)]
    at = lips.mean(0)
    if away:
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 0.75) * unit
        at = at + distance * np.array([np.cos(angle), np.sin(angle)])
    mask, colour = COVERS[kind](rng, patch, others, at, unit)
    lip_mask = _polygon(lips)
    hidden = float((mask * lip_mask).sum() / lip_mask.sum())
    soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.3, 1.6))
    shadow = cv2.GaussianBlur(mask, (0, 0), rng.uniform(2, 6)) * rng.uniform(0, 0.5)
    dark = image * (1 - shadow[..., None])
    light = image.reshape(-1, 3).mean() / 128 if rng.random() < 0.5 else 1.0
    drawn = dark + soft[..., None] * (np.clip(colour * light, 0, 255) - dark)
    return np.clip(np.round(drawn), 0, 255).astype(np.uint8), hidden


def augment(rng: Rng, patch: Image) -> Image:
    """One input (INPUT_PX, INPUT_PX, 3): shifted, turned, in other colours, of worse quality."""
    size = INPUT_PX
    scale = INPUT_PX * _PATCH_SCALE / _PATCH_PX * np.exp(rng.normal(0, 0.08))
    angle = rng.normal(0, 0.08)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if rng.random() < 0.5:
        linear[:, 0] *= -1
    offset = size / 2 - linear @ np.full(2, _PATCH_PX / 2) + rng.normal(0, 0.035 * size, 2)
    if scale < 1:
        patch = cv2.GaussianBlur(patch, (0, 0), 0.4 / scale)
    image = cv2.warpAffine(
        patch,
        np.concatenate([linear, offset[:, None]], 1),
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    ).astype(np.float64)
    kind = rng.random()
    if kind < 0.3:
        image = image @ rng.dirichlet((3, 3, 3))[:, None] * np.ones(3) * np.exp(rng.normal(0, 0.12, 3))
    elif kind < 0.5:
        image = image * np.exp(rng.normal(0, 0.15, 3))
    image = 255 * np.clip(image / 255, 0, 1) ** np.exp(rng.normal(0, 0.3))
    image = (image - 128) * np.exp(rng.normal(0, 0.2)) + 128 + rng.normal(0, 15)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < 0.3:
        image = image + rng.normal(0, rng.uniform(0, 14), (size, size, 1 if kind < 0.3 else 3))
    if rng.random() < 0.06:  # an engraving
        y = np.mgrid[:size, :size][0] + 2 * cv2.resize(rng.normal(0, 1, (4, 4)), (size, size))
        image = image + rng.uniform(10, 50) * np.sin(2 * np.pi * y / rng.uniform(2, 4))[..., None]
    image8 = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        _, code = cv2.imencode(".jpg", image8, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 80))])
        image8 = cv2.imdecode(code, cv2.IMREAD_COLOR)
    return np.asarray(image8, np.uint8)


def make_examples(rng: Rng, patches: list[Patch], count: int, kinds: list[str]) -> tuple[Image, Floats]:
    """`count` inputs and whether the mouth is covered, half of each."""
    inputs: list[Image] = []
    labels: list[float] = []
    while len(inputs) < count:
        patch = patches[rng.integers(len(patches))]
        wanted = len(inputs) % 2
        image, hidden = patch[0], 0.0
        if wanted or rng.random() < 0.5:
            image, hidden = draw_cover(rng, patch, patches, str(rng.choice(kinds)), away=not wanted)
        if hidden > _COVERED if wanted else hidden < _CLEAR:
            inputs.append(augment(rng, image))
            labels.append(float(wanted))
    return np.stack(inputs), np.array(labels)


def to_input(images: Image) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def train(images: Image, labels: Floats, *, epochs: int, seed: int) -> CoveredMouthNet:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    net = CoveredMouthNet()
    optimizer = torch.optim.AdamW(net.parameters(), _RATE, weight_decay=0.02)
    steps = len(images) // _BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _RATE, total_steps=steps * epochs, pct_start=0.1
    )
    for epoch in range(epochs):
        losses = []
        for part in rng.permutation(len(images))[: steps * _BATCH].reshape(steps, _BATCH):
            inputs = to_input(images[part])
            if rng.random() < 0.5:
                inputs = inputs.flip(3)
            inputs = (inputs * float(np.exp(rng.normal(0, 0.1))) + rng.normal(0, 0.08)).clamp(-1, 1)
            targets = torch.from_numpy(labels[part]).float() * 0.98 + 0.01
            loss = F.binary_cross_entropy_with_logits(net(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        _say(f"epoch {epoch + 1}, loss {np.mean(losses):.4f}")
    return net.eval()


@torch.no_grad()
def logits_of(net: CoveredMouthNet, patches: list[Image]) -> Floats:
    """For patches as they are, without augmentation."""
    low = (_PATCH_PX - _PATCH_PX / _PATCH_SCALE) / 2
    low, high = round(low), round(_PATCH_PX - low)
    inputs = [
        cv2.resize(p[low:high, low:high], (INPUT_PX, INPUT_PX), interpolation=cv2.INTER_AREA) for p in patches
    ]
    return np.asarray(net(to_input(np.stack(inputs))).numpy())


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--sheets", type=Path, nargs="*", default=[], help="pictures with many faces, each of which is taken"
    )
    parser.add_argument("--output", type=Path)
    parser.add_argument("--hold-out", choices=COVERS, help="a kind of cover that is not trained")
    parser.add_argument("--examples", type=int, default=30000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    analyzer = FaceAnalyzer.from_pretrained(checkpoints.resolve(checkpoints.EMBEDDED) / "face")
    patches = load_patches(analyzer, sorted(options.data.glob("portraits/*/*.jpg")), options.sheets)
    # Each fifth is kept out, unless the network is to be used.
    keeps_out = options.hold_out or not options.output
    known = [patch for index, patch in enumerate(patches) if index % 5 or not keeps_out]
    unseen = [patch for index, patch in enumerate(patches) if index % 5 == 0]
    kinds = [kind for kind in COVERS if kind != options.hold_out]
    images, labels = make_examples(np.random.default_rng(options.seed), known, options.examples, kinds)
    net = train(images, labels, epochs=options.epochs, seed=options.seed)
    rng = np.random.default_rng(1)
    clear = logits_of(net, [image for image, _ in unseen])
    _say(f"no cover: n {len(clear)}, highest {np.sort(clear)[-5:].round(2)}")
    for kind in COVERS:
        drawn = [draw_cover(rng, patch, unseen, kind) for patch in unseen]
        values = logits_of(net, [image for image, hidden in drawn if hidden > _COVERED])
        _say(f"{kind}: n {len(values)}, over 0: {(values > 0).mean():.3f}, over 2: {(values > 2).mean():.3f}")
    if options.output:
        save_file(
            {name: value.half().contiguous() for name, value in net.state_dict().items()}, options.output
        )


if __name__ == "__main__":
    main()
