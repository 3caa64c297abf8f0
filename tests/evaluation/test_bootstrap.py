"""Intervals over people and seeds, against loops."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from ferlib.evaluation import bootstrap
from ferlib.evaluation.bootstrap import (
    Resampling,
    clusters,
    difference_estimate,
    face_draws,
    intervals,
    mean_estimate,
    mean_intervals,
    resample,
    seed_draws,
)
from ferlib.evaluation.metrics import METRICS

R = 25


@pytest.fixture
def part(synthetic_faces):
    return synthetic_faces.split("test")


def test_people_are_drawn_whole(part):
    draws, person = face_draws(part, R), clusters(part)
    assert draws.shape == (R, len(part)) and len(np.unique(person)) < len(part)
    for number in np.unique(person):
        own = draws[:, person == number]
        assert (own == own[:, :1]).all()
    first = draws[:, np.unique(person, return_index=True)[1]]
    assert (first.sum(axis=1) == len(np.unique(person))).all()


def test_unknown_people_are_faces_of_their_own(part):
    alone = part.subset(np.arange(len(part)))
    alone.frame["group"] = -1
    assert len(np.unique(clusters(alone))) == len(alone)
    half = part.subset(np.arange(len(part)))
    half.frame.loc[::2, "group"] = -1
    assert len(np.unique(clusters(half)[::2])) == len(clusters(half)[::2])
    assert not set(clusters(half)[::2]) & set(clusters(half)[1::2])


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


def test_means_over_runs_are_those_of_loops(part):
    values = np.random.default_rng(5).random((2, len(part)))
    exact, resampled = Resampling(part, 2, R).means(list(values))
    assert exact[:, 0] == pytest.approx(values.mean(axis=1)) and resampled.shape == (R, 1)
    draws, picks = face_draws(part, R).astype(int), seed_draws(2, R)
    for i in range(R):
        faces = np.repeat(np.arange(len(part)), draws[i])
        assert resampled[i, 0] == pytest.approx(np.mean([values[seed][faces].mean() for seed in picks[i]]), rel=1e-5)


def test_means_and_differences():
    values = np.random.default_rng(0).normal(5, 2, 400)
    mean, low, high = mean_intervals(values)
    assert mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.04)
    both = mean_intervals(np.stack([values, 2 * values], axis=1))
    np.testing.assert_allclose(both[:, 1], 2 * both[:, 0])
    assert mean_intervals(np.array([1.0, np.nan, 3.0]))[0] == 2
    assert mean_estimate(values)["value"] == pytest.approx(mean, abs=1e-5)
    gap = difference_estimate(values + 1, values)
    assert gap["value"] == pytest.approx(1) and gap["low"] < 1 < gap["high"]


def test_resamples_are_the_same_in_parts(monkeypatch):
    """A statistic of many faces is computed for some resamples at a time; the draws do not depend on how many."""
    counts = np.array([3.0, 0, 5, 2])
    whole = resample(counts, lambda drawn: drawn.astype(float), 50, seed=3)
    assert whole.shape == (50, 4) and (whole.sum(axis=1) == 10).all() and not whole[:, 1].any()
    monkeypatch.setattr(bootstrap, "DRAWN_AT_ONCE", 12)
    assert (resample(counts, lambda drawn: drawn.astype(float), 50, seed=3) == whole).all()


def test_nothing_else_draws_faces_again():
    """Of all files of the library this one alone draws from a multinomial, or percentiles of what was drawn."""
    package = Path(bootstrap.__file__).parents[1]
    drawing = [
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        if re.search(r"\.multinomial\(|nanquantile|default_rng\(.*\)\.choice", file.read_text())
    ]
    assert [name for name in drawing if not name.startswith("training/")] == ["evaluation/bootstrap.py"]
