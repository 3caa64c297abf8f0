"""Intervals over people and seeds, against loops."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from ferlib.evaluation import bootstrap
from ferlib.evaluation.bootstrap import (
    Resampling,
    bootstrap_intervals,
    calibration_interval,
    clusters,
    ece_with_interval,
    face_draws,
    intervals,
    people_in,
    people_notes,
    per_class_of_people,
    resample,
    seed_draws,
    share_intervals,
    summary_with_intervals,
    verdict,
)
from ferlib.evaluation.compare import paired_differences
from ferlib.evaluation.means import difference_estimate, fraction_estimate, mean_estimate, mean_intervals
from ferlib.evaluation.metrics import METRICS, confusion, confusion_cells, from_confusion
from ferlib.evaluation.wilson import wilson

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


def test_the_faces_of_one_person_are_drawn_alone_and_that_is_said(part):
    assert people_in(part) is not None and people_notes(part) == []
    one = part.subset(np.arange(len(part)))
    one.frame["group"] = 7
    assert people_in(one) is None and "one person's" in people_notes(one)[0]
    assert face_draws(one, R).std() > 0.5
    unknown = part.subset(np.arange(len(part)))
    unknown.frame["group"] = -1
    assert people_in(unknown) is None and people_notes(unknown) == []


def test_fractions_of_people_who_are_wholly_right_or_wrong():
    """40 people of 25 faces each, a class each two: intervals over people are those of 20 throws of a coin."""
    people, labels = np.repeat(np.arange(40), 25), np.repeat(np.arange(40) % 2, 25)
    predicted = np.where(people % 4 < 2, labels, 1 - labels)
    alone, whole = (per_class_of_people(labels, predicted, ["a", "b", "c"], who) for who in (None, people))
    assert (whole.iloc[:, :4] == alone.iloc[:, :4]).all(axis=None)
    for name in "ab":
        widths = [table.loc[name, "recall_high"] - table.loc[name, "recall_low"] for table in (alone, whole)]
        assert widths[1] == pytest.approx(3.92 * np.sqrt(0.25 / 20), abs=0.06) and widths[1] > 3.5 * widths[0]
    assert whole.loc["c", ["recall_low", "recall_high"]].tolist() == [0, 1]  # of a class without a face


def test_a_group_of_one_person_is_no_certainty():
    """Of one person every resample says the same: the interval is that of the faces, 23 of 25 right."""
    people = np.r_[np.zeros(25, int), np.arange(1, 101)]
    right = np.r_[np.zeros(2, bool), np.ones(123, bool)]
    (low, others), (high, most) = share_intervals((people[:, None] > 0) == [False, True], right, people)
    assert (low, high) == pytest.approx(wilson(23, 25)) and (others, most) == pytest.approx(wilson(100, 100))


@pytest.mark.parametrize("right", [True, False])
def test_faces_that_are_all_right_or_all_wrong_are_no_certainty(right):
    """Every resample says the same: an interval without a width would promise what fifteen faces cannot."""
    labels = np.repeat(np.arange(3), 5)
    predicted = labels if right else (labels + 1) % 3
    found = bootstrap_intervals(labels, predicted, 4, level=0.9)
    assert found["accuracy"] == pytest.approx(wilson(15 * right, 15, 0.9))
    assert found["balanced_accuracy"] == found["macro_f1"] == pytest.approx(wilson(5 * right, 5, 0.9))
    ends = share_intervals(labels[:, None] == np.arange(3), labels == predicted, None)
    assert np.allclose(ends.T, wilson(5 * right, 5))


def test_figures_are_those_of_loops(part):
    rng = np.random.default_rng(4)
    labels = part.frame["label"].to_numpy()
    predicted = [
        np.where(rng.random(len(labels)) < share, labels, rng.integers(7, size=len(labels))) for share in (0.4, 0.8)
    ]
    kept = rng.random(len(labels)) < 0.8
    resampling = Resampling(part, 2, R)
    exact, resampled = resampling.measure(predicted, kept)
    draws, picks = resampling.faces.astype(int), seed_draws(2, R)

    def naive(true, guess, seed):
        """A class that no face was drawn of has the recall and F1 of all faces."""
        present, whole = sorted(set(labels[kept])), (labels[kept], predicted[seed][kept])
        recall, f1 = [], []
        for each in present:
            faces = (true, guess) if each in true else whole
            recall.append(recall_score(*faces, labels=[each], average="macro", zero_division=0))
            f1.append(f1_score(*faces, labels=[each], average="macro", zero_division=0))
        return accuracy_score(true, guess), np.mean(recall), np.mean(f1)

    expected = [naive(labels[kept], guess[kept], seed) for seed, guess in enumerate(predicted)]
    assert exact == pytest.approx(np.array(expected), abs=1e-12)
    for r in range(R):
        rows = np.repeat(np.arange(len(labels)), draws[r] * kept)
        expected = np.mean([naive(labels[rows], predicted[seed][rows], seed) for seed in picks[r]], axis=0)
        assert resampled[r] == pytest.approx(expected, abs=1e-6)
    found = intervals(exact.mean(axis=0), resampled)
    assert list(found) == list(METRICS)
    assert found["accuracy"]["low"] == pytest.approx(np.quantile(resampled[:, 0], 0.025))
    assert found["accuracy"]["low"] < found["accuracy"]["value"] < found["accuracy"]["high"]


@pytest.mark.parametrize("count", [6, 40])
def test_few_people_who_are_answered_alike_make_no_narrow_interval(part, count):
    """Ten faces of each, of which one is wrong: over people alone every resample has nine of ten right."""
    rows = np.resize(np.arange(len(part)), 10 * count)
    alike = part.subset(rows)
    alike.frame["group"] = np.repeat(np.arange(count), 10)
    labels = alike.labels().numpy()
    predicted = np.where(np.arange(len(labels)) % 10, labels, (labels + 1) % 7)
    exact, resampled = Resampling(alike, 1).measure([predicted])
    found = intervals(exact[0], resampled)["accuracy"]
    assert found["value"] == pytest.approx(0.9)
    if count == 40:
        assert found["low"] == found["high"] == pytest.approx(0.9)  # many people: they are drawn whole
    else:
        over_faces = bootstrap_intervals(labels, predicted, 7)["accuracy"]
        assert [found["low"], found["high"]] == pytest.approx(over_faces, abs=0.02)
    assert (Resampling(alike, 1).faces.sum(axis=1) == 10 * count).all()


def test_means_over_runs_are_those_of_loops(part):
    values = np.random.default_rng(5).random((2, len(part)))
    resampling = Resampling(part, 2, R)
    exact, resampled = resampling.means(list(values))
    assert exact[:, 0] == pytest.approx(values.mean(axis=1)) and resampled.shape == (R, 1)
    draws, picks = resampling.faces.astype(int), seed_draws(2, R)
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


@pytest.mark.parametrize("told", [0, 1])
def test_a_fraction_of_none_or_all_is_no_certainty(told):
    found = fraction_estimate(np.array([told] * 20 + [np.nan]))
    assert found == pytest.approx(
        dict(zip(("value", "low", "high"), (told, *wilson(20 * told, 20)), strict=True)), abs=1e-5
    )
    half = np.repeat([0.0, 1.0], 50)
    assert fraction_estimate(half) == mean_estimate(half)


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


def test_a_class_that_is_not_drawn_does_not_change_what_is_measured():
    """Always the first class: balanced accuracy is half, whatever is drawn of the one face of the second."""
    labels, predicted = np.array([0] * 9 + [1]), np.zeros(10, int)
    drawn = resample(np.ones(10), lambda counts: counts)
    matrices = (drawn @ confusion_cells(labels, predicted, 3)).reshape(-1, 3, 3)
    assert (matrices[:, 1].sum(axis=1) == 0).any()
    assert (from_confusion(matrices, confusion(labels, predicted, 3))[:, 1] == 0.5).all()
    assert paired_differences(labels, predicted, 1 - labels, 3)["difference"]["balanced_accuracy"] == -0.5


def test_people_are_drawn_whole_for_every_metric():
    """Of forty people ten have a model that is always wrong and says it is sure: the spread is that of people."""
    rng = np.random.default_rng(0)
    people, labels = np.repeat(np.arange(40), 25), rng.integers(2, size=1000)
    right = people >= 10
    probabilities = np.where((np.stack([labels, 1 - labels], axis=1) == 0) == right[:, None], 0.9, 0.1)
    alone, whole = (summary_with_intervals(labels, probabilities, who) for who in (None, people))
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "ece"):
        widths = [found[name]["high"] - found[name]["low"] for found in (alone, whole)]
        assert widths[1] > 3.5 * widths[0] and alone[name]["value"] == whole[name]["value"], name
    assert whole["accuracy"]["high"] - whole["accuracy"]["low"] == pytest.approx(
        3.92 * np.sqrt(0.75 * 0.25 / 40), abs=0.02
    )
    each = summary_with_intervals(labels, probabilities, np.arange(1000))
    assert each["accuracy"]["low"] == pytest.approx(alone["accuracy"]["low"], abs=0.005)


def test_the_interval_of_the_calibration_error_holds_its_value():
    confidence = np.random.default_rng(0).uniform(0.6, 0.98, 200)
    labels = np.zeros(200, int)
    for _ in range(50):  # perfectly calibrated: all there is, is chance
        labels = (np.random.default_rng(_).random(200) > confidence).astype(int)
        found = ece_with_interval(labels, np.stack([confidence, 1 - confidence], axis=1))
        assert 0 <= found["low"] <= found["value"] <= found["high"]


@pytest.mark.parametrize("people", [None, np.arange(5)])
def test_the_calibration_error_of_a_few_faces_all_right_is_no_certainty(people):
    labels, probabilities = np.zeros(5, int), np.tile([0.9, 0.1], (5, 1))
    found = ece_with_interval(labels, probabilities, people)
    low, _ = wilson(5, 5)
    assert found == pytest.approx({"value": 0.1, "low": 0.0, "high": 0.9 - low})
    wrong = ece_with_interval(labels + 1, probabilities, people)
    assert wrong["low"] == pytest.approx(low - 0.1) and wrong["high"] == pytest.approx(0.9)


@pytest.mark.slow
@pytest.mark.parametrize(("error", "least", "most"), [(0.08, 0.88, 1.0), (0.0, 0.35, 0.75)])
def test_how_often_the_interval_holds_the_true_calibration_error(error, least, most):
    """What the docstring of `calibration_interval` says: a model of 3,000 faces that is `error` too sure, 60 times."""
    held = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        confidence = rng.uniform(0.5, 1, 3000)
        labels = (rng.random(3000) > confidence - error).astype(int)
        probabilities = np.stack([confidence, 1 - confidence], axis=1)
        low, high = calibration_interval(labels, probabilities, resamples=200, seed=seed)
        held += low <= error <= high
    assert least <= held / 60 <= most


@pytest.mark.parametrize(
    ("low", "high", "said"), [(0.01, 0.02, "helps"), (-0.02, -0.01, "harms"), (-0.01, 0.01, "cannot be told")]
)
def test_verdicts(low, high, said):
    assert verdict({"value": 0.0, "low": low, "high": high}) == said


def test_intervals_over_few_people_are_not_narrower_than_over_faces():
    """Two pupils with 35 and 36 of 50 right: drawing them again says 70 to 72 %, and knows of two people only."""
    people, labels = np.repeat([0, 1], 50), np.arange(100) % 2
    predicted = np.where(np.arange(100) % 50 < np.where(people == 0, 35, 36), labels, 1 - labels)
    probabilities = np.where(np.eye(2)[predicted] > 0, 0.9, 0.1)
    alone, whole = (summary_with_intervals(labels, probabilities, who) for who in (None, people))
    for metric in alone:
        assert whole[metric]["low"] <= alone[metric]["low"] and whole[metric]["high"] >= alone[metric]["high"], metric
    assert whole["accuracy"]["high"] - whole["accuracy"]["low"] > 0.15


def test_an_interval_holds_its_value_where_one_class_is_named_for_all():
    """Six pupils with seven expressions of three photos each, who are all answered alike."""
    labels, people = np.tile(np.repeat(np.arange(7), 3), 6), np.repeat(np.arange(6), 21)
    probabilities = np.tile([0.4, *[0.1] * 6], (len(labels), 1))
    for who in (None, people):
        for metric, found in summary_with_intervals(labels, probabilities, who).items():
            assert found["low"] <= found["value"] <= found["high"] and found["low"] < found["high"], (metric, who)


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 5])
def test_how_often_intervals_over_few_people_hold_the_true_accuracy(number):
    """People who are all alike to the model, 30 faces each, of which 80 % are right."""
    rng, held = np.random.default_rng(number), 0
    labels, people = np.tile(np.arange(2), 15 * number), np.repeat(np.arange(number), 30)
    for _ in range(200):
        predicted = np.where(rng.random(len(labels)) < 0.8, labels, 1 - labels)
        low, high = bootstrap_intervals(labels, predicted, 2, resamples=400, people=people)["accuracy"]
        held += low <= 0.8 <= high
    assert held >= 180
