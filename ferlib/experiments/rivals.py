"""The rivals under one protocol: the same host, the same data, the epoch chosen on validation, test read once.

The papers' tables set methods side by side that were measured on different backbones, with different pretraining, and
mostly with the epoch that is best on test. Here the host is one and the same. A row differs from plain training in one
thing: the training method, or the head; DMUE's comes with classes drawn equally often, EAC's with faces erased once
more. All else is the same in every row: augmentation, optimiser, schedule, number of epochs. A method that looks twice
at every face has its like in "twice the epochs": plain training with as many forward passes.

There are two hosts. `FINE_TUNED`, as in the methods' papers: a backbone trained whole, average pooling, a linear layer.
`FROZEN`, as in Conv-cut: Detail Extraction without attention on a frozen backbone, whose features are computed once; it
takes far less time, and leaves out the methods that need to train the backbone.

The epoch is the one with the best macro-F1 on validation. Test predictions of every epoch are kept, to say what
choosing on test would have claimed; no choice here looks at them.
"""

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import numpy as np
import pandas as pd
import torch

from ferlib.data.dataset import FaceDataset
from ferlib.evaluation.bootstrap import RESAMPLES, Resampling, difference, intervals, people_in, verdict
from ferlib.evaluation.calibration import calibration_error
from ferlib.evaluation.compare import p_value_between
from ferlib.evaluation.kept_epoch import best_epoch
from ferlib.evaluation.metrics import METRICS
from ferlib.experiments.prediction_logger import SINGLE, LoggedRun
from ferlib.experiments.runner import BackboneChoice, test_probabilities
from ferlib.models.backbone import BackboneModelConfig
from ferlib.models.base import FaceModel, evaluating
from ferlib.models.convcut import ConvCutConfig
from ferlib.models.registry import MODELS, load_model
from ferlib.training.recipes import CONVCUT_FERPLUS, Recipe, fitted_recipe

SELECT_BY = "macro_f1"
BEST = 3  # rows that can have more seeds
FLIPPED = (0.1, 0.2, 0.3)  # fractions of the training labels, in the table with noise
PLAIN = "plain"
FINE_TUNED = replace(
    CONVCUT_FERPLUS,
    config=ConvCutConfig("linear_probe", detail_layers=0, attention="none", dropout=0.0, freeze_backbone=False),
    epochs=5,
    lr=1e-3,
    targets="hard",
    precision="bfloat16",
)
FROZEN = replace(
    FINE_TUNED,
    config=ConvCutConfig("convcut_none", attention="none"),
    epochs=8,
    augment="flip",
    precision="float32",
)


@dataclass(frozen=True)
class Rival:
    """A row of the table.

    Attributes:
        name: of the row.
        about: the one thing that differs from plain training.
        changes: fields of the recipe that say so, see `Recipe.override`.
        architecture: the network, a name in the registry; empty: the host's.
        longer: times as many epochs as the others.
        views: forward passes a face and step.
        paper: the method's name in `ferlib.experiments.published`, table "rivals"; empty if it has no figure there.
        votes: needs a data set with votes.
        frozen: can be had behind a frozen backbone.
        with_noise: further changes in the table with flipped labels; None: no row of it.
    """

    name: str
    about: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    architecture: str = ""
    longer: int = 1
    views: int = 1
    paper: str = ""
    votes: bool = False
    frozen: bool = True
    with_noise: Mapping[str, Any] | None = None


SAM = {"sam_rho": 0.05}
# the authors' margin for batches of 64; labels are changed from half of the run on: their eighth of it would come
# before the end of the first of five epochs, when the network is still wrong about many
SELF_CURE = {"method": "scn", "margin": 0.07, "relabel_from": 0.5}
ALONE = {"other_annotators": False}  # their labels are not flipped
# EAC and MEK compare class maps, which behind a frozen backbone the classifier alone could change; DMUE copies the
# backbone's last stage; VTFF has a second stream of pixels
RIVALS = (
    Rival(PLAIN, "cross-entropy, hard labels", with_noise={}),
    Rival("twice the epochs", "plain, with as many forward passes as two views need", longer=2, with_noise={}),
    Rival("soft labels", "cross-entropy with the fractions of the votes", {"method": "soft_labels"}, votes=True),
    Rival("label smoothing", "a tenth of every target spread", {"method": "label_smoothing"}, with_noise={}),
    Rival("mixup", "blends of two faces, asked for both", {"method": "mixup"}, with_noise={}),
    Rival("SAM", "sharpness-aware minimisation", SAM, views=2),
    Rival("SCN", "faces weighed and relabelled", SELF_CURE, paper="SCN", with_noise={}),
    Rival("LTNet", "two annotators' confusion matrices", {"method": "ltnet"}, paper="LTNet", with_noise=ALONE),
    Rival("EAC", "class maps of a face and its mirror agree", {"method": "eac"}, views=2, paper="EAC", frozen=False,
          with_noise={"noisy": True}),
    Rival("MEK", "the same, re-balanced, smoothed", {"method": "mek"}, views=2, paper="MEK", frozen=False,
          with_noise={}),
    Rival("DMUE", "auxiliary branches, classes drawn equally often", {"method": "dmue"}, paper="DMUE", frozen=False),
    Rival("label bank", "LA-Net's targets from neighbours, beside the labels", {"method": "neighbour_labels"},
          with_noise={}),
    Rival("DDAMFN", "two coordinate-attention heads", {"method": "ddamfn"}, "ddamfn", paper="DDAMFN"),
    Rival("APViT", "attentive pooling, a small transformer", architecture="apvit", paper="APViT"),
    Rival("POSTER++ without landmarks", "two depths as tokens", architecture="two_depth_vit", paper="POSTER++"),
    Rival("QCS", "the same, trained in quadruplets", {"method": "qcs"}, "two_depth_vit", paper="QCS"),
    Rival("VTFF", "fused with local binary patterns, a small transformer", architecture="vtff", views=2, paper="VTFF",
          frozen=False),
)  # fmt: skip


def rivals_for(data: FaceDataset, frozen: bool = False, noise: bool = False) -> list[Rival]:
    """The rows that can be had on a data set, plain training first.

    Args:
        data: trained on.
        frozen: on `FROZEN`, else on `FINE_TUNED`.
        noise: those of the table with flipped labels, with its changes.
    """
    rows = [rival for rival in RIVALS if (data.has_votes or not rival.votes) and (rival.frozen or not frozen)]
    if noise:
        return [replace(r, changes={**r.changes, **r.with_noise}) for r in rows if r.with_noise is not None]
    return rows


def rival_recipe(
    rival: Rival,
    data: FaceDataset,
    backbone: BackboneChoice,
    epochs: int | None,
    seed: int,
    settings: Mapping[str, Any] | None = None,
    host: Recipe = FINE_TUNED,
) -> Recipe:
    """The recipe of one run.

    Args:
        rival: the row.
        data: trained on.
        backbone: under every row.
        epochs: of plain training; None: the host's.
        seed: of the run.
        settings: fields of the recipe to change in all rows alike; a row's own changes come after.
        host: `FINE_TUNED` or `FROZEN`.
    """
    own = cast(BackboneModelConfig, MODELS[rival.architecture].config if rival.architecture else host.config)
    config = replace(
        own,
        backbone=backbone.name,
        keep_stages=backbone.keep_stages,
        input_size=backbone.input_size,
        freeze_backbone=cast(BackboneModelConfig, host.config).freeze_backbone,
    )
    recipe = replace(host, config=config, epochs=rival.longer * (epochs or host.epochs), seed=seed)
    recipe = recipe.override(dict(settings or {})).override(dict(rival.changes))
    return fitted_recipe(recipe, data, settings)


def by_row(runs: Mapping[tuple[int, str], LoggedRun]) -> dict[str, dict[int, LoggedRun]]:
    """Runs by (seed, name of a row) as `compare_rivals` takes them: name of a row -> seed -> run."""
    rows: dict[str, dict[int, LoggedRun]] = defaultdict(dict)
    for (seed, name), run in runs.items():
        rows[name][seed] = run
    return dict(rows)


def best_on_validation(runs: Mapping[str, Mapping[int, LoggedRun]], count: int = BEST) -> list[str]:
    """Names of the rows that validation ranks highest, plain training aside; test is not looked at.

    Args:
        runs: name of a row -> seed -> run.
        count: of the rows.

    Returns:
        At most so many, by the mean over a row's seeds of `SELECT_BY` of the validation faces in the chosen epoch.
    """
    scores = {
        name: statistics.fmean(run.history[SELECT_BY][chosen_epoch(run)] for run in own.values())
        for name, own in runs.items()
        if name != PLAIN
    }
    return sorted(scores, key=lambda name: -scores[name])[:count]


def compare_rivals(
    runs: Mapping[str, Mapping[int, LoggedRun]],
    data: FaceDataset,
    resamples: int = RESAMPLES,
    rows: Sequence[Rival] = RIVALS,
) -> list[dict]:
    """The rows of the table, JSON-ready.

    Args:
        runs: name of a row -> seed -> run, plain training among them; a row is compared with it where both have a seed.
        data: with the test split.
        resamples: of the bootstrap, over test faces (or people) and seeds.
        rows: of the table, as they were trained; those without a run are left out.

    Returns:
        A dict a row: its definition; `metrics` with intervals (accuracy, balanced accuracy,
        macro-F1) and `ece`, the mean over seeds; `seeds`; `best_epochs` (from 1); `minus_plain`: paired differences
        with intervals and a verdict; `mcnemar`: p-value of every seed (where people are known, with people
        whole); `chosen_on_test`: accuracy of the epochs best on test; `minutes` of training by the name of
        the GPU or of the device, and `ms_per_face`, medians.
    """
    test = data.split("test")
    truth, people = test.labels().numpy(), people_in(test)
    predicted = {name: {s: predicted_classes(run) for s, run in own.items()} for name, own in runs.items()}
    milliseconds = _milliseconds({name: own[min(own)] for name, own in runs.items()})
    draws = {count: Resampling(test, count, resamples) for count in range(1, max(map(len, runs.values())) + 1)}
    report = []
    for rival in rows:
        if rival.name not in runs:
            continue
        own = dict(sorted(runs[rival.name].items()))
        called = predicted[rival.name]
        exact, resampled = draws[len(own)].measure([called[seed] for seed in own])
        errors = [
            calibration_error(truth, test_probabilities(run.folder, test).astype(np.float64)) for run in own.values()
        ]
        on_test = [float(run.accuracy("test", SINGLE).max()) for run in own.values()]
        entry = asdict(rival) | {
            "metrics": intervals(exact.mean(axis=0), resampled) | {"ece": {"value": float(np.mean(errors))}},
            "seeds": {
                str(seed): dict(zip(METRICS, values, strict=True)) | {"ece": error}
                for seed, values, error in zip(own, exact.tolist(), errors, strict=True)
            },
            "best_epochs": [chosen_epoch(run) + 1 for run in own.values()],
            "chosen_on_test": float(np.mean(on_test)),
            "minutes": _minutes(own.values()),
            "ms_per_face": milliseconds[rival.name],
        }
        shared = [seed for seed in own if seed in runs[PLAIN]]
        if rival.name != PLAIN and shared:
            theirs, plain = (
                draws[len(shared)].measure([predicted[name][s] for s in shared]) for name in (rival.name, PLAIN)
            )
            gain = difference(theirs, plain)
            entry["minus_plain"] = {key: {**value, "verdict": verdict(value)} for key, value in gain.items()}
            entry["mcnemar"] = [p_value_between(truth, predicted[PLAIN][seed], called[seed], people) for seed in shared]
        report.append(entry)
    return report


def methods_table(entries: Sequence[dict]) -> pd.DataFrame:
    """One row a data set, backbone, row and metric, with the difference to plain training."""
    return metrics_table(entries, "minus_plain")


def metrics_table(entries: Sequence[dict], difference: str) -> pd.DataFrame:
    """Entries with rows of metrics as a table: value and interval, and those of the difference of this name."""
    return pd.DataFrame(
        {
            "table": entry["table"],
            "data": entry["data"],
            "backbone": entry["backbone"]["name"],
            "row": row["name"],
            "metric": metric,
            "seeds": len(row["seeds"]),
        }
        | value
        | {f"{difference}_{key}": v for key, v in row.get(difference, {}).get(metric, {}).items()}
        for entry in entries
        for row in entry["rows"]
        for metric, value in row["metrics"].items()
    )


def chosen_epoch(run: LoggedRun) -> int:
    """The epoch (from 0) that is best on validation by `SELECT_BY`."""
    return best_epoch(run.history, SELECT_BY, run.kept_gain)


def predicted_classes(run: LoggedRun) -> np.ndarray:
    """Classes (N,) of the test faces, each alone, in the chosen epoch."""
    return run.predicted["test", str(SINGLE)][chosen_epoch(run)]


def _minutes(runs: Iterable[LoggedRun]) -> dict[str, float]:
    """Median minutes of training on every device, without judging; of runs that went on elsewhere there are none."""
    by_device = defaultdict(list)
    for run in runs:
        starts = json.loads((run.folder / "environment.json").read_text())
        devices = {start["gpu"] if start["device"] == "cuda" else start["device"] for start in starts}
        if len(devices) == 1:
            by_device[devices.pop()].append(run.history["train_seconds"].sum() / 60)
    return {device: round(statistics.median(minutes), 2) for device, minutes in sorted(by_device.items())}


@torch.inference_mode()
def _milliseconds(runs: Mapping[str, LoggedRun], repeats: int = 15) -> dict[str, float]:
    """Time of one face alone through every row's network, milliseconds: medians of runs in turns."""
    models: dict[str, FaceModel] = {name: load_model(run.folder / "best").eval() for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(repeats + 2):
        for name, model in models.items():
            config = model.config
            x = torch.zeros(1, config.channels, config.input_size, config.input_size)
            with evaluating(model):
                began = time.perf_counter()
                model(x)
                if turn >= 2:  # the first ones warm up
                    times[name].append(time.perf_counter() - began)
    return {name: round(1000 * statistics.median(found), 2) for name, found in times.items()}
