"""Smoothed probabilities, against naive versions."""

from itertools import product

import numpy as np
import pytest

from ferlib.video.smoothing import ExponentialSmoother, fit_rate, label_changes, log_likelihood, smooth
from ferlib.video.table import VideoTable


def stay(rate: float, passed: float, classes: int) -> np.ndarray:
    """Transition matrix of the chain by its generator's exponential, as a power of many small steps."""
    generator = np.full((classes, classes), rate / classes) - np.eye(classes) * rate
    return np.linalg.matrix_power(np.eye(classes) + generator * passed / 2**20, 2**20)


def every_way(probabilities: np.ndarray, times: np.ndarray, rate: float) -> tuple[np.ndarray, float]:
    """Posteriors and likelihood as sums over every sequence of classes."""
    frames, classes = probabilities.shape
    steps = [stay(rate, passed, classes) for passed in np.diff(times)]
    sums, total = np.zeros_like(probabilities), 0.0
    for way in product(range(classes), repeat=frames):
        weight = np.prod([probabilities[i, state] for i, state in enumerate(way)]) / classes
        weight *= np.prod([step[a, b] for step, a, b in zip(steps, way, way[1:], strict=False)])
        sums[np.arange(frames), way] += weight
        total += weight
    return sums / total, float(np.log(total))


def test_forwards_backwards_is_the_sum_over_every_way():
    rng = np.random.default_rng(0)
    probabilities, times = rng.dirichlet(np.ones(3), 6), np.array([0, 0.1, 0.15, 0.9, 1.0, 3.0])
    expected, likelihood = every_way(probabilities, times, 0.8)
    np.testing.assert_allclose(smooth(probabilities, times, 0.8), expected, atol=2e-5)
    assert log_likelihood(probabilities, times, np.array([0.8, 2.0]))[0] == pytest.approx(likelihood, abs=1e-5)


def test_the_rate_of_a_made_up_film_is_found():
    """A chain that changes 0.5 times a second, seen through noise."""
    rng = np.random.default_rng(1)
    tracks, changes = [], 0
    for _ in range(3):
        states, state = [], 0
        for _ in range(3000):
            if rng.random() < 1 - np.exp(-0.5 / 25):
                state = int(rng.integers(5))
            states.append(state)
        changes += label_changes(np.array(states))
        seen = np.full((3000, 5), 0.1) + 0.5 * np.eye(5)[states]
        wrong = rng.random(3000) < 0.4  # as often as these probabilities say
        seen[wrong] = 0.1 + 0.5 * np.eye(5)[(np.array(states)[wrong] + rng.integers(1, 5, wrong.sum())) % 5]
        tracks.append((seen, np.arange(3000) / 25))
    rate = fit_rate(tracks)
    assert rate == pytest.approx(0.5, rel=0.3)
    table = VideoTable(["a", "b", "c", "d", "e"])
    table.rate = rate
    assert table.changes_a_second == pytest.approx(changes / (3 * 3000 / 25), rel=0.3)  # a draw in five changes nothing
    assert VideoTable(["a", "b"]).changes_a_second is None


def test_a_flicker_goes_and_a_change_stays():
    probabilities = np.tile([0.7, 0.2, 0.1], (60, 1))
    probabilities[30:] = [0.1, 0.2, 0.7]
    probabilities[[7, 20, 41]] = [0.2, 0.7, 0.1]
    labels = smooth(probabilities, np.arange(60) / 25, 0.5).argmax(axis=1)
    assert label_changes(probabilities.argmax(axis=1)) == 7 and label_changes(labels) == 1
    assert abs(int((labels == 2).argmax()) - 30) <= 1


def test_exponential_smoothing_does_not_depend_on_the_frame_rate():
    before, after = np.array([0.8, 0.1, 0.1]), np.array([0.1, 0.1, 0.8])
    ends = []
    for rate in (10, 100):
        smoother = ExponentialSmoother(0.5)
        smoother(before, 0.0)
        for step in range(1, rate + 1):
            smoothed = smoother(after, step / rate)
        ends.append(smoothed)
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-9)
    kept = np.exp(-2)  # a second later, two time constants
    expected = np.exp(kept * np.log(before) + (1 - kept) * np.log(after))
    np.testing.assert_allclose(ends[0], expected / expected.sum(), atol=1e-9)
    np.testing.assert_allclose(ExponentialSmoother(0.0)(before, 1.0), before)
