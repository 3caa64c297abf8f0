"""Training in phases: what Conv-cut's authors ran, each part of it against the run folders it leaves."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_runs import SMALL

from ferlib.errors import UserError
from ferlib.evaluation.kept_epoch import best_epoch
from ferlib.models.pretrained import weights_record
from ferlib.models.registry import create_model, load_model
from ferlib.training import phases as module
from ferlib.training.checkpoint import RunFolder
from ferlib.training.loop import fit
from ferlib.training.phases import continued, fit_phases, phases
from ferlib.training.recipes import RECIPES

pytestmark = pytest.mark.filterwarnings("ignore:batch attention mixes")
PLACES = ("phase1/environment.json", "environment.json")
LAYER_NORM = {"detail.blocks.4.weight", "detail.blocks.4.bias"}


@pytest.fixture(scope="module")
def faces(synthetic_faces):
    return synthetic_faces


def plan(faces, epochs: tuple[int, int] = (2, 2), **settings) -> list:
    """The published recipes, small, with so many epochs each (counted from 0) and augmentation that can be cached."""
    recipes = phases("convcut_published", SMALL | {"classes": faces.classes, "augment": "flip"} | settings)
    return [replace(recipe, epochs=count) for recipe, count in zip(recipes, epochs, strict=True)]


def test_the_recipes_are_the_authors_two_phases():
    first, second = phases("convcut_published")
    assert (first.epochs, first.lr, first.max_grad_norm, first.batch_size, first.optimizer) == (
        100,
        1e-3,
        3.0,
        16,
        "adam",
    )
    assert (first.patience, first.patience_on, first.least_gain) == (5, "score", 0.003)
    assert (second.epochs, second.lr, second.max_grad_norm, second.batch_size) == (60, 1e-5, 3.0, 16)
    assert (second.patience, second.patience_on, second.least_gain) == (20, "train_accuracy", 0.003)
    assert (first.method, second.method) == ("weights", "plain")  # their second `fit` is given no class weights
    assert first.augment == second.augment == "flip_contrast"
    assert first.protocol == second.protocol == "published"
    assert (first.config.detail_norm, first.config.dropout, first.config.head_dropout) == ("after", 0.1, 0.1)
    assert (second.config.detail_norm, second.config.dropout, second.config.head_dropout) == ("none", 0.2, 0.2)
    assert first.config.freeze_backbone and second.config.freeze_backbone
    assert first.config.cut == second.config.cut == "published" and first.config.bottleneck == 32
    assert phases("convcut") == [RECIPES["convcut"]]


def test_the_second_phase_goes_on_without_the_layer_norm(faces, tmp_path, monkeypatch):
    started = []

    def record(model, data, recipe, out, **options):
        started.append({key: value.clone() for key, value in model.state_dict().items()})
        return fit(model, data, recipe, out, **options)

    monkeypatch.setattr(module, "fit", record)
    model, history = fit_phases(plan(faces), faces, tmp_path)
    first = load_file(tmp_path / "phase1" / "best" / "model.safetensors")
    assert first.keys() - started[1].keys() == LAYER_NORM and not started[1].keys() - first.keys()
    assert all(torch.equal(value, first[key]) for key, value in started[1].items())
    assert not torch.equal(first["classifier.weight"], started[0]["classifier.weight"])
    assert len(history) == 2 and history["lr"].tolist() == pytest.approx([1e-5, 1e-5 / (1 + 1 / 80)])
    config = json.loads((tmp_path / "best" / "config.json").read_text())
    assert config["detail_norm"] == "none" and config["dropout"] == config["head_dropout"] == 0.2
    assert load_model(tmp_path / "best").config == model.config
    optimizer = load_file(tmp_path / "last.safetensors")["optimizer.0.step"]
    steps = (faces.frame["split"] == "train").sum() // 16
    assert float(optimizer) == 2 * steps, "a new optimiser has taken the second phase's steps alone"


def test_epochs_are_counted_as_by_keras_and_the_last_of_equal_scores_is_kept(faces, tmp_path):
    """Scores as `val_accuracy`: EarlyStopping restores the last epoch that gained 0.003, and counts from there."""
    values = iter([0.1, 0.5, 0.502, 0.4, 0.502, 0.5, 0.501, 0.7, 0.7, 0.6])
    options = {"select_by": "score", "observe": lambda model: {"score": next(values)}}
    recipes = plan(faces, (100, 5))
    _, history = fit_phases(recipes, faces, tmp_path, **options)
    metrics = json.loads((tmp_path / "phase1" / "metrics.json").read_text())
    assert metrics["epochs"] == 7 and metrics["best"]["epoch"] == 1  # five epochs without 0.003 more than 0.5
    rates = [1e-3] * 5 + [1e-4] * 2  # cut after three of them
    assert pd.read_csv(tmp_path / "phase1" / "history.csv")["lr"].tolist() == pytest.approx(rates)
    # initial_epoch = history.epoch[-5] = 2, up to epoch 5
    assert history["lr"].tolist() == pytest.approx([1e-5 / (1 + epoch / 80) for epoch in (2, 3, 4)])
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["best"]["epoch"] == 1  # no least gain; ModelCheckpoint would keep the first of the two with 0.7
    assert json.loads((tmp_path / "recipe.json").read_text())["first_epoch"] == 2


def test_the_second_phase_stops_on_training_accuracy(faces, tmp_path):
    """At a rate of nothing the training accuracy stands still, however much the score rises."""
    rising = iter(range(100))
    recipe = replace(plan(faces)[1], epochs=30, lr=1e-30, patience=3, least_gain=0.5, after=None)
    options = {"select_by": "score", "observe": lambda model: {"score": next(rising)}}
    _, history = fit_phases([recipe], faces, tmp_path, **options)
    assert len(history) == 4 and best_epoch(history, "score") == 3
    train = faces.split("train")
    assert history["train_accuracy"].between(0, 1).all()
    assert (history["train_accuracy"] * (len(train) // 16 * 16)).tolist() == pytest.approx(
        (history["train_accuracy"] * (len(train) // 16 * 16)).round().tolist(), abs=1e-3
    )


@pytest.mark.parametrize(("stop", "method"), [(1, "plain"), (3, "plain"), (2, "scn")])
def test_killed_in_either_phase_and_resumed_it_ends_with_the_same_weights(faces, tmp_path, monkeypatch, stop, method):
    """With parameters of the method's own, too, which the second phase draws."""
    recipes = plan(faces, method=method)
    whole, expected = fit_phases(recipes, faces, tmp_path / "whole")
    saves, save = [], RunFolder.save_last

    def stop_after(*arguments):
        save(*arguments)
        saves.append(arguments)
        if len(saves) == stop:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "save_last", stop_after)
        fit_phases(recipes, faces, tmp_path / "cut")
    with pytest.raises(FileExistsError, match="already holds a run"):
        fit_phases(recipes, faces, tmp_path / "cut")
    resumed, history = fit_phases(recipes, faces, tmp_path / "cut", resume=True)
    assert whole.state_dict().keys() == resumed.state_dict().keys()
    assert all(torch.equal(value, resumed.state_dict()[key]) for key, value in whole.state_dict().items())
    assert history["train_loss"].tolist() == expected["train_loss"].tolist()


def test_where_the_weights_came_from_is_known_after_the_last_phase(faces, tmp_path):
    weights = tmp_path / "backbone.safetensors"
    save_file(create_model("convcut", **SMALL).backbone.net.model.state_dict(), weights)
    fit_phases(plan(faces, (1, 2)), faces, tmp_path / "run", weights)
    first, last = (json.loads((tmp_path / "run" / name).read_text()) for name in PLACES)
    assert first[0]["backbone_weights"] == last[0]["backbone_weights"] == weights_record(weights)


def test_finished_logits_are_shifted_once(faces, tmp_path):
    """At a rate of nothing the second phase changes no bias but by the shift."""
    first, second = plan(faces, (1, 2), method="logit_adjusted_posthoc")
    fit_phases([first, replace(second, lr=1e-30)], faces, tmp_path)
    before, after = (load_model(tmp_path / name / "best").classifier.bias for name in ("phase1", "."))
    counts = np.bincount(faces.split("train").labels().numpy())
    assert (after - before).tolist() == pytest.approx((-np.log(counts / counts.sum())).tolist(), abs=1e-5)


def test_a_run_of_another_kind_is_seen_before_the_first_phase(faces, tmp_path):
    recipes = plan(faces, (1, 2))
    fit_phases(recipes[1:], faces, tmp_path)
    for resume in (False, True):
        with pytest.raises(FileExistsError, match="already holds a run of another kind"):
            fit_phases(recipes, faces, tmp_path, resume=resume)
    assert not (tmp_path / "phase1").exists()


def test_a_recipe_after_itself_is_refused(tmp_path):
    recipe = tmp_path / "mine.json"
    recipe.write_text(json.dumps({"config": {"architecture": "ivsa"}, "after": str(recipe)}))
    with pytest.raises(UserError, match="would come after itself"):
        phases(str(recipe))
    with pytest.raises(UserError, match="would come after itself"):
        phases("ivsa", {"after": "ivsa"})
    assert len(phases("ivsa", {"after": "convcut"})) == 2  # `after` is of the last one alone


def test_a_model_with_more_parameters_cannot_go_on():
    with torch.device("meta"):
        plain, published = create_model("convcut"), create_model("convcut_published")
    with pytest.raises(RuntimeError, match="is new or of another shape"):
        continued(plain, published.config)


def test_a_runs_recipe_file_is_of_all_its_phases(faces, tmp_path):
    """Trained by it again, or gone on with, the phases are what they were, not what their names stand for."""
    settings = SMALL | {"classes": faces.classes, "augment": "flip", "epochs": 1, "seed": 7, "lr": 1e-2}
    recipes = phases("convcut_published", settings)
    fit_phases(recipes, faces, tmp_path / "run")
    half = {"mean": (0.5,) * 3, "std": (0.5,) * 3}  # the backbone's, which a run records in numbers
    recipes = [replace(recipe, config=replace(recipe.config, **half)) for recipe in recipes]
    again = phases(str(tmp_path / "run" / "recipe.json"))
    assert [replace(recipe, after=None) for recipe in again] == [replace(recipe, after=None) for recipe in recipes]
    assert again[1].after == "convcut_published_phase1"
    assert phases(str(tmp_path / "run" / "phase1" / "recipe.json")) == recipes[:1]
    fit_phases(phases(str(tmp_path / "run" / "recipe.json")), faces, tmp_path / "run", resume=True)
    longer = phases(str(tmp_path / "run" / "recipe.json"), {"epochs": 3})
    assert [recipe.epochs for recipe in longer] == [3, 3] and longer[0].seed == 7
    assert len(phases(str(tmp_path / "run" / "recipe.json"), {"after": "convcut_published_phase1"})) == 2


def test_the_place_of_an_epoch_is_the_runs_own(tmp_path):
    """`first_epoch` is worked out by `fit_phases`; that of another run would forbid fewer epochs."""
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(replace(RECIPES["convcut_published"], first_epoch=55).to_json()))
    assert [recipe.first_epoch for recipe in phases(str(file), {"epochs": 10})] == [0, 0]


def test_a_setting_of_the_last_phases_method_is_its_own(tmp_path):
    file = tmp_path / "mine.json"
    recipe = {"config": {"architecture": "convcut_published"}, "after": "convcut_published_phase1"}
    recipe |= {"method": "logit_adjusted_posthoc", "protocol": "published"}
    file.write_text(json.dumps(recipe))
    first, second = phases(str(file), {"tau": 0.2})
    assert first.method == "weights" and second.method_settings == {"tau": 0.2}
    with pytest.raises(UserError, match="no setting nonsense"):
        phases(str(file), {"nonsense": 1})
    del recipe["protocol"]
    file.write_text(json.dumps(recipe))
    with pytest.raises(UserError, match="by one protocol"):
        phases(str(file))
