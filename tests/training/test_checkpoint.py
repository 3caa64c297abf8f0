"""What a run leaves on disk, and that no moment of being killed loses it."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from ferlib.models.registry import build_model, load_model
from ferlib.training.checkpoint import RunFolder
from ferlib.training.recipes import RECIPES


@pytest.fixture
def recipe():
    return RECIPES["ivsa"].override({"widths": (8, 8, 8, 8), "hidden": 16})


def model_of(recipe, seed: int):
    torch.manual_seed(seed)
    return build_model(recipe.config)


def holds(folder: RunFolder, model) -> bool:
    state = load_model(folder.best).state_dict()
    return all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_the_best_model_survives_a_kill_between_any_two_steps(recipe, tmp_path, monkeypatch):
    """Every rename and removal is, in turn, where the process dies; a later start finds the old model or the new."""
    old, new = model_of(recipe, 0), model_of(recipe, 1)
    fatal, finished = 0, False
    while not finished:
        folder = RunFolder(tmp_path / str(fatal))
        folder.start(recipe)
        folder.save_best(old)
        calls = []

        def dies(original, calls=calls, fatal=fatal):
            def step(*arguments, **options):
                if len(calls) == fatal:
                    raise SystemExit("killed")
                calls.append(original.__name__)
                return original(*arguments, **options)

            return step

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", dies(Path.rename))
            patch.setattr(shutil, "rmtree", dies(shutil.rmtree))
            try:
                folder.save_best(new)
                finished = True
            except SystemExit:
                pass
        folder.start(recipe)
        assert holds(folder, new) if finished else holds(folder, new) or holds(folder, old)
        assert not [path for path in folder.path.iterdir() if path.suffix == ".partial"]
        fatal += 1
    assert fatal > 3


def test_starts_are_recorded(recipe, tmp_path):
    folder = RunFolder(tmp_path)
    folder.start(recipe, epoch=0)
    model = model_of(recipe, 0)
    folder.save_last(
        model, None, torch.nn.Identity(), torch.optim.Adam(model.parameters()), 1, [{"epoch": 0, "accuracy": 0.5}]
    )
    folder.start(recipe, epoch=1)
    starts = json.loads((tmp_path / "environment.json").read_text())
    assert [start["epoch"] for start in starts] == [0, 1]
    assert starts[0]["torch"].startswith(torch.__version__.split("+")[0]) and starts[0]["commit"]
    assert json.loads((tmp_path / "recipe.json").read_text())["lr"] == recipe.lr


def test_a_full_disk_is_seen_before_any_work(recipe, tmp_path, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(OSError, match=r"the run needs \d+ MB, but .* has 0 MB free"):
        RunFolder(tmp_path).check(recipe, model_of(recipe, 0), torch.nn.Identity(), resume=False)
    assert not list(tmp_path.iterdir())


def test_the_methods_own_state_is_counted(recipe, tmp_path, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=60_000_000))
    folder, model = RunFolder(tmp_path), model_of(recipe, 0)
    folder.check(recipe, model, torch.nn.Identity(), resume=False)
    with pytest.raises(OSError, match=r"the run needs \d+ MB, but .* has 60 MB free"):
        folder.check(recipe, model, torch.nn.Linear(2000, 2000), resume=False)  # 16 MB, and two moments of as much
