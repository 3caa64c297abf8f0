"""The prediction sets of a released model: conformal.json in its folder, and their figures on a test split.

conformal.json has the score, the thresholds of every coverage for both truths (`ferlib.runtime.prediction_sets` reads
these), the faces they were calibrated on, the rules that were compared, and after `write_test_figures` those figures.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ferlib.data.dataset import FaceDataset
from ferlib.errors import UserError
from ferlib.evaluation.bootstrap import face_draws, people_in
from ferlib.evaluation.conformal import (
    CHOSEN_AT,
    COVERAGES,
    as_stored,
    calibrated,
    choose_rule,
    label_weights,
    measure_sets,
)
from ferlib.labels import mapping
from ferlib.runtime.prediction_sets import FILE, read_prediction_sets, stored_coverages
from ferlib.utils.atomic import read_json, write_json
from ferlib.utils.commit import commit


def write_prediction_sets(folder: Path, part: FaceDataset, probabilities: np.ndarray, classes: tuple[str, ...]) -> None:
    """Calibrate prediction sets on some faces and write them into a model folder.

    Args:
        folder: of the model.
        part: calibration faces, which the model was not trained on.
        probabilities: the model's, of these faces (N, K).
        classes: the model's K classes.
    """
    labels, votes = truths(part, classes)
    rule, table = choose_rule(probabilities, labels, people_in(part))
    weights = {"label": label_weights(labels, len(classes))} | ({} if votes is None else {"votes": votes})
    thresholds = {
        truth: as_stored({level: calibrated(rule, probabilities, one, level, classes) for level in COVERAGES})
        for truth, one in weights.items()
    }
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    content = {
        "score": asdict(rule.score),
        "by": rule.by,
        "thresholds": thresholds,
        "calibrated_on": {
            "data": part.name,
            "split": "validation",
            "faces": len(part),
            "classes": dict(zip(classes, counts, strict=True)),
        },
        "compared": {"coverage": CHOSEN_AT, "rules": table},
        "commit": commit(),
    }
    write_json(folder / FILE, content)


def truths(part: FaceDataset, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels (N,) and, of a set that has them, vote fractions (N, K) of faces, in the order of a model's classes.

    Raises:
        UserError: the model does not know the class of a face.
    """
    places = np.array(mapping(part.classes, classes))
    labels = places[part.labels().numpy()]
    if (labels < 0).any():
        unknown = part.classes[int(part.labels()[np.flatnonzero(labels < 0)[0]])]
        raise UserError(f"the model does not know {unknown}, a class of {part.name}")
    if not part.has_votes or (places < 0).any():
        return labels, None
    votes = np.zeros((len(part), len(classes)))
    votes[:, places] = part.soft_labels().numpy()
    return labels, votes


def measure_prediction_sets(folder: Path, part: FaceDataset, probabilities: np.ndarray) -> dict[str, dict[str, dict]]:
    """Figures (`ferlib.evaluation.conformal.measure_sets`) of a folder's sets: truth -> coverage -> figures.

    Args:
        folder: of the model.
        part: faces that it was neither trained nor calibrated on, of its classes.
        probabilities: the model's, of these faces (N, K).
    """
    draws, people = face_draws(part), people_in(part)
    found: dict[str, dict[str, dict]] = {}
    for truth in read_json(folder / FILE)["thresholds"]:
        found[truth] = {}
        for coverage in stored_coverages(folder, truth):
            sets = read_prediction_sets(folder, coverage, truth)
            labels, votes = truths(part, sets.classes)
            figures = measure_sets(sets(probabilities), labels, sets.classes, draws, votes, people)
            found[truth][f"{coverage:g}"] = figures
    return found


def write_test_figures(folder: Path, part: FaceDataset, probabilities: np.ndarray) -> None:
    """Write `measure_prediction_sets` on the test split into conformal.json."""
    content = json.loads((folder / FILE).read_text())
    figures = measure_prediction_sets(folder, part, probabilities)
    content["test"] = {"data": part.name, "split": "test", "faces": len(part), "figures": figures}
    write_json(folder / FILE, content)
