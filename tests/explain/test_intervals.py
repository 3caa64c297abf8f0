"""Means over faces and their intervals."""

import numpy as np
import pytest

from ferlib.explain.intervals import as_record, difference, mean_intervals


def test_intervals():
    values = np.random.default_rng(0).normal(5, 2, 400)
    mean, low, high = mean_intervals(values)
    assert mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.04)
    both = mean_intervals(np.stack([values, 2 * values], axis=1))
    np.testing.assert_allclose(both[:, 1], 2 * both[:, 0])
    assert mean_intervals(np.array([1.0, np.nan, 3.0]))[0] == 2
    assert as_record(values)["value"] == pytest.approx(mean, abs=1e-5)
    gap = difference(values + 1, values)
    assert gap["value"] == pytest.approx(1) and gap["low"] < 1 < gap["high"]
