"""The protocols on a tiny run: every one against a recomputation from the networks of every epoch."""

import copy
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ferlib.data.dataset import FaceDataset
from ferlib.data.duplicates import clean_split, find_flaws
from ferlib.evaluation.batches import ordered_batches
from ferlib.experiments import protocols, runner
from ferlib.experiments.protocols import (
    COMPARED,
    NETWORKS,
    REFERENCES,
    compare_protocols,
    protocol_recipes,
    protocols_entry,
    protocols_table,
    sentence,
    variant,
)
from ferlib.experiments.runner import (
    BackboneChoice,
    run_name,
    runs_as_they_end,
    subsampled,
    watched_run,
    watched_runs,
)
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import build_model
from ferlib.training.loop import fit

TRUNK = BackboneChoice("tf_efficientnet_lite0", 2, 48)
EPOCHS, SEEDS = 3, (0, 1)

pytestmark = pytest.mark.filterwarnings("ignore:batch attention mixes")


@pytest.fixture(scope="module")
def faces(synthetic_faces):
    """Synthetic faces, three test faces spoiled: a copy of a training face, a blank one, a copy within the test."""
    faces = copy.deepcopy(synthetic_faces)
    train, test = (np.flatnonzero(faces.frame["split"] == split) for split in ("train", "test"))
    faces.pixels[test[0]] = faces.pixels[train[0]]
    faces.pixels[test[1]] = 127
    same = next(i for i in test[3:] if faces.frame["label"][i] == faces.frame["label"][test[2]])
    faces.pixels[same] = faces.pixels[test[2]]
    return faces


@pytest.fixture(scope="module")
def recipes(faces):
    return protocol_recipes("convcut", faces, TRUNK, EPOCHS, SEEDS)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def runs(recipes, faces, work):
    return dict(zip(recipes, watched_runs(list(recipes.values()), faces, work), strict=True))


@torch.no_grad()
def right(model, part, batching, seed):
    """Which faces the model has right, predicted batch by batch from the pixels; bool (N,)."""
    labels, prepare = part.frame["label"].to_numpy(), Preprocess.of(model.config)
    found = np.empty(len(part), bool)
    for rows in ordered_batches(labels, batching.batch_order, batching.size, seed):
        found[rows] = model(prepare(part.pixels[torch.from_numpy(rows)])).argmax(dim=1).numpy() == labels[rows]
    return found


def test_protocols_are_what_the_networks_of_every_epoch_say(runs, recipes, faces, tmp_path):
    report = compare_protocols(runs, faces, resamples=50)
    assert [one["name"] for one in report["protocols"]] == [one.name for one in COMPARED]
    kept = ~find_flaws(faces).any(axis=1).to_numpy()[(faces.frame["split"] == "test").to_numpy()]
    assert kept.sum() == len(clean_split(faces)) == report["protocols"][-1]["faces"] < report["protocols"][0]["faces"]
    seed = 1
    networks: dict[str, list] = {}
    for network in NETWORKS["convcut"]:
        recipe, snapshots = recipes[seed, network], []
        torch.manual_seed(seed)
        model = build_model(recipe.config)

        def observe(model, snapshots=snapshots):
            snapshots.append(copy.deepcopy(model))
            return {}

        fit(model, faces, recipe, tmp_path / network, observe=observe)
        networks[network] = snapshots
    for protocol, entry in zip(COMPARED + REFERENCES, report["protocols"] + report["references"], strict=True):
        judged = {
            (split, batching): np.stack(
                [right(m, faces.split(split), batching, seed) for m in networks[protocol.network]]
            )
            for split in ("validation", "test")
            for batching in {protocol.batching, protocol.chosen_in or protocol.batching}
        }
        best = EPOCHS - 1
        if protocol.selected_on != "last":
            chosen = judged[protocol.selected_on, protocol.chosen_in or protocol.batching].mean(axis=1)
            best = max(range(EPOCHS), key=lambda epoch: (chosen[epoch], epoch))
        expected = judged["test", protocol.batching][best][kept if protocol.clean else slice(None)].mean()
        assert entry["best_epochs"][1] == best + 1, protocol.name
        assert entry["seeds"]["1"]["accuracy"] == pytest.approx(expected, abs=0.012), (
            protocol.name
        )  # maps in half precision


def test_values_are_means_over_seeds_and_differences_are_paired(runs, faces):
    report = compare_protocols(runs, faces, resamples=50)
    before = None
    for entry in report["protocols"]:
        accuracy = entry["metrics"]["accuracy"]
        assert accuracy["value"] == pytest.approx(np.mean([seed["accuracy"] for seed in entry["seeds"].values()]))
        assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
        if before is not None:
            assert entry["minus_previous"]["accuracy"]["value"] == pytest.approx(accuracy["value"] - before)
        before = accuracy["value"]
    assert "minus_previous" not in report["protocols"][0]
    first, second = (entry["metrics"]["accuracy"]["value"] for entry in report["protocols"][:2])
    assert first >= second  # the best epoch on test cannot be worse on test


def test_a_finished_run_is_read_not_trained(runs, recipes, faces, work, monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr(runner, "fit", fail)
    again = watched_runs(list(recipes.values()), faces, work)
    for (key, old), new in zip(runs.items(), again, strict=True):
        assert all((new.predicted[name] == old.predicted[name]).all() for name in old.predicted), key


def test_a_stopped_run_goes_on_to_the_same_end(runs, recipes, faces, tmp_path, monkeypatch):
    recipe = recipes[0, "batch"]
    logged = runner.PredictionLogger.__call__
    calls = []

    def stop(self, model):
        calls.append(0)
        row = logged(self, model)  # what was seen is on disk already, the epoch is not: it is seen again
        if len(calls) == 2:
            raise KeyboardInterrupt
        return row

    monkeypatch.setattr(runner.PredictionLogger, "__call__", stop)
    with pytest.raises(KeyboardInterrupt):
        watched_run(recipe, faces, tmp_path)
    monkeypatch.undo()
    run = watched_run(recipe, faces, tmp_path)
    assert len(list((tmp_path / "seen").glob("*.npz"))) == EPOCHS + 1
    assert run.history["seen"].tolist() == [0, 2, 3]
    whole = runs[0, "batch"]
    assert all((run.predicted[name] == whole.predicted[name]).all() for name in whole.predicted)


def test_a_folder_of_another_recipe_is_refused(recipes, faces, tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps(recipes[0, "token"].to_json()))
    with pytest.raises(ValueError, match="another recipe"):
        watched_run(recipes[0, "batch"], faces, tmp_path)


def test_a_run_has_one_name_and_other_runs_have_others(recipes, faces, tmp_path):
    names = [run_name(recipe, faces, None) for recipe in recipes.values()]
    assert len(set(names)) == len(recipes)
    again = protocol_recipes("convcut", faces, TRUNK, EPOCHS, SEEDS)
    assert names == [run_name(recipe, faces, None) for recipe in again.values()]
    recipe = recipes[0, "batch"]
    assert run_name(recipe, subsampled(faces, 100), None) != run_name(recipe, faces, None)
    assert run_name(recipe, faces, None, "macro_f1") != run_name(recipe, faces, None)
    weights = [tmp_path / name / "model.safetensors" for name in "abc"]
    for path, seed in zip(weights, (0, 0, 1), strict=True):
        path.parent.mkdir()
        save_file({"x": torch.full((1,), seed)}, path)
    one, same, other = (run_name(recipe, faces, path) for path in weights)
    assert one == same != other != run_name(recipe, faces, None) != one


def test_subsampled_leaves_other_splits_alone(faces):
    thin = subsampled(faces, 100)
    assert len(thin.split("train")) == 100
    for split in ("validation", "test"):
        assert torch.equal(thin.split(split).pixels, faces.split(split).pixels)
    assert set(thin.split("train").frame["row"]) < set(faces.split("train").frame["row"])
    assert subsampled(faces, 10**6) is faces is subsampled(faces, None)


def test_protocols_differ_in_one_thing():
    batch, token, none = (variant("convcut", network, TRUNK) for network in ("batch", "token", "none"))
    same = {"attention", "architecture"}
    for other in (token, none):
        assert {key for key, value in vars(other).items() if value != getattr(batch, key)} == same
    code = variant("pattlite", "batch", TRUNK)
    assert (code.attention, code.backbone, code.cut, code.mean) == ("batch", TRUNK.name, "stage", batch.mean)
    build_model(code)


def test_intervals_are_called_as_they_are_drawn(recipes, faces, monkeypatch):
    """Over people where several are known, over faces where all are one person's."""
    for name in ("compare_protocols", "_confusion"):
        monkeypatch.setattr(protocols, name, lambda *_: {})
    alone = FaceDataset("alone", faces.classes, faces.frame.assign(group=3), faces.pixels)
    for data, drawn in ((faces, "people"), (alone, "faces")):
        assert protocols_entry("convcut", TRUNK, recipes, {}, data)["intervals"] == drawn


def test_finished_runs_are_read_before_any_is_trained(recipes, faces, tmp_path, monkeypatch):
    """So that a table told in between has all of them."""
    plans = list(recipes.values())[:4]
    names = [run_name(recipe, faces, None) for recipe in plans]
    for name in names[1::2]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text("{}")
    monkeypatch.setattr(runner, "watched_run", lambda recipe, data, folder, *rest: folder.name)
    ended = list(runs_as_they_end(plans, faces, tmp_path))
    assert ended == [(place, names[place]) for place in (1, 3, 0, 2)]


def test_the_table_and_the_sentence_quote_the_entry(runs, recipes, faces):
    entry = json.loads(json.dumps(protocols_entry("convcut", TRUNK, recipes, runs, faces)))
    table = protocols_table([entry])
    assert len(table) == (len(COMPARED) + len(REFERENCES)) * 3
    first = table.iloc[0]
    value = entry["protocols"][0]["metrics"]["accuracy"]["value"]
    assert (first["protocol"], first["batching"], first["value"]) == ("published protocol", "sorted 16", value)
    assert f"score {100 * value:.1f} %" in sentence(entry)
    counts = np.array(entry["confusion"]["published protocol"])
    assert counts.sum() == len(SEEDS) * entry["faces"]["test"]
    assert np.trace(counts) / counts.sum() == pytest.approx(value)
    few = {key: run for key, run in runs.items() if key[1] in ("batch", "token")}
    assert "without any attention" not in sentence(protocols_entry("convcut", TRUNK, recipes, few, faces))
