"""Methods against class imbalance side by side: Conv-cut's head on a frozen backbone, some sets, some seeds.

The recipe is `convcut_ferplus_frozen` with hard targets; only the name of the method differs. Its constants are the
papers', not tuned. The epoch is chosen on validation by macro-F1 for all methods: accuracy would favour plain training,
balanced accuracy the methods that give away precision for recall; macro-F1 pays for both. The test split is read once a
run, after that choice. Classes whose test faces come from fewer than ten people (where people are not known: fewer than
ten faces) are left out of all splits. facial_expressions has two to three people each for disgust, fear and contempt:
they can show nothing, and would be three eighths of balanced accuracy.

Intervals are 95 % percentile bootstrap intervals of the mean over seeds: in each of 2000 resamples, test faces are
drawn with replacement (by person, where persons are known) and so are seeds. The same draws serve all methods, so
differences to plain training are paired: same faces, same seeds. Three seeds tell little about their own spread, and
the intervals are not widened for the number of comparisons: a lone "better" among many is weak evidence.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ferlib.data.dataset import FaceDataset
from ferlib.data.imbalance import imbalance_ratio
from ferlib.evaluation.bootstrap import Resampling, clusters, difference, intervals, verdict
from ferlib.evaluation.metrics import METRICS, confusion, from_confusion
from ferlib.experiments.runner import run_name, test_probabilities, untrained
from ferlib.training.loop import fit
from ferlib.training.methods import METHODS
from ferlib.training.methods import imbalance as imbalance_methods
from ferlib.training.recipes import RECIPES, Recipe, fitted_recipe

SELECT_BY = "macro_f1"
MEASURES = (*METRICS, "recall_rarest")
FEWEST = 10  # people in a class's test faces
PLAIN = "none"  # as the table calls plain training


def without_tiny_classes(dataset: FaceDataset) -> FaceDataset:
    """The data set without the classes that have fewer than `FEWEST` people (see `clusters`) in the test split."""
    test = dataset.split("test")
    people = pd.Series(clusters(test)).groupby(test.frame["label"]).nunique()
    return dataset.of_classes([name for i, name in enumerate(dataset.classes) if people.get(i, 0) >= FEWEST])


def methods_for(dataset: FaceDataset) -> list[str]:
    """Names of the imbalance methods to be compared on a data set, as the table calls them, plain training first."""
    return [PLAIN, *(name for name in imbalance_names() if dataset.has_votes or not METHODS[name].targets)]


def imbalance_names() -> list[str]:
    """Names of the training methods against class imbalance."""
    return [name for name, method in METHODS.items() if method.__module__ == imbalance_methods.__name__]


def method_recipe(
    dataset: FaceDataset, method: str, seed: int, epochs: int, settings: dict[str, Any] | None = None
) -> Recipe:
    """The recipe of one run; nothing but the method and the seed differs within a data set.

    Args:
        dataset: to be trained on.
        method: one of `methods_for(dataset)`.
        seed: of the run.
        epochs: of the run.
        settings: other changes to the recipe, the same for all.
    """
    changes = {"targets": "hard", "method": "plain" if method == PLAIN else method, "seed": seed, "epochs": epochs}
    recipe = RECIPES["convcut_ferplus_frozen"].override({"downscale_to": None} | (settings or {}) | changes)
    return fitted_recipe(recipe, dataset, settings)


def run_method(dataset: FaceDataset, recipe: Recipe, backbone_weights: str | Path | None, work: Path) -> Path:
    """The folder of a finished run; a stopped run goes on after its last epoch, a finished one is not run again.

    Args:
        dataset: with all three splits.
        recipe: see `method_recipe`.
        backbone_weights: of its frozen backbone, see `ferlib.models.registry.build_model`.
        work: folder of the runs.
    """
    folder = work / run_name(recipe, dataset, backbone_weights, SELECT_BY)
    fit(untrained(recipe, backbone_weights), dataset, recipe, folder, resume=True, select_by=SELECT_BY)
    return folder


def compare_methods(dataset: FaceDataset, runs: Mapping[str, Mapping[int, Path]]) -> dict:
    """All methods on one data set, JSON-ready: means over seeds, intervals, and paired differences to plain training.

    Args:
        dataset: that all were trained on.
        runs: method, as `methods_for` calls it -> seed -> folder, see `run_method`; every method with the same seeds.
    """
    test, faces, classes = dataset.split("test"), dataset.counts(), len(dataset.classes)
    truth, rarest = test.labels().numpy(), np.flatnonzero(faces["train"] == faces["train"].min())
    seeds = sorted(next(iter(runs.values())))
    own = {name: [runs[name][seed] for seed in seeds] for name in runs}
    predicted = {name: [test_probabilities(run, test).argmax(axis=1) for run in own[name]] for name in runs}
    draws = Resampling(test, len(seeds))
    score = partial(_measures, rarest=rarest)
    found = {name: draws.measure(predicted[name], score=score) for name in runs}
    report: dict[str, Any] = {
        "classes": list(dataset.classes),
        "faces": {split: faces[split].tolist() for split in faces},
        "imbalance_ratio": imbalance_ratio(faces["train"].to_numpy()),
        "rarest": {
            "classes": [dataset.classes[i] for i in rarest],
            "test_faces": int(faces["test"].iloc[rarest].sum()),
        },
        "config": _recorded(next(iter(own.values()))[0], "recipe")["config"],
        "methods": {},
    }
    for name in runs:
        exact, resampled = found[name]
        counts = np.sum([confusion(truth, called, classes) for called in predicted[name]], axis=0)
        entry: dict[str, Any] = {
            "metrics": intervals(exact.mean(axis=0), resampled, MEASURES),
            "seeds": {
                seed: dict(zip(MEASURES, values, strict=True))
                for seed, values in zip(seeds, exact.tolist(), strict=True)
            },
            "recall": dict(zip(dataset.classes, (np.diag(counts) / counts.sum(axis=1)).tolist(), strict=True)),
            "confusion": counts.tolist(),
            "best_epochs": [int(_recorded(run, "metrics")["best"]["epoch"]) + 1 for run in own[name]],
            "seconds": [round(float(pd.read_csv(run / "history.csv")["seconds"].sum()), 1) for run in own[name]],
            "recipe": _recorded(own[name][0], "recipe"),
            "commits": sorted({_recorded(run, "environment")[0]["commit"] for run in own[name]}),
        }
        if name != PLAIN and PLAIN in found:
            gain = difference(found[name], found[PLAIN], MEASURES)
            entry["minus_none"] = {key: {**values, "verdict": verdict(values)} for key, values in gain.items()}
        report["methods"][name] = entry
    return report


def imbalance_table(sets: dict[str, dict]) -> pd.DataFrame:
    """One row a data set, method and metric, from what `compare_methods` found: data set's name -> report."""
    return pd.DataFrame(
        {"data": data, "method": method, "metric": metric}
        | entry["metrics"][metric]
        | {f"minus_none_{key}": value for key, value in entry.get("minus_none", {}).get(metric, {}).items()}
        for data, part in sets.items()
        for method, entry in part["methods"].items()
        for metric in MEASURES
    )


def _measures(matrices: np.ndarray, observed: np.ndarray, rarest: np.ndarray) -> np.ndarray:
    """`MEASURES` (R, 4) of confusion matrices (R, K, K), resamples of one (K, K); NaN without the rarest classes."""
    with np.errstate(invalid="ignore"):
        recall = matrices[:, rarest, rarest].sum(axis=1) / matrices.sum(axis=2)[:, rarest].sum(axis=1)
    return np.column_stack([from_confusion(matrices, observed), recall])


def _recorded(run: Path, name: str) -> Any:
    """The JSON that a run's folder holds under this name."""
    return json.loads((run / f"{name}.json").read_text())
