"""Splits by group: whole groups, sizes near the shares, the same every time."""

import numpy as np
import pandas as pd
import pytest

from ferlib.data.dataset import DataError
from ferlib.data.splits import SHARES, assert_groups_apart, split_at_random, split_by_group


def sizes_of(groups: np.ndarray, parts: np.ndarray) -> pd.DataFrame:
    return pd.crosstab(groups, parts)


def test_groups_never_cross_and_sizes_are_near_the_shares():
    rng = np.random.default_rng(0)
    groups = rng.zipf(1.6, 3000) % 400
    parts = split_by_group(groups, SHARES, seed=3)
    assert ((sizes_of(groups, parts) > 0).sum(axis=1) == 1).all()
    for split, share in SHARES.items():
        assert (parts == split).mean() == pytest.approx(share, abs=0.01)


def test_stratified_split_keeps_the_shares_of_every_class():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(500), rng.integers(1, 8, 500))
    labels = (groups % 10 == 0).astype(int) + (rng.random(len(groups)) < 0.1)  # whole groups lean to a class
    parts = split_by_group(groups, SHARES, seed=0, labels=labels)
    assert ((sizes_of(groups, parts) > 0).sum(axis=1) == 1).all()
    for label, count in enumerate(np.bincount(labels)):
        for split, share in SHARES.items():
            assert (parts[labels == label] == split).sum() == pytest.approx(share * count, abs=2)


def test_split_depends_on_groups_and_seed_alone():
    groups = np.array([f"person {n}" for n in np.random.default_rng(0).integers(0, 60, 400)])
    parts = split_by_group(groups, SHARES, seed=1)
    assert (split_by_group(groups, SHARES, seed=1) == parts).all()
    assert (split_by_group(groups, SHARES, seed=2) != parts).any()
    order = np.random.default_rng(1).permutation(400)
    assert (split_by_group(groups[order], SHARES, seed=1) == parts[order]).all()


def test_faces_of_no_known_group_are_split_one_by_one():
    parts = split_by_group(np.array([-1] * 90 + [5] * 10), SHARES)
    assert pd.Series(parts).value_counts().to_dict() == {"train": 60, "validation": 20, "test": 20}
    assert len(set(parts[90:])) == 1
    nobody = split_by_group(np.array([np.nan] * 90 + [5.0] * 10), SHARES)
    assert pd.Series(nobody).value_counts().to_dict() == {"train": 60, "validation": 20, "test": 20}


@pytest.mark.parametrize("count", [3, 4, 5])
def test_of_few_groups_every_split_has_one(count):
    rng = np.random.default_rng(0)
    for seed in range(30):
        groups = np.repeat(np.arange(count), rng.integers(1, 40, count))
        parts = split_by_group(groups, SHARES, seed=seed)
        assert set(parts) == set(SHARES) and ((sizes_of(groups, parts) > 0).sum(axis=1) == 1).all()


def test_too_few_groups_and_wrong_shares_are_errors():
    with pytest.raises(DataError, match="2 groups are too few"):
        split_by_group([0, 0, 1], SHARES)
    with pytest.raises(DataError, match="too few"):
        split_by_group([], SHARES)
    for shares in ({}, {"train": 0.5}, {"train": 1.0, "test": 0.0}, {"train": 1.5, "test": -0.5}):
        with pytest.raises(ValueError, match="sum to 1"):
            split_by_group([0, 1], shares)


def test_groups_in_two_splits_are_refused_and_unknown_ones_pass():
    frame = pd.DataFrame({"group": [0, 0, 1, 1, 2, 2, -1, -1], "split": ["train"] * 3 + ["test"] * 4 + ["train"]})
    assert_groups_apart("set", frame[frame["group"] != 1])
    with pytest.raises(DataError, match="set: group 1 is in train and test; a result"):
        assert_groups_apart("set", frame)
    with pytest.raises(DataError, match="group 1 is in train and test, and 1 more like it; a result"):
        assert_groups_apart("set", pd.concat([frame, frame.assign(split="validation").iloc[4:5]]))


def test_a_random_split_has_the_shares_and_separates_nobody():
    parts = split_at_random(200, seed=3)
    assert {name: (parts == name).sum() for name in SHARES} == {"train": 120, "validation": 40, "test": 40}
    assert (parts == split_at_random(200, seed=3)).all() and (parts != split_at_random(200, seed=4)).any()
    with pytest.raises(DataError):
        assert_groups_apart("drawn", pd.DataFrame({"split": parts, "group": np.arange(200) // 10}))


def test_synthetic_faces_are_apart(synthetic_faces):
    assert_groups_apart("synthetic", synthetic_faces.frame)
