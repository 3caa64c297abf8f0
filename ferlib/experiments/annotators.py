"""Two annotators of the same faces: is LTNet's latent truth better than either annotator alone?

LTNet (Zeng, Shan and Chen 2018) learns a latent truth from sets that were annotated inconsistently, and a confusion
matrix of each annotator. FER2013 and FERPlus label the same faces, and FERPlus's votes of ten people say how good an
answer is. One network on a frozen backbone is trained on either annotator's labels, on both through LTNet, and, for
control, on both without it and with LTNet on one alone.

Every network is judged on the same test faces: against the majority label, and by the fraction of the votes that its
answer got. The epoch is the best on validation by macro-F1, against the data's own labels, whatever was trained on. All
of this, the votes too, is the first annotator's, so the second is judged by the first's opinion.

Two confusion matrices must not be mixed up. The *learnt* one, T, says what an annotator calls a face whose latent truth
is y; it is of the last epoch. The *empirical* one says how often the second annotator said k where the first said y.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ferlib.data.dataset import DataError, FaceDataset
from ferlib.evaluation.bootstrap import RESAMPLES, Resampling, difference, intervals, verdict
from ferlib.evaluation.means import mean_estimate
from ferlib.evaluation.metrics import METRICS, confusion
from ferlib.experiments.prediction_logger import LoggedRun
from ferlib.experiments.protocols import protocol_recipes
from ferlib.experiments.rivals import chosen_epoch, metrics_table, predicted_classes
from ferlib.experiments.runner import BackboneChoice
from ferlib.labels import mapping
from ferlib.training.methods.ltnet import parameter_name, read_matrices
from ferlib.training.recipes import Recipe

OWN, OTHER = "own labels", "other labels"
SCORES = (*METRICS, "vote_share")


@dataclass(frozen=True)
class Row:
    """A network of the table.

    Attributes:
        name: of the row.
        about: what it is trained on, and how.
        labels: of the training faces: "own", "other" or "both".
        changes: fields of the recipe, see `Recipe.override`.
    """

    name: str
    about: str
    labels: str = "own"
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def learns_matrices(self) -> bool:
        """True if it is trained by LTNet."""
        return self.changes.get("method") == "ltnet"


ROWS = (
    Row(OWN, "cross-entropy, the first annotator's labels"),
    Row(OTHER, "cross-entropy, the second annotator's labels", "other"),
    Row("both, LTNet", "the latent truth of both annotators' labels", changes={"method": "ltnet"}),
    Row(
        "own, LTNet",
        "the latent truth of the first annotator's labels",
        changes={"method": "ltnet", "other_annotators": False},
    ),
    Row("both, half and half", "cross-entropy, half of a target from either", "both", {"method": "soft_labels"}),
)


def second_annotator(data: FaceDataset) -> tuple[str, tuple[str, ...], np.ndarray]:
    """The other annotator of a data set: name, classes, and its labels (N,) as it counts them, -1 for none.

    Raises:
        DataError: there is none, or more than one.
    """
    others = data.other_annotators()
    if len(others) != 1:
        found = f"{len(others)} other annotators" if others else "no second annotator"
        raise DataError(f"{data.name} has labels of {found}; of one are needed (ferplus has those of fer2013)")
    ((name, (classes, labels)),) = others.items()
    return name, classes, labels.numpy()


def check_annotators(data: FaceDataset) -> None:
    """Refuse data without a second annotator or without votes.

    Raises:
        DataError: it is.
    """
    second_annotator(data)
    data.subset([]).soft_labels()


def second_labels(data: FaceDataset) -> np.ndarray:
    """The second annotator's labels (N,), counted in the data's classes; -1 without a label, or of another class."""
    _, classes, labels = second_annotator(data)
    return np.array([*mapping(classes, data.classes), -1])[labels]  # -1 reads the last


def labelled_by(data: FaceDataset, labels: str) -> FaceDataset:
    """The data with the training labels that a row wants; validation and test faces are left as they are.

    Args:
        data: with a second annotator.
        labels: "own"; "other": the second annotator's, and faces without one of the data's classes left out; or "both":
            the votes are the two annotators', one each.
    """
    if labels == "own":
        return data
    train, other = (data.frame["split"] == "train").to_numpy(), second_labels(data)
    frame, name = data.frame.copy(), second_annotator(data)[0]
    if labels == "other":
        frame.loc[train, "label"] = np.where(other >= 0, other, 0)[train]
        relabelled = FaceDataset(f"{data.name}_labelled_by_{name}", data.classes, frame, data.pixels)
        return relabelled.subset(~train | (other >= 0))
    for place, of_class in enumerate(data.classes):
        votes = (frame["label"] == place).astype(int) + (other == place)
        frame.loc[train, f"votes_{of_class}"] = votes[train]
    return FaceDataset(f"{data.name}_and_{name}", data.classes, frame, data.pixels)


def row_recipes(
    row: Row,
    data: FaceDataset,
    backbone: BackboneChoice,
    epochs: int,
    seeds: Sequence[int],
    settings: Mapping[str, Any] | None = None,
) -> dict[int, Recipe]:
    """Seed -> recipe: Conv-cut without attention as in "protocols", changed by `settings`, and then as the row says."""
    found = protocol_recipes("convcut", data, backbone, epochs, seeds)
    return {seed: found[seed, "none"].override(dict(settings or {})).override(dict(row.changes)) for seed in seeds}


def compare_annotators(
    runs: Mapping[str, Mapping[int, LoggedRun]], data: FaceDataset, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """The rows of the table, the matrices, and what the annotators' own labels score, JSON-ready.

    Args:
        runs: name of a row -> seed -> run, all with the same seeds.
        data: with a second annotator and votes.
        resamples: of the bootstrap, over test faces and seeds.

    Returns:
        "annotators": name -> classes, "own" the data's own. "rows": of each its definition; `metrics` of `SCORES` with
        intervals; `seeds`; `best_epochs` (from 1); `minus_own`: paired differences to `OWN` with intervals and a
        verdict. "matrices": row -> annotator -> learnt matrix, mean over the seeds, rows the latent truth.
        "matrices_range": row -> annotator -> largest difference of an entry between seeds. "empirical": counts of
        training faces, rows the data's labels, columns the second annotator's. "labels_alone": annotator -> faces,
        `vote_share` and `accuracy` of its own labels of the test faces.
    """
    name, classes, _ = second_annotator(data)
    test = data.split("test")
    votes = test.soft_labels().double().numpy()
    draws = Resampling(test, len(runs[OWN]), resamples)
    report: list[dict[str, Any]] = []
    scores: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for row in ROWS:
        own = runs[row.name]
        called = [predicted_classes(run) for run in own.values()]
        shares = draws.means([votes[np.arange(len(votes)), predicted] for predicted in called])
        exact, resampled = (np.column_stack(parts) for parts in zip(draws.measure(called), shares, strict=True))
        scores[row.name] = exact, resampled
        entry: dict[str, Any] = asdict(row)
        entry["metrics"] = intervals(exact.mean(axis=0), resampled, SCORES)
        entry["seeds"] = {
            str(seed): dict(zip(SCORES, values, strict=True)) for seed, values in zip(own, exact.tolist(), strict=True)
        }
        entry["best_epochs"] = [chosen_epoch(run) + 1 for run in own.values()]
        if row.name != OWN:
            gain = difference(scores[row.name], scores[OWN], SCORES)
            entry["minus_own"] = {key: {**value, "verdict": verdict(value)} for key, value in gain.items()}
        report.append(entry)
    learnt = {
        row.name: _learnt_matrices(list(runs[row.name].values()), ("own", name)) for row in ROWS if row.learns_matrices
    }
    return {
        "annotators": {"own": list(data.classes), name: list(classes)},
        "rows": report,
        "matrices": {
            row: {who: every.mean(axis=0).round(5).tolist() for who, every in found.items()}
            for row, found in learnt.items()
        },
        "matrices_range": {
            row: {who: round(float(np.ptp(every, axis=0).max()), 5) for who, every in found.items()}
            for row, found in learnt.items()
        },
        "empirical": empirical_confusion(data.split("train")).tolist(),
        "labels_alone": {
            who: _score_labels(test, labels, votes)
            for who, labels in (("own", test.labels().numpy()), (name, second_labels(test)))
        },
    }


def _learnt_matrices(runs: Sequence[LoggedRun], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Annotator -> matrices (seeds, classes, classes of the annotator), for those of these names that were learnt."""
    every = [read_matrices(run.folder / "last.safetensors") for run in runs]
    keys = {name: parameter_name(name) for name in names}
    return {name: np.stack([one[key] for one in every]) for name, key in keys.items() if key in every[0]}


def empirical_confusion(part: FaceDataset) -> np.ndarray:
    """Faces (classes, classes of the second annotator): rows the data's labels, columns the second annotator's."""
    _, classes, labels = second_annotator(part)
    own, given = part.labels().numpy(), labels >= 0
    size = max(len(part.classes), len(classes))
    return confusion(own[given], labels[given], size)[: len(part.classes), : len(classes)]


def _score_labels(test: FaceDataset, labels: np.ndarray, votes: np.ndarray) -> dict[str, Any]:
    """Labels (N,) of the test faces, -1 for none, judged as a network's answers are; votes (N, classes)."""
    given = np.flatnonzero(labels >= 0)
    right = (labels == test.labels().numpy())[given].astype(float)
    return {
        "faces": len(given),
        "accuracy": mean_estimate(right),
        "vote_share": mean_estimate(votes[given, labels[given]]),
    }


def annotators_table(entries: Sequence[dict]) -> pd.DataFrame:
    """One row a data set, backbone, row and metric: value, low, high, and the difference to `OWN`."""
    return metrics_table(entries, "minus_own")
