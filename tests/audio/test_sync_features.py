"""Audio features for sync networks."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.audio.mfcc import mfcc
from openemo.audio.relative_mel import relative_log_mel


def _voice(num_samples: int = 8_000) -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    level = 0.1 * (1 + np.sin(np.arange(num_samples) / 900))
    return np.asarray(level * rng.standard_normal(num_samples), np.float32)


@pytest.mark.parametrize("gain_db", [-18.0, -6.0, 9.0])
def test_rows_do_not_depend_on_the_gain(gain_db: float) -> None:
    voice = _voice()
    louder = np.asarray(voice * 10 ** (gain_db / 20), np.float32)
    # Only rounding. A voice 30 dB fainter would reach the spectrogram's own floor in some rows.
    np.testing.assert_allclose(relative_log_mel(louder, 41), relative_log_mel(voice, 41), atol=1e-4)


def test_rows_are_at_their_times_and_missing_audio_is_silence() -> None:
    click = np.zeros(8_000, np.float32)
    click[160 * 17] = 1
    rows = relative_log_mel(click, 61)
    assert rows.shape == (61, 80)
    assert rows.dtype == np.float32
    assert int(rows.mean(1).argmax()) == 17
    assert rows.max() == pytest.approx(1)
    assert (rows[51:] == rows.min()).all()
    assert np.array_equal(relative_log_mel(np.concatenate([click, click]), 30), relative_log_mel(click, 30))


def test_silence_is_constant_and_faint_noise_stays_faint() -> None:
    assert np.ptp(relative_log_mel(np.zeros(4_000, np.float32), 25)) == 0
    voice = _voice()
    assert relative_log_mel(1e-5 * voice, 41).max() < relative_log_mel(voice, 41).max() - 0.25


def test_cepstral_coefficients_are_those_of_python_speech_features() -> None:
    samples = (3000 * np.sin(np.arange(7000) ** 1.5 / 900)).round()
    found = mfcc(samples)
    assert found.shape == (43, 13)
    # Printed by python_speech_features.mfcc(samples, 16000), version 0.6, rounded at the sixth digit.
    expected = [
        [14.129766, 27.64131, 20.70189, 3.243563],
        [16.080845, 27.475565, -7.89935, -11.390782],
        [16.676655, 24.319847, -21.85053, 13.46859],
    ]
    np.testing.assert_allclose(found[[0, 21, 41]][:, [0, 1, 5, 12]], expected, atol=2e-6)


@pytest.mark.parametrize(("num_samples", "num_rows"), [(1, 1), (400, 1), (401, 2), (560, 2), (561, 3)])
def test_cepstral_rows_cover_all_samples(num_samples: int, num_rows: int) -> None:
    rows = mfcc(np.zeros(num_samples))
    assert rows.shape == (num_rows, 13)
    assert np.isfinite(rows).all()
