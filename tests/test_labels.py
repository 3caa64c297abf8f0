"""The vocabularies."""

import numpy as np
import pytest

from ferlib import labels
from ferlib.bulk.table import Part
from ferlib.errors import UserError
from ferlib.video.table import VideoTable


def test_every_class_has_a_colour_of_its_own():
    used = {name for value in vars(labels).values() if isinstance(value, tuple) for name in value}
    assert used == set(labels.COLOURS)
    assert len(set(labels.COLOURS.values())) == len(labels.COLOURS)


def test_canonical_spellings():
    assert [labels.canonical(name) for name in ("Happy", " SAD ", "anger", "Bored")] == [
        "happiness",
        "sadness",
        "anger",
        "bored",
    ]


def test_mapping_between_orders():
    there = labels.mapping(labels.FER2013, labels.FERPLUS)
    assert [labels.FERPLUS[i] for i in there] == list(labels.FER2013)
    assert labels.mapping(labels.FERPLUS, labels.FER2013)[labels.FERPLUS.index("contempt")] == -1


def test_the_columns_of_every_table_are_no_classes():
    """Photos', with the command's own columns and those of very many photos, and films'."""
    photos = Part(("happy", "sad"), sets=True, measures=True).names
    table = VideoTable(("happy", "sad"))
    films = table.columns(np.empty(0, table.type))
    for name in {*photos, *films, "overlay"} - {"happy", "sad"}:
        with pytest.raises(UserError, match=f"a class cannot be called {name}: tables of results have"):
            labels.require_class_names(["happy", name])
    labels.require_class_names([*labels.FERPLUS, "not happy", "Faces"])
