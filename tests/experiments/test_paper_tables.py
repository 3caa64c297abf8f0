"""The papers' tables: rows, protocols and the papers' figures."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ferlib.evaluation.evaluate import predict_dataset
from ferlib.evaluation.metrics import METRICS
from ferlib.experiments import paper_tables, runner
from ferlib.experiments.prediction_logger import BATCHINGS, FINAL, SINGLE, SORTED, LoggedRun
from ferlib.experiments.protocols import protocol_recipes
from ferlib.experiments.published import read_published
from ferlib.experiments.runner import BackboneChoice, run_name
from ferlib.models.registry import load_model
from ferlib.training.recipes import RECIPES

BACKBONE = BackboneChoice("tf_efficientnet_lite0", 2, 32)


def made_up(faces, seed, share):
    """A run whose class-sorted test figures are far better than those of faces alone."""
    rng, labels, predicted = np.random.default_rng(seed), {}, {}
    for split in ("validation", "test"):
        labels[split] = faces.split(split).frame["label"].to_numpy()
        for batching in BATCHINGS:
            level = share + 0.2 * (batching.batch_order == "sorted") + 0.02 * np.arange(3)[:, None]
            hit = rng.random((3, len(labels[split]))) < level
            predicted[split, str(batching)] = np.where(hit, labels[split], 6 - labels[split]).astype(np.uint8)
    return LoggedRun(pd.DataFrame(), predicted, labels)


def test_rows_under_both_protocols_beside_the_paper(synthetic_faces):
    table, seeds = "convcut-table2", (0, 1)
    runs = {
        row.name: {
            (seed, reading): made_up(synthetic_faces, 10 * i + seed, 0.1 * i + 0.2)
            for seed in seeds
            for reading in ("model", "within")[: 1 + bool(row.within)]
        }
        for i, row in enumerate(paper_tables.TABLES[table])
    }
    rows = paper_tables.judge(table, runs, synthetic_faces, resamples=50)
    assert [row["name"] for row in rows] == ["neither", "attention", "detail extraction", "both"]
    for i, row in enumerate(rows):
        readings = (("published", SORTED, FINAL, "test"), ("alone", SINGLE, SINGLE, "validation"))
        for protocol, chosen_in, batching, split in readings:
            expected = []
            for seed in seeds:
                run = runs[row["name"]][seed, "model"]
                chosen = [(guess == run.labels[split]).mean() for guess in run.predicted[split, str(chosen_in)]]
                best = max(range(3), key=lambda epoch, chosen=chosen: (chosen[epoch], epoch))
                expected.append((run.predicted["test", str(batching)][best] == run.labels["test"]).mean())
            assert row[protocol]["metrics"]["accuracy"]["value"] == pytest.approx(np.mean(expected), abs=1e-12)
            if i:
                last = rows[i - 1][protocol]["metrics"]["accuracy"]["value"]
                gain = row[protocol]["minus_previous"]["accuracy"]
                assert gain["value"] == pytest.approx(np.mean(expected) - last, abs=1e-12)
                assert gain["low"] <= gain["value"] <= gain["high"]
        assert ("honest" in row) == (row["name"] in ("attention", "both"))
    del runs["both"][1, "within"]
    fewer = paper_tables.judge(table, runs, synthetic_faces, resamples=50)[-1]
    assert list(fewer["honest"]["seeds"]) == ["0"] and list(fewer["published"]["seeds"]) == ["0", "1"]
    assert fewer["honest"]["seeds"]["0"] == rows[-1]["honest"]["seeds"]["0"]
    assert [row["paper"]["ferplus accuracy"] for row in rows] == [75.71, 78.31, 82.46, 95.69]


@pytest.mark.parametrize("table", paper_tables.PUBLISHED)
def test_the_papers_rows_are_ours(table):
    published = read_published(paper_tables.PUBLISHED[table])
    printed, ours = list(dict.fromkeys(published["model"])), [row.name for row in paper_tables.TABLES[table]]
    if table in ("convcut-table1", "ivsa-table2"):  # most of their rows are other people's methods
        assert set(ours) <= set(printed)
    else:
        assert ours[: len(printed)] == printed


def test_the_papers_figure_is_for_the_same_data_or_else_for_rafdb():
    paper = {"rafdb accuracy": 97.33, "ferplus accuracy": 95.69}
    assert paper_tables.beside(paper, "ferplus", "accuracy") == {
        "paper": pytest.approx(0.9569),
        "paper_data": "ferplus",
    }
    assert paper_tables.beside(paper, "facial_expressions", "accuracy") == {
        "paper": pytest.approx(0.9733),
        "paper_data": "rafdb",
    }
    assert paper_tables.beside(paper, "ferplus", "macro_f1") == {}
    for variant in ("ferplus_most_votes", "ferplus_random_split", "ferplus_20_percent_flipped"):
        assert paper_tables.beside(paper, variant, "accuracy")["paper_data"] == "ferplus"
    assert paper_tables.beside({"ckplus accuracy": 95.52}, "ckplus_random_split", "accuracy")["paper_data"] == "ckplus"


@pytest.mark.parametrize("table", paper_tables.TABLES)
def test_every_row_can_be_built_and_rows_differ(table, synthetic_faces):
    configs = []
    for row in paper_tables.TABLES[table]:
        recipes = paper_tables.row_recipes(table, row, synthetic_faces, BACKBONE, 1, [0])
        assert set(recipes) == {(0, "model")} | ({(0, "within")} if row.within else set())
        for recipe in recipes.values():
            assert runner.build_model(recipe.config).config == recipe.config
            assert recipe.config.classes == synthetic_faces.classes
            configs.append(recipe.config)
    assert len(set(configs)) == len(configs)


def test_the_tables_share_their_runs_with_the_protocols(synthetic_faces):
    compared = protocol_recipes("convcut", synthetic_faces, BACKBONE, 4, [0])
    names = {run_name(recipe, synthetic_faces, None) for recipe in compared.values()}
    both = paper_tables.row_recipes(
        "convcut-table2", paper_tables.TABLES["convcut-table2"][3], synthetic_faces, BACKBONE, 4, [0]
    )
    two = paper_tables.row_recipes(
        "convcut-table3", paper_tables.TABLES["convcut-table3"][2], synthetic_faces, BACKBONE, 4, [0]
    )
    assert {run_name(recipe, synthetic_faces, None) for recipe in both.values()} < names
    assert both == two


def test_ivsa_rows_are_trained_from_pixels_and_read_by_ten_crops(synthetic_faces, tmp_path):
    small = {"widths": [4, 4, 8, 8], "hidden": 8, "batch_size": 32}
    rows = {row.name: row for row in paper_tables.TABLES["ivsa-table3"]}
    runs = {}
    for name in ("plain", "sab"):
        recipes = paper_tables.row_recipes("ivsa-table3", rows[name], synthetic_faces, BACKBONE, 1, [0], small)
        (recipe,) = recipes.values()
        assert (recipe.optimizer, recipe.schedule, recipe.lr) == ("sgd", "plateau", 0.01)  # the paper's
        assert run_name(recipe, synthetic_faces, __file__) == run_name(
            recipe, synthetic_faces, None
        )  # it has no backbone
        runs[name] = {(0, "model"): runner.watched_run(recipe, synthetic_faces, tmp_path / name)}
    run = runs["sab"][0, "model"]
    assert (run.predicted["test", "single"] == run.predicted["test", "sorted 16"]).all()
    found = predict_dataset(load_model(tmp_path / "sab" / "best"), synthetic_faces.split("test"), ten_crop=True)
    assert (run.ten_crops == found.argmax(axis=1)).all()
    row = paper_tables.judge("ivsa-table3", runs, synthetic_faces, resamples=20)[1]
    assert row["ten crops"]["metrics"]["accuracy"]["value"] == (run.ten_crops == run.labels["test"]).mean()
    assert row["paper"]["fer2013 accuracy"] == 72.44


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "googlenet", "inception_v3"])
def test_general_networks_see_what_ivsa_sees(name, synthetic_faces):
    own, ivsa = RECIPES[name], RECIPES["ivsa"]
    assert replace(own, config=ivsa.config) == ivsa
    assert (own.config.input_size, own.config.downscale_to, own.config.centre_crop) == (40, 48, True)
    assert own.config.backbone == name


def test_what_was_set_is_in_every_row_of_ivsa(synthetic_faces):
    said = {"widths": [4, 4, 8, 8], "hidden": 8, "kernel": 3, "dropout": 0.25}
    for row in paper_tables.TABLES["ivsa-table3"]:
        (recipe,) = paper_tables.row_recipes("ivsa-table3", row, synthetic_faces, BACKBONE, 1, [0], said).values()
        config = recipe.config
        assert (config.widths, config.hidden, config.kernel, config.dropout) == ((4, 4, 8, 8), 8, 3, 0.25), row.name


def test_a_row_that_the_paper_has_not_shows_no_step():
    rows = [{"row": "a", "paper": None}, {"row": "b", "paper": 0.8, "minus_previous_value": -0.1}]
    table = pd.DataFrame(rows).assign(metric="accuracy", protocol="alone", minus_previous_low=-0.15)
    assert paper_tables.pattern(table.assign(minus_previous_high=-0.05)).empty


def test_a_table_without_printed_figures_shows_no_step():
    """`pattlite-attention`, whose paper is not one of ours, and a table of one row."""
    found = {"metrics": {key: {"value": 0.5} for key in METRICS}, "seeds": {"0": {}}}
    step = {"minus_previous": {key: {"value": 0.1, "low": 0.05, "high": 0.15} for key in METRICS}}
    rows = [{"name": "no attention", "paper": {}, "alone": found}, {"name": "b", "paper": {}, "alone": found | step}]
    for count in (1, 2):
        entry = {"table": "pattlite-attention", "data": "x", "backbone": {"name": "b"}, "rows": rows[:count]}
        assert paper_tables.pattern(paper_tables.paper_table([entry])).empty


def test_a_step_appears_where_its_interval_lies_on_the_papers_side():
    rows = [
        ("a", "alone", 0.7, None, None, None), ("b", "alone", 0.8, 0.1, 0.05, 0.15),
        ("c", "alone", 0.9, 0.0, -0.01, 0.02),
        ("b", "published", 0.8, -0.1, -0.15, -0.05), ("d", "published", 0.6, -0.3, -0.4, -0.2),
    ]  # fmt: skip
    names = ("row", "protocol", "paper", "minus_previous_value", "minus_previous_low", "minus_previous_high")
    table = pd.DataFrame([dict(zip(names, row, strict=True)) | {"metric": "accuracy"} for row in rows])
    found = paper_tables.pattern(table)
    assert found["step"].tolist() == ["a → b", "b → c", "a → b", "c → d"]
    assert found["appears"].tolist() == ["yes", "not told apart", "reversed", "yes"]
    assert found["paper"].tolist() == pytest.approx([10, 10, 10, -30])
