"""Metrics against scikit-learn, intervals against simulation."""

import numpy as np
import pytest
from sklearn import metrics as sklearn

from ferlib.evaluation.bootstrap import bootstrap_intervals
from ferlib.evaluation.metrics import confusion, confusion_cells, per_class, summary


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


@pytest.mark.parametrize("seed", range(3))
def test_confusion_and_per_class_agree_with_scikit_learn(seed):
    labels, probabilities = random_predictions(seed)
    predicted = probabilities.argmax(axis=1)
    counts = confusion(labels, predicted, 8)
    np.testing.assert_array_equal(counts, sklearn.confusion_matrix(labels, predicted, labels=range(8)))
    table = per_class(labels, predicted, list("abcdefgh"))
    for name, axis in (("recall", 1), ("precision", 0)):  # from the matrix, against scikit-learn's in the table
        sums = counts.sum(axis=axis)
        share = np.divide(np.diag(counts), sums, out=np.zeros(8), where=sums > 0)
        np.testing.assert_allclose(table[name], share, atol=1e-12)
    assert table["support"].tolist() == counts.sum(axis=1).tolist()


def test_classes_that_are_none_are_refused():
    for labels, predicted in (([0], [5]), ([1], [-1]), ([-1], [1])):
        for count in (confusion, confusion_cells):
            with pytest.raises(ValueError, match="must be classes 0 to 2"):
                count(np.array(labels), np.array(predicted), 3)
    assert confusion(np.array([20], np.uint8), np.array([3], np.uint8), 21)[20, 3] == 1
    with pytest.raises(ValueError, match="not numbers"):
        summary(np.array([0]), np.array([[np.nan, 0.5]]))


def test_intervals_cover_the_truth():
    """Of 500 simulated tests, at least 93 % have the truth in their 95 % interval."""
    rng, covered = np.random.default_rng(0), 0
    confusion = np.array([[60, 10, 5], [8, 30, 2], [4, 3, 8]]) / 130  # the truth a test set is drawn from
    recall = np.diag(confusion) / confusion.sum(axis=1)
    f1 = 2 * np.diag(confusion) / (confusion.sum(axis=0) + confusion.sum(axis=1))
    truth = {"accuracy": np.trace(confusion), "balanced_accuracy": recall.mean(), "macro_f1": f1.mean()}
    for i in range(500):
        draw = rng.choice(9, 400, p=confusion.ravel())
        intervals = bootstrap_intervals(draw // 3, draw % 3, 3, resamples=400, seed=i)
        covered += np.array([intervals[name][0] <= truth[name] <= intervals[name][1] for name in truth])
    assert (covered / 500 >= 0.93).all()


def test_per_class_table():
    table = per_class(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1]), ["a", "b", "c"])
    assert table["recall"].tolist() == [0.5, 1, 0]
    assert table["precision"].tolist() == [1, pytest.approx(1 / 3), 0]
    assert table["support"].tolist() == [2, 1, 1]
    share, low, high = table.loc["a", ["recall", "recall_low", "recall_high"]]
    for end in (low, high):  # Wilson (1927): 1.96 standard errors away, those at the end itself
        assert abs(share - end) == pytest.approx(1.959964 * np.sqrt(end * (1 - end) / 2), abs=1e-6)
    empty = per_class(np.array([0]), np.array([0]), ["a", "b"]).loc["b"]
    assert (empty["recall"], empty["recall_low"], empty["recall_high"]) == (0, 0, 1)
