"""Methods against class imbalance in one table."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from ferlib.evaluation.compare import paired_differences
from ferlib.experiments import imbalance
from ferlib.experiments.imbalance import compare_methods, imbalance_table, method_recipe, methods_for, run_method
from ferlib.training.recipes import RECIPES

SMALL = {"backbone": "test_convnext", "input_size": 32, "batch_size": 16, "keep_stages": 2, "width": 8}


@pytest.fixture(scope="module")
def compared(synthetic_faces, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    rows = [
        run_method(synthetic_faces, method_recipe(synthetic_faces, method, seed, 1, SMALL), None, work)
        for method in ("none", "weights")
        for seed in (0, 1)
    ]
    return work, rows, compare_methods(synthetic_faces, rows)


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


def test_a_finished_run_is_read(synthetic_faces, compared, tmp_path, monkeypatch):
    work, rows, _ = compared
    monkeypatch.setattr(imbalance, "fit", None)
    recipe = method_recipe(synthetic_faces, "weights", 1, 1, SMALL)
    assert run_method(synthetic_faces, recipe, None, work) == json.loads(json.dumps(rows[3]))
    with pytest.raises(ValueError, match="made by another recipe"):
        run_method(synthetic_faces, method_recipe(synthetic_faces, "weights", 1, 2, SMALL), None, work)
    weights = tmp_path / "another.safetensors"
    save_file({"weight": np.zeros(1)}, weights)
    with pytest.raises(ValueError, match="from other data or weights"):
        run_method(synthetic_faces, recipe, weights, work)
    with pytest.raises(ValueError, match="from other data or weights"):
        run_method(synthetic_faces.subset(range(0, len(synthetic_faces), 2)), recipe, None, work)


def test_pictures_are_grey_and_small_where_it_was_said(synthetic_faces):
    said = SMALL | {"grey": False, "downscale_to": 24}
    config = method_recipe(synthetic_faces, "none", 0, 1, said).config
    assert (config.grey, config.downscale_to) == (False, 24)


def test_the_epoch_is_the_one_that_was_kept(synthetic_faces, tmp_path):
    recipe = method_recipe(synthetic_faces, "none", 0, 3, SMALL | {"least_gain": 5.0})  # no later one is so much better
    row = run_method(synthetic_faces, recipe, None, tmp_path)
    assert row["best_epoch"] == 1
    assert row["recipe"]["least_gain"] == 5.0


def test_differences_to_plain_training_are_paired(synthetic_faces, compared):
    _, rows, report = compared
    entry = report["remedies"]["weights"]
    truth = synthetic_faces.split("test").labels().numpy()
    differences = [
        paired_differences(truth, np.array(plain["predicted"]), np.array(other["predicted"]), 7)["difference"]
        for plain, other in zip(rows[:2], rows[2:], strict=True)
    ]
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        gain = entry["minus_none"][name]
        assert gain["value"] == pytest.approx(np.mean([one[name] for one in differences]))
        assert gain["low"] <= gain["value"] <= gain["high"]
        better, worse = gain["low"] > 0, gain["high"] < 0
        assert gain["verdict"] == ("better" if better else "worse" if worse else "no difference shown")
    assert np.sum(entry["confusion"]) == 2 * len(truth) and len(entry["seeds"]) == 2
    table = imbalance_table({"synthetic": report})
    assert list(table["remedy"].unique()) == ["none", "weights"] and len(table) == 8
    assert table.query("remedy == 'none'")["minus_none_value"].isna().all()
