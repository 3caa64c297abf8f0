"""One annotator against the other nine, person by person."""

import json
from pathlib import Path

import numpy as np
import pytest

from ferlib.data.dataset import DataError
from ferlib.data.fer2013 import VOTE_COLUMNS, majority, read_votes
from ferlib.data.registry import dataset_folder
from ferlib.evaluation.annotator_ceiling import annotator_ceiling, one_against_the_rest
from ferlib.evaluation.wilson import wilson
from ferlib.labels import FERPLUS


def label_of(people: list[str]) -> str | None:
    """The majority rule written out for a list of answers."""
    left = [one for one in people if people.count(one) > 1]
    return next((one for one in FERPLUS if left.count(one) > len(left) / 2), None)


def test_person_by_person():
    rng = np.random.default_rng(0)
    chances = rng.dirichlet(np.full(10, 0.25), size=120)
    votes = np.stack([rng.multinomial(10, row) for row in chances])
    faced, agreeing = np.zeros((2, 120, 8), int)
    for row, counts in enumerate(votes):
        people = [name for name, count in zip(VOTE_COLUMNS, counts, strict=True) for _ in range(count)]
        for place, said in enumerate(people):
            label = label_of(people[:place] + people[place + 1 :])
            if label:
                faced[row, FERPLUS.index(label)] += 1
                agreeing[row, FERPLUS.index(label)] += said == label
    found = one_against_the_rest(votes)
    assert (found[0] == faced).all() and (found[1] == agreeing).all()
    whole = annotator_ceiling(votes)
    assert whole["answers"] == faced.sum() and whole["left_out"] == 1200 - faced.sum() > 0
    assert whole["agreement"]["value"] == pytest.approx(agreeing.sum() / faced.sum())
    assert whole["agreement"]["low"] < whole["agreement"]["value"] < whole["agreement"]["high"]
    recalls = agreeing.sum(axis=0) / faced.sum(axis=0)
    assert whole["balanced_agreement"]["value"] == pytest.approx(recalls.mean())
    assert whole["per_class"]["fear"]["value"] == pytest.approx(recalls[FERPLUS.index("fear")])


def test_a_class_that_a_resample_lacks_does_not_change_what_is_measured():
    """Of one contempt face the interval over classes is no wider for the resamples without it."""
    votes = np.zeros((40, 10), int)
    votes[:39, 0], votes[39, [0, 7]] = 10, (4, 6)
    found = annotator_ceiling(votes)
    assert set(found["per_class"]) == {"neutral", "contempt"}
    assert found["balanced_agreement"]["value"] == pytest.approx(0.8)
    contempt, neutral = found["per_class"]["contempt"], found["per_class"]["neutral"]
    assert (contempt["low"], contempt["high"]) == pytest.approx(wilson(1, 1)) and contempt["value"] == 0.6
    assert (neutral["low"], neutral["high"]) == pytest.approx(wilson(39, 39)) and neutral["value"] == 1
    for end in ("low", "high"):
        assert found["balanced_agreement"][end] == pytest.approx((contempt[end] + neutral[end]) / 2)
    with pytest.raises(DataError, match="no face has nine annotators"):
        annotator_ceiling(votes[:0])


@pytest.mark.data
def test_the_committed_figures_are_those_of_the_votes(data_root):
    committed = json.loads((Path(__file__).parents[2] / "results" / "annotator_ceiling.json").read_text())
    votes, split = read_votes(dataset_folder("ferplus", data_root))
    for name, stored in committed["splits"].items():
        own, kept = split == name, majority(votes)[2]
        assert annotator_ceiling(votes[own & kept]) == stored.pop("kept")
        assert annotator_ceiling(votes[own]) == stored
