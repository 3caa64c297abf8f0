"""The vocabularies."""

from ferlib import labels


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
