"""Intervals over people and seeds, against loops."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from ferlib.evaluation.bootstrap import Resampling, face_draws, intervals, seed_draws, units
from ferlib.evaluation.metrics import METRICS

R = 25


@pytest.fixture
def part(synthetic_faces):
    return synthetic_faces.split("test")


def test_people_are_drawn_whole(part):
    draws, person = face_draws(part, R), units(part)
    assert draws.shape == (R, len(part)) and len(np.unique(person)) < len(part)
    for number in np.unique(person):
        own = draws[:, person == number]
        assert (own == own[:, :1]).all()
    first = draws[:, np.unique(person, return_index=True)[1]]
    assert (first.sum(axis=1) == len(np.unique(person))).all()


def test_unknown_people_are_faces_of_their_own(part):
    alone = part.subset(np.arange(len(part)))
    alone.frame["group"] = -1
    assert len(np.unique(units(alone))) == len(alone)
    half = part.subset(np.arange(len(part)))
    half.frame.loc[::2, "group"] = -1
    assert len(np.unique(units(half)[::2])) == len(units(half)[::2])
    assert not set(units(half)[::2]) & set(units(half)[1::2])


def test_figures_are_those_of_loops(part):
    rng = np.random.default_rng(4)
    labels = part.frame["label"].to_numpy()
    predicted = [
        np.where(rng.random(len(labels)) < share, labels, rng.integers(7, size=len(labels))) for share in (0.4, 0.8)
    ]
    kept = rng.random(len(labels)) < 0.8
    exact, resampled = Resampling(part, 2, R).measure(predicted, kept)
    draws, picks = face_draws(part, R).astype(int), seed_draws(2, R)

    def naive(true, guess):
        present = sorted(set(true))
        return (
            accuracy_score(true, guess),
            recall_score(true, guess, labels=present, average="macro", zero_division=0),
            f1_score(true, guess, labels=present, average="macro", zero_division=0),
        )

    assert exact == pytest.approx(np.array([naive(labels[kept], guess[kept]) for guess in predicted]), abs=1e-12)
    for r in range(R):
        rows = np.repeat(np.arange(len(labels)), draws[r] * kept)
        expected = np.mean([naive(labels[rows], predicted[seed][rows]) for seed in picks[r]], axis=0)
        assert resampled[r] == pytest.approx(expected, abs=1e-6)
    found = intervals(exact.mean(axis=0), resampled)
    assert list(found) == list(METRICS)
    assert found["accuracy"]["low"] == pytest.approx(np.quantile(resampled[:, 0], 0.025))
    assert found["accuracy"]["low"] < found["accuracy"]["value"] < found["accuracy"]["high"]
