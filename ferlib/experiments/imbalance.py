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
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ferlib.data.dataset import FaceDataset, described
from ferlib.data.imbalance import imbalance_ratio
from ferlib.errors import UserError
from ferlib.evaluation.batches import ordered_batches, predict_batches
from ferlib.evaluation.bootstrap import Resampling, clusters, intervals
from ferlib.evaluation.metrics import METRICS, confusion, from_confusion, summary
from ferlib.experiments.runner import untrained
from ferlib.models.base import evaluating
from ferlib.models.pretrained import weights_record
from ferlib.models.registry import weights_source
from ferlib.training.checkpoint import best_epoch
from ferlib.training.features import FeatureCache, feature_logits
from ferlib.training.loop import fit
from ferlib.training.methods import METHODS
from ferlib.training.methods import imbalance as imbalance_methods
from ferlib.training.recipes import RECIPES, Recipe, fitted_recipe
from ferlib.utils.atomic import write_json
from ferlib.utils.commit import commit

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


def run_method(dataset: FaceDataset, recipe: Recipe, backbone_weights: str | Path | None, work: Path) -> dict:
    """Train, choose the epoch on validation, predict the test faces once; or read what an earlier call found.

    Args:
        dataset: with all three splits.
        recipe: see `method_recipe`.
        backbone_weights: of its frozen backbone, see `ferlib.models.registry.build_model`.
        work: folder of the runs; each leaves one JSON in it, and a stopped run goes on after its last epoch.

    Returns:
        `compare_methods` takes some of these.

    Raises:
        UserError: the folder holds such a run by another recipe, or from other data or weights.
    """
    folder = work / f"{dataset.name}-{recipe.method}-{recipe.seed}"
    path = folder.with_name(f"{folder.name}.json")
    began = {"data": described(dataset), "weights": weights_record(weights_source(backbone_weights))}
    if path.exists():
        row = json.loads(path.read_text())
        if row["recipe"] != json.loads(json.dumps(recipe.to_json())) or row.get("began", began) != began:
            raise UserError(f"{path} was made by another recipe, from other data or weights; take another work folder")
        return row
    model = untrained(recipe, backbone_weights)
    history = fit(model, dataset, recipe, folder, resume=True, select_by=SELECT_BY)
    best, test = best_epoch(history, SELECT_BY, recipe.kept_gain), dataset.split("test")
    truth = test.labels().numpy()
    with evaluating(model):
        logits = feature_logits(model, FeatureCache.build(model, test))
        probabilities = predict_batches(logits, ordered_batches(truth, "stored", 128))
    row = {
        "data": dataset.name,
        "remedy": PLAIN if recipe.method == "plain" else recipe.method,
        "seed": recipe.seed,
        "best_epoch": best + 1,
        "validation": {key: float(history.loc[best, key]) for key in METRICS},
        "test": summary(truth, probabilities),
        "seconds": float(history["seconds"].sum()),
        "recipe": recipe.to_json(),
        "began": began,
        "commit": commit(),
        "predicted": probabilities.argmax(axis=1).tolist(),
    }
    write_json(path, row, indent=None)
    return row


def compare_methods(dataset: FaceDataset, rows: Sequence[dict]) -> dict:
    """All methods on one data set, JSON-ready: means over seeds, intervals, and paired differences to plain training.

    Args:
        dataset: that all were trained on.
        rows: from `run_method`, every method with the same seeds.
    """
    test, faces, classes = dataset.split("test"), dataset.counts(), len(dataset.classes)
    truth, rarest = test.labels().numpy(), np.flatnonzero(faces["train"] == faces["train"].min())
    methods, seeds = list(dict.fromkeys(row["remedy"] for row in rows)), sorted({row["seed"] for row in rows})
    by_seed = sorted(rows, key=lambda row: row["seed"])
    own = {name: [row for row in by_seed if row["remedy"] == name] for name in methods}
    predicted = {name: [np.array(row["predicted"]) for row in own[name]] for name in methods}
    draws = Resampling(test, len(seeds))
    score = partial(_measures, rarest=rarest)
    found = {name: draws.measure(predicted[name], score=score) for name in methods}
    report: dict[str, Any] = {
        "classes": list(dataset.classes),
        "faces": {split: faces[split].tolist() for split in faces},
        "imbalance_ratio": imbalance_ratio(faces["train"].to_numpy()),
        "rarest": {
            "classes": [dataset.classes[i] for i in rarest],
            "test_faces": int(faces["test"].iloc[rarest].sum()),
        },
        "config": own[methods[0]][0]["recipe"]["config"],
        "remedies": {},
    }
    for name in methods:
        exact, resampled = found[name]
        counts = np.sum([confusion(truth, called, classes) for called in predicted[name]], axis=0)
        entry: dict[str, Any] = {
            "metrics": intervals(exact.mean(axis=0), resampled, MEASURES),
            "seeds": {
                row["seed"]: dict(zip(MEASURES, values, strict=True))
                for row, values in zip(own[name], exact.tolist(), strict=True)
            },
            "recall": dict(zip(dataset.classes, (np.diag(counts) / counts.sum(axis=1)).tolist(), strict=True)),
            "confusion": counts.tolist(),
            "best_epochs": [row["best_epoch"] for row in own[name]],
            "seconds": [round(row["seconds"], 1) for row in own[name]],
            "recipe": own[name][0]["recipe"],
            "commits": sorted({str(row["commit"]) for row in own[name]}),
        }
        if name != PLAIN and PLAIN in found:
            plain, plain_resampled = found[PLAIN]
            gain = intervals((exact - plain).mean(axis=0), resampled - plain_resampled, MEASURES)
            entry["minus_none"] = {key: {**values, "verdict": _verdict(values)} for key, values in gain.items()}
        report["remedies"][name] = entry
    return report


def imbalance_table(sets: dict[str, dict]) -> pd.DataFrame:
    """One row a data set, method and metric, from what `compare_methods` found: data set's name -> report."""
    return pd.DataFrame(
        {"data": data, "remedy": method, "metric": metric}
        | entry["metrics"][metric]
        | {f"minus_none_{key}": value for key, value in entry.get("minus_none", {}).get(metric, {}).items()}
        for data, part in sets.items()
        for method, entry in part["remedies"].items()
        for metric in MEASURES
    )


def _measures(matrices: np.ndarray, observed: np.ndarray, rarest: np.ndarray) -> np.ndarray:
    """`MEASURES` (R, 4) of confusion matrices (R, K, K), resamples of one (K, K); NaN without the rarest classes."""
    with np.errstate(invalid="ignore"):
        recall = matrices[:, rarest, rarest].sum(axis=1) / matrices.sum(axis=2)[:, rarest].sum(axis=1)
    return np.column_stack([from_confusion(matrices, observed), recall])


def _verdict(gain: Any) -> str:
    return "better" if gain["low"] > 0 else "worse" if gain["high"] < 0 else "no difference shown"
