"""Which remedy against class imbalance beats plain training? Conv-cut's head on a frozen backbone, two sets, three
seeds.

    python benchmarks/remedies.py --backbone-weights tf_efficientnet_lite0.safetensors --work runs/remedies \
        --out results/remedies

Every (data, remedy, seed) leaves one JSON in the work folder and is not run again; a stopped run goes on at its last
epoch. At the end, `--out`.json and .csv are made from what is there.

Protocol. The recipe is `convcut_ferplus_frozen` with hard targets; only the name of the remedy differs. Its constants
are the papers', not tuned. The epoch is chosen on validation by macro-F1 for all remedies: accuracy would favour plain
training, balanced accuracy the remedies that give away precision for recall; macro-F1 pays for both. The test split is
read once a run, after that choice. Classes whose test faces come from fewer than ten people (where people are not
known: fewer than ten faces) are left out of all splits. facial_expressions has two to three people each for disgust,
fear and contempt: they can show nothing, and would be three eighths of balanced accuracy.

Intervals are 95 % percentile bootstrap intervals of the mean over seeds: in each of 2000 resamples, test faces are
drawn with replacement (by person, where persons are known) and so are seeds. The same draws serve all remedies, so
differences to plain training are paired: same faces, same seeds. Three seeds tell little about their own spread, and
the intervals are not widened for the number of comparisons: a lone "better" among many is weak evidence.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ferlib.data.dataset import FaceDataset
from ferlib.data.imbalance import imbalance_ratio
from ferlib.data.registry import load_dataset
from ferlib.evaluation.batches import ordered_batches, predict_batches
from ferlib.evaluation.bootstrap import confusion_cells, face_draws, intervals, seed_draws, units
from ferlib.evaluation.metrics import METRICS, from_confusion, summary
from ferlib.models.registry import build_model
from ferlib.training.checkpoint import best_epoch
from ferlib.training.features import FeatureCache, feature_logits
from ferlib.training.loop import fit
from ferlib.training.methods import METHODS
from ferlib.training.recipes import RECIPES, Recipe
from ferlib.utils.commit import commit

SOURCE_SIZE = {"ferplus": 48, "facial_expressions": None}
SELECT_BY = "macro_f1"
MEASURES = (*METRICS, "recall_rarest")
FEWEST = 10

REMEDIES = ["none", *(name for name in METHODS if name != "plain")]  # as the table calls them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone-weights", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of runs and rows")
    parser.add_argument("--out", type=Path, required=True, help="results, without ending")
    parser.add_argument("--data", nargs="+", default=list(SOURCE_SIZE), choices=SOURCE_SIZE)
    parser.add_argument("--remedies", nargs="+", default=REMEDIES, choices=REMEDIES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    sets = {name: without_tiny_classes(load_dataset(name)) for name in options.data}
    print(*(f"{data}: {', '.join(data.classes)}" for data in sets.values()), sep="\n", flush=True)
    plans = [
        (data, remedy, seed)
        for seed in options.seeds  # a stopped comparison has whole seeds
        for data in sets
        for remedy in options.remedies
        if remedy != "soft_labels" or has_votes(sets[data])
    ]
    rows = []
    for number, (data, remedy, seed) in enumerate(plans, start=1):
        began = time.perf_counter()
        row = run(sets[data], plan(sets[data], remedy, seed, options.epochs), options.backbone_weights, options.work)
        rows.append(row)
        figures = ", ".join(f"{key} {value:.4f}" for key, value in row["test"].items())
        seconds = time.perf_counter() - began
        print(f"{number}/{len(plans)} {data} {remedy} seed {seed}: {figures} ({seconds:.0f} s)", flush=True)
    report = {
        "name": "remedies against class imbalance, Conv-cut's head on a frozen backbone",
        "protocol": __doc__.split("\n\n", 3)[3].strip(),
        "commit": commit(),
        "backbone_weights": options.backbone_weights.name,
        "seeds": options.seeds,
        "epochs": options.epochs,
        "select_by": SELECT_BY,
        "sets": {name: compare(data, [row for row in rows if row["data"] == name]) for name, data in sets.items()},
    }
    options.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    table(report).to_csv(options.out.with_suffix(".csv"), index=False, float_format="%.5f")


def without_tiny_classes(dataset: FaceDataset) -> FaceDataset:
    """The data set without the classes that have fewer than `FEWEST` people (see `units`) in the test split."""
    test = dataset.split("test")
    people = pd.Series(units(test)).groupby(test.frame["label"]).nunique()
    return dataset.of_classes([name for i, name in enumerate(dataset.classes) if people.get(i, 0) >= FEWEST])


def has_votes(dataset: FaceDataset) -> bool:
    return {f"votes_{name}" for name in dataset.classes} <= set(dataset.frame)


def plan(dataset: FaceDataset, remedy: str, seed: int, epochs: int) -> Recipe:
    """The recipe of one run; nothing but the remedy and the seed differs within a data set."""
    settings = {"targets": "hard", "method": "plain" if remedy == "none" else remedy, "seed": seed, "epochs": epochs}
    model = {"classes": dataset.classes, "input_size": 112, "downscale_to": SOURCE_SIZE[dataset.name], "grey": True}
    return RECIPES["convcut_ferplus_frozen"].override(settings | model)


def run(data: FaceDataset, recipe: Recipe, backbone_weights: Path, work: Path) -> dict:
    """Train, choose the epoch on validation, predict the test faces once; or read what an earlier call found."""
    folder = work / f"{data.name}-{recipe.method}-{recipe.seed}"
    path = folder.with_suffix(".json")
    if path.exists():
        row = json.loads(path.read_text())
        if row["recipe"] != json.loads(json.dumps(recipe.to_json())):
            raise SystemExit(f"{path} was made by another recipe; take another --work folder")
        return row
    torch.manual_seed(recipe.seed)
    model = build_model(recipe.config, backbone_weights)
    history = fit(model, data, recipe, folder, resume=True, select_by=SELECT_BY)
    best = best_epoch(history, SELECT_BY)
    test = data.split("test")
    truth = test.labels().numpy()
    probabilities = predict_batches(
        feature_logits(model, FeatureCache.build(model, test)), ordered_batches(truth, "stored", 128)
    )
    row = {
        "data": data.name,
        "remedy": "none" if recipe.method == "plain" else recipe.method,
        "seed": recipe.seed,
        "best_epoch": int(best) + 1,
        "validation": {key: float(history.loc[best, key]) for key in METRICS},
        "test": summary(truth, probabilities),
        "seconds": float(history["seconds"].sum()),
        "recipe": recipe.to_json(),
        "commit": commit(),
        "predicted": probabilities.argmax(axis=1).tolist(),
    }
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(row))
    partial.replace(path)
    return row


def compare(data: FaceDataset, rows: list[dict]) -> dict:
    """All remedies on one data set: means over seeds, intervals, and paired differences to "none"."""
    test, faces, classes = data.split("test"), data.counts(), len(data.classes)
    rarest = np.flatnonzero(faces["train"] == faces["train"].min())
    truth = test.labels().numpy()
    cells = {(row["remedy"], row["seed"]): confusion_cells(truth, np.array(row["predicted"]), classes) for row in rows}
    remedies, seeds = list(dict.fromkeys(row["remedy"] for row in rows)), sorted({row["seed"] for row in rows})
    draws = face_draws(test)  # (R, N)
    picks = seed_draws(len(seeds))
    exact, resampled = {}, {}
    for remedy in remedies:
        found = np.stack([cells[remedy, seed].sum(axis=0) for seed in seeds])
        exact[remedy] = measure(found, classes, rarest)  # (S, metrics)
        values = np.stack([measure(draws @ cells[remedy, seed], classes, rarest) for seed in seeds], axis=1)
        resampled[remedy] = np.take_along_axis(values, picks[..., None], axis=1).mean(axis=1)  # (R, metrics)
    report = {
        "classes": list(data.classes),
        "faces": {split: faces[split].tolist() for split in faces},
        "imbalance_ratio": imbalance_ratio(faces["train"].to_numpy()),
        "rarest": {"classes": [data.classes[i] for i in rarest], "test_faces": int(faces["test"].iloc[rarest].sum())},
        "config": asdict(plan(data, "none", 0, 1).config),
        "remedies": {},
    }
    for remedy in remedies:
        own = [row for row in rows if row["remedy"] == remedy]
        counts = sum(cells[remedy, seed].sum(axis=0) for seed in seeds).reshape(classes, classes)
        entry = {
            "metrics": intervals(exact[remedy].mean(axis=0), resampled[remedy], MEASURES),
            "seeds": {
                row["seed"]: dict(zip(MEASURES, v, strict=True))
                for row, v in zip(own, exact[remedy].tolist(), strict=True)
            },
            "recall": dict(zip(data.classes, (np.diag(counts) / counts.sum(axis=1)).tolist(), strict=True)),
            "confusion": counts.astype(int).tolist(),
            "best_epochs": [row["best_epoch"] for row in own],
            "seconds": [round(row["seconds"], 1) for row in own],
            "recipe": own[0]["recipe"],
            "commits": sorted({str(row["commit"]) for row in own}),
        }
        if remedy != "none" and "none" in exact:
            entry["minus_none"] = intervals(
                (exact[remedy] - exact["none"]).mean(axis=0), resampled[remedy] - resampled["none"], MEASURES
            )
            for difference in entry["minus_none"].values():
                better, worse = difference["low"] > 0, difference["high"] < 0
                difference["verdict"] = "better" if better else "worse" if worse else "no difference shown"
        report["remedies"][remedy] = entry
    return report


def measure(counts: np.ndarray, classes: int, rarest: np.ndarray) -> np.ndarray:
    """`MEASURES` (R, 4) of confusion matrices (R, classes²); NaN where a resample has no face of the rarest classes."""
    matrices = counts.reshape(-1, classes, classes)
    true = matrices.sum(axis=2)[:, rarest].sum(axis=1)
    with np.errstate(invalid="ignore"):
        recall = matrices[:, rarest, rarest].sum(axis=1) / true
    return np.column_stack([from_confusion(matrices), recall])


def table(report: dict) -> pd.DataFrame:
    """One row a data set, remedy and metric."""
    return pd.DataFrame(
        {"data": data, "remedy": remedy, "metric": metric}
        | entry["metrics"][metric]
        | {f"minus_none_{key}": value for key, value in entry.get("minus_none", {}).get(metric, {}).items()}
        for data, part in report["sets"].items()
        for remedy, entry in part["remedies"].items()
        for metric in MEASURES
    )


if __name__ == "__main__":
    main()
