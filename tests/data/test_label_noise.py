"""Flipped labels: how many, whose, and to what."""

import numpy as np
import pytest

from ferlib.data.label_noise import flipped_fraction, with_flipped_labels


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 1.0])
def test_the_fraction_of_the_training_labels_and_no_other_is_flipped(synthetic_faces, fraction):
    noisy = with_flipped_labels(synthetic_faces, fraction)
    before, after = (faces.frame["label"].to_numpy() for faces in (synthetic_faces, noisy))
    train = (synthetic_faces.frame["split"] == "train").to_numpy()
    assert (before != after)[train].sum() == round(fraction * train.sum())
    assert np.array_equal(before[~train], after[~train])
    assert noisy.classes == synthetic_faces.classes and noisy.name != synthetic_faces.name
    again, other = (with_flipped_labels(synthetic_faces, fraction, seed) for seed in (0, 1))
    assert np.array_equal(again.frame["label"], after)
    assert fraction == 0 or not np.array_equal(other.frame["label"], after)


def test_a_flipped_label_is_any_other_class(synthetic_faces):
    noisy = with_flipped_labels(synthetic_faces, 1.0)
    train = (synthetic_faces.frame["split"] == "train").to_numpy()
    classes = len(synthetic_faces.classes)
    moved = (noisy.frame["label"] - synthetic_faces.frame["label"])[train].to_numpy() % classes
    found = np.bincount(moved, minlength=classes)
    expected = train.sum() / (classes - 1)
    assert found[0] == 0 and np.abs(found[1:] - expected).max() < 4 * np.sqrt(expected)


@pytest.mark.parametrize("fraction", [-0.1, 1.5])
def test_an_impossible_fraction_is_refused(synthetic_faces, fraction):
    with pytest.raises(ValueError, match="must be in 0 to 1"):
        with_flipped_labels(synthetic_faces, fraction)


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.125, 0.0])
def test_the_name_of_flipped_data_says_how_many(synthetic_faces, fraction):
    name = with_flipped_labels(synthetic_faces, fraction).name
    assert flipped_fraction(name) == (synthetic_faces.name, pytest.approx(fraction))
    other = with_flipped_labels(synthetic_faces, fraction, seed=3).name
    assert other != name and flipped_fraction(other) == flipped_fraction(name)
    assert flipped_fraction("ferplus_most_votes") == ("ferplus_most_votes", 0.0)
