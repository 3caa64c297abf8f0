"""Class imbalance in numbers, against sums written out."""

import math

import numpy as np
import pandas as pd
import pytest

from ferlib.data import imbalance

FERPLUS = {
    "neutral": 8740,
    "happiness": 7287,
    "surprise": 3149,
    "sadness": 3014,
    "anger": 2100,
    "disgust": 119,
    "fear": 532,
    "contempt": 119,
}


def test_statistics_of_a_known_set():
    table = imbalance.statistics(FERPLUS)
    assert list(table.index) == list(FERPLUS) and table["faces"].tolist() == list(FERPLUS.values())
    assert table["share"].sum() == pytest.approx(1)
    assert table.loc["fear", "share"] == pytest.approx(532 / 25060)
    assert table.loc["disgust", "ratio"] == pytest.approx(8740 / 119) and table.loc["neutral", "ratio"] == 1
    assert imbalance.imbalance_ratio(list(FERPLUS.values())) == table["ratio"].max()


def test_counts_may_come_from_a_data_set(synthetic_faces):
    table = imbalance.statistics(synthetic_faces.counts()["train"])
    assert list(table.index) == list(synthetic_faces.classes)
    assert table["faces"].sum() == len(synthetic_faces.split("train"))


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.999, 0.9999])
def test_effective_number_is_its_series(beta):
    counts = [0, 1, 2, 119, 8740]
    naive = [sum(beta**i for i in range(n)) for n in counts]
    assert imbalance.effective_number(counts, beta) == pytest.approx(naive, rel=1e-9)


def test_effective_number_near_one_is_the_count():
    assert imbalance.effective_number([119, 8740], 1 - 1e-12) == pytest.approx([119, 8740], rel=1e-4)


@pytest.mark.parametrize("beta", [1.0, -0.1, 2, math.nan])
def test_impossible_beta(beta):
    with pytest.raises(ValueError, match="beta must be at least 0 and below 1"):
        imbalance.effective_number([1], beta)


def test_weights_by_hand():
    assert imbalance.balanced_weights([1, 3, 4]) == pytest.approx([8 / 3, 8 / 9, 8 / 12])
    counts, beta = np.array([5, 200, 3000]), 0.999
    raw = [(1 - beta) / (1 - beta**n) for n in counts.tolist()]
    scale = 3205 / sum(w * n for w, n in zip(raw, counts.tolist(), strict=True))
    assert imbalance.class_balanced_weights(counts, beta) == pytest.approx([w * scale for w in raw])
    assert imbalance.class_balanced_weights(counts, 0) == pytest.approx([1, 1, 1])
    near = imbalance.class_balanced_weights(counts, 1 - 1e-10)
    assert near == pytest.approx(imbalance.balanced_weights(counts), rel=1e-4)


def test_log_prior_by_hand():
    assert imbalance.log_prior([1, 3]) == pytest.approx([math.log(0.25), math.log(0.75)])


def test_sampling_weights_share_evenly_among_the_classes_present():
    labels = np.array([0, 0, 0, 2, 4, 4])
    weights = imbalance.sampling_weights(labels)
    assert weights == pytest.approx([1 / 9, 1 / 9, 1 / 9, 1 / 3, 1 / 6, 1 / 6])


def test_empty_classes_and_empty_sets():
    table = imbalance.statistics(pd.Series({"a": 2, "b": 0}))
    assert table.loc["b"].tolist() == [0, 0, math.inf, 0]
    for function in (imbalance.balanced_weights, imbalance.class_balanced_weights, imbalance.log_prior):
        with pytest.raises(ValueError, match=r"classes without faces: \[1\]"):
            function([2, 0])
    for counts in ([], [0, 0], [3, -1]):
        with pytest.raises(ValueError, match="class counts must be zero or more, and not all zero"):
            imbalance.statistics(counts)
    with pytest.raises(ValueError, match="no faces to draw from"):
        imbalance.sampling_weights([])
