"""Calibration against definitions written out, and temperature against a grid."""

import numpy as np
import pytest

from ferlib.errors import UserError
from ferlib.evaluation.bootstrap import calibration_interval
from ferlib.evaluation.calibration import (
    adjusted,
    calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
    temperature_scaled,
)


def drawn(seed: int, sharpness: float, n: int = 2000, classes: int = 7):
    """Labels drawn from softmax(logits), and the probabilities of a model whose logits are `sharpness` times these."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, classes))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (true.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    claimed = np.exp(sharpness * logits)
    return labels, claimed / claimed.sum(axis=1, keepdims=True)


def test_calibration_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    labels = np.array([0, 1, 1, 1])  # 0.9 is right half the time, 0.6 always
    assert calibration_error(labels, probabilities) == pytest.approx((2 * 0.4 + 2 * 0.4) / 4)
    assert calibration_error(np.array([0]), np.array([[1.0, 0.0]])) == 0


def test_intervals_of_the_calibration_error_cover_the_truth():
    """Confidences are 0.02 too high throughout, so that is the error; plain quantiles would hold it half the time."""
    rng, covered = np.random.default_rng(0), 0
    for test in range(200):
        confidence = rng.uniform(0.6, 0.98, 1000)
        labels = (rng.random(1000) > confidence - 0.02).astype(int)
        probabilities = np.stack([confidence, 1 - confidence], axis=1)
        low, high = calibration_interval(labels, probabilities, resamples=300, seed=test)
        covered += low <= 0.02 <= high
    assert covered >= 165


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_reliability_face_by_face(bins):
    labels, probabilities = drawn(0, 1.7)
    curve = reliability(labels, probabilities, bins)
    members = [[] for _ in range(bins)]
    for label, row in zip(labels, probabilities, strict=True):
        members[min(int(row.max() * bins), bins - 1)].append((row.max(), row.argmax() == label))
    assert curve["faces"].tolist() == [len(some) for some in members]
    assert curve["start"].iloc[0] == 0 and curve["end"].iloc[-1] == 1
    error = 0.0
    for row, some in zip(curve.itertuples(), members, strict=True):
        if not some:
            assert np.isnan([row.confidence, row.accuracy, row.low, row.high]).all()
            continue
        confidence, accuracy = np.mean(some, axis=0)
        assert (row.confidence, row.accuracy) == pytest.approx((confidence, accuracy), abs=1e-12)
        # Wilson (1927): the accuracies from which this share is 1.96 standard errors away
        for end in (row.low, row.high):
            assert abs(accuracy - end) == pytest.approx(1.959964 * np.sqrt(end * (1 - end) / len(some)), abs=1e-6)
        error += len(some) / len(labels) * abs(confidence - accuracy)
    assert calibration_error(labels, probabilities, bins) == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_temperature_is_that_of_a_grid_and_of_the_truth(sharpness):
    labels, probabilities = drawn(1, sharpness)
    temperature = fit_temperature(labels, probabilities)
    grid = np.geomspace(0.1, 10, 2001)
    losses = [negative_log_likelihood(labels, temperature_scaled(probabilities, value)) for value in grid]
    assert temperature == pytest.approx(grid[np.argmin(losses)], rel=0.003)  # one step of the grid
    assert negative_log_likelihood(labels, temperature_scaled(probabilities, temperature)) <= min(losses)
    assert temperature == pytest.approx(sharpness, rel=0.1)  # the logits were multiplied by it
    better = calibration_error(labels, temperature_scaled(probabilities, temperature))
    assert better <= 0.03
    if sharpness != 1:
        assert better < calibration_error(labels, probabilities) - 0.05


def test_tempering_is_dividing_logits_and_changes_no_prediction():
    rng = np.random.default_rng(2)
    logits = 5 * rng.normal(size=(200, 7))
    softmax = [np.exp(logits / t) / np.exp(logits / t).sum(axis=1, keepdims=True) for t in (1, 2.5)]
    np.testing.assert_allclose(temperature_scaled(softmax[0], 2.5), softmax[1], atol=1e-14)
    np.testing.assert_array_equal(softmax[0].argmax(axis=1), temperature_scaled(softmax[0], 2.5).argmax(axis=1))
    certain = np.eye(3)  # no NaN from log 0
    np.testing.assert_allclose(temperature_scaled(certain, 2.0), certain, atol=1e-12)
    assert negative_log_likelihood(np.array([0, 1, 2]), certain) == 0


def test_a_prior_of_nothing_cannot_be_taken_out():
    probabilities, prior = np.array([[0.5, 0.3, 0.2]]), np.array([0.6, 0.4, 0.0])
    with pytest.raises(UserError, match="a class has no training faces"):
        adjusted(probabilities, prior, 1.0, 1.0)
    assert adjusted(probabilities, prior, 0.0, 1.0) == pytest.approx(probabilities)
