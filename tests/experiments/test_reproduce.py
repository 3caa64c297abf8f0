"""`ferlib reproduce`: every table from the command line, refused at once where it cannot work."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rival_entries import entry

from ferlib.cli import build_parser, main, reproduce
from ferlib.errors import UserError
from ferlib.experiments import paper_tables, protocols, rivals, runner
from ferlib.experiments.reproduce import QUICK_FACES, check_kept, check_study, quick
from ferlib.experiments.runner import BackboneChoice, subsampled
from ferlib.experiments.study import Study
from ferlib.experiments.tables import TABLES

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
STANDS_ON = BackboneChoice("tf_efficientnet_lite0", 2, 32).to_json()
SHORT = ["--epochs", "1", "--seeds", "0", "--train-faces", "64"]
pytestmark = pytest.mark.filterwarnings("ignore:batch attention mixes")


def command(table, folder, *more):
    """Words of a short study on drawn faces, results and runs below the folder."""
    own = ["--data", "synthetic", "--out", str(folder / "out.json"), "--work", str(folder / "runs")]
    return ["reproduce", table, *own, *([] if table.startswith("ivsa") else SMALL), *SHORT, *more]


def test_the_command_offers_every_table():
    assert tuple(TABLES) == reproduce.NAMES


def test_a_table_is_trained_once_and_read_afterwards(few_faces, tmp_path, monkeypatch):
    assert main(command("convcut-table3", tmp_path)) == 0
    entry = json.loads((tmp_path / "out.json").read_text())["entries"][0]
    assert entry["faces"]["train"] == 64 and entry["seeds"] == [0]
    assert "reproduce convcut-table3 --data synthetic" in entry["command"] and "--train-faces 64" in entry["command"]
    assert str(tmp_path) not in (tmp_path / "out.json").read_text()
    table = pd.read_csv(tmp_path / "out.csv")
    assert set(table["protocol"]) == {"published", "alone", "honest"}
    assert table.query("row == 'one layer' and metric == 'macro_f1'")["paper"].tolist() == [0.8684] * 2

    monkeypatch.setattr(runner, "fit", None)  # nothing is left to train
    assert main(command("convcut-table3", tmp_path)) == 0
    assert len(json.loads((tmp_path / "out.json").read_text())["entries"]) == 1


def test_protocols_and_purity_share_their_runs_and_a_file(few_faces, tmp_path, capsys):
    assert main(command("protocols", tmp_path)) == 0
    assert "On synthetic the same pattlite networks on " in capsys.readouterr().out
    assert main(command("purity", tmp_path)) == 0
    convcut, pattlite, purity = json.loads((tmp_path / "out.json").read_text())["entries"]
    assert (convcut["model"], pattlite["model"], purity["table"]) == ("convcut", "pattlite", "purity")
    assert len(convcut["protocols"]) == 6 and len(convcut["references"]) == 7
    runs = [path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()]
    assert len(runs) == 5 + 3 + 1  # Conv-cut's networks, PAtt-Lite's, and the one that random labels are given
    table = pd.read_csv(tmp_path / "out.csv")
    assert table.groupby("table").size().to_dict() == {"protocols": (13 + 9) * 3, "purity": 16}
    assert table.query("table == 'purity'")["on_class"].iloc[-1] == pytest.approx(1)

    another = convcut | {"backbone": convcut["backbone"] | {"keep_stages": 3}}
    (tmp_path / "out.json").write_text(json.dumps({"entries": [convcut | {"commit": "old"}, another]}))
    assert main(command("protocols", tmp_path)) == 0  # the same entry again takes its old place
    assert json.loads((tmp_path / "out.json").read_text())["entries"] == [convcut, another, pattlite]


def test_ckplus_is_split_by_subject_and_at_random(few_faces, tmp_path):
    sizes = ["--set", "widths=[4,4,8,8]", "hidden=8"]
    assert main(command("ivsa-table2", tmp_path, *sizes, "--rows", "IVSA")) == 0
    by_subject, at_random = json.loads((tmp_path / "out.json").read_text())["entries"]
    assert (by_subject["data"], at_random["data"]) == ("synthetic", "synthetic_random_split")
    assert [row["name"] for row in by_subject["rows"]] == ["IVSA"]
    assert by_subject["recipe"]["config"]["widths"] == [4, 4, 8, 8] and by_subject["recipe"]["schedule"] == "plateau"


def test_general_networks_are_trained_from_scratch_like_ivsa(synthetic_faces, tmp_path, monkeypatch):
    """Though the weights of other tables' backbones are asked for."""
    weights = []
    monkeypatch.setattr("ferlib.experiments.study.watched_runs", lambda *given: weights.append(given[3]) or [None] * 2)
    study = Study(BackboneChoice("convnext_base", 3, 224, "imagenet"), 1, [0, 1], tmp_path, judges=False)
    assert list(TABLES["ivsa-table1"].make(study, synthetic_faces)) == [] and weights == [None] * 6
    list(TABLES["convcut-table3"].make(replace(study, seeds=[0, 1], rows=["one layer"]), synthetic_faces))
    assert weights[6:] == ["imagenet"]


def test_helpers_train_and_one_process_writes(few_faces, tmp_path):
    assert main(command("pattlite-attention", tmp_path, "--processes", "2")) == 0
    together = json.loads((tmp_path / "out.json").read_text())["entries"][0]
    (tmp_path / "alone").mkdir()
    assert main(command("pattlite-attention", tmp_path / "alone")) == 0
    alone = json.loads((tmp_path / "alone" / "out.json").read_text())["entries"][0]
    assert together == alone


def test_a_helper_makes_no_table(few_faces, tmp_path, monkeypatch):
    for judge in (paper_tables.table_entry, rivals.compare_rivals, protocols.protocols_entry):
        monkeypatch.setattr(f"{judge.__module__}.{judge.__name__}", None)  # calling it would be a TypeError
    for table, more in (("convcut-table3", ["--rows", "one layer"]), ("methods-frozen", ["--rows", "mixup"])):
        assert main(command(table, tmp_path, "--only-train", *more)) == 0
    assert not (tmp_path / "out.json").exists()
    assert len([path for path in (tmp_path / "runs").iterdir() if path.is_dir()]) == 3


def face_folder(root, synthetic_faces, *splits):
    """Twelve synthetic faces a split as pictures in DIR/<split>/<class>/."""
    for split in splits:
        for row in synthetic_faces.split(split).frame.groupby("label").head(2).itertuples():
            folder = root / split / synthetic_faces.classes[row.label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(synthetic_faces.pixels[row.Index, 0].numpy()).save(folder / f"{row.Index}.png")
    return root


@pytest.mark.parametrize("content", ["", "[]", '{"entries": 3}', '{"entries": [{"data": "synthetic"}]}', None])
def test_a_results_file_that_cannot_be_used_is_refused_before_training(
    content, few_faces, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(runner, "fit", None)  # calling it would be a TypeError
    out = tmp_path / "out.json"
    out.mkdir() if content is None else out.write_text(content)
    assert main(command("protocols", tmp_path)) == 1
    message = capsys.readouterr().err
    assert "not a results file of this command" in message or "is a folder" in message
    assert content is None or out.read_text() == content


@pytest.mark.parametrize(
    ("table", "more", "message"),
    [
        ("protocols", ["--data", "rafdb"], "rafdb was not found"),
        ("ivsa-table2", ["--data", "ckplus"], "ckplus was not found"),
        ("convcut-table2", ["--out", "table.csv"], "the results are JSON"),
        ("convcut-table3", ["--rows", "nine layers"], "has no row nine layers"),
        ("all", ["--rows", "both"], "--rows is for one table"),
        ("all", ["--more-seeds", "3"], "--more-seeds is for one table"),
        ("protocols", ["--more-seeds", "3"], "protocols has no rows that validation ranks"),
        ("methods", ["--more-seeds", "-1"], "seed must be at least 0"),
        ("all", ["--flipped", "0.3"], "--flipped is for one table"),
        ("methods", ["--flipped", "0.3"], "methods flips no labels"),
        ("methods-noise", ["--rows", "mixup", "--set", "targets=soft"], "its rows learn from the flipped labels"),
        ("protocols", ["--backbone-weights", "nowhere.safetensors"], "nowhere.safetensors"),
        ("protocols", ["--set", "colour=red"], "no setting colour"),
        ("protocols", ["--processes", "0"], "--processes must be at least 1"),
        ("protocols", ["--set", "seed=7"], "seed cannot be set for a table: its runs have those of --seeds"),
        ("methods", ["--set", "epochs=5"], "epochs cannot be set for a table: they are those of --epochs"),
        ("protocols", ["--set", "detail_layers=1"], "no setting detail_layers"),  # PAtt-Lite's networks
        ("convcut-table2", ["--set", "bottleneck=16"], "bottleneck"),  # not with attention within a face
        (
            "purity",
            ["--set", "flip_tta=true"],
            "flip_tta cannot be set for a table: networks are asked for the features of one side",
        ),
        ("ivsa-table1", ["--backbone", "resnet18"], "--backbone is not for ivsa-table1: its networks are its own"),
        ("ivsa-table1", ["--set", "kernel=3"], "kernel cannot be set for VGG"),
        ("ivsa-table3", ["--set", "block=sab"], "block cannot be set for a table: its rows are told apart by it"),
        ("ivsa-table3", ["--set", "gamma=both"], "gamma cannot be set for a table: its rows are told apart by it"),
        ("methods", ["--set", "method=scn"], "method cannot be set for a table: its rows are told apart by it"),
        ("methods", ["--set", "sam_rho=0.05"], "sam_rho cannot be set for a table: its rows are told apart by it"),
        ("methods", ["--set", "freeze_backbone=true"], "methods trains the backbone, methods-frozen does not"),
        ("convcut-table2", ["--set", "attention=none"], "attention cannot be set for a table: its rows are told apart"),
        ("convcut-table3", ["--set", "detail_layers=1"], "detail_layers cannot be set for a table: its rows are told"),
        ("convcut-backbone", ["--set", "keep_stages=2"], "keep_stages cannot be set for a table: its rows are told"),
        ("protocols", ["--set", "attention=none"], "attention cannot be set for a table: its rows are told apart"),
        ("protocols", ["--set", "protocol=published"], "protocol cannot be set for a table: it chooses its epochs"),
        ("protocols", ["--set", "backbone=resnet18"], "backbone cannot be set for a table: give --backbone"),
        ("methods", ["--set", "keep_stages=3"], "keep_stages cannot be set for a table: give --keep-stages"),
        ("purity", ["--set", "input_size=64"], "input_size cannot be set for a table: give --input-size"),
        ("methods", ["--set", "architecture=convcut"], "architecture cannot be set for a table: the networks are its"),
        ("methods", ["--train-faces", "6"], "mek goes by class sizes, but synthetic has no training faces of"),
        ("methods", ["--rows", "QCS", "--train-faces", "22"], "there is a single training face of"),
        ("methods", ["--rows", "label bank", "--train-faces", "6"], "neighbour_labels needs 9 faces in a batch"),
        ("convcut-table3", ["--set", "method=weights", "--train-faces", "4"], "weights goes by class sizes"),
    ],
)
def test_what_cannot_work_is_refused_before_training(table, more, message, few_faces, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runner, "fit", None)
    monkeypatch.setenv("FERLIB_DATA", str(tmp_path))
    assert main(command(table, tmp_path, *more)) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("table", "more"),
    [
        ("methods", {}),
        ("methods-frozen-noise", {}),
        ("protocols", {"dropout": 0.3, "method": "weights"}),
        ("convcut-table2", {"dropout": 0.3}),
        ("ivsa-table1", {"dropout": 0.3, "input_size": 32}),
    ],
)
def test_settings_that_all_rows_share_may_be_set(table, more, synthetic_faces, tmp_path):
    settings = {"mean": [0.5] * 3, "std": [0.25] * 3, "lr": 0.01, "precision": "float32", **more}
    study = Study(BackboneChoice("test_convnext", 2, 32), 1, [0], tmp_path, settings=settings)
    check_study(TABLES[table], study, synthetic_faces)


def test_an_entry_does_not_give_way_to_one_that_has_less(synthetic_faces, tmp_path):
    out = tmp_path / "out.json"
    whole, part = entry("methods", "synthetic"), entry("methods", "synthetic", rows=("plain", "SCN"))
    for one in (whole, part):
        reproduce._merge(out, one)
    assert json.loads(out.read_text())["entries"] == [whole]
    more = entry("methods", "synthetic", plain=0.9)
    for one in (part | {"table": "methods-frozen"}, entry("methods", "synthetic", epochs=3), more):
        reproduce._merge(out, one)
    assert json.loads(out.read_text())["entries"] == [more, part | {"table": "methods-frozen"}]

    there = whole | {"backbone": BackboneChoice("test_convnext", 2, 32).to_json()}
    study = Study(BackboneChoice("test_convnext", 2, 32), 1, [0, 1, 2], tmp_path)
    check_kept([there], TABLES["methods"], study, synthetic_faces)
    for less, missing in (({"seeds": [0, 1]}, "the row DDAMFN, seed 2"), ({"rows": ["SCN"]}, "the row DDAMFN, seed 0")):
        smaller = replace(study, **less)
        with pytest.raises(UserError, match=f"the results file has methods of synthetic with {missing}"):
            check_kept([there], TABLES["methods"], smaller, synthetic_faces)
        check_kept([there], TABLES["methods-frozen"], smaller, synthetic_faces)  # another table
        check_kept([there | {"data": "ferplus"}], TABLES["methods"], smaller, synthetic_faces)
        check_kept([whole], TABLES["methods"], smaller, synthetic_faces)  # another backbone
    flipped = there | {"table": "methods-noise", "data": "synthetic_20_percent_flipped"}
    with pytest.raises(UserError, match="the row DDAMFN, seed 0"):
        check_kept([flipped], TABLES["methods-noise"], replace(study, rows=["SCN"]), synthetic_faces)
    seeds = {"table": "protocols", "data": "synthetic", "backbone": there["backbone"], "seeds": [0, 7]}
    with pytest.raises(UserError, match="the results file has protocols of synthetic with seed 7, which this command"):
        check_kept([seeds], TABLES["protocols"], study, synthetic_faces)


def test_more_seeds_are_kept_whichever_rows_were_best(synthetic_faces, tmp_path):
    names = ("plain", "SCN", "mixup", "DDAMFN")

    def made(seeds, more, best):
        one = entry("methods", "synthetic", rows=names) | {"seeds": seeds, "backbone": stands_on.to_json()}
        for row in one["rows"]:
            row["seeds"] = {str(seed): {} for seed in (*seeds, *(more if row["name"] in ("plain", best) else ()))}
        return one

    stands_on = BackboneChoice("test_convnext", 2, 32)
    first, second = made([0], [3, 4], "SCN"), made([0, 1, 2], [3, 4], "mixup")
    study = Study(stands_on, 1, [0, 1, 2], tmp_path)
    with pytest.raises(UserError, match="the row best on validation, seed 3, which this command leaves out"):
        check_kept([first], TABLES["methods"], study, synthetic_faces)
    for enough in ({"more_seeds": [3, 4]}, {"seeds": [0, 1, 2, 3, 4]}):
        check_kept([first], TABLES["methods"], replace(study, **enough), synthetic_faces)
    out = tmp_path / "out.json"
    for one, kept in ((first, first), (made([0, 1, 2], [], ""), first), (second, second), (first, second)):
        reproduce._merge(out, one)
        assert json.loads(out.read_text())["entries"] == [kept]


def test_a_command_that_would_lose_rows_is_refused_before_training(few_faces, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runner, "fit", None)
    there = {"table": "convcut-table3", "data": "synthetic", "backbone": STANDS_ON, "seeds": [0]}
    rows = [{"name": name, "paper": {}} for name in ("one layer", "two layers")]
    (tmp_path / "out.json").write_text(json.dumps({"entries": [there | {"rows": rows}]}))
    assert main(command("convcut-table3", tmp_path, "--rows", "one layer")) == 1
    assert "with the row two layers, seed 0, which this command leaves out" in capsys.readouterr().err


def test_of_all_tables_those_without_data_are_named(few_faces, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FERLIB_DATA", str(tmp_path))
    options = build_parser().parse_args(["reproduce", "all", "--out", str(tmp_path / "out.json")])
    assert list(reproduce._data(options, 64)) == []
    said = capsys.readouterr().err
    assert all(f"{name} is left out: {TABLES[name].data} was not found" in said for name in TABLES)


def test_data_without_a_test_split_is_refused_before_training(synthetic_faces, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runner, "fit", None)
    root = face_folder(tmp_path / "faces", synthetic_faces, "train", "validation")
    assert main(command("protocols", tmp_path, "--data", "folder", "--root", str(root))) == 1
    assert "has no test faces" in capsys.readouterr().err


def test_the_noted_command_says_how_the_data_were_read():
    given = ["reproduce", "protocols", "--data", "folder", "--root", "/somewhere"]
    given += ["--seeds", "0", "--more-seeds", "3", "4"]
    given += ["--labels", "suprise=surprise", "--skip-broken", "--backbone-weights", "/somewhere/face.safetensors"]
    noted = reproduce._command(build_parser().parse_args([*given, "--out", "x.json"]), TABLES["protocols"], "folder")
    assert "--labels suprise=surprise --skip-broken" in noted and "/somewhere" not in noted
    assert "--backbone-weights face.safetensors" in noted and "--seeds 0 --more-seeds 3 4" in noted


def test_a_table_with_flipped_labels_may_have_other_fractions(few_faces, tmp_path, capsys):
    out = tmp_path / "out.json"
    given = ["reproduce", "methods-frozen-noise", "--quick", "--out", str(out)]
    assert main([*given, "--flipped", "0.25"]) == 0
    (entry,) = json.loads(out.read_text())["entries"]
    assert entry["data"] == "synthetic_25_percent_flipped" and "--flipped 0.25" in entry["command"]
    for wrong in ("0", "1.5"):
        assert main([*given, "--flipped", wrong]) == 1
        assert "must be above 0 and at most 1" in capsys.readouterr().err


def test_a_quick_study_is_small_where_nothing_else_was_said(synthetic_faces):
    def study(*given: str) -> Study:
        words = ["reproduce", "protocols", "--quick", "--out", "x.json", *given]
        return quick(reproduce._study(build_parser().parse_args(words)), TABLES["protocols"], synthetic_faces)

    usual, own = study(), study("--epochs", "2", "--train-faces", "40", "--seeds", "5")
    assert (usual.epochs, usual.train_faces, usual.seeds) == (1, QUICK_FACES, [0])
    assert (own.epochs, own.train_faces, own.seeds) == (2, 40, [5])


def test_a_quick_study_keeps_no_runs(few_faces, tmp_path, monkeypatch):
    """They would be shown again after a change of the code, of which no run's name tells."""
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "convcut-table3", "--quick", "--rows", "one layer", "--out", "x.json"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.csv", "x.json"]


def test_a_quick_study_has_two_faces_of_every_class(synthetic_faces, monkeypatch):
    """Where the data have them; a class with one face gets that one."""
    monkeypatch.setattr("ferlib.experiments.reproduce.QUICK_FACES", 4)
    rare = (synthetic_faces.frame["split"] == "train") & (synthetic_faces.frame["label"] == 5)
    single = synthetic_faces.subset(~(rare & (rare.cumsum() > 1)).to_numpy())
    study = Study(BackboneChoice("test_convnext", 2, 32), None, [0], Path("runs"))
    for data, least in ((synthetic_faces, 2), (single, 1)):
        drawn = subsampled(data, quick(study, TABLES["methods"], data).train_faces).split("train").labels().numpy()
        counts = np.bincount(drawn, minlength=7)
        assert counts[5] >= least and np.delete(counts, 5).min() >= 2 and len(drawn) < 10**3


@pytest.mark.slow
def test_everything_at_once_on_drawn_faces(tmp_path, capsys):
    """As in the README: every table, small; drawn faces have been labelled by nobody else."""
    out = tmp_path / "quick.json"
    assert main(["reproduce", "all", "--quick", "--out", str(out), "--work", str(tmp_path / "runs")]) == 0
    table = pd.read_csv(out.with_suffix(".csv"))
    assert set(table["table"]) == set(TABLES) - {"annotators"}
    assert "annotators is left out: synthetic has labels of no second annotator" in capsys.readouterr().err
    assert np.isfinite(table["value"]).all() and table["value"].between(0, 1).all()
