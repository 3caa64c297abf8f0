"""Chapter 3's small page: a run that is watched is `fit`'s, and ends when somebody stops it."""

import threading

import numpy as np
import pytest
import torch

pytest.importorskip("gradio_client")
pytest.importorskip("plotly")

from block_client import asking, figure_of, values

from ferlib.app.blocks.training_run import LiveRun, training_run
from ferlib.errors import RunError
from ferlib.models.registry import build_model
from ferlib.training.loop import fit
from ferlib.training.recipes import RECIPES, Recipe

CHANCE = (float(np.log(7)), 1 / 7)


@pytest.fixture
def recipe(synthetic_faces) -> Recipe:
    return RECIPES["ivsa"].override(
        {"classes": synthetic_faces.classes, "block": "none", "widths": (4, 8, 8, 8), "hidden": 16, "epochs": 3}
        | {"augment": "flip", "optimizer": "adam", "lr": 3e-3, "schedule": "onecycle", "precision": "float32"}
    )


def test_a_watched_run_is_that_of_fit(synthetic_faces, recipe, tmp_path):
    seen = list(LiveRun(synthetic_faces, recipe).start(1e-3, "constant"))
    assert [len(history) for history in seen] == [1, 2, 3]
    torch.manual_seed(recipe.seed)
    wanted = recipe.override({"lr": 1e-3, "schedule": "constant"})
    own = fit(build_model(wanted.config), synthetic_faces, wanted, tmp_path / "run")
    np.testing.assert_allclose(seen[-1]["train_loss"], own["train_loss"], rtol=1e-6)
    np.testing.assert_allclose(seen[-1]["accuracy"], own["accuracy"])


def test_a_stopped_run_ends_early_and_another_can_start(synthetic_faces, recipe):
    watched = LiveRun(synthetic_faces, recipe.override({"epochs": 100}))
    seen = []
    for history in watched.start(3e-3, "constant"):
        seen.append(history)
        watched.stop()
    assert 1 <= len(seen[-1]) < 10
    assert len(next(watched.start(3e-3, "constant"))) >= 1


def test_what_goes_wrong_is_said(synthetic_faces, recipe):
    wild = recipe.override({"optimizer": "sgd"})
    with pytest.raises(RunError, match="lower the learning rate"):
        list(LiveRun(synthetic_faces, wild).start(1e12, "constant"))
    with asking(training_run(synthetic_faces, wild, CHANCE, rates=(1e12,))) as client:
        text, plot = client.predict(1e12, "constant", api_name="/start")
        assert "lower the learning rate" in text and plot is None


def test_the_page_answers_epoch_by_epoch_until_it_is_stopped(synthetic_faces, recipe):
    with asking(training_run(synthetic_faces, recipe.override({"epochs": 60}), CHANCE)) as client:
        text, lengths = "", []
        job = client.submit(0.003, "onecycle", api_name="/start")
        for text, plot in job:  # noqa: B007  # the last one is looked at
            if plot:
                (run,) = [t for t in figure_of(plot)["data"] if t.get("name") == "this run" and t["xaxis"] == "x"]
                lengths.append(len(values(run["x"])))
            if len(lengths) == 2:
                threading.Thread(target=client.predict, kwargs={"api_name": "/stop"}).start()
        assert lengths[:2] == [1, 2] and lengths == sorted(lengths) and lengths[-1] < 60
        assert "Stopped: epoch" in text


def test_a_run_that_is_stopped_before_it_begins_does_not_begin(synthetic_faces, recipe):
    watched = LiveRun(synthetic_faces, recipe.override({"epochs": 100}))
    first = watched.start(3e-3, "constant")
    next(first)
    second = watched.start(3e-3, "constant")
    watched.stop()
    list(first)
    assert list(second) == []


def test_a_run_says_nothing_more_once_another_is_started(synthetic_faces, recipe):
    page = training_run(synthetic_faces, recipe.override({"epochs": 100}), CHANCE)
    (start,) = (one.fn for one in page.fns.values() if one.api_name == "start" and one.fn)
    first, second = start(3e-3, "constant"), start(3e-3, "constant")
    assert "The first epoch" in next(first)[0] and "epoch 1 of 100" in next(first)[0]
    assert "The first epoch" in next(second)[0]
    rest = list(first)  # Gradio sends the last of them once more
    assert rest and all(told == ({"__type__": "update"},) * 2 for told in rest)
    assert "epoch 1 of 100" in next(second)[0]
    second.close()
