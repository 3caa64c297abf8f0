"""What people do by mistake ends in one sentence, before the work, and changes nothing."""

import codecs
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ferlib.app.service import Service
from ferlib.bulk.photos import photos_of
from ferlib.cli import main
from ferlib.errors import UserError
from ferlib.evaluation.slices import grouped
from ferlib.runtime.released import models_of_their_own, released_models
from ferlib.training.checkpoint import recorded_data, selected_on
from ferlib.video.table_files import _texts


def refused(capsys, *words: str) -> str:
    """The one line that the command prints before it ends with an error."""
    try:
        code = main([str(word) for word in words])
    except SystemExit as error:  # argparse
        code = int(bool(error.code))
    said = capsys.readouterr().err
    assert code and "Traceback" not in said
    return said.strip().splitlines()[-1]


@pytest.fixture
def model(tmp_path):
    """A copy of a released model's folder, to be damaged."""
    return shutil.copytree(released_models()["convcut_ferplus"], tmp_path / "mine")


@pytest.mark.parametrize("name", [":x", ".rel:x", "os:path", "json:loads"])
def test_a_callable_that_makes_no_model(name, capsys):
    assert name in refused(capsys, "evaluate", name, "--data", "synthetic")


def test_a_class_that_the_data_do_not_have(capsys):
    said = refused(capsys, "evaluate", "convcut_ferplus", "--data", "synthetic", "--without", "nosuch")
    assert "no class nosuch" in said and "happiness" in said


@pytest.mark.parametrize("content", ["", "accuracy\n", "accuracy,test_accuracy\n", "accuracy,test_accuracy\na,b\n"])
def test_a_history_that_is_none(content, capsys, tmp_path):
    (tmp_path / "history.csv").write_text(content)
    words = ["evaluate", "convcut_ferplus", "--data", "synthetic", "--audit", "--history", tmp_path / "history.csv"]
    assert "history" in refused(capsys, *words)


@pytest.mark.parametrize("command", [["evaluate", "convcut_ferplus", "--data", "synthetic"], ["coverage"], ["ceiling"]])
def test_results_that_cannot_be_written_are_refused_first(command, capsys, tmp_path):
    assert "is a folder" in refused(capsys, *command, "--out", tmp_path)


@pytest.mark.parametrize("option", ["--epochs", "--input-size", "--keep-stages", "--train-faces"])
def test_a_study_of_nothing(option, capsys, tmp_path):
    assert "at least 1" in refused(capsys, "reproduce", "protocols", "--out", tmp_path / "x.json", option, "0")


@pytest.mark.parametrize("more", [["--int8"], ["--tau", "1"], ["--licence", "MIT"], ["--no-onnx"]])
def test_options_that_sets_only_would_ignore(more, capsys, model):
    assert "leave the other options out" in refused(
        capsys, "release", model, "--data", "synthetic", "--sets-only", *more
    )


def test_another_form_that_is_the_same(capsys, model):
    assert "give one of them" in refused(capsys, "release", "other", "--data", "synthetic", "--from", model)


@pytest.mark.parametrize("content", ["{", "[]", '{"thresholds": {"label": {"0.9": {}}}}'])
def test_damaged_prediction_sets(content, capsys, model, tmp_path):
    (model / "conformal.json").write_text(content)
    Image.new("L", (48, 48)).save(tmp_path / "face.png")
    words = ["predict", tmp_path / "face.png", "--no-detection", "--coverage", "0.9", "--model", model]
    assert "conformal.json" in refused(capsys, *words)


def test_a_split_is_said_to_be_used_where_that_is_known(model):
    ferplus = {"name": "ferplus", "faces": {"train": 25_060, "validation": 3_199, "test": 3_153}}
    few, others = ({**ferplus["faces"], split: 7} for split in ("train", "validation"))
    assert selected_on(model, ferplus) == selected_on(model, {"name": "fer2013", "faces": {}}) == "validation"
    assert selected_on(model, ferplus | {"faces": few}) == "validation"
    assert selected_on(model, ferplus | {"faces": others}) is None  # what is test here may have been trained on
    assert selected_on(model, {"name": "facial_expressions", "faces": {}}) is None
    (model / "training.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        selected_on(model, ferplus)


def test_an_epoch_that_something_observed_chose_has_no_known_split(tmp_path):
    """It may have been accuracy on the test split."""
    (tmp_path / "best").mkdir()
    (tmp_path / "recipe.json").write_text("{}")
    (tmp_path / "environment.json").write_text('[{"data": {"name": "ferplus"}}]')
    for name, split in (("macro_f1", "validation"), ("test_accuracy", None)):
        (tmp_path / "metrics.json").write_text(json.dumps({"select_by": name, "protocol": "honest"}))
        assert selected_on(tmp_path / "best", {"name": "ferplus", "faces": {}}) == split


def test_files_beside_a_model_that_no_run_has_written_say_nothing_of_it(tmp_path):
    """DVC's metrics.json has accuracies by name, an environment.json may be anybody's."""
    (tmp_path / "metrics.json").write_text('{"acc": 0.9}')
    (tmp_path / "environment.json").write_text('{"name": "prod"}')
    for name in ("model", "best"):
        (tmp_path / name).mkdir()
        assert selected_on(tmp_path / name, {"name": "ferplus", "faces": {}}) is None
        assert recorded_data(tmp_path / name) is None


def test_lists_of_photos_as_editors_save_them(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(codecs.BOM_UTF8 + b"a.jpg\r\nb.jpg\r\n")
    assert [one.rpartition(b"/")[2] for one in photos_of(str(path))] == [b"a.jpg", b"b.jpg"]
    path.write_bytes("a.jpg\n".encode("utf-16"))
    with pytest.raises(UserError, match="UTF-8"):
        list(photos_of(str(path)))
    with pytest.raises(UserError, match="empty name"):
        list(photos_of(""))


def test_groups_of_numbers_are_told_apart():
    rng = np.random.default_rng(0)
    with_infinite = pd.Series([1.0, np.inf, np.nan, *range(20)])
    assert grouped(with_infinite).isna().sum() == 2
    for values in (1000 + rng.normal(0, 0.3, 200), np.array([1234567, 1234568] * 9), rng.integers(1995, 2020, 300)):
        words = grouped(pd.Series(values))
        assert words.notna().all() and words.nunique() > 1
    assert set(grouped(pd.Series([1234567, 1234568]))) == {"1234567", "1234568"}
    assert set(grouped(pd.Series([1994, 2004, 2014] * 5))) == {"1994", "2004", "2014"}
    assert all(re.fullmatch(r"\d{4}( to \d{4})?", word) for word in words)  # years, not 2e+03


def test_a_negative_number_in_a_film_s_table_is_a_number():
    assert _texts(np.array([-12.5, 3.0, -1e-9, 0.25], np.float32)) == [-12.5, 3, 0, 0.25]


def test_a_folder_of_one_s_own_is_not_taken_for_the_released_model_of_its_name(tmp_path, model):
    own = model.rename(tmp_path / "ferlib-l")
    names = Service(str(own)).names
    assert names["ferlib-l"] == str(own) and set(names) == set(models_of_their_own())
    assert json.loads((own / "training.json").read_text())
