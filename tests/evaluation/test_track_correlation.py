"""Tracks of people and voices that are alike by construction."""

from __future__ import annotations

import numpy as np
import pytest

from openemo.evaluation.metrics.track_correlation import track_correlations

PEOPLE, VOICES = ("a", "b", "c"), ("v", "w")


def _noise(*seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(4000)


def test_everybody_moves_alike_with_one_voice() -> None:
    """Half of the variance is the voice's, half the person's and the voice's own: r is 0.5."""
    tracks = {
        (person, voice): _noise(1, v) + _noise(2, v, p)
        for p, person in enumerate(PEOPLE)
        for v, voice in enumerate(VOICES)
    }
    tracks["a", "v"] = np.append(tracks["a", "v"], 0)  # one frame longer
    found = track_correlations(tracks)
    assert found.one_voice.mean == pytest.approx(0.5, abs=0.03)
    assert found.one_voice.pairs == 6
    assert found.one_person.mean == pytest.approx(0, abs=0.03)
    assert found.one_person.pairs == 3
    assert found.unrelated.pairs == 6
    assert 0 < found.unrelated.mean_size < 0.05


def test_opposite_motions_are_alike_in_size_only() -> None:
    track = _noise(7)
    found = track_correlations({("a", "v"): track, ("b", "v"): -track, ("c", "v"): track})
    assert found.one_voice.mean == pytest.approx(-1 / 3)
    assert found.one_voice.mean_size == pytest.approx(1)
    assert np.isnan(found.one_person.mean)


def test_tracks_that_cannot_be_compared_are_left_out() -> None:
    broken = _noise(1)
    broken[5] = np.nan
    found = track_correlations({("a", "v"): _noise(0), ("b", "v"): broken, ("c", "v"): np.zeros(4000)})
    assert found.one_voice.pairs == 0
    assert np.isnan(found.one_voice.mean)
    assert np.isnan(track_correlations({}).unrelated.mean_size)
