"""What a visitor is told."""

from dataclasses import replace

import pytest
from people import face, result_of

from ferlib.app.messages import (
    METHOD_MEANINGS,
    METHOD_TITLES,
    agreement,
    as_data,
    in_brief,
    points,
    sentence,
    summary,
    where_it_looked,
    whole_sentence,
)
from ferlib.detection.quality import WARNINGS
from ferlib.evaluation.report_format import read_report
from ferlib.explain import METHODS
from ferlib.runtime.released import released_models


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({"happiness": 0.91, "neutral": 0.05}, "Face 1: happiness, 91 %, well ahead of neutral (5 %)."),
        ({"sadness": 0.41, "neutral": 0.38}, "Face 1: undecided between sadness (41 %) and neutral (38 %)."),
        ({"fear": 0.6, "surprise": 0.25}, "Face 1: fear, 60 %, ahead of surprise (25 %)."),
        ({"fear": 0.5, "surprise": 0.35}, "Face 1: fear, 50 %, somewhat ahead of surprise (35 %)."),
        ({"anger": 0.998, "fear": 0.001}, "Face 1: anger, over 99 %, well ahead of fear (under 1 %)."),
    ],
)
def test_the_sentence(scores, said):
    assert sentence(1, face(**scores)) == said


@pytest.mark.parametrize("names", [("fear", "surprise", "sadness"), ()])
def test_a_prediction_set_that_says_too_little_is_undecided(names):
    judged = replace(face(fear=0.45, surprise=0.3, sadness=0.15), coverage=0.9, prediction_set=names)
    assert sentence(1, judged) == "Face 1: cannot say, fear (45 %) before surprise (30 %)."


def test_the_whole_sentence_adds_the_set_and_the_warnings():
    judged = replace(
        face(fear=0.6, surprise=0.3), coverage=0.9, prediction_set=("fear", "surprise"), warnings=("dark",)
    )
    assert whole_sentence(2, judged) == (
        "Face 2: fear, 60 %, ahead of surprise (30 %). At 90 % coverage: fear or surprise. " + WARNINGS["dark"]
    )
    assert sentence(2, judged) == "Face 2: fear, 60 %, ahead of surprise (30 %)."


def test_a_group_is_summed_up_the_undecided_last():
    undecided, neutral, happy = face(fear=0.4, sadness=0.38), face(neutral=0.8), face(happiness=0.9)
    assert summary([undecided, undecided, undecided, neutral, happy, happy]) == (
        "6 faces: 2 happiness, 1 neutral, 3 cannot say."
    )
    assert summary([undecided]) == "One face found."


def test_where_it_looked_is_said_for_the_size_of_a_part():
    parts = {"mouth": (0.3, 0.1), "eyes": (0.1, 0.05), "other face": (0.6, 0.6), "brows": (0.0001, 0.00001)}
    said = where_it_looked(face(happiness=0.9, parts=parts))
    assert said == "Looked at most, for its size: the mouth, 30 % of the heat map on 10 % of the picture."
    parts = {"mouth": (0.05, 0.1), "outside": (0.95, 0.3)}
    assert "what lies around the face, 95 %" in where_it_looked(face(happiness=0.9, parts=parts))
    assert where_it_looked(face(happiness=0.9)) is None


def test_two_models_agree_or_not():
    fear, anger, undecided = face(fear=0.5), face(anger=0.9), face(fear=0.4, anger=0.38)
    for faces, said in (
        ([fear, face(fear=0.9)], "Both say fear."),
        ([fear, anger], "They disagree: fear and anger."),
        ([undecided, fear], "Standard is undecided, IVSA says fear."),
        ([anger, undecided], "Standard says anger, IVSA is undecided."),
        ([undecided, undecided], "Both are undecided."),
    ):
        assert agreement(faces, ["Standard", "IVSA"]) == said


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (0.204, "20 percentage points"),
        (0.9999, "over 99 percentage points"),
        (0.002, "under 1 percentage point"),
        (0.01, "1 percentage point"),
    ],
)
def test_differences_are_rounded_as_probabilities_are(difference, said):
    assert points(difference) == said


def test_a_model_in_five_lines():
    report = read_report(released_models()["convcut_ferplus"] / "report.json")
    lines = in_brief("Standard", report)
    assert len(lines) == 5 and "**Standard** knows 8 expressions" in lines[0]
    assert "**87 %** of 3,153 test faces of FERPlus" in lines[1] and "(86 % to 88 % with 95 % confidence)" in lines[1]
    assert (
        "best at happiness (92 % found), worst at contempt (19 %)" in lines[2] and "1.8 percentage points" in lines[3]
    )
    del report["metrics"]["ece"]  # `ferlib calibrate` takes it back where the temperature becomes another
    assert "was not measured since it was calibrated" in in_brief("Standard", report)[3]


def test_every_method_has_a_title_and_a_meaning():
    assert METHOD_TITLES.keys() == METHOD_MEANINGS.keys() == set(METHODS)


def test_a_result_as_data():
    data = as_data(result_of(face(sadness=0.5, fear=0.3, parts={"mouth": (0.3, 0.1), "nose": (0.7, 0.9)})))
    (one,) = data["faces"]
    assert data["size"] == [400, 300] and data["error"] is None
    assert one["label"] == "sadness" and list(one["scores"])[:2] == ["sadness", "fear"]
    assert one["sentence"] == "Face 1: sadness, 50 %, somewhat ahead of fear (30 %)."
    assert one["margin"] == pytest.approx(0.2) and one["looked_at"] == {"mouth": 0.3, "nose": 0.7}
