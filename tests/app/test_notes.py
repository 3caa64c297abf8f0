"""What the notes at the foot say of the models."""

import json

import numpy as np
import pytest

from ferlib.app.notes import SETS
from ferlib.app.service import COVERAGE
from ferlib.runtime.prediction_sets import FILE, read_prediction_sets
from ferlib.runtime.released import released_models


@pytest.mark.parametrize("name", released_models())
def test_a_rare_expression_is_named_where_a_more_probable_common_one_is_not(name):
    """As the notes say: a face of three classes, a common one of them more probable than the rarest."""
    folder = released_models()[name]
    sets = read_prediction_sets(folder, COVERAGE)
    faces = json.loads((folder / FILE).read_text())["calibrated_on"]["classes"]
    rarest, common = min(faces, key=faces.__getitem__), max(faces, key=faces.__getitem__)
    first = next(label for label in sets.classes if label not in (rarest, common))
    scores = np.zeros(len(sets.classes))
    for label, score in ((first, 0.6), (common, 0.25), (rarest, 0.15)):
        scores[sets.classes.index(label)] = score
    found = sets.names(scores)
    assert common not in found and rarest in found
    assert max(sets.thresholds) == sets.thresholds[sets.classes.index(rarest)]
    assert "a rare expression can be among them, and a more probable common one not" in SETS.replace("\n", " ")
