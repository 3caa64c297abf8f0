"""Two annotators of the same faces: every figure against a recomputation from the kept networks and the labels."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from ferlib.cli import build_parser, main, reproduce
from ferlib.data.dataset import DataError, FaceDataset
from ferlib.evaluation.kept_epoch import best_epoch
from ferlib.experiments import annotators, runner
from ferlib.experiments.reproduce import check_study
from ferlib.experiments.runner import BackboneChoice
from ferlib.experiments.study import Study
from ferlib.experiments.tables import TABLES
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import load_model
from ferlib.training.batch_sources import uses_cache

BACKBONE, SEEDS = BackboneChoice("test_convnext", 2, 32), (0, 1)
THEIRS = ("fear", "awe", "anger", "neutral", "happiness", "surprise", "sadness")  # no disgust, and one not ours
NAMES = [row.name for row in annotators.ROWS]


@pytest.fixture(scope="module")
def twice(synthetic_faces):
    """Synthetic faces with ten votes each, and a second annotator who now and then says something else, or nothing."""
    rng, own = np.random.default_rng(0), synthetic_faces.labels().numpy()
    classes = synthetic_faces.classes
    said = np.array([THEIRS.index(classes[label]) if classes[label] in THEIRS else 1 for label in own])
    noisy = rng.random(len(own)) < 0.3
    said = np.where(noisy, rng.integers(len(THEIRS), size=len(own)), said)
    said[rng.random(len(own)) < 0.1] = -1
    votes = rng.multinomial(3, np.full(len(classes), 1 / len(classes)), size=len(own))
    votes[np.arange(len(own)), own] += 7
    columns = {f"votes_{name}": votes[:, place] for place, name in enumerate(classes)}
    frame = synthetic_faces.frame.assign(**columns, annotator_second=pd.Categorical.from_codes(said, THEIRS))
    return FaceDataset("twice", classes, frame, synthetic_faces.pixels)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("annotators")


@pytest.fixture(scope="module")
def entry(twice, work):
    settings = {"batch_size": 16, "precision": "float32", "width": 16, "lr": 0.01}
    study = Study(BACKBONE, 3, list(SEEDS), work, settings=settings)
    check_study(TABLES["annotators"], study, twice)
    (made,) = TABLES["annotators"].make(study, twice)
    return json.loads(json.dumps(made))


@pytest.fixture(scope="module")
def folders(entry, work):
    """Name of a row -> seed -> folder of its run, found by what the folder's own files say."""
    found = {name: {} for name in NAMES}
    for path in work.glob("*/recipe.json"):
        recipe = json.loads(path.read_text())
        data = json.loads((path.parent / "environment.json").read_text())[0]["data"]["name"]
        named = {
            ("plain", "twice"): annotators.OWN,
            ("plain", "twice_labelled_by_second"): annotators.OTHER,
            ("soft_labels", "twice_and_second"): "both, half and half",
        }
        if recipe["method"] == "ltnet":
            row = "both, LTNet" if recipe["method_settings"]["other_annotators"] else "own, LTNet"
        else:
            row = named[recipe["method"], data]
        found[row][recipe["seed"]] = path.parent
    assert all(set(own) == set(SEEDS) for own in found.values())
    return found


def naive_second(data):
    """The second annotator's labels counted in the data's classes, face by face."""
    names = data.frame["annotator_second"]
    return np.array([data.classes.index(name) if name in data.classes else -1 for name in names])


def test_training_labels_are_those_of_the_row(twice):
    second, train = naive_second(twice), (twice.frame["split"] == "train").to_numpy()
    assert (second[train] == -1).any() and (second != twice.labels().numpy()).any()
    assert annotators.labelled_by(twice, "own") is twice

    other = annotators.labelled_by(twice, "other")
    assert other.split("train").labels().tolist() == second[train & (second >= 0)].tolist()
    kept = torch.tensor(np.flatnonzero(train & (second >= 0)))
    assert torch.equal(other.split("train").pixels, twice.pixels[kept])

    both = annotators.labelled_by(twice, "both")
    for own, theirs, soft in zip(
        twice.labels().numpy()[train], second[train], both.split("train").soft_labels(), strict=True
    ):
        expected = np.zeros(len(twice.classes))
        for label in [own] if theirs < 0 else [own, theirs]:
            expected[label] += 0.5 if theirs >= 0 else 1
        np.testing.assert_allclose(soft, expected)

    for relabelled in (other, both):
        assert relabelled.name != twice.name, "runs of different labels may not share a folder"
        for split in ("validation", "test"):
            assert relabelled.split(split).frame["label"].equals(twice.split(split).frame["label"])
            assert torch.equal(relabelled.split(split).soft_labels(), twice.split(split).soft_labels())


def test_all_rows_train_the_same_network_on_cached_features(twice):
    plain = annotators.row_recipes(annotators.ROWS[0], twice, BACKBONE, 6, SEEDS)
    assert uses_cache(plain[0].config, plain[0].augment) and plain[0].config.attention == "none"
    for row in annotators.ROWS:
        for seed, recipe in annotators.row_recipes(row, twice, BACKBONE, 6, SEEDS).items():
            differing = {key for key, value in recipe.to_json().items() if value != plain[seed].to_json()[key]}
            assert differing <= {"method", "method_settings"}, row.name
    assert [row.name for row in annotators.ROWS if row.learns_matrices] == ["both, LTNet", "own, LTNet"]


@torch.inference_mode()
def test_figures_are_those_of_the_kept_networks(entry, folders, twice):
    test = twice.split("test")
    truth, votes = test.labels().numpy(), test.frame[[f"votes_{name}" for name in test.classes]].to_numpy()
    assert [row["name"] for row in entry["rows"]] == NAMES
    for row in entry["rows"]:
        for seed in SEEDS:
            model = load_model(folders[row["name"]][seed] / "best").eval()
            called = model(Preprocess.of(model.config)(test.pixels)).argmax(dim=1).numpy()
            figures = row["seeds"][str(seed)]
            assert figures["accuracy"] == pytest.approx((called == truth).mean(), abs=1e-9)
            recalls = [(called[truth == c] == c).mean() for c in np.unique(truth)]
            assert figures["balanced_accuracy"] == pytest.approx(np.mean(recalls), abs=1e-9)
            share = [votes[face, answer] / votes[face].sum() for face, answer in enumerate(called)]
            assert figures["vote_share"] == pytest.approx(np.mean(share), abs=1e-6)
        for metric in annotators.SCORES:
            found, mean = row["metrics"][metric], np.mean([row["seeds"][str(s)][metric] for s in SEEDS])
            assert found["value"] == pytest.approx(mean) and found["low"] <= mean <= found["high"]


def test_the_epoch_is_the_best_by_macro_f1_on_the_own_validation_labels(entry, folders):
    for row in entry["rows"]:
        for seed, epoch in zip(SEEDS, row["best_epochs"], strict=True):
            history = pd.read_csv(folders[row["name"]][seed] / "history.csv")
            assert epoch == best_epoch(history, "macro_f1") + 1
            assert history["accuracy"].tolist() == pytest.approx(history["validation single"].tolist())


def test_differences_are_paired_by_seed(entry):
    own, *others = entry["rows"]
    assert "minus_own" not in own
    for row in others:
        for metric in annotators.SCORES:
            gain = row["minus_own"][metric]
            expected = np.mean([row["seeds"][str(s)][metric] - own["seeds"][str(s)][metric] for s in SEEDS])
            assert gain["value"] == pytest.approx(expected, abs=1e-12)
            assert gain["low"] <= gain["value"] <= gain["high"]
            assert gain["verdict"] in ("helps", "harms", "cannot be told")


def test_matrices_are_means_over_the_seeds(entry, folders):
    assert entry["annotators"] == {"own": list(entry["recipe"]["config"]["classes"]), "second": list(THEIRS)}
    assert {name: list(found) for name, found in entry["matrices"].items()} == {
        "both, LTNet": ["own", "second"],
        "own, LTNet": ["own"],
    }
    for name, found in entry["matrices"].items():
        for who, matrix in found.items():
            every = []
            for seed in SEEDS:
                raw = load_file(folders[name][seed] / "last.safetensors")[f"method.confusion.{who}"].numpy()
                raised = np.where(raw > 0, raw, 1e-3)
                every.append(raised / raised.sum(axis=1, keepdims=True))
            np.testing.assert_allclose(matrix, np.mean(every, axis=0), atol=2e-5)
            np.testing.assert_allclose(np.sum(matrix, axis=1), 1, atol=1e-4)
            spread = (np.max(every, axis=0) - np.min(every, axis=0)).max()
            assert entry["matrices_range"][name][who] == pytest.approx(spread, abs=2e-5)
            assert spread > 1e-4, "they have been trained"


def test_facts_without_a_network(entry, twice):
    counts = np.zeros((len(twice.classes), len(THEIRS)), int)
    for face in twice.split("train").frame.itertuples():
        if not pd.isna(face.annotator_second):
            counts[face.label, THEIRS.index(face.annotator_second)] += 1
    assert entry["empirical"] == counts.tolist()

    test = twice.split("test")
    second, truth = naive_second(test), test.labels().numpy()
    soft = test.soft_labels().double().numpy()
    for who, labels in (("own", truth), ("second", second)):
        found, given = entry["labels_alone"][who], np.flatnonzero(labels >= 0)
        assert found["faces"] == len(given)
        assert found["vote_share"]["value"] == pytest.approx(np.mean([soft[i, labels[i]] for i in given]), abs=1e-5)
        assert found["accuracy"]["value"] == pytest.approx((labels == truth)[given].mean(), abs=1e-5)
    assert entry["labels_alone"]["second"]["faces"] < entry["labels_alone"]["own"]["faces"]


def test_table_has_a_row_a_figure(entry):
    table = annotators.annotators_table([entry])
    assert len(table) == len(NAMES) * 4 and set(table["metric"]) == set(annotators.SCORES)
    first = table[table["row"] == annotators.OWN]
    assert first["minus_own_value"].isna().all() and table["minus_own_value"].notna().sum() == 16


def test_data_that_nobody_else_labelled_are_refused_before_training(few_faces, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runner, "fit", None)
    words = ["reproduce", "annotators", "--quick", "--out", str(tmp_path / "x.json"), "--work", str(tmp_path / "runs")]
    assert main(words) == 1
    assert "synthetic has labels of no second annotator" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists() and not (tmp_path / "x.json").exists()


def test_two_other_annotators_or_no_votes_are_refused(twice):
    third = twice.frame.assign(annotator_third=twice.frame["annotator_second"])
    with pytest.raises(DataError, match="labels of 2 other annotators; of one are needed"):
        annotators.check_annotators(FaceDataset("three", twice.classes, third, twice.pixels))
    bare = twice.frame.drop(columns=[f"votes_{name}" for name in twice.classes])
    with pytest.raises(DataError, match="has no votes"):
        annotators.check_annotators(FaceDataset("bare", twice.classes, bare, twice.pixels))


@pytest.mark.parametrize("given", [[], ["--data", "synthetic"]])
def test_of_all_tables_it_is_left_out_with_a_sentence(given, few_faces, tmp_path, capsys):
    words = ["reproduce", "all", "--quick", "--out", str(tmp_path / "x.json"), *given]
    found = [table.name for table, _ in reproduce._data(build_parser().parse_args(words), 64)]
    assert found == [name for name in TABLES if name != "annotators"]
    said = capsys.readouterr().err
    assert said.count("left out") == 1 and "annotators is left out: synthetic has labels of no second" in said
