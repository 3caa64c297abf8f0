"""Groups of faces that belong together (a person, a sequence): which split each goes to, and that none is in two."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ferlib.data.dataset import DataError
from ferlib.errors import UserError

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
VALIDATION_FRACTION = 0.1  # of the training faces, where a data set comes without a validation part


def place_of(name: str) -> float:
    """A number in 0..1 from a hash of the name: the same on every machine. The name may have broken bytes."""
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:8], "big") / 2**64


def split_of(group: str) -> str:
    """The split of a group, from a hash of its name: the same on every machine, whoever else is in the set."""
    place = place_of(group)
    for split, share in SHARES.items():
        if place < share:
            return split
        place -= share
    return "test"


def split_by_group(
    groups: Sequence | np.ndarray,
    shares: Mapping[str, float] = SHARES,
    seed: int = 0,
    labels: Sequence[int] | np.ndarray | None = None,
) -> np.ndarray:
    """Assign every face to a split so that no group (a person, or copies of one face) stands in two of them.

    Greedy: groups from large to small, at random among those of about one size, each to the split where it leaves the
    least squared gap between the faces a split has and should have, relative to the latter; the last ones to splits
    that would else stay empty. The same groups and seed give the same splits, whatever the order of the rows, where
    every group is known.

    Args:
        groups: the group of every face (N,); faces of the group -1 or none (unknown) are each a group of their own.
        shares: fraction of the faces by split, e.g. {"train": 0.6, "validation": 0.2, "test": 0.2}; they sum to 1.
        seed: another seed, another split.
        labels: classes (N,); when given, the gap is taken over every class too, so their shares are kept as well.

    Returns:
        The split's name of every face (N,).

    Raises:
        DataError: there are too few groups for the shares, a split would stay empty.
        ValueError: a share is not above 0, or they do not sum to 1.
    """
    if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise UserError(f"shares must be above 0 and sum to 1, not {dict(shares)}")
    column = pd.Series(groups)
    codes = pd.factorize(column, sort=True)[0].astype(np.int64)
    unknown = (column.eq(-1) | column.isna()).to_numpy()
    codes[unknown] = codes.max(initial=-1) + 1 + np.arange(unknown.sum())
    codes = pd.factorize(codes, sort=True)[0]
    classes = np.zeros(len(groups), np.int64) if labels is None else pd.factorize(np.asarray(labels))[0]
    counts = np.zeros((codes.max(initial=-1) + 1, classes.max(initial=0) + 1))  # (groups, classes)
    np.add.at(counts, (codes, classes), 1)
    sizes = counts.sum(axis=1)
    counts = np.column_stack([counts, sizes])
    wanted = np.outer(list(shares.values()), counts.sum(axis=0))  # (splits, classes + 1)
    have, chosen = np.zeros_like(wanted), np.zeros(len(counts), np.int64)
    chance = np.random.default_rng(seed).permutation(len(counts))
    for done, group in enumerate(np.lexsort((chance, -np.floor(np.log2(sizes))))):
        growth = (counts[group] * (2 * (have - wanted) + counts[group]) / wanted).sum(axis=1)
        empty = have[:, -1] == 0
        if len(counts) - done <= empty.sum():
            growth[~empty] = np.inf
        chosen[group] = growth.argmin()
        have[chosen[group]] += counts[group]
    if not have[:, -1].all():
        raise DataError(f"{len(counts)} groups are too few for the shares {dict(shares)}: a split would be empty")
    return np.array(list(shares))[chosen[codes]]


def split_at_random(faces: int, seed: int = 0) -> np.ndarray:
    """Assign faces to splits by `SHARES`, whoever is on them: as often published, a leak where a person has several.

    Returns:
        The splits' names (N,).
    """
    ends = np.round(np.cumsum(list(SHARES.values())) * faces).astype(int)
    names = np.repeat(list(SHARES), np.diff(ends, prepend=0))
    return np.random.default_rng(seed).permutation(names)


def assert_groups_apart(name: str, frame: pd.DataFrame, by: str = "group") -> None:
    """Refuse a frame in which a group stands in two splits; groups of -1 are unknown and pass.

    Args:
        name: the data set's, for the message.
        frame: as in `FaceDataset`.
        by: the column that tells the groups apart, e.g. one with their names.

    Raises:
        DataError: names one such group, its splits, and how many more there are.
    """
    known = frame[frame["group"] != -1]
    splits = known.groupby(by)["split"].unique()
    crossing = splits[splits.str.len() > 1]
    if len(crossing):
        more = f", and {len(crossing) - 1:,} more like it" if len(crossing) > 1 else ""
        raise DataError(
            f"{name}: {by} {crossing.index[0]} is in {' and '.join(crossing.iloc[0])}{more}; "
            "a result on such splits says nothing about new people"
        )
