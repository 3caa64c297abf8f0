"""The training loop."""

import json

import numpy as np
import pytest
import torch

from ferlib.data.dataset import DataError
from ferlib.evaluation.evaluate import predict_dataset
from ferlib.models.zoo import build_model
from ferlib.training import loop
from ferlib.training.recipes import RECIPES, Recipe

SMALL = {"trunk": "tf_efficientnet_lite0", "keep_stages": 2, "width": 32, "input_size": 64, "grey": True}


@pytest.fixture(scope="module")
def faces(drawn_faces):
    return drawn_faces


def recipe(faces, **settings) -> Recipe:
    return RECIPES["convcut"].override(SMALL | {"classes": faces.classes, "epochs": 3} | settings)


def train(recipe, faces, out, **options):
    torch.manual_seed(recipe.seed)
    model = build_model(recipe.config)
    return model, loop.fit(model, faces, recipe, out, **options)


FINETUNE = {"freeze_trunk": False, "augment": "flip_affine", "optimizer": "adamw", "schedule": "onecycle"}


@pytest.mark.parametrize(
    "settings",
    [{"lr": 1e-2, "epochs": 12}, FINETUNE | {"lr": 3e-3, "epochs": 8, "augment": "flip"}],
    ids=["cached head", "fine-tuned"],
)
def test_loss_falls_and_the_best_epoch_is_kept(faces, tmp_path, settings):
    plan = recipe(faces, attention="none", **settings)
    model, history = train(plan, faces, tmp_path)
    assert history["train_loss"].iloc[-1] < 0.9 * history["train_loss"].iloc[0]
    best = history["accuracy"].idxmax()
    again = type(model).from_pretrained(str(tmp_path / "best"))
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in again.state_dict().items())
    source = loop.PixelSource(
        faces.split("validation"), loop.Preprocess.of(plan.config), "none", "hard", torch.device("cpu")
    )
    hits = loop.predict_source(model, source).argmax(dim=1) == source.labels
    assert float(hits.float().mean()) == pytest.approx(history["accuracy"][best], abs=0.02)  # cache is half precision
    assert json.loads((tmp_path / "recipe.json").read_text())["lr"] == plan.lr


@pytest.mark.parametrize("settings", [{}, FINETUNE], ids=["cached head", "fine-tuned"])
def test_a_resumed_run_ends_where_the_uninterrupted_one_does(faces, tmp_path, monkeypatch, settings):
    plan = recipe(faces, **settings)
    whole, whole_history = train(plan, faces, tmp_path / "whole")
    saves = []

    def stop_after_second(*arguments):
        saves.append(arguments)
        original(*arguments)
        if len(saves) == 2:
            raise KeyboardInterrupt

    original = loop.save_checkpoint
    monkeypatch.setattr(loop, "save_checkpoint", stop_after_second)
    with pytest.raises(KeyboardInterrupt):
        train(plan, faces, tmp_path / "cut")
    monkeypatch.undo()
    resumed, history = train(plan, faces, tmp_path / "cut", resume=True)
    assert all(torch.equal(value, resumed.state_dict()[key]) for key, value in whole.state_dict().items())
    assert history["train_loss"].tolist() == whole_history["train_loss"].tolist()


def test_observations_stand_in_the_history_and_may_select(faces, tmp_path):
    seen = []

    def observe(model):
        assert not model.training
        seen.append({key: value.clone() for key, value in model.state_dict().items()})
        return {"backwards": -len(seen)}

    model, history = train(recipe(faces), faces, tmp_path, select_by="backwards", observe=observe)
    assert history["backwards"].tolist() == [-1, -2, -3]
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in seen[0].items())


def test_a_run_is_not_overwritten(faces, tmp_path):
    plan = recipe(faces, epochs=1)
    train(plan, faces, tmp_path)
    with pytest.raises(FileExistsError, match="already holds a run"):
        train(plan, faces, tmp_path)


def test_data_that_does_not_fit_is_refused(faces, tmp_path):
    with pytest.raises(DataError, match="has the classes"):
        train(recipe(faces, classes=("a", "b")), faces, tmp_path)
    with pytest.raises(DataError, match="0 validation faces"):
        train(recipe(faces), faces.split("train"), tmp_path)
    with pytest.raises(DataError, match="no votes"):
        train(recipe(faces, targets="soft"), faces, tmp_path)


def test_a_loss_that_explodes_is_said(faces, tmp_path):
    with pytest.raises(RuntimeError, match="lower the learning rate"):
        train(recipe(faces, lr=1e30, optimizer="sgd"), faces, tmp_path)


def test_plateau_lowers_the_rate_after_five_epochs_without_a_new_best():
    assert loop.plateau_factor([]) == 1
    assert loop.plateau_factor([0.5, 0.6, 0.6, 0.5, 0.4, 0.3]) == 1  # four since the best
    assert loop.plateau_factor([0.5, 0.6, 0.6, 0.5, 0.4, 0.3, 0.2]) == 0.75
    assert loop.plateau_factor([0.5] + [0.4] * 10) == 0.75**2
    assert loop.plateau_factor([0.5] + [0.4] * 5 + [0.6] + [0.4] * 4) == 0.75
    assert loop.schedule("plateau", 0.9, [0.5] + [0.4] * 5) == 0.75


def test_ivsa_trains_and_is_judged_on_crops(faces, tmp_path):
    sizes = {"classes": faces.classes, "widths": (8, 16, 24, 32), "hidden": 32}
    plan = RECIPES["ivsa"].override(sizes | {"epochs": 8, "lr": 0.05, "batch_size": 16})
    model, history = train(plan, faces, tmp_path / "whole")
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    assert (history["lr"] == [0.05 * loop.plateau_factor(history["accuracy"][:i]) for i in range(8)]).all()
    test = faces.split("test")
    one, ten = (predict_dataset(model, test, ten_crop=ten_crop) for ten_crop in (False, True))
    preprocess = loop.Preprocess.of(model.config)
    with torch.inference_mode():
        crops = [model(crop).double().softmax(dim=1) for crop in preprocess.ten_crops(test.pixels)]
        centre = model(preprocess(test.pixels)).double().softmax(dim=1)
    assert np.allclose(one, centre, atol=1e-6) and np.allclose(ten, sum(crops) / 10, atol=1e-6)
    assert np.abs(one - ten).max() > 1e-4


def test_schedules():
    assert loop.schedule("constant", 0.9) == 1
    shares = [loop.schedule("onecycle", i / 100) for i in range(101)]
    assert max(shares) == shares[30] == pytest.approx(1) and shares[100] == pytest.approx(0)
    assert shares[:31] == sorted(shares[:31]) and shares[30:] == sorted(shares[30:], reverse=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be a positive number"),
        ({"optimizer": "magic"}, "optimizer must be one of"),
        ({"colour": 1}, "no setting colour"),
        ({"attention": "psychic"}, "attention must be one of"),
    ],
)
def test_impossible_recipes_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RECIPES["convcut"].override(settings)
