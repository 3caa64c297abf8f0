"""What a run leaves on disk, and that no moment of being killed loses it."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from ferlib.data.dataset import FaceDataset, described
from ferlib.data.label_noise import with_flipped_labels
from ferlib.errors import UserError
from ferlib.models.registry import build_model, load_model
from ferlib.training.checkpoint import RunFolder
from ferlib.training.loop import fit
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


def test_what_has_its_final_name_is_on_the_disk(recipe, tmp_path, monkeypatch):
    """Else a power cut may leave the name and an empty file."""
    written, named = set(), []

    def sync(descriptor, original=os.fsync):
        written.add(os.fstat(descriptor).st_ino)
        original(descriptor)

    def renaming(original):
        def rename(path, target):
            files = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]
            named.append((target.name, all(file.stat().st_ino in written for file in files)))
            return original(path, target)

        return rename

    monkeypatch.setattr(os, "fsync", sync)
    for name in ("rename", "replace"):
        monkeypatch.setattr(Path, name, renaming(getattr(Path, name)))
    folder, model = RunFolder(tmp_path / "run"), model_of(recipe, 0)
    folder.start(recipe)
    folder.save_best(model, 0)
    folder.save_last(model, None, torch.nn.Identity(), torch.optim.Adam(model.parameters()), 1, [{"epoch": 0}])
    kept = {name: whole for name, whole in named if name in ("best.epoch_0", "last.safetensors")}
    assert kept == {"best.epoch_0": True, "last.safetensors": True}


def test_the_best_model_survives_a_kill_between_any_two_steps(recipe, tmp_path, monkeypatch):
    """Every rename and removal is, in turn, where the process dies; the next start finds the saved epoch's model."""
    old, new = model_of(recipe, 0), model_of(recipe, 1)

    def save(folder, model, epoch):
        folder.save_best(model, epoch)
        optimizer = torch.optim.Adam(model.parameters())
        folder.save_last(model, None, torch.nn.Identity(), optimizer, epoch + 1, [{"epoch": epoch}])

    fatal, finished = 0, False
    while not finished:
        folder = RunFolder(tmp_path / str(fatal))
        folder.start(recipe)
        save(folder, old, 0)
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
            patch.setattr(Path, "replace", dies(Path.replace))
            patch.setattr(shutil, "rmtree", dies(shutil.rmtree))
            try:
                save(folder, new, 1)
                finished = True
            except SystemExit:
                pass
        folder.start(recipe)
        with safe_open(folder.last, framework="pt") as file:
            saved = int(file.metadata()["epoch"])
        assert holds(folder, new if saved == 2 else old) and (saved == 2 or not finished)
        names = {path.name for path in folder.path.iterdir()}
        assert not [name for name in names if name.endswith(".partial") or name.startswith("best.")]
        fatal += 1
    assert fatal > 5


def test_best_is_the_epoch_that_the_history_names(recipe, synthetic_faces, tmp_path, monkeypatch):
    """Also after a kill before the best epoch is in the state, and if that epoch, run again, is the best no more."""
    recipe = recipe.override({"epochs": 2, "batch_size": 32, "classes": synthetic_faces.classes})
    save, seen = RunFolder.save_last, []

    def scored(*scores):
        def observe(model):
            seen.append({key: value.clone() for key, value in model.state_dict().items()})
            return {"score": next(left)}

        left = iter(scores)
        return {"select_by": "score", "observe": observe}

    def stop_before_the_second(folder, *arguments):
        if arguments[4] == 2:
            raise KeyboardInterrupt
        save(folder, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "save_last", stop_before_the_second)
        fit(model_of(recipe, 0), synthetic_faces, recipe, tmp_path, **scored(0.5, 0.9))
    fit(model_of(recipe, 0), synthetic_faces, recipe, tmp_path, resume=True, **scored(0.4))
    assert json.loads((tmp_path / "metrics.json").read_text())["best"]["epoch"] == 0
    kept = load_model(tmp_path / "best").state_dict()
    assert all(torch.equal(value, kept[key]) for key, value in seen[0].items())


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


@pytest.mark.parametrize("resume", [True, False])
def test_a_trained_model_whose_last_state_is_gone_is_not_replaced(begun, synthetic_faces, recipe, tmp_path, resume):
    begun(synthetic_faces)
    (tmp_path / "run" / "last.safetensors").unlink()
    before = (tmp_path / "run" / "best" / "model.safetensors").read_bytes()
    own = recipe.override({"classes": synthetic_faces.classes})
    with pytest.raises(FileExistsError, match=r"holds a model, but no last\.safetensors to go on from"):
        fit(model_of(own, 1), synthetic_faces, own, tmp_path / "run", resume=resume)
    assert (tmp_path / "run" / "best" / "model.safetensors").read_bytes() == before


def test_a_full_disk_is_seen_before_any_work(recipe, tmp_path, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(OSError, match=r"the run needs \d+ MB, but .* has 0 MB free"):
        RunFolder(tmp_path).check(recipe, model_of(recipe, 0), torch.nn.Identity(), resume=False, began={})
    assert not list(tmp_path.iterdir())


def test_the_methods_own_state_is_counted(recipe, tmp_path, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=60_000_000))
    folder, model = RunFolder(tmp_path), model_of(recipe, 0)
    folder.check(recipe, model, torch.nn.Identity(), resume=False, began={})
    with pytest.raises(OSError, match=r"the run needs \d+ MB, but .* has 60 MB free"):
        folder.check(
            recipe, model, torch.nn.Linear(2000, 2000), resume=False, began={}
        )  # 16 MB, and two moments of as much


@pytest.fixture
def begun(recipe, synthetic_faces, tmp_path):
    """A function that goes on with a run of which one epoch of two is done."""
    recipe = recipe.override({"epochs": 2, "batch_size": 32, "classes": synthetic_faces.classes})

    def start(faces, select_by="accuracy"):
        return fit(model_of(recipe, 0), faces, recipe, tmp_path / "run", resume=True, select_by=select_by)

    with pytest.raises(KeyboardInterrupt):
        fit(model_of(recipe, 0), synthetic_faces, recipe, tmp_path / "run", observe=_second_time())
    return start


def _second_time():
    calls = []

    def observe(model):
        calls.append(model)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return {}

    return observe


def test_a_run_goes_on_with_its_own_data_and_choice_of_epoch(begun, synthetic_faces):
    fewer = synthetic_faces.subset(range(0, len(synthetic_faces), 2))
    with pytest.raises(UserError, match=r"was started otherwise: test \d+ there, \d+ here, train"):
        begun(fewer)
    with pytest.raises(UserError, match="select_by accuracy there, macro_f1 here"):
        begun(synthetic_faces, "macro_f1")
    assert len(begun(synthetic_faces)) == 2


def test_a_folder_with_other_labels_is_other_data(synthetic_faces):
    frame = synthetic_faces.frame.assign(file=[f"{i}.png" for i in range(len(synthetic_faces))])
    folder = FaceDataset("folder", synthetic_faces.classes, frame, synthetic_faces.pixels)
    rotated = FaceDataset(
        "folder", folder.classes, frame.assign(label=(frame["label"] + 1) % 7), synthetic_faces.pixels
    )
    assert described(folder) == described(folder) != described(rotated)
    assert described(folder)["faces"] == described(rotated)["faces"] and "digest" not in described(synthetic_faces)
    one, other = (described(with_flipped_labels(faces, 0.1)) for faces in (folder, rotated))
    assert one["name"] == other["name"] == "folder_10_percent_flipped" and one["digest"] != other["digest"]


def test_a_registered_set_with_other_labels_is_other_data(synthetic_faces):
    """Corrected labels, say: the faces of every split are as many as before."""
    frame = synthetic_faces.frame.assign(row=range(len(synthetic_faces)))
    mine = FaceDataset("mine", synthetic_faces.classes, frame, synthetic_faces.pixels)
    corrected = FaceDataset("mine", mine.classes, frame.assign(label=(frame["label"] + 1) % 7), mine.pixels)
    assert described(mine) == described(mine) != described(corrected)
    assert described(mine)["faces"] == described(corrected)["faces"]
    one, other = (described(with_flipped_labels(synthetic_faces, 0.1, seed)) for seed in (0, 1))
    assert one != other and "digest" not in one


def test_weights_may_be_read_by_whoever_may_read_the_rest(begun, tmp_path):
    run = tmp_path / "run"
    modes = {path: path.stat().st_mode & 0o777 for path in run.rglob("*.safetensors")}
    assert len(modes) == 2 and {*modes.values()} == {(run / "recipe.json").stat().st_mode & 0o777}


def test_of_two_trainings_in_one_folder_the_second_is_refused(begun, synthetic_faces, tmp_path):
    with RunFolder(tmp_path / "run").used_alone(), pytest.raises(UserError, match="another training is at work"):
        begun(synthetic_faces)
    begun(synthetic_faces)
    assert not list(tmp_path.glob(".*.lock"))


def test_a_history_that_lacks_its_last_row_is_written_again(begun, synthetic_faces, tmp_path):
    """As where a kill came between the state and the table."""
    begun(synthetic_faces)
    table = tmp_path / "run" / "history.csv"
    whole = table.read_text()
    table.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    begun(synthetic_faces)
    assert table.read_text() == whole
