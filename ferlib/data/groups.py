"""Groups of faces that belong together (a person, a sequence): which split each goes to, and that none is in two."""

import hashlib
from collections.abc import Hashable, Sequence

import pandas as pd

from ferlib.data.dataset import DataError

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


def place_of(name: str) -> float:
    """A number in 0..1 from a hash of the name: the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def split_of(group: str) -> str:
    """The split of a group, from a hash of its name: the same on every machine, whoever else is in the set."""
    place = place_of(group)
    for split, share in SHARES.items():
        if place < share:
            return split
        place -= share
    return "test"


def split_groups(groups: Sequence[Hashable]) -> list[str]:
    """The split of every face, whole groups only, with sizes as near to `SHARES` as the groups allow.

    For sets of few groups, where `split_of` would leave the sizes to chance. The largest group comes first, equal
    ones in the order of a hash; each goes to the split that lacks most. So it depends on who else is in the set.

    Args:
        groups: the group of every face.
    """
    sizes = pd.Series(groups).value_counts()
    lacking = {split: share * len(groups) for split, share in SHARES.items()}
    splits = {}
    for group in sorted(sizes.index, key=lambda group: (-sizes[group], place_of(str(group)))):
        splits[group] = max(lacking, key=lacking.__getitem__)
        lacking[splits[group]] -= sizes[group]
    return [splits[group] for group in groups]


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
