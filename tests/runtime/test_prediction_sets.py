"""Prediction sets of the released models, from folder to answer, without PyTorch."""

import csv
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from people import face
from PIL import Image
from safetensors.numpy import load_file

from ferlib.cli import main
from ferlib.errors import UserError
from ferlib.predict import Predictor
from ferlib.runtime.prediction_sets import FILE, ConformalScore, PredictionSets, read_prediction_sets, stored_coverages
from ferlib.runtime.released import released_models
from ferlib.synthetic.render import sample_face


@pytest.mark.parametrize("name", sorted(released_models()))
def test_every_released_model_has_sets_that_grow_with_their_coverage(name):
    folder = released_models()[name]
    golden = load_file(folder / "golden.safetensors")
    for truth in json.loads((folder / FILE).read_text())["thresholds"]:
        assert stored_coverages(folder, truth) == (0.8, 0.9, 0.95)
        sets = [read_prediction_sets(folder, level, truth)(golden["probabilities"]) for level in (0.8, 0.9, 0.95)]
        assert (sets[0] <= sets[1]).all() and (sets[1] <= sets[2]).all() and sets[2].sum() > sets[0].sum()
        assert sets[0][np.arange(7), golden["probabilities"].argmax(axis=1)].all()  # the label is never left out
    predictor = Predictor.load(name, coverage=0.9)
    probabilities, _ = predictor.classify(list(golden["faces"]))
    assert (predictor.sets(probabilities) == read_prediction_sets(folder, 0.9)(golden["probabilities"])).all()


def test_names_stand_by_probability_and_follow_the_thresholds():
    sets = PredictionSets(0.9, ("a", "b", "c"), ConformalScore(), (0.0, 0.5, 0.8))
    assert sets.names(np.array([0.2, 0.5, 0.3])) == ("b", "c")  # before them: a 0.8, b 0, c 0.5
    assert sets.names(np.array([0.1, 0.2, 0.7])) == ("c",)
    assert replace(sets, thresholds=(np.inf, 0.5, 0.8)).names(np.array([0.1, 0.2, 0.7])) == ("c", "a")


def test_answers_in_words():
    one = face(sadness=0.5, neutral=0.4)
    assert one.answer == "sadness" and "answer" not in one.to_dict()
    answers = {("sadness",): "sadness", ("sadness", "neutral"): "sadness or neutral", (): "cannot say",
               ("sadness", "neutral", "fear"): "cannot say"}  # fmt: skip
    for names, answer in answers.items():
        data = replace(one, coverage=0.9, prediction_set=names).to_dict()
        assert data["answer"] == answer and data["prediction_set"] == list(names) and data["coverage"] == 0.9
    for wrong in ({"coverage": 0.9}, {"prediction_set": ("sadness",)}, {"coverage": 0.9, "prediction_set": ("joy",)}):
        with pytest.raises(ValueError, match="a prediction set has a coverage and names classes"):
            replace(one, **wrong)


def test_the_command_says_it_as_table_json_and_csv(tmp_path, capsys):
    """A face of drawn surprise; the same set in all three, and the old forms where no coverage is asked for."""
    path = tmp_path / "drawn.png"
    Image.fromarray(sample_face("surprise", np.random.default_rng(102), 400, clean=True).pixels).save(path)

    def said(*options: str) -> str:
        assert main(["predict", str(path), *options]) == 0
        return capsys.readouterr().out

    found = json.loads(said("--coverage", "0.9", "--format", "json"))["faces"][0]
    folder = released_models()["convcut_ferplus"]
    sets = read_prediction_sets(folder, 0.9)
    scores = np.array([found["scores"][name] for name in sets.classes])
    assert found["prediction_set"] == list(sets.names(scores)) and found["prediction_set"][0] == found["label"]
    assert found["answer"] == "surprise or fear"
    (row,) = csv.DictReader(io.StringIO(said("--coverage", "0.9", "--format", "csv")))
    assert (row["answer"], row["coverage"], row["prediction_set"]) == ("surprise or fear", "0.9", "surprise fear")
    assert "set of coverage 0.9" in (table := said("--coverage", "0.9")) and "  surprise or fear  " in table
    other = json.loads(said("--coverage", "0.8", "--truth", "votes", "--format", "json"))["faces"][0]
    assert other["prediction_set"] == list(read_prediction_sets(folder, 0.8, "votes").names(scores))
    plain = json.loads(said("--format", "json"))["faces"][0]
    assert plain == {key: value for key, value in found.items() if key in plain} and "answer" not in plain
    assert "answer" not in said("--format", "csv") and "coverage" not in said()


def test_what_is_not_there_is_told_in_a_sentence(tmp_path, capsys):
    for arguments, message in (
        (["--coverage", "0.85"], "has prediction sets of coverage 0.8, 0.9, 0.95, not 0.85"),
        (["--truth", "votes"], "say how often they are to hold it, e.g. --coverage 0.9"),
        (["--coverage", "0.9", "--truth", "votes", "--model", "ivsa_fer2013"], "calibrated on faces without votes"),
    ):
        assert main(["predict", "x.jpg", *arguments]) == 1
        assert message in capsys.readouterr().err
    folder = shutil.copytree(released_models()["convcut_ferplus"], tmp_path / "mine")
    (folder / FILE).unlink()
    with pytest.raises(UserError, match="mine has no prediction sets"):
        Predictor.load(folder, coverage=0.9)
    with pytest.raises(UserError, match="the prediction sets are for anger"):
        Predictor(Predictor.load(folder).classifier, sets=PredictionSets(0.9, ("anger",), ConformalScore(), (0.0,)))
