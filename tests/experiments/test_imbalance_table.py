"""Methods against class imbalance in one table."""

import numpy as np
import pytest

from ferlib.evaluation.compare import paired_differences
from ferlib.evaluation.evaluate import predict_dataset
from ferlib.experiments.imbalance import compare_methods, imbalance_table, method_recipe, methods_for, run_method
from ferlib.models.registry import load_model
from ferlib.training.recipes import RECIPES

SMALL = {"backbone": "test_convnext", "input_size": 32, "batch_size": 16, "keep_stages": 2, "width": 8}


@pytest.fixture(scope="module")
def compared(synthetic_faces, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    runs = {
        method: {
            seed: run_method(synthetic_faces, method_recipe(synthetic_faces, method, seed, 1, SMALL), None, work)
            for seed in (1, 0)
        }
        for method in ("none", "weights")
    }
    return work, runs, compare_methods(synthetic_faces, runs)


def test_runs_differ_in_the_method_alone(synthetic_faces):
    one, two = (method_recipe(synthetic_faces, name, 0, 3, SMALL).to_json() for name in ("none", "weights"))
    assert {key for key in one if one[key] != two[key]} == {"method"}
    assert one["config"]["classes"] == synthetic_faces.classes and one["config"]["downscale_to"] is None
    assert "soft_labels" not in methods_for(synthetic_faces) and methods_for(synthetic_faces)[0] == "none"
    assert not {"plain", "eac", "mek", "dmue"} & set(methods_for(synthetic_faces))  # not against imbalance alone


def test_the_committed_recipe_is_still_the_one(monkeypatch):
    """What FERPlus's faces need comes from the data: 48 px, grey, its classes."""

    class Faces:
        classes = RECIPES["convcut_ferplus_frozen"].config.classes
        pixels = np.zeros((1, 1, 48, 48), np.uint8)

    config = method_recipe(Faces, "none", 0, 10).config
    assert (config.input_size, config.downscale_to, config.grey) == (112, 48, True)


def test_a_finished_run_is_not_run_again(synthetic_faces, compared, tmp_path):
    work, runs, _ = compared
    recipe, run = method_recipe(synthetic_faces, "weights", 1, 1, SMALL), runs["weights"][1]
    before = (run / "best" / "model.safetensors").stat().st_mtime_ns
    assert run_method(synthetic_faces, recipe, None, work) == run
    assert (run / "best" / "model.safetensors").stat().st_mtime_ns == before
    half = synthetic_faces.subset(range(0, len(synthetic_faces), 2))
    others = [(half, recipe), (synthetic_faces, method_recipe(synthetic_faces, "weights", 1, 2, SMALL))]
    assert run not in [run_method(data, other, None, tmp_path / run.parent.name) for data, other in others]


def test_pictures_are_grey_and_small_where_it_was_said(synthetic_faces):
    said = SMALL | {"grey": False, "downscale_to": 24}
    config = method_recipe(synthetic_faces, "none", 0, 1, said).config
    assert (config.grey, config.downscale_to) == (False, 24)


def test_the_epoch_is_the_one_that_was_kept(synthetic_faces, tmp_path):
    recipe = method_recipe(synthetic_faces, "none", 0, 3, SMALL | {"least_gain": 5.0})  # no later one is so much better
    run = run_method(synthetic_faces, recipe, None, tmp_path)
    entry = compare_methods(synthetic_faces, {"none": {0: run}})["methods"]["none"]
    assert entry["best_epochs"] == [1] and entry["recipe"]["least_gain"] == 5.0


def test_differences_to_plain_training_are_paired(synthetic_faces, compared):
    _, runs, report = compared
    entry, test = report["methods"]["weights"], synthetic_faces.split("test")
    truth = test.labels().numpy()
    said = {
        name: [predict_dataset(load_model(own[seed] / "best"), test).argmax(axis=1) for seed in (0, 1)]
        for name, own in runs.items()
    }
    differences = [
        paired_differences(truth, plain, other, 7)["difference"]
        for plain, other in zip(said["none"], said["weights"], strict=True)
    ]
    for seed, answers in enumerate(said["weights"]):
        assert entry["seeds"][seed]["accuracy"] == pytest.approx((answers == truth).mean())
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        gain = entry["minus_none"][name]
        assert gain["value"] == pytest.approx(np.mean([one[name] for one in differences]))
        assert gain["low"] <= gain["value"] <= gain["high"]
        helps, harms = gain["low"] > 0, gain["high"] < 0
        assert gain["verdict"] == ("helps" if helps else "harms" if harms else "cannot be told")
    assert np.sum(entry["confusion"]) == 2 * len(truth) and len(entry["seeds"]) == 2
    table = imbalance_table({"synthetic": report})
    assert list(table["method"].unique()) == ["none", "weights"] and len(table) == 8
    assert table.query("method == 'none'")["minus_none_value"].isna().all()
