"""Metrics against scikit-learn, intervals against simulation."""

import numpy as np
import pytest
from sklearn import metrics as sklearn

from ferlib.evaluation.metrics import bootstrap_intervals, calibration_error, per_class, summary


def random_predictions(seed: int, n: int = 400, classes: int = 8):
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, n, p=rng.dirichlet(np.ones(classes)))
    probabilities = rng.dirichlet(np.ones(classes), n)
    return labels, probabilities


@pytest.mark.parametrize("seed", range(10))
def test_agrees_with_scikit_learn(seed):
    labels, probabilities = random_predictions(seed)
    predicted, present = probabilities.argmax(axis=1), np.unique(labels)
    found = summary(labels, probabilities)
    f1 = sklearn.f1_score(labels, predicted, labels=present, average="macro", zero_division=0)
    recall = sklearn.recall_score(labels, predicted, labels=present, average="macro", zero_division=0)
    assert found["accuracy"] == pytest.approx(sklearn.accuracy_score(labels, predicted), abs=1e-12)
    assert found["balanced_accuracy"] == pytest.approx(recall, abs=1e-12)
    assert found["macro_f1"] == pytest.approx(f1, abs=1e-12)


def test_intervals_cover_the_truth():
    rng, covered = np.random.default_rng(0), 0
    confusion = np.array([[60, 10, 5], [8, 30, 2], [4, 3, 8]]) / 130  # the truth a test set is drawn from
    recall = np.diag(confusion) / confusion.sum(axis=1)
    truth = {"accuracy": np.trace(confusion), "balanced_accuracy": recall.mean()}
    for i in range(500):
        draw = rng.choice(9, 400, p=confusion.ravel())
        intervals = bootstrap_intervals(draw // 3, draw % 3, 3, resamples=400, seed=i)
        covered += np.array([intervals[name][0] <= truth[name] <= intervals[name][1] for name in truth])
    assert (covered / 500 >= 0.93).all()


def test_calibration_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    labels = np.array([0, 1, 1, 1])  # 0.9 is right half the time, 0.6 always
    assert calibration_error(labels, probabilities) == pytest.approx((2 * 0.4 + 2 * 0.4) / 4)
    assert calibration_error(np.array([0]), np.array([[1.0, 0.0]])) == 0


def test_per_class_table():
    table = per_class(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1]), ["a", "b", "c"])
    assert table["recall"].tolist() == [0.5, 1, 0]
    assert table["precision"].tolist() == [1, pytest.approx(1 / 3), 0]
    assert table["support"].tolist() == [2, 1, 1]
