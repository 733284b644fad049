"""Retargeting and dense flow on known motions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from openemo.data.driven import warp_picture
from openemo.data.retargeting import lower_face_motion, median_poses, retarget
from openemo.face.landmarks import BROWS, LEFT_EYE, RIGHT_EYE, STABLE, eye_opening, mouth_opening
from openemo.face.similarity import Similarity, fit_similarity
from openemo.rendering.landmark_flow import FLOW_POINTS, backward_flow, face_flow

Floats = NDArray[np.float64]
EXACT = 1e-9  # sums of a few hundred doubles of size 300


def _similarity(angle: float, scale: float, shift: tuple[float, float]) -> Similarity:
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return Similarity(np.array([[cos, -sin], [sin, cos]]), np.array(shift))


def test_fit_finds_the_similarity_that_was_applied() -> None:
    source = np.random.default_rng(1).normal(40, 9, (7, 2))
    known = _similarity(0.4, 1.7, (-30, 12))
    fit = fit_similarity(source, known(source))
    np.testing.assert_allclose(fit.matrix, known.matrix, atol=EXACT)
    np.testing.assert_allclose(fit.shift, known.shift, atol=EXACT)


def test_fit_has_the_least_error_and_never_mirrors() -> None:
    rng = np.random.default_rng(2)
    source, target = rng.normal(0, 9, (7, 2)), rng.normal(5, 4, (7, 2))
    fit = fit_similarity(source, target)
    error = ((fit(source) - target) ** 2).sum()
    for nudge in 1e-3 * rng.standard_normal((20, 4)):
        turn = np.array([[nudge[0], -nudge[1]], [nudge[1], nudge[0]]])
        other = Similarity(fit.matrix + turn, fit.shift + nudge[2:])
        assert ((other(source) - target) ** 2).sum() > error
    assert np.linalg.det(fit_similarity(source, source * (-1, 1)).matrix) > 0


def test_damped_motion_rests_at_0_and_is_itself_at_1() -> None:
    points, pivot = np.random.default_rng(3).normal(50, 20, (5, 2)), np.array([31.0, 77.0])
    motion = _similarity(-0.2, 1.1, (8, 3))
    np.testing.assert_allclose(motion.damped(0, pivot)(points), points, atol=EXACT)
    np.testing.assert_allclose(motion.damped(1, pivot)(points), motion(points), atol=EXACT)
    np.testing.assert_allclose(motion.damped(0.5, pivot)(pivot), (pivot + motion(pivot)) / 2, atol=EXACT)


def _portrait(toy_face: Floats) -> Floats:
    """Another face than the clip's: other proportions, size and tilt."""
    bent = toy_face[:, :2] + 0.01 * np.sin(9 * toy_face[:, 1::-1])
    return np.asarray(_similarity(0.25, 180, (40, -20))(bent), np.float64)


def test_a_clip_that_stands_still_leaves_the_portrait_still(toy_face: Floats) -> None:
    portrait = _portrait(toy_face)
    moved, zero = retarget(np.repeat(300 * toy_face[None], 4, 0), portrait)
    assert (moved.shape, zero) == ((4, 478, 2), 0)
    np.testing.assert_allclose(moved, np.repeat(portrait[None], 4, 0), atol=EXACT)


def test_head_strength_0_removes_head_motion_and_1_keeps_it(toy_face: Floats) -> None:
    portrait, clip = _portrait(toy_face), 300 * toy_face[:, :2]
    heads = [_similarity(0.0, 1.0, (0, 0)), _similarity(0.1, 1.05, (-9, 4)), _similarity(-0.2, 0.9, (30, 60))]
    track = np.stack([head(clip) for head in heads])
    still, zero = retarget(track, portrait, head_strength=0)
    np.testing.assert_allclose(still, np.repeat(portrait[None], 3, 0), atol=EXACT)

    moved, zero = retarget(track, portrait, head_strength=1)
    stable = list(STABLE)
    rest = fit_similarity(track[zero, stable], np.median(track[:, stable], 0))(track[zero])
    to_portrait = fit_similarity(rest[stable], portrait[stable])
    for index in range(3):  # in the clip's frame the portrait moves as the clip's own head does
        head = fit_similarity(rest, track[index])
        expected = to_portrait(head(fit_similarity(to_portrait(rest), rest)(portrait)))
        np.testing.assert_allclose(moved[index], expected, atol=1e-7)


def test_the_head_moves_about_the_portraits_own_pose(toy_face: Floats) -> None:
    """Also if the zero frame of the clip is far from its median pose."""
    portrait, clip = _portrait(toy_face), 300 * toy_face[:, :2]
    track = np.stack([clip + np.array([x, 0]) for x in (0, 40, 40, 40, 42)])
    track[0, 14, 1] -= 0.1  # only frame 0 can be the zero frame: it has the portrait's mouth
    portrait[14] = _portrait(track[0] / 300)[14]
    moved, zero = retarget(track, portrait, head_strength=1)
    assert zero == 0
    stable = list(STABLE)
    np.testing.assert_allclose(np.median(moved[:, stable], 0), portrait[stable], atol=EXACT)


def test_median_poses_are_found_nearest_first(toy_face: Floats) -> None:
    track = np.stack([200 * toy_face[:, :2] + np.array([x, -x]) for x in (50, 1, 0, -2, -40)])
    assert median_poses(track, 3).tolist() == [2, 1, 3]


def test_displacement_has_the_portraits_scale_and_tilt(toy_face: Floats) -> None:
    angle, scale = 0.3, 2.5
    clip, portrait = 100 * toy_face[:, :2], _similarity(angle, scale * 100, (7, -3))(toy_face[:, :2])
    track, lip = np.repeat(clip[None], 3, 0), 14
    track[1, lip] += (1.0, 6.0)
    moved, zero = retarget(track, portrait, head_strength=0.7)
    assert zero == 0
    expected = portrait.copy()
    expected[lip] += _similarity(angle, scale, (0, 0))(np.array([1.0, 6.0]))
    np.testing.assert_allclose(moved[1], expected, atol=1e-7)
    np.testing.assert_allclose(moved[2], portrait, atol=1e-7)


def test_the_zero_frame_has_the_mouth_opening_of_the_portrait(toy_face: Floats) -> None:
    portrait = 200 * toy_face[:, :2]
    track = np.repeat(90 * toy_face[None, :, :2], 5, 0)
    track[:, 14, 1] += (9.0, 5.0, 2.0, 0.1, 4.0)
    assert retarget(track, portrait)[1] == 3
    portrait[14, 1] += 200 / 90 * 4.1
    assert retarget(track, portrait)[1] == 4
    # The frames differ from the portrait as the clip's mouths differ from that of the zero frame.
    moved, _ = retarget(track, portrait)
    openings = [mouth_opening(points) - mouth_opening(portrait) for points in moved]
    assert np.argsort(openings).tolist() == [3, 2, 4, 1, 0]


def _shut(points: Floats, gap: float = 0.0) -> Floats:
    """The same face with closed eyes: the lids are `gap` apart, and cross below 0."""
    points = points.copy()
    for eye in (RIGHT_EYE, LEFT_EYE):
        lower, upper = list(eye[1:8]), list(eye[:8:-1])
        points[upper, :2] = points[lower, :2] - (0, gap)
    return points


def test_a_portrait_closes_eyes_of_any_size_when_the_clip_does(toy_face: Floats) -> None:
    clip = 300 * toy_face[:, :2]
    track = np.stack([clip, clip, _shut(clip), clip])
    for size in (0.6, 1.0, 1.8):
        portrait = clip.copy()
        for eye in (RIGHT_EYE, LEFT_EYE):
            points = portrait[list(eye)]
            portrait[list(eye), 1] = points[:, 1].mean() + size * (points[:, 1] - points[:, 1].mean())
        moved, _ = retarget(track, portrait)
        np.testing.assert_allclose(eye_opening(moved[2]), 0, atol=1e-6)
        np.testing.assert_allclose(eye_opening(moved[3]), eye_opening(portrait), atol=1e-6)


def test_a_zero_frame_with_closed_eyes_leaves_the_portraits_eyes_as_they_are(toy_face: Floats) -> None:
    clip = 300 * toy_face[:, :2]
    track = np.stack([clip, clip, _shut(clip), clip])
    track[2, 14, 1] += 0.3
    portrait = clip.copy()
    portrait[14, 1] += 0.3
    moved, zero = retarget(track, portrait)
    assert zero == 2
    np.testing.assert_allclose(eye_opening(moved[0]), eye_opening(portrait), atol=1e-6)


def test_lids_that_touch_or_cross_hide_the_eye_without_folds(toy_face: Floats) -> None:
    """Down through a closed eye, sources do not run backwards, and skin covers the iris."""
    grid, reference = 128, toy_face[:, :2]
    eye = reference[list(RIGHT_EYE)]
    column = int(eye[:, 0].mean() * grid)
    rows = (np.arange(grid) + 0.5) / grid
    for gap in (0.0, -0.002):
        flow = face_flow(reference, _shut(reference, gap), grid)
        sources = (rows + flow[1, :, column])[int(0.3 * grid) : int(0.5 * grid)]
        assert np.diff(sources).min() > -0.1 / grid
        eye_rows = (sources > eye[:, 1].min()) & (sources < eye[:, 1].max())
        open_rows = np.ptp(eye[:, 1]) * grid
        assert eye_rows.sum() < 0.5 * open_rows
        # The lids move straight down: sideways flow is under a tenth of their motion.
        sideways = flow[0, int(0.4 * grid) : int(0.44 * grid), column]
        assert np.abs(sideways).max() < 0.1 * np.ptp(eye[:, 1])


def test_equal_landmarks_give_no_flow(toy_face: Floats) -> None:
    places = toy_face[FLOW_POINTS, :2]
    flow = backward_flow(places, places, 23)
    assert flow.shape == (2, 23, 23)
    assert flow.dtype == np.float32
    assert not flow.any()


def test_flow_of_a_moved_face_is_uniform_inside_and_fades_to_the_fixed_border(toy_face: Floats) -> None:
    reference, shift, grid = toy_face[FLOW_POINTS, :2], np.array([0.03, -0.05]), 40
    flow = backward_flow(reference, reference + shift, grid)
    centres = (np.arange(grid) + 0.5) / grid
    x, y = np.meshgrid(centres - shift[0] - 0.5, centres - shift[1] - 0.5)
    inside = (x / 0.24) ** 2 + (y / 0.31) ** 2 < 0.8
    for component, moved in zip(flow, shift, strict=True):
        # Backwards: the moved face comes from where it was. 3 % for the regularisation.
        np.testing.assert_allclose(component[inside], -moved, atol=0.03 * abs(moved))
        edge = np.concatenate([component[0], component[-1], component[:, 0], component[:, -1]])
        # Half a cell from the border, and between its fixed points.
        assert np.abs(edge).max() < 0.15 * abs(moved)


def test_flow_at_a_landmark_is_the_motion_of_the_landmark() -> None:
    grid, rng = 50, np.random.default_rng(8)
    columns, rows = (index.ravel() for index in np.meshgrid([10, 17, 24, 31, 38], [12, 22, 30, 37]))
    target = (np.stack([columns, rows], 1) + 0.5) / grid  # at centres of cells
    motion = rng.uniform(-0.02, 0.02, target.shape)
    flow = backward_flow(target - motion, target, grid)
    # A tenth of a cell of regularisation, between nodes seven cells and more apart: a few per cent.
    np.testing.assert_allclose(flow[:, rows, columns].T, -motion, atol=0.05 * 0.02)


def test_warping_by_the_flow_moves_a_dot_with_its_landmark(toy_face: Floats) -> None:
    side, dot = 160, 195  # on the nose
    reference = toy_face[:, :2].copy()
    reference[dot] = (0.47, 0.53)
    target = reference + np.array([0.05, -0.025])
    ticks = np.arange(side) + 0.5
    x, y = np.meshgrid(ticks, ticks)

    def centre_of_light(picture: NDArray[np.uint8]) -> Floats:
        light = picture[..., 1].astype(np.float64)
        return np.array([float((light * x).sum()), float((light * y).sum())]) / float(light.sum())

    distance = np.hypot(x - side * reference[dot, 0], y - side * reference[dot, 1])
    picture = np.repeat((255 * np.exp(-((distance / 3) ** 2)))[..., None], 3, 2).astype(np.uint8)
    np.testing.assert_allclose(centre_of_light(picture), side * reference[dot], atol=0.1)
    flow = backward_flow(reference[FLOW_POINTS], target[FLOW_POINTS], 32)
    # Moved 8 and -4 pixels, exactly but for the regularisation and the interpolation of the flow.
    np.testing.assert_allclose(centre_of_light(warp_picture(picture, flow)), side * target[dot], atol=0.4)


def _lower_face(toy_face: Floats) -> tuple[Floats, list[int]]:
    """A face of 300 px with nose and brows where they belong, and landmarks of lips and chin."""
    face = 300 * toy_face[:, :2]
    face[2] = (150, 168)
    face[list(BROWS), 1] = 100
    return face, [13, 14, 17, 61, 291, 152]


def test_lower_face_motion_has_no_head_motion(toy_face: Floats) -> None:
    face, _ = _lower_face(toy_face)
    heads = [_similarity(0.0, 1.0, (0, 0)), _similarity(0.1, 1.05, (-9, 4)), _similarity(-0.2, 0.9, (30, 60))]
    still = lower_face_motion(np.stack([face, *(head(face) for head in heads)]))
    assert still.shape == (4, 478, 2)
    np.testing.assert_allclose(still, np.repeat(face[None], 4, 0), atol=1e-4)


def test_lower_face_motion_keeps_the_mouth_and_drops_brows_and_lids(toy_face: Floats) -> None:
    """In a head that moves, too: the mouth's motion is that of the reference's own scale and tilt."""
    face, mouth = _lower_face(toy_face)
    speaking = face.copy()
    speaking[mouth] += (2.0, 7.0)
    speaking[list(BROWS)] -= (0.0, 9.0)
    speaking = _shut(speaking)
    moved = lower_face_motion(np.stack([face, speaking, _similarity(0.15, 1.1, (8, -5))(speaking)]))
    for frame in moved[1:]:
        np.testing.assert_allclose(frame[mouth] - face[mouth], np.tile((2.0, 7.0), (6, 1)), atol=1e-3)
        np.testing.assert_allclose(frame[list(BROWS)], face[list(BROWS)], atol=1e-3)
        # Lids lie where the motion fades in; what a blink moves is 9 px.
        lids = [*RIGHT_EYE, *LEFT_EYE]
        assert np.abs(frame[lids] - face[lids]).max() < 1


def test_lower_face_motion_fades_in_between_eyes_and_nose(toy_face: Floats) -> None:
    face, _ = _lower_face(toy_face)
    pulled = face.copy()
    others = np.setdiff1d(np.arange(478), STABLE)
    pulled[others] += (0.0, 4.0)
    share = (lower_face_motion(np.stack([face, pulled]))[1] - face)[others, 1] / 4
    height = face[others, 1]
    order = np.argsort(height)
    assert (np.diff(share[order]) > -1e-4).all()
    np.testing.assert_allclose(share[height > 168], 1, atol=1e-4)
    np.testing.assert_allclose(share[height < 100], 0, atol=1e-4)
