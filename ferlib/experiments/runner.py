"""Many runs that are compared: each is done once, watched, kept on disk, and may be shared by several processes."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout

from ferlib.data.dataset import DataError, FaceDataset, described
from ferlib.errors import UserError
from ferlib.evaluation.bootstrap import Resampling, intervals
from ferlib.evaluation.evaluate import predict_dataset
from ferlib.evaluation.kept_epoch import best_epoch
from ferlib.evaluation.metrics import METRICS
from ferlib.experiments.prediction_logger import BATCHINGS, Batching, LoggedRun, PredictionLogger
from ferlib.models.base import FaceModel
from ferlib.models.pretrained import weights_record
from ferlib.models.registry import MODELS, build_model, load_model, weights_source, with_normalisation
from ferlib.training.batch_sources import uses_cache
from ferlib.training.loop import fit
from ferlib.training.recipes import Recipe
from ferlib.utils.atomic import atomic_write
from ferlib.utils.old_names import renamed_fields


@dataclass(frozen=True)
class BackboneChoice:
    """The backbone that all models of a study stand on.

    Attributes:
        name: a timm model name.
        keep_stages: stages kept.
        input_size: side of the pictures it sees, pixels.
        weights: a .safetensors file, "imagenet", or None for random ones.
    """

    name: str
    keep_stages: int
    input_size: int
    weights: str | None = None

    def to_json(self) -> dict:
        """For a result's file, without the folder of the weights."""
        return asdict(self) | {"weights": self.weights and Path(self.weights).name}


def check_splits(data: FaceDataset) -> None:
    """Refuse data that a study would stumble over only after its trainings.

    Raises:
        DataError: a split has no faces.
    """
    if empty := [split for split in ("train", "validation", "test") if not len(data.split(split))]:
        raise DataError(f"{data.name} has no {' and no '.join(empty)} faces; a study needs all three splits")


def subsampled(data: FaceDataset, train_faces: int | None) -> FaceDataset:
    """The data with so many training faces, drawn at random but always the same; the other splits are left as they are.

    For studies that have to be quick. None, or more than there are: the data itself.
    """
    train = np.flatnonzero(data.frame["split"] == "train")
    if train_faces is None or train_faces >= len(train):
        return data
    dropped = np.random.default_rng(0).permutation(train)[train_faces:]
    return data.subset(np.setdiff1d(np.arange(len(data)), dropped))


def untrained(recipe: Recipe, backbone_weights: str | Path | None) -> FaceModel:
    """The recipe's network at its start, drawn by its seed; the weights are for its backbone, if it has one."""
    torch.manual_seed(recipe.seed)
    return build_model(recipe.config, backbone_weights if has_backbone(recipe) else None)


def has_backbone(recipe: Recipe) -> bool:
    """True if the recipe's network stands on a backbone."""
    return MODELS[recipe.config.architecture].model.has_backbone


def watched_run(
    recipe: Recipe,
    data: FaceDataset,
    folder: Path,
    backbone_weights: str | Path | None = None,
    batchings: Sequence[Batching] = BATCHINGS,
    select_by: str = "accuracy",
) -> LoggedRun:
    """A run of this recipe, watched after every epoch; a finished one is read, a stopped one goes on.

    Args:
        recipe: of the run.
        data: with all three splits.
        folder: of the run.
        backbone_weights: of the network's backbone, if it has one.
        batchings: of the faces that are predicted after every epoch.
        select_by: the metric of the validation faces that chooses the epoch kept in best/, see `fit`.

    Raises:
        ValueError: the folder holds a run of another recipe.
    """
    recipe = replace(
        recipe, config=with_normalisation(recipe.config, backbone_weights if has_backbone(recipe) else None)
    )
    known = folder / "recipe.json"
    wanted = renamed_fields(json.loads(json.dumps(recipe.to_json())))
    if known.exists() and renamed_fields(json.loads(known.read_text())) != wanted:
        raise UserError(f"{folder} holds a run of another recipe; take another work folder (--work)")
    logger = PredictionLogger(data, folder / "seen", batchings, recipe.seed, uses_cache(recipe.config, recipe.augment))
    if not _has_ended(folder):
        model = untrained(recipe, backbone_weights)
        fit(model, data, recipe, folder, resume=True, select_by=select_by, observe=logger)
    run = logger.run(pd.read_csv(folder / "history.csv"))
    run = replace(run, kept_gain=recipe.kept_gain, select_by=select_by)
    return replace(run, ten_crops=_ten_crops(folder, data)) if recipe.config.centre_crop else run


def _has_ended(run: Path) -> bool:
    return (run / "metrics.json").exists()


def _ten_crops(folder: Path, data: FaceDataset) -> np.ndarray:
    """Classes (N,) that the run's chosen network gives the test faces by ten crops of each; computed once."""

    def found() -> np.ndarray:
        probabilities = predict_dataset(load_model(folder / "best"), data.split("test"), ten_crop=True)
        return probabilities.argmax(axis=1).astype(np.uint8)

    return computed_once(folder / "ten_crops.npy", found)


def computed_once(path: Path, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """The array of a file; where there is none, it is computed and kept there."""
    if not path.exists():
        with atomic_write(path) as partial, partial.open("wb") as handle:
            np.save(handle, compute())
    return np.load(path)


def test_probabilities(run: Path, test: FaceDataset) -> np.ndarray:
    """Probabilities (N, classes) of the test faces by the network that a run's folder keeps; computed once a run."""
    path = run / "test_probabilities.npy"
    return computed_once(path, lambda: predict_dataset(load_model(run / "best"), test).astype(np.float32))


def run_name(
    recipe: Recipe, data: FaceDataset, backbone_weights: str | Path | None, select_by: str = "accuracy"
) -> str:
    """A folder's name that tells runs apart, and is the same for the same run, whichever table wants it."""
    weights = weights_source(backbone_weights) if has_backbone(recipe) else None
    recipe = replace(recipe, config=with_normalisation(recipe.config, weights))  # as a run records it
    return recorded_name(recipe, described(data), weights_record(weights), select_by)


def recorded_name(recipe: Recipe, data: Mapping[str, Any], weights: Mapping[str, str], select_by: str) -> str:
    """`run_name` from what a run records of itself.

    Args:
        recipe: of the run.
        data: name and faces of every split, as `ferlib.data.dataset.described` gives them.
        weights: of the backbone, as `ferlib.models.pretrained.weights_record` gives them; a file counts by its content.
        select_by: the metric that chose the epoch.
    """
    parts = [recipe.to_json(), data["faces"], data.get("digest"), weights.get("sha256", weights["name"]), select_by]
    key = json.dumps(parts, sort_keys=True)
    return f"{data['name']}-{recipe.config.architecture}-{recipe.seed}-{sha256(key.encode()).hexdigest()[:8]}"


def watched_runs(
    recipes: Sequence[Recipe],
    data: FaceDataset,
    work: Path,
    backbone_weights: str | Path | None = None,
    batchings: Sequence[Batching] = BATCHINGS,
    select_by: str = "accuracy",
) -> list[LoggedRun]:
    """`watched_run` of every recipe, in the order of the recipes; see `runs_as_they_end`."""
    runs = dict(runs_as_they_end(recipes, data, work, backbone_weights, batchings, select_by))
    return [runs[place] for place in range(len(recipes))]


def runs_as_they_end(
    recipes: Sequence[Recipe],
    data: FaceDataset,
    work: Path,
    backbone_weights: str | Path | None = None,
    batchings: Sequence[Batching] = BATCHINGS,
    select_by: str = "accuracy",
) -> Iterator[tuple[int, LoggedRun]]:
    """`watched_run` of every recipe and its place among them, each in a folder of its own.

    Finished runs come first. Processes with one work folder share the work: a run that another process is at is left to
    it and waited for at the end. A process that dies frees its run.
    """
    work.mkdir(parents=True, exist_ok=True)
    places: dict[str, list[int]] = {}
    for place, recipe in enumerate(recipes):
        places.setdefault(run_name(recipe, data, backbone_weights, select_by), []).append(place)
    done = 0
    for patience in (0, -1):  # first what is free, then wait for the rest
        for name in sorted(places, key=lambda name: not _has_ended(work / name)):  # in their order, as far as may be
            try:
                with FileLock(work / f"{name}.lock", timeout=patience):
                    run = watched_run(
                        recipes[places[name][0]], data, work / name, backbone_weights, batchings, select_by
                    )
            except Timeout:
                continue
            done += 1
            print(f"{done}/{done + len(places) - 1} {name}", flush=True)
            yield from ((place, run) for place in places.pop(name))


def judge_runs(
    runs: Mapping[int, LoggedRun],
    selected_on: str,
    batching: Batching,
    draws: Resampling,
    kept: np.ndarray | None = None,
    chosen_in: Batching | None = None,
    ten_crops: bool = False,
) -> tuple[dict, np.ndarray, np.ndarray]:
    """Metrics of the runs of one network under one protocol.

    Args:
        runs: by seed.
        selected_on: the split that chooses the epoch, or "last" for the last one.
        batching: of the faces that are predicted, in that split and in the test split.
        draws: of the test split (N faces), for as many seeds as there are runs.
        kept: bool (N,), which test faces count; None: all.
        chosen_in: of the faces that choose the epoch, where that is another batching.
        ten_crops: take what the chosen networks say of ten crops of every face.

    Returns:
        The "metrics" with intervals, those of every seed, and the chosen epochs (from 1), JSON-ready; then what each
        seed has, (S, 3), and the mean over the drawn seeds in every resample, (R, 3), for differences.
    """
    epochs = [run.best_epoch(selected_on, chosen_in or batching) for run in runs.values()]
    if ten_crops:  # of the networks that were kept; a GPU may judge in another precision than it is watched in
        epochs = [best_epoch(run.history, run.select_by, run.kept_gain) for run in runs.values()]
        predicted = [run.ten_crops for run in runs.values() if run.ten_crops is not None]
    else:
        found = zip(runs.values(), epochs, strict=True)
        predicted = [run.predicted["test", str(batching)][epoch] for run, epoch in found]
    exact, resampled = draws.measure(predicted, kept)
    report = {
        "metrics": intervals(exact.mean(axis=0), resampled),
        "seeds": {
            str(seed): dict(zip(METRICS, values, strict=True))
            for seed, values in zip(runs, exact.tolist(), strict=True)
        },
        "best_epochs": [epoch + 1 for epoch in epochs],
    }
    return report, exact, resampled
