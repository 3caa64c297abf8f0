"""The rivals' table on tiny runs: every figure against a recomputation from the kept networks and histories."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from ferlib.data.dataset import FaceDataset
from ferlib.evaluation.bootstrap import people_in
from ferlib.evaluation.compare import compare
from ferlib.experiments import rivals
from ferlib.experiments.prediction_logger import SINGLE
from ferlib.experiments.reproduce import check_study
from ferlib.experiments.runner import BackboneChoice, run_name, watched_runs
from ferlib.experiments.study import Study
from ferlib.experiments.tables import TABLES
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import load_model
from ferlib.training.batch_sources import uses_cache

BACKBONE, EPOCHS, SEEDS = BackboneChoice("test_convnext", 2, 32), 2, (0, 1)
ROWS = ("plain", "twice the epochs")


@pytest.fixture(scope="module")
def recipes(synthetic_faces):
    rows = {row.name: row for row in rivals.RIVALS}
    settings = {"batch_size": 32, "precision": "float32"}
    return {
        name: {s: rivals.rival_recipe(rows[name], synthetic_faces, BACKBONE, EPOCHS, s, settings) for s in SEEDS}
        for name in ROWS
    }


@pytest.fixture(scope="module")
def runs(recipes, synthetic_faces, tmp_path_factory):
    work = tmp_path_factory.mktemp("runs")
    return {
        name: dict(
            zip(
                own,
                watched_runs(list(own.values()), synthetic_faces, work, None, [SINGLE], rivals.SELECT_BY),
                strict=True,
            )
        )
        for name, own in recipes.items()
    }


@pytest.fixture(scope="module")
def rows(runs, synthetic_faces):
    return {row["name"]: row for row in rivals.compare_rivals(runs, synthetic_faces, resamples=200)}


def test_a_row_differs_from_plain_training_in_what_it_says(synthetic_faces):
    plain = rivals.rival_recipe(rivals.RIVALS[0], synthetic_faces, BACKBONE, 5, 0, {"lr": 0.5})
    assert plain.lr == 0.5 and plain.epochs == 5
    assert not uses_cache(plain.config, plain.augment), "the backbone is fine-tuned"
    for row in rivals.rivals_for(synthetic_faces):
        recipe = rivals.rival_recipe(row, synthetic_faces, BACKBONE, None, 0, {"lr": 0.5})
        assert recipe.epochs == 5 * row.longer
        differing = {key for key, value in recipe.to_json().items() if value != plain.to_json()[key]}
        allowed = set(row.changes) | {"method_settings"}
        allowed |= {"epochs"} if row.longer > 1 else set()
        allowed |= {"config"} if row.architecture else set()
        assert differing <= allowed, row.name


def test_pictures_are_grey_and_small_where_it_was_said(synthetic_faces):
    said = {"grey": False, "downscale_to": 24}
    config = rivals.rival_recipe(rivals.RIVALS[0], synthetic_faces, BACKBONE, 5, 0, said).config
    assert (config.grey, config.downscale_to) == (False, 24)
    assert rivals.rival_recipe(rivals.RIVALS[0], synthetic_faces, BACKBONE, 5, 0).config.grey


def test_the_epoch_is_the_one_that_was_kept(runs, tmp_path):
    run = replace(runs["plain"][0], folder=tmp_path / "gone")  # a chapter asks when its temporary folder is not there
    history = run.history.assign(macro_f1=[0.5, 0.505])
    for kept_gain, chosen in ((0.0, 1), (0.01, 0)):
        assert rivals.chosen_epoch(replace(run, history=history, kept_gain=kept_gain)) == chosen


def test_on_a_frozen_backbone_every_row_learns_from_cached_features(synthetic_faces):
    rows = rivals.rivals_for(synthetic_faces, frozen=True)
    assert {row.name for row in rivals.rivals_for(synthetic_faces)} - {row.name for row in rows} == {
        "EAC", "MEK", "DMUE", "VTFF"
    }  # fmt: skip
    for row in rows:
        recipe = rivals.rival_recipe(row, synthetic_faces, BACKBONE, None, 0, host=rivals.FROZEN)
        assert uses_cache(recipe.config, recipe.augment), row.name
        assert recipe.epochs == rivals.FROZEN.epochs * row.longer


def test_labels_that_are_flipped_have_no_unflipped_ones_beside_them(synthetic_faces):
    for frozen in (False, True):
        (row,) = (row for row in rivals.rivals_for(synthetic_faces, frozen, noise=True) if row.name == "LTNet")
        recipe = rivals.rival_recipe(row, synthetic_faces, BACKBONE, None, 0)
        assert recipe.method == "ltnet" and recipe.method_settings["other_annotators"] is False


def test_the_epoch_is_chosen_by_macro_f1_on_validation(runs, rows):
    for name, own in runs.items():
        for place, run in enumerate(own.values()):
            scores = run.history["macro_f1"].tolist()
            best = max(range(len(scores)), key=lambda epoch: (scores[epoch], epoch))
            assert rows[name]["best_epochs"][place] == best + 1
            assert json.loads((run.folder / "metrics.json").read_text())["best"]["epoch"] == best


@torch.inference_mode()
def test_figures_are_those_of_the_kept_networks(runs, rows, synthetic_faces):
    test = synthetic_faces.split("test")
    truth = test.labels().numpy()
    for name, own in runs.items():
        for seed, run in own.items():
            model = load_model(run.folder / "best").eval()
            logits = model(Preprocess.of(model.config)(test.pixels))
            called = logits.argmax(dim=1).numpy()
            figures = rows[name]["seeds"][str(seed)]
            assert figures["accuracy"] == pytest.approx((called == truth).mean(), abs=1e-9)
            recalls = [(called[truth == c] == c).mean() for c in range(len(test.classes))]
            assert figures["balanced_accuracy"] == pytest.approx(np.mean(recalls), abs=1e-9)
        mean = np.mean([figures["accuracy"] for figures in rows[name]["seeds"].values()])
        found = rows[name]["metrics"]["accuracy"]
        assert found["value"] == pytest.approx(mean) and found["low"] <= mean <= found["high"]
        assert rows[name]["chosen_on_test"] == pytest.approx(
            np.mean([max((p == truth).mean() for p in run.predicted["test", "single"]) for run in own.values()])
        )
        assert rows[name]["chosen_on_test"] >= mean - 1e-12


def test_minutes_are_those_of_the_device(runs, rows, synthetic_faces, tmp_path):
    """A GPU's and a CPU's minutes have no median that would mean anything."""
    minutes = {seed: run.history["train_seconds"].sum() / 60 for seed, run in runs["plain"].items()}
    assert rows["plain"]["minutes"] == {"cpu": round(np.median(list(minutes.values())), 2)}
    copy = shutil.copytree(runs["plain"][1].folder, tmp_path / "run")
    started = json.loads((copy / "environment.json").read_text())
    (copy / "environment.json").write_text(json.dumps([started[0] | {"gpu": "A card", "device": "cuda"}]))
    own = {0: runs["plain"][0], 1: replace(runs["plain"][1], folder=copy)}
    (row,) = rivals.compare_rivals({"plain": own}, synthetic_faces, resamples=2)
    assert row["minutes"] == {"A card": round(minutes[1], 2), "cpu": round(minutes[0], 2)}
    (copy / "environment.json").write_text(json.dumps([*started, started[0] | {"gpu": "A card", "device": "cuda"}]))
    (row,) = rivals.compare_rivals({"plain": own}, synthetic_faces, resamples=2)
    assert row["minutes"] == {"cpu": round(minutes[0], 2)}, "a run that went on elsewhere is in neither"


def test_differences_are_paired(runs, rows, synthetic_faces):
    truth = synthetic_faces.split("test").labels().numpy()
    row = rows["twice the epochs"]
    gains = [row["seeds"][s]["accuracy"] - rows["plain"]["seeds"][s]["accuracy"] for s in ("0", "1")]
    gain = row["minus_plain"]["accuracy"]
    assert gain["value"] == pytest.approx(np.mean(gains)) and gain["low"] <= gain["value"] <= gain["high"]
    assert gain["verdict"] == rivals.verdict(gain)
    for place, seed in enumerate(SEEDS):
        called = {}
        for name in ROWS:
            run = runs[name][seed]
            called[name] = run.predicted["test", "single"][rows[name]["best_epochs"][place] - 1]
        people = people_in(synthetic_faces.split("test"))
        assert people is not None  # they count whole
        expected = compare(truth, called["plain"], called["twice the epochs"], 7, people).p_value
        assert row["mcnemar"][place] == expected
    assert "minus_plain" not in rows["plain"]


def test_a_row_with_fewer_seeds_is_compared_where_both_have_one(runs, rows, synthetic_faces):
    part = {"plain": runs["plain"], "twice the epochs": {1: runs["twice the epochs"][1]}}
    _, row = rivals.compare_rivals(part, synthetic_faces, resamples=200)
    whole = rows["twice the epochs"]
    assert row["seeds"] == {"1": whole["seeds"]["1"]} and row["mcnemar"] == [whole["mcnemar"][1]]
    gain = row["seeds"]["1"]["accuracy"] - rows["plain"]["seeds"]["1"]["accuracy"]
    assert row["minus_plain"]["accuracy"]["value"] == pytest.approx(gain)
    alone = {"plain": {0: runs["plain"][0]}, "twice the epochs": part["twice the epochs"]}
    assert "minus_plain" not in rivals.compare_rivals(alone, synthetic_faces, resamples=200)[1]


def test_the_best_rows_are_those_of_validation(runs):
    history = runs["plain"][0].history

    def run(value):
        return replace(runs["plain"][0], history=history.assign(macro_f1=value, accuracy=1 - value))

    made = {"plain": {0: run(1.0)}} | {f"row {v}": {0: run(v / 10 - 0.05), 1: run(v / 10 + 0.05)} for v in (3, 7, 5, 6)}
    assert rivals.best_on_validation(made) == ["row 7", "row 6", "row 5"]
    assert rivals.best_on_validation(made, 1) == ["row 7"]


def test_the_best_rows_and_plain_training_have_more_seeds(synthetic_faces, tmp_path):
    names = ["twice the epochs", "label smoothing", "mixup", "SAM"]
    settings = {"batch_size": 32, "precision": "float32"}
    study = Study(BACKBONE, 1, [0], tmp_path, 64, settings, names, more_seeds=[3])
    check_study(TABLES["methods"], study, synthetic_faces)
    entry = list(TABLES["methods"].make(study, synthetic_faces))[-1]
    (data,) = TABLES["methods"].versions(study, synthetic_faces)
    recipes = TABLES["methods"].recipes(study, data)
    folders = {name: tmp_path / run_name(recipes[0, name], data, None, rivals.SELECT_BY) for name in names}
    scores = {name: pd.read_csv(folder / "history.csv")["macro_f1"].max() for name, folder in folders.items()}
    assert entry["seeds"] == [0] and len(set(scores.values())) == 4
    seeds = {row["name"]: list(row["seeds"]) for row in entry["rows"]}
    worst = min(names, key=lambda name: scores[name])
    assert seeds == {name: ["0"] if name == worst else ["0", "3"] for name in ("plain", *names)}


def test_table_has_a_row_a_figure(rows):
    entry = {"table": "methods", "data": "x", "backbone": {"name": "b"}, "rows": list(rows.values())}
    table = rivals.methods_table([entry])
    assert len(table) == 2 * 4 and set(table["metric"]) == {"accuracy", "balanced_accuracy", "macro_f1", "ece"}
    plain = table.query("row == 'plain' and metric == 'accuracy'").iloc[0]
    assert plain["value"] == rows["plain"]["metrics"]["accuracy"]["value"] and pd.isna(plain["minus_plain_value"])


def test_rows_are_those_that_the_data_and_the_table_allow(synthetic_faces, tmp_path):
    names = [row.name for row in rivals.rivals_for(synthetic_faces)]
    assert names[0] == rivals.PLAIN and "soft labels" not in names
    votes = {f"votes_{name}": 1 for name in synthetic_faces.classes}
    voted = FaceDataset("v", synthetic_faces.classes, synthetic_faces.frame.assign(**votes), synthetic_faces.pixels)
    assert "soft labels" in [row.name for row in rivals.rivals_for(voted)]
    noisy = [row.name for row in rivals.rivals_for(voted, noise=True)]
    assert noisy[0] == rivals.PLAIN and "soft labels" not in noisy
    assert len({row.name for row in rivals.RIVALS}) == len(rivals.RIVALS)
    for table in (table for name, table in TABLES.items() if name.startswith("methods")):
        with pytest.raises(ValueError, match=f"{table.name} has no row prayer; it has plain, "):
            check_study(table, Study(BACKBONE, 1, [0], tmp_path, rows=["prayer"]), synthetic_faces)


def test_rows_with_wrong_labels_say_how_they_were_trained(runs, synthetic_faces):
    """LTNet without the other annotator is another row than LTNet with: their figures are never set side by side."""
    rows = [replace(rival, changes={**rival.changes, "seed": 7}) for rival in rivals.RIVALS if rival.name in runs]
    told = rivals.compare_rivals(runs, synthetic_faces, 200, rows)
    assert [row["name"] for row in told] == [rival.name for rival in rows]
    assert all(row["changes"]["seed"] == 7 for row in told)
    (noisy,) = [row for row in rivals.rivals_for(synthetic_faces, True, True) if row.name == "LTNet"]
    assert noisy.changes == {"method": "ltnet", "other_annotators": False}
