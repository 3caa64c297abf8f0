"""The ablation tables: rows, protocols and the paper's figures, and both study commands on synthetic faces."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ferlib.cli import build_parser, main, studies
from ferlib.experiments import ablation, runner
from ferlib.experiments.prediction_logger import BATCHINGS, SINGLE, SORTED, WatchedRun
from ferlib.experiments.protocols import ladder_recipes
from ferlib.experiments.published import read_published
from ferlib.experiments.runner import Backbone, run_name

TRUNK = Backbone("tf_efficientnet_lite0", 2, 32)


def made_up(faces, seed, share):
    """A run whose class-sorted test figures are far better than those of faces alone."""
    rng, labels, predicted = np.random.default_rng(seed), {}, {}
    for split in ("validation", "test"):
        labels[split] = faces.split(split).frame["label"].to_numpy()
        for batching in BATCHINGS:
            level = share + 0.2 * (batching.batch_order == "sorted") + 0.02 * np.arange(3)[:, None]
            hit = rng.random((3, len(labels[split]))) < level
            predicted[split, str(batching)] = np.where(hit, labels[split], 6 - labels[split]).astype(np.uint8)
    return WatchedRun(pd.DataFrame(), predicted, labels)


def test_rows_under_both_protocols_beside_the_paper(synthetic_faces):
    table, seeds = "convcut-attention", (0, 1)
    runs = {
        row.name: {
            (seed, reading): made_up(synthetic_faces, 10 * i + seed, 0.1 * i + 0.2)
            for seed in seeds
            for reading in ("model", "within")[: 1 + bool(row.within)]
        }
        for i, row in enumerate(ablation.TABLES[table])
    }
    rows = ablation.judge(table, runs, synthetic_faces, resamples=50)
    assert [row["name"] for row in rows] == ["neither", "attention", "detail extraction", "both"]
    for i, row in enumerate(rows):
        for protocol, batching, split in (("published", SORTED, "test"), ("alone", SINGLE, "validation")):
            expected = []
            for seed in seeds:
                run = runs[row["name"]][seed, "model"]
                chosen = [(guess == run.labels[split]).mean() for guess in run.predicted[split, str(batching)]]
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
    fewer = ablation.judge(table, runs, synthetic_faces, resamples=50)[-1]
    assert list(fewer["honest"]["seeds"]) == ["0"] and list(fewer["published"]["seeds"]) == ["0", "1"]
    assert fewer["honest"]["seeds"]["0"] == rows[-1]["honest"]["seeds"]["0"]
    assert [row["paper"]["ferplus accuracy"] for row in rows] == [75.71, 78.31, 82.46, 95.69]


@pytest.mark.parametrize("table", ablation.PUBLISHED)
def test_the_papers_rows_are_ours(table):
    published = read_published(ablation.PUBLISHED[table])
    assert list(dict.fromkeys(published["model"])) == [row.name for row in ablation.TABLES[table]]


def test_the_papers_figure_is_for_the_same_data_or_else_for_rafdb():
    paper = {"rafdb accuracy": 97.33, "ferplus accuracy": 95.69}
    assert ablation.beside(paper, "ferplus", "accuracy") == {
        "paper": pytest.approx(0.9569),
        "paper_data": "ferplus",
    }
    assert ablation.beside(paper, "facial_expressions", "accuracy") == {
        "paper": pytest.approx(0.9733),
        "paper_data": "rafdb",
    }
    assert ablation.beside(paper, "ferplus", "macro_f1") == {}


@pytest.mark.parametrize("table", ablation.TABLES)
def test_every_row_can_be_built_and_rows_differ(table, synthetic_faces):
    configs = []
    for row in ablation.TABLES[table]:
        recipes = ablation.row_recipes(table, row, synthetic_faces, TRUNK, 1, [0])
        assert set(recipes) == {(0, "model")} | ({(0, "within")} if row.within else set())
        for recipe in recipes.values():
            assert runner.build_model(recipe.config).config == recipe.config
            assert recipe.config.classes == synthetic_faces.classes
            configs.append(recipe.config)
    assert len(set(configs)) == len(configs)


def test_the_tables_share_their_runs_with_the_ladder(synthetic_faces):
    ladder = ladder_recipes("convcut", synthetic_faces, TRUNK, 4, [0])
    rungs = {run_name(recipe, synthetic_faces, None) for recipe in ladder.values()}
    both = ablation.row_recipes(
        "convcut-attention", ablation.TABLES["convcut-attention"][3], synthetic_faces, TRUNK, 4, [0]
    )
    two = ablation.row_recipes("convcut-layers", ablation.TABLES["convcut-layers"][2], synthetic_faces, TRUNK, 4, [0])
    assert {run_name(recipe, synthetic_faces, None) for recipe in both.values()} < rungs
    assert both == two


def test_the_command_offers_every_table(capsys):
    with pytest.raises(SystemExit):
        main(["ablate", "--help"])
    assert "{" + ",".join(ablation.TABLES) + "}" in capsys.readouterr().out.replace("\n", "").replace(" ", "")


SMALL = [
    "--backbone",
    "tf_efficientnet_lite0",
    "--backbone-weights",
    "none",
    "--keep-stages",
    "2",
    "--input-size",
    "32",
]
SHORT = ["--epochs", "1", "--seeds", "0", "--train-faces", "64"]


@pytest.mark.filterwarnings("ignore:batch attention mixes")
def test_ablate_command_runs_once_and_reads_afterwards(few_faces, tmp_path, capsys, monkeypatch):
    out = tmp_path / "ablation.json"
    command = ["ablate", "convcut-layers", "--data", "synthetic", "--out", str(out), "--work", str(tmp_path / "runs")]
    assert main([*command, *SMALL, *SHORT]) == 0
    entry = json.loads(out.read_text())["entries"][0]
    assert entry["faces"]["train"] == 64 and entry["seeds"] == [0]
    assert "--train-faces 64" in entry["command"] and str(tmp_path) not in out.read_text()
    table = pd.read_csv(out.with_suffix(".csv"))
    assert set(table["protocol"]) == {"published", "alone", "honest"}
    assert table.query("row == 'one layer' and metric == 'macro_f1'")["paper"].tolist() == [0.8684] * 2
    assert "two layers" in capsys.readouterr().out

    monkeypatch.setattr(runner, "fit", None)  # nothing is left to train
    assert main([*command, *SMALL, *SHORT, "--within-seeds", "0"]) == 0
    assert len(json.loads(out.read_text())["entries"]) == 1
    assert main([*command, *SMALL, *SHORT, "--rows", "nine layers"]) == 1
    assert "has no row nine layers" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:batch attention mixes")
def test_ladder_command(few_faces, tmp_path, capsys):
    out = tmp_path / "ladder.json"
    command = ["ladder", "--data", "synthetic", "--models", "pattlite", "--networks", "batch", "token"]
    command += ["--out", str(out), "--work", str(tmp_path / "runs"), *SMALL, *SHORT]
    assert main(command) == 0
    assert "On synthetic the same pattlite networks score" in capsys.readouterr().out
    (entry,) = json.loads(out.read_text())["entries"]
    assert len(entry["rungs"]) == 6 and [mark["name"] for mark in entry["marks"]] == [
        "published protocol, batches of 64"
    ]
    assert len(pd.read_csv(out.with_suffix(".csv"))) == 7 * 3

    another = entry | {"backbone": entry["backbone"] | {"keep_stages": 3}}
    out.write_text(json.dumps({"entries": [entry | {"seeds": [9]}, another]}))
    assert main(command) == 0  # the same ladder again takes its old place
    assert json.loads(out.read_text())["entries"] == [entry, another]


def test_ivsa_rows_are_trained_from_pixels(synthetic_faces, tmp_path):
    row = ablation.TABLES["ivsa-attention"][2]
    recipe = ablation.row_recipes("ivsa-attention", row, synthetic_faces, TRUNK, 1, [0])[0, "model"]
    small = recipe.override({"widths": (4, 4, 8, 8), "hidden": 8, "batch_size": 32})
    run = runner.watched_run(small, synthetic_faces, tmp_path)
    assert (run.predicted["test", "single"] == run.predicted["test", "sorted 16"]).all()
    assert recipe.config.widths == (16, 32, 64, 128) and recipe.schedule == "onecycle"
    assert run_name(recipe, synthetic_faces, "backbone.safetensors") == run_name(
        recipe, synthetic_faces, None
    )  # it has no backbone


def face_folder(root, synthetic_faces, *splits):
    """Twelve synthetic faces a split as pictures in DIR/<split>/<class>/."""
    for split in splits:
        for row in synthetic_faces.split(split).frame.groupby("label").head(2).itertuples():
            folder = root / split / synthetic_faces.classes[row.label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(synthetic_faces.pixels[row.Index, 0].numpy()).save(folder / f"{row.Index}.png")
    return root


LADDER, TABLE = ["ladder", "--data", "synthetic"], ["ablate", "convcut-layers", "--data", "synthetic"]


@pytest.mark.parametrize("command", [LADDER, TABLE])
@pytest.mark.parametrize("content", ["", "[]", '{"entries": 3}', '{"entries": [{"data": "synthetic"}]}', None])
def test_a_results_file_that_cannot_be_used_is_refused_before_training(
    command, content, few_faces, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(runner, "fit", None)  # calling it would be a TypeError
    out = tmp_path / "kept.json"
    out.mkdir() if content is None else out.write_text(content)
    assert main([*command, "--out", str(out), "--work", str(tmp_path / "runs"), *SMALL, *SHORT]) == 1
    message = capsys.readouterr().err
    assert "not a results file of this command" in message or "Is a directory" in message
    assert content is None or out.read_text() == content


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([*LADDER, "--networks", "batch"], "a ladder needs the network token too"),
        ([*LADDER, "--networks", "batch", "token", "nosuch"], "convcut has no network nosuch"),
        ([*LADDER, "--models", "pattlite", "--networks", "batch", "token", "code"], "pattlite has no network code"),
        ([*LADDER, "rafdb"], "rafdb was not found"),
        ([*TABLE, "--within-seeds", "7"], "--within-seeds has 7"),
        ([*TABLE, "--out", "table.csv"], "the results are JSON"),
    ],
)
def test_what_cannot_work_is_refused_before_training(command, message, few_faces, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runner, "fit", None)
    monkeypatch.setenv("FERLIB_DATA", str(tmp_path))
    rest = ["--work", str(tmp_path / "runs"), *SMALL, *SHORT]
    assert main([command[0], "--out", str(tmp_path / "out.json"), *command[1:], *rest]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_data_without_a_test_split_is_refused_before_training(synthetic_faces, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runner, "fit", None)
    root = face_folder(tmp_path / "faces", synthetic_faces, "train", "validation")
    command = ["ladder", "--data", "folder", "--root", str(root), "--out", str(tmp_path / "out.json")]
    assert main([*command, "--work", str(tmp_path / "runs"), *SMALL, *SHORT]) == 1
    assert "has no test faces" in capsys.readouterr().err


def test_the_noted_command_says_how_the_data_were_read():
    given = ["ladder", "--data", "folder", "--root", "/somewhere", "--labels", "suprise=surprise", "--skip-broken"]
    noted = studies._command(build_parser().parse_args([*given, "--out", "x.json"]), "ladder", "--data", "folder")
    assert "--labels suprise=surprise --skip-broken" in noted and "/somewhere" not in noted
