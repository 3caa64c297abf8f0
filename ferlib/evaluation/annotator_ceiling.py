"""Agreement of one annotator with the others: what a figure on FERPlus is to be read against.

Every face has ten people's votes. Each person in turn is taken for a model: the other nine votes make the label by
FERPlus's majority rule, and the person has it right or not. Faces where the nine have no majority for an expression do
not count, as they would not be in the test set. "Unknown" and "not a face" are answers that are never right.
"""

import numpy as np

from ferlib.data.dataset import DataError
from ferlib.data.fer2013 import majority
from ferlib.evaluation.bootstrap import intervals, resample
from ferlib.evaluation.report_format import Estimate
from ferlib.evaluation.wilson import wilson
from ferlib.labels import FERPLUS


def one_against_the_rest(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of every face, how many of its annotators face a label of each class, and how many of these agree with it.

    Args:
        votes: (N, 10) in the order of `ferlib.data.fer2013.VOTE_COLUMNS`, every person's.

    Returns:
        Annotators (N, 8) for whom the others' majority is that class, and those of them who said it, (N, 8).
    """
    faced, agreeing = np.zeros((2, len(votes), len(FERPLUS)), int)
    for said in range(votes.shape[1]):
        people = votes[:, said]  # all who said this leave the same nine votes
        rest = votes.copy()
        rest[:, said] -= people > 0
        _, label, kept = majority(rest)
        rows = np.flatnonzero(kept & (people > 0))
        faced[rows, label[rows]] += people[rows]
        if said < len(FERPLUS):
            rows = rows[label[rows] == said]
            agreeing[rows, said] += people[rows]
    return faced, agreeing


def annotator_ceiling(votes: np.ndarray) -> dict:
    """Agreement of one annotator with the majority of the others, JSON-ready; fractions of 1 with 95 % intervals.

    Faces are drawn again for the intervals, each with all its annotators; where every resample says the same, the
    interval is Wilson's of so many faces.

    Args:
        votes: as of `one_against_the_rest`.

    Returns:
        faces (with at least one annotator who counts), answers (annotators of faces), left_out (those whose nine others
        have no majority), agreement (of all answers, an accuracy), balanced_agreement (mean over the classes), and
        per_class {name: {answers, value, low, high}} of the classes that somebody faces.

    Raises:
        DataError: there is no answer that counts.
    """
    faced, agreeing = one_against_the_rest(votes)
    shares = np.concatenate([faced, agreeing], axis=1).astype(float)
    held = faced.any(axis=1)

    answers, agreed = faced.sum(axis=0), agreeing.sum(axis=0)
    if not answers.any():
        raise DataError("no face has nine annotators of whom most say the same")
    known = answers > 0
    own = np.divide(agreed, answers, out=np.full(len(FERPLUS), np.nan), where=known)

    def measures(sums: np.ndarray) -> np.ndarray:  # (r, 16) -> (r, 2 + classes)
        there, right = np.split(sums, 2, axis=1)
        by_class = np.divide(right, there, out=np.tile(own, (len(sums), 1)), where=there > 0)  # not drawn: as observed
        balanced = np.nanmean(by_class, axis=1)
        return np.column_stack([right.sum(axis=1) / there.sum(axis=1), balanced, by_class[:, known]])

    names = ("agreement", "balanced_agreement", *np.array(FERPLUS)[known])
    drawn = resample(np.ones(len(votes)), lambda counts: measures(counts @ shares))
    found = intervals(measures(shares.sum(axis=0)[None])[0], drawn, names)
    faces = dict(zip(FERPLUS, (faced > 0).sum(axis=0).tolist(), strict=True))
    for name in names[2:]:
        _widen(found[name], faces[name])
    _widen(found["agreement"], int(held.sum()))
    balanced = found["balanced_agreement"]
    if balanced["low"] == balanced["high"]:
        for end in ("low", "high"):
            balanced[end] = float(np.mean([found[name][end] for name in names[2:]]))
    return {
        "faces": int(held.sum()),
        "answers": int(answers.sum()),
        "left_out": int(votes.sum() - answers.sum()),
        "agreement": found["agreement"],
        "balanced_agreement": found["balanced_agreement"],
        "per_class": {
            name: {"answers": int(count)} | found[name] for name, count in zip(FERPLUS, answers, strict=True) if count
        },
    }


def _widen(share: Estimate, faces: int) -> None:
    """Give an interval without width, as of a single face, or of faces about which all agree, that of so many faces."""
    if share["low"] == share["high"]:
        low, high = wilson(round(share["value"] * faces), faces)
        share["low"], share["high"] = min(low, share["value"]), max(high, share["value"])
