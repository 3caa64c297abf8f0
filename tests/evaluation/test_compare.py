"""Two models on the same faces: McNemar against scipy, differences against faces resampled one by one."""

from itertools import product
from math import comb

import numpy as np
import pytest
from scipy.stats import binomtest

from ferlib.evaluation.compare import compare, mcnemar, paired_differences
from ferlib.evaluation.metrics import METRICS, confusion, from_confusion, summary


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (5, 5), (3, 14), (40, 22), (700, 815)])
def test_mcnemar_is_the_exact_binomial_test(counts):
    total, fewer = sum(counts), min(counts)
    expected = binomtest(counts[0], total).pvalue if total else 1.0
    assert mcnemar(*counts) == pytest.approx(expected, abs=1e-12)
    assert mcnemar(*counts) == mcnemar(*counts[::-1])
    by_hand = min(1, 2 * sum(comb(total, i) for i in range(fewer + 1)) / 2**total)
    assert mcnemar(*counts) == pytest.approx(by_hand, rel=1e-9)


@pytest.fixture(scope="module")
def predictions():
    """Labels, and two models that are wrong on much the same faces."""
    rng = np.random.default_rng(0)
    labels = rng.choice(4, 300, p=[0.5, 0.3, 0.15, 0.05])
    hardness = rng.random(300)
    found = [labels]
    for skill in (0.6, 0.7):
        fails = hardness + 0.05 * rng.normal(size=300) > skill
        found.append(np.where(fails, rng.integers(0, 4, 300), labels))
    return found


def test_differences_are_those_of_faces_drawn_one_by_one(predictions):
    labels, first, second = predictions
    found = paired_differences(labels, first, second, 4, resamples=20_000)
    one_hot, rng = np.eye(4), np.random.default_rng(5)
    for name, predicted in (("first", first), ("second", second)):
        scores = summary(labels, one_hot[predicted])
        assert found[name].to_dict() == pytest.approx({key: scores[key] for key in METRICS})
    assert found["difference"].tolist() == pytest.approx((found["second"] - found["first"]).tolist())
    drawn = rng.integers(0, 300, (3000, 300))
    one, two = (
        from_confusion(np.stack([confusion(labels[faces], predicted[faces], 4) for faces in drawn]))
        for predicted in (first, second)
    )
    low, high = np.quantile(two - one, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(found["low"], low, atol=0.006)
    np.testing.assert_allclose(found["high"], high, atol=0.006)


def test_pairing_sees_what_separate_intervals_do_not(predictions):
    labels, first, second = predictions
    found = compare(labels, first, second, 4)
    right = first == labels, second == labels
    assert found.faces == 300
    assert (found.only_first, found.only_second) == ((right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum())
    assert found.p_value == mcnemar(found.only_first, found.only_second) < 0.05
    assert found.differences.loc["accuracy", "low"] > 0
    shuffled = np.random.default_rng(0).permutation(300)  # the same scores, but of other faces
    apart = paired_differences(labels, first, np.where(right[1][shuffled], labels, (labels + 1) % 4), 4)
    paired = found.differences
    width, wider = (frame["high"] - frame["low"] for frame in (paired, apart))
    assert width["accuracy"] < 0.75 * wider["accuracy"]


def test_differences_cover_the_truth():
    """Of 500 simulated tests, in at least 93 % the interval holds the true difference of accuracies."""
    rng, covered = np.random.default_rng(0), np.zeros(3)
    cells = rng.dirichlet(np.full(27, 0.7))  # fractions of (true, first, second)
    true, first, second = np.unravel_index(np.arange(27), (3, 3, 3))
    truth = paired_differences(
        *(np.repeat(x, (cells * 1e6).astype(int)) for x in (true, first, second)), 3, resamples=2
    )
    for i in range(500):
        draw = rng.choice(27, 400, p=cells)
        found = paired_differences(true[draw], first[draw], second[draw], 3, resamples=400, seed=i)
        covered += (found["low"] <= truth["difference"]) & (truth["difference"] <= found["high"])
    print(dict(zip(METRICS, covered / 500, strict=True)))
    assert (covered / 500 >= 0.93).all()


def test_faces_of_one_person_are_no_witnesses_of_their_own():
    """30 people of 20 faces, and models that are equally good but differ by person: 95 % of intervals hold 0."""
    rng = np.random.default_rng(0)
    held, told = np.zeros(2), np.zeros(2)
    people, labels = np.repeat(np.arange(30), 20), np.zeros(600, int)
    for _ in range(200):
        better = rng.normal(0, 0.15, 30)[people]
        first, second = ((rng.random(600) > 0.7 + sign * better).astype(int) for sign in (1, -1))
        for way, known in enumerate((None, people)):
            found = compare(labels, first, second, 2, known)
            low, high = found.differences.loc["accuracy", ["low", "high"]]
            held[way] += low <= 0 <= high
            told[way] += found.p_value < 0.05
    assert held[0] / 200 < 0.85 and held[1] / 200 > 0.9
    assert told[0] / 200 > 0.15 and told[1] / 200 < 0.09


def test_people_of_one_face_each_are_faces(predictions):
    labels, first, second = predictions
    alone = compare(labels, first, second, 4)
    each = compare(labels, first, second, 4, np.arange(300))
    assert each.p_value == pytest.approx(alone.p_value)
    np.testing.assert_allclose(each.differences, alone.differences, atol=0.01)
    assert compare(labels, first, first, 4, np.arange(300)).p_value == 1


def test_few_people_who_gain_alike_make_no_narrow_interval():
    """Three people of a hundred faces, the second model right on two more of each."""
    people, labels = np.repeat(np.arange(3), 100), np.zeros(300, int)
    first = np.tile(np.arange(100) < 10, 3).astype(int)
    second = np.where(np.tile(np.arange(100) < 2, 3), 0, first)
    found = compare(labels, first, second, 2, people).differences.loc["accuracy"]
    alone = compare(labels, first, second, 2).differences.loc["accuracy"]
    assert found["difference"] == pytest.approx(0.02)
    assert tuple(found[["low", "high"]]) == tuple(alone[["low", "high"]]) and found["low"] < 0.015


def test_a_persons_faces_go_one_way_or_the_other_together():
    """Three people with surpluses 2, 1 and -1: of the eight ways six are at least as far from zero as their sum, 2."""
    labels, people = np.zeros(5, int), np.array([0, 0, 1, 2, 2])
    first, second = np.array([1, 1, 1, 0, 0]), np.array([0, 0, 0, 1, 0])
    ways = [sum(way) for way in product((2, -2), (1, -1), (1, -1))]
    expected = sum(abs(one) >= 2 for one in ways) / 8
    assert compare(labels, first, second, 2, people).p_value == pytest.approx(expected) == 0.75
