"""Anchors, decoding and non-maximum suppression of the full-range detector."""

from __future__ import annotations

import numpy as np
import pytest

from openemo.face.detection import (
    NUM_ANCHORS,
    FaceBox,
    anchor_centres,
    decode_boxes,
    intersection_over_union,
    weighted_nms,
)


def _box(x0: float, y0: float, x1: float, y1: float, score: float) -> FaceBox:
    return FaceBox(np.array([x0, y0, x1, y1]), np.full((6, 2), x0), score)


def test_anchors_are_the_cell_centres_of_a_48_grid_row_by_row() -> None:
    centres = anchor_centres()
    assert centres.shape == (NUM_ANCHORS, 2) == (2304, 2)
    np.testing.assert_allclose(centres[0], [0.5 / 48, 0.5 / 48])
    np.testing.assert_allclose(centres[1], [1.5 / 48, 0.5 / 48])  # x runs first
    np.testing.assert_allclose(centres[48], [0.5 / 48, 1.5 / 48])
    np.testing.assert_allclose(centres.mean(axis=0), [0.5, 0.5], atol=1e-6)


def test_decoding_gives_box_and_keypoints_in_image_pixels() -> None:
    regressors, logits = np.zeros((2304, 16), np.float32), np.full(2304, -9.0, np.float32)
    cell = 48 * 10 + 20  # column 20, row 10
    logits[cell] = 3.0
    regressors[cell, :6] = [
        19.2,
        -9.6,
        48.0,
        96.0,
        38.4,
        0.0,
    ]  # centre +0.1, -0.05; size 0.25, 0.5; right eye
    (box,) = decode_boxes(regressors, logits, anchor_centres(), np.array([-30.0, 7.0]), 480.0, 0.5)
    centre = np.array([20.5 / 48 + 0.1, 10.5 / 48 - 0.05]) * 480 + (-30, 7)
    half = np.array([0.25, 0.5]) * 480 / 2
    np.testing.assert_allclose(box.box_px[:2], centre - half, rtol=1e-5)
    np.testing.assert_allclose(box.box_px[2:], centre + half, rtol=1e-5)
    np.testing.assert_allclose(box.keypoints_px[0], [20.5 * 10 + 0.2 * 480 - 30, 10.5 * 10 + 7], rtol=1e-5)
    assert box.score == pytest.approx(1 / (1 + np.exp(-3.0)))
    assert box.side_px == pytest.approx(240)


def test_intersection_over_union_of_known_boxes() -> None:
    a = np.array([0.0, 0.0, 4.0, 2.0])
    assert intersection_over_union(a, a) == 1.0
    assert intersection_over_union(a, np.array([2.0, 0.0, 6.0, 2.0])) == pytest.approx(4 / 12)
    assert intersection_over_union(a, np.array([5.0, 0.0, 6.0, 2.0])) == 0.0
    assert intersection_over_union(np.zeros(4), np.zeros(4)) == 0.0


def test_nms_merges_by_score_and_keeps_separate_faces() -> None:
    near = [_box(0, 0, 10, 10, 0.6), _box(1, 0, 11, 10, 0.9)]
    far = _box(50, 0, 70, 20, 0.7)
    first, second = weighted_nms([*near, far])
    assert (first.score, second.score) == (0.9, 0.7)
    np.testing.assert_allclose(first.box_px, [0.6, 0, 10.6, 10])  # (0 * 0.6 + 1 * 0.9) / 1.5
    np.testing.assert_allclose(second.box_px, far.box_px)
    assert weighted_nms([]) == []
