"""Prediction sets against a naive version, MAPIE, and what they promise."""

import numpy as np
import pytest

from ferlib.evaluation.bootstrap import resample
from ferlib.evaluation.conformal import (
    RARE,
    SetRule,
    calibrated,
    choose_rule,
    conformal_quantile,
    cross_validated,
    label_weights,
    limits_of,
    measure_sets,
)
from ferlib.evaluation.wilson import wilson
from ferlib.runtime.prediction_sets import ConformalScore, PredictionSets

CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger")
FREQUENCIES = (0.4, 0.3, 0.2, 0.08, 0.02)


def drawn(faces: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a middling, too sure model for classes of unequal frequency, and the labels."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(CLASSES), faces, p=FREQUENCIES)
    logits = 2 * rng.normal(size=(faces, len(CLASSES))) + 2.5 * np.eye(len(CLASSES))[labels] + np.log(FREQUENCIES)
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize(("u", "penalty", "free"), [(0.0, 0, 0), (1.0, 0, 0), (0.3, 0.01, 2), (1.0, 0.1, 1)])
def test_scores_and_thresholds_by_hand(u, penalty, free):
    """Sums over classes written out, and the k-th smallest score counted out."""
    (probabilities, labels), score = drawn(300), ConformalScore(u, penalty, free)
    found = score(probabilities)
    for row in range(40):
        p = probabilities[row]
        for place in range(len(p)):
            better = [other for other in p if other > p[place]]
            expected = sum(better) + u * p[place] + penalty * max(0, len(better) + 1 - free)
            assert found[row, place] == pytest.approx(expected, abs=1e-12)
    own = sorted(found[np.arange(300), labels])
    for coverage in (0.5, 0.9, 0.95):
        threshold = own[int(np.ceil(301 * coverage)) - 1]
        sets = calibrated(SetRule(score, "whole"), probabilities, label_weights(labels, 5), coverage, CLASSES)
        assert sets.thresholds == pytest.approx([threshold] * 5, abs=1e-12)
    assert conformal_quantile(np.array([0.1, 0.2]), np.ones(2), 0.9) == np.inf  # two faces promise no 90 %


@pytest.mark.parametrize(("name", "penalty", "free"), [("lac", None, None), ("aps", 0.0, 0), ("raps", 0.01, 2)])
def test_as_mapie(name, penalty, free):
    """The same thresholds, with the same random numbers, and the same sets as MAPIE 1.6's.

    Its score "lac", 1 - p, is no score of ours; it checks the quantile.
    """
    pytest.importorskip("mapie")
    from mapie.conformity_scores import APSConformityScore, LACConformityScore, RAPSConformityScore

    (probabilities, labels), (new, _), alphas = drawn(500), drawn(200, 1), np.array([0.2, 0.1, 0.05])
    theirs = {"lac": LACConformityScore, "aps": APSConformityScore, "raps": RAPSConformityScore}[name]()
    theirs.classes, theirs.random_state = np.arange(5), 3
    draws = np.random.RandomState(3).uniform(size=(500, 1))
    if name == "lac":
        scores = theirs.get_conformity_scores(labels, probabilities, y_enc=labels)
        ours = (1 - probabilities)[np.arange(500), labels]
        quantiles = theirs.get_conformity_score_quantiles(scores, alphas, cv="prefit")
        expected = [conformal_quantile(ours, np.ones(500), 1 - alpha) for alpha in alphas]
        assert quantiles == pytest.approx(expected, abs=1e-12)
        return
    scores = APSConformityScore.get_conformity_scores(theirs, labels, probabilities, y_enc=labels)
    score = ConformalScore(1.0, penalty, free)
    ours = score(probabilities, 1 - draws)[np.arange(500), labels]  # they take u p off the whole sum
    if name == "raps":  # MAPIE adds the penalty of the calibration faces when it takes the quantile
        scores = scores + penalty * np.maximum(0, theirs.cutoff.reshape(-1, 1) - free)
    assert scores[:, 0] == pytest.approx(ours, abs=1e-12)
    quantiles = APSConformityScore.get_conformity_score_quantiles(theirs, scores, alphas, cv="prefit")
    expected = [conformal_quantile(ours, np.ones(500), 1 - alpha) for alpha in alphas]
    assert quantiles == pytest.approx(expected, abs=1e-12)
    if name == "aps":
        theirs.quantiles_ = quantiles
        stacked = np.repeat(new[:, :, None], 3, axis=2)
        found = theirs.get_prediction_sets(stacked, scores, alphas, cv="prefit", include_last_label=True)
        for place, alpha in enumerate(alphas):  # with its last label a set holds what u = 0 lets in
            sets = PredictionSets(1 - alpha, CLASSES, ConformalScore(0.0), (expected[place],) * 5)
            assert (sets(new) == found[:, :, place]).all()


@pytest.mark.parametrize("by", ["whole", "class", "class, rare ones together"])
def test_sets_hold_the_truth_as_often_as_promised(by):
    """Over many calibrations the mean coverage is that of the promise: of all faces, and by class where it is made."""
    rule, covered = SetRule(ConformalScore(0.0), by), []
    for seed in range(40):
        probabilities, labels = drawn(1500, 2 * seed)
        sets = calibrated(rule, probabilities, label_weights(labels, 5), 0.9, CLASSES)
        new, truth = drawn(1500, 2 * seed + 1)
        hit = sets(new)[np.arange(1500), truth]
        covered.append([hit.mean(), *(hit[truth == k].mean() for k in range(5))])
    whole, *by_class = np.mean(covered, axis=0)
    assert 0.89 < whole < 0.93
    assert min(by_class) > (0.88 if by != "whole" else 0) and (by != "whole" or min(by_class) < 0.7)


def test_votes_are_covered_as_often_as_promised():
    """A face's truth is a distribution: sets calibrated on it hold a label drawn from it; on labels, less often."""
    rng = np.random.default_rng(0)
    votes = rng.dirichlet(np.full(5, 0.3), size=4000)
    noisy = np.log(votes + 1e-3) + 0.7 * rng.normal(size=votes.shape)
    probabilities = np.exp(noisy) / np.exp(noisy).sum(axis=1, keepdims=True)
    half, labels = slice(2000), votes.argmax(axis=1)
    rule = SetRule(ConformalScore(1.0), "whole")
    on_votes = calibrated(rule, probabilities[half], votes[half], 0.9, CLASSES)
    on_labels = calibrated(rule, probabilities[half], label_weights(labels[half], 5), 0.9, CLASSES)
    covered = [(one(probabilities[2000:]) * votes[2000:]).sum(axis=1).mean() for one in (on_votes, on_labels)]
    assert covered[0] == pytest.approx(0.9, abs=0.015) and covered[1] < covered[0] - 0.02
    sampled = [rng.choice(5, p=row) for row in votes[half] for _ in range(5)]  # Monte Carlo conformal, m = 5
    scores = np.repeat(rule.score(probabilities[half]), 5, axis=0)[np.arange(10_000), sampled]
    assert conformal_quantile(scores, np.ones(10_000), 0.9) == pytest.approx(on_votes.thresholds[0], abs=0.01)


def test_rare_classes_share_a_threshold():
    probabilities, labels = drawn(1500)
    counts = np.bincount(labels)
    assert counts[4] < RARE < counts[3] + 50
    rule = SetRule(ConformalScore(0.0), "class, rare ones together")
    assert rule.groups(np.array([500, 99, 300, 20, 100])).tolist() == [0, 5, 2, 5, 4]
    limits = calibrated(rule, probabilities, label_weights(labels, 5), 0.9, CLASSES).thresholds
    assert limits[4] != limits[0]


def test_the_chosen_rule_keeps_its_promise_for_every_class():
    """One threshold has the most single answers and forsakes the rare class; so it is not chosen."""
    probabilities, labels = drawn(1200)
    rule, table = choose_rule(probabilities, labels)
    chosen = next(row for row in table if row["chosen"])
    whole = cross_validated(SetRule(rule.score, "whole"), probabilities, labels, 0.9)
    assert rule.by != "whole" and whole["classes_short"] > 0 and whole["worst_class"] < 0.8
    assert chosen["classes_short"] == 0 and chosen["coverage"] > 0.895 and whole["single"] > chosen["single"]
    assert all(
        row["single"] <= chosen["single"] for row in table if not row["classes_short"] and row["coverage"] > 0.895
    )


def test_a_class_of_a_dozen_faces_does_not_choose_the_rule():
    """Eight of thirteen faces recognised: a threshold of their own would be infinite at 95 %, and in every set."""
    probabilities, labels = drawn(2000)
    order = np.argsort(labels, kind="stable")
    kept = np.concatenate([order[labels[order] == one][:most] for one, most in enumerate((900, 600, 400, 80, 13))])
    probabilities, labels = probabilities[kept], labels[kept]
    probabilities[-13:-5], probabilities[-5:] = np.eye(5)[4], np.eye(5)[0]
    rule, table = choose_rule(probabilities, labels)
    weights = label_weights(labels, 5)
    assert np.isinf(limits_of(SetRule(rule.score, "class"), probabilities, weights, 0.95)[4])
    assert np.isfinite(limits_of(rule, probabilities, weights, 0.95)).all()
    chosen = next(row for row in table if row["chosen"])
    assert rule.by == "class, rare ones together" and chosen["worst_class"] < 0.7 and not chosen["classes_short"]


def test_the_promise_is_tried_on_people_who_were_not_calibrated_on():
    """Twelve people of 50 faces, some of whom are hard for the model: folds of faces have seen them all."""
    rng, people = np.random.default_rng(0), np.repeat(np.arange(12), 50)
    labels = rng.integers(5, size=600)
    hard = rng.choice([0.5, 4.0], 12)[people]
    logits = rng.normal(size=(600, 5)) + hard[:, None] * np.eye(5)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rule = SetRule(ConformalScore(0.0), "whole")
    apart = cross_validated(rule, probabilities, labels, 0.9, people)
    limits = []
    for place in range(3):  # the folds of the first repeats, by hand
        rng = np.random.default_rng(0)
        for _ in range(place + 1):
            fold = rng.permutation(12) % 10
        for number in range(10):
            held = np.isin(people, np.flatnonzero(fold == number))
            sets = calibrated(rule, probabilities[~held], label_weights(labels[~held], 5), 0.9, CLASSES)
            limits.append(sets(probabilities[held])[np.arange(held.sum()), labels[held]])
    assert apart["coverage"] == pytest.approx(np.concatenate(limits).mean())
    assert apart["coverage"] != cross_validated(rule, probabilities, labels, 0.9)["coverage"]
    rule, table = choose_rule(probabilities, labels, people)
    assert next(row for row in table if row["chosen"])["coverage"] == pytest.approx(
        cross_validated(rule, probabilities, labels, 0.9, people)["coverage"]
    )


def test_sets_that_all_hold_are_no_certainty():
    sets, labels = np.eye(2, dtype=bool)[[0] * 7 + [1] * 13], np.array([0] * 7 + [1] * 13)
    found = measure_sets(sets, labels, ("a", "b"), resample(np.ones(20), lambda drawn: drawn))
    for name in ("coverage", "single", "single_accuracy", "named", "named_coverage"):
        assert (found[name]["low"], found[name]["high"]) == pytest.approx(wilson(20, 20)), name
    assert found["mean_size"] == {"value": 1, "low": 1, "high": 1}


def test_intervals_over_few_people_are_not_narrower_than_over_faces():
    """Three people of a hundred faces, of whom 91, 90 and 89 are covered."""
    people, labels = np.repeat(np.arange(3), 100), np.zeros(300, int)
    covered = np.concatenate([np.arange(100) < number for number in (91, 90, 89)])
    sets = np.stack([covered, ~covered], axis=1)
    draws = resample(np.ones(3), lambda drawn: drawn[:, people])
    found = measure_sets(sets, labels, ("a", "b"), draws, people=people)["coverage"]
    assert found["value"] == pytest.approx(0.9) and found["low"] < 0.88 and found["high"] > 0.92


def test_figures_by_hand():
    sets = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 1, 1]], bool)
    labels, votes = np.array([0, 1, 0, 2, 2]), np.eye(3)[[0, 0, 1, 2, 2]]
    found = measure_sets(sets, labels, ("a", "b", "c"), resample(np.ones(5), lambda drawn: drawn), votes)
    values = {name: found[name]["value"] for name in ("coverage", "votes_covered", "single", "mean_size")}
    assert values == pytest.approx({"coverage": 3 / 5, "votes_covered": 4 / 5, "single": 2 / 5, "mean_size": 7 / 5})
    assert found["single_accuracy"]["value"] == 1 / 2
    assert found["named"]["value"] == 3 / 5 and found["named_coverage"]["value"] == pytest.approx(2 / 3)
    assert found["sizes"] == [1, 2, 1, 1]
    assert found["per_class"]["a"]["coverage"] == 0.5 and found["per_class"]["c"]["faces"] == 2
    assert found["coverage"]["low"] < 0.6 < found["coverage"]["high"]


def test_coverage_of_a_class_whose_people_are_wholly_covered_or_not():
    people, labels = np.repeat(np.arange(20), 25), np.zeros(500, int)
    sets = np.stack([people % 2 == 0, np.ones(500, bool)], axis=1)
    draws = resample(np.ones(20), lambda drawn: drawn[:, people])
    alone, whole = (measure_sets(sets, labels, ("a", "b"), draws, people=who)["per_class"] for who in (None, people))
    assert list(whole) == ["a"] and whole["a"]["coverage"] == alone["a"]["coverage"] == 0.5
    assert whole["a"]["low"] < alone["a"]["low"] - 0.1 and whole["a"]["high"] > alone["a"]["high"] + 0.1
