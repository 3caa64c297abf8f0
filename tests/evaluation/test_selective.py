"""Accuracy of the faces that are answered."""

import numpy as np
import pytest

from ferlib.evaluation.selective import accuracy_of_answered, area_above


def test_it_is_the_accuracy_of_all_faces_above_each_limit():
    rng = np.random.default_rng(0)
    confidence, right = rng.integers(0, 30, 200) / 30, rng.random(200) < 0.7
    curve = accuracy_of_answered(confidence, right)
    assert curve["limit"].tolist() == sorted(set(confidence), reverse=True)
    for row in curve.itertuples():
        answered = confidence >= row.limit
        assert row.answered == pytest.approx(answered.mean())
        assert row.accuracy == pytest.approx(right[answered].mean())


def test_the_order_alone_decides():
    rng = np.random.default_rng(1)
    right = rng.random(300) < 0.6
    perfect, useless, reversed_ = right + 0.1, rng.random(300), 1.0 - right
    areas = [area_above(accuracy_of_answered(c + rng.random(300) / 1e3, right)) for c in (perfect, useless, reversed_)]
    wrong = 1 - right.mean()
    assert areas[0] < areas[1] < areas[2]
    assert areas[0] == pytest.approx(wrong + (1 - wrong) * np.log(1 - wrong), abs=0.01)  # the least there is
    assert areas[1] == pytest.approx(wrong, abs=0.06)
    assert area_above(accuracy_of_answered(useless, np.ones(300, bool))) == 0


def test_one_confidence_a_face():
    with pytest.raises(ValueError, match="one confidence a face"):
        accuracy_of_answered(np.zeros(0), np.zeros(0, bool))
    with pytest.raises(ValueError, match="not 2 for 3 faces"):
        accuracy_of_answered(np.zeros(2), np.zeros(3, bool))
