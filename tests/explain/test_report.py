"""The tables of chapter 5, computed on synthetic faces: against what must be true of any, and the committed ones."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from ferlib.detection.regions import REGIONS
from ferlib.explain.faithfulness import CONTROLS
from ferlib.explain.heat_maps import heat_maps, predicted_classes, table_methods
from ferlib.explain.regions import regions_table, removal_table, synthetic_regions, synthetic_table
from ferlib.explain.report import faithfulness_scores, faithfulness_table, sanity_table
from ferlib.labels import SYNTHETIC
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import load_model

METHODS = [*CONTROLS, "gradcam"]


@pytest.fixture(scope="module")
def model():
    return load_model("convcut_ferplus")


@pytest.fixture(scope="module")
def drawn():
    return synthetic_regions(2)


@pytest.fixture(scope="module")
def pixels(drawn):
    return torch.from_numpy(drawn["pixels"]).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def targets(model, pixels):
    return predicted_classes(model, pixels)


def test_methods_of_tables(model):
    assert set(table_methods(model)) >= {*METHODS, "attention"} and "scorecam" not in table_methods(model)
    assert table_methods(model, ["scorecam"]) == [*CONTROLS, "scorecam"]


def test_regions(model, drawn, pixels, targets):
    assert len(drawn["labels"]) == 2 * (len(SYNTHETIC) - 1)  # neutral left out
    maps = {method: heat_maps(model, pixels, method, targets).numpy() for method in METHODS}
    table = regions_table(model, SYNTHETIC, drawn["labels"], drawn["regions"], maps, targets.numpy())
    named = [model.config.classes[i] for i in targets]
    right = [SYNTHETIC[label] == name for label, name in zip(drawn["labels"], named, strict=True)]
    assert table["accuracy"] == pytest.approx(np.mean(right))
    for method in METHODS:
        found = table["methods"][method]
        assert sum(found["energy"][part]["share"] for part in REGIONS) == pytest.approx(1, abs=1e-4)
        assert sum(found["pointing"][part]["value"] for part in REGIONS) == pytest.approx(1, abs=1e-4)
        assert set(found["per_class"]) == set(SYNTHETIC) - {"neutral"}
        assert list(found["claims"]) == ["above the eyes, outside the face"]  # the others speak of neutral faces
    assert table["methods"]["centre"]["pointing"]["nose"]["value"] > 0.5  # where the middle of a face is


def test_synthetic_faces(model, drawn):
    table = synthetic_table(model, drawn, METHODS)
    for found in table["methods"].values():
        assert 0 < found["moved"]["value"] < 1 and found["moved"]["low"] <= found["moved"]["high"]
    random = table["methods"]["random"]["relative"]
    assert all(0.6 < value < 1.4 for value in random.values())  # lies like the area


def test_removal(model, drawn, pixels, targets):
    faces, names = Preprocess.of(model.config).scale(pixels), np.array(SYNTHETIC)[drawn["labels"]]
    table = removal_table(model, faces, drawn["regions"], targets, names)
    assert set(table["drops"]) == set(REGIONS) and 0 < table["probability"]["value"] <= 1
    one = removal_table(model, faces[:2], drawn["regions"][:2], targets[:2], names[:2])["drops"]["mouth"]["value"]
    assert one == pytest.approx(table["per_class"][names[0]]["mouth"]["value"], abs=1e-4)


def test_the_papers_claims_are_about_neutral_and_sad_faces(model, drawn, pixels, targets):
    truth = drawn["labels"].copy()
    truth[:3] = SYNTHETIC.index("neutral")
    maps = {"gradcam": heat_maps(model, pixels, "gradcam", targets).numpy()}
    table = regions_table(model, SYNTHETIC, truth, drawn["regions"], maps, targets.numpy())
    claims, classes = table["methods"]["gradcam"]["claims"], table["methods"]["gradcam"]["per_class"]
    eyes, mouth = (classes["neutral"][part]["share"] for part in ("eyes", "mouth"))
    assert claims["eyes minus mouth, neutral"]["value"] == pytest.approx(eyes - mouth, abs=1e-4)
    assert len(claims) == 5


def test_faithfulness(model, drawn, pixels, targets):
    faces, names = Preprocess.of(model.config).scale(pixels[:4]), np.array(SYNTHETIC)[drawn["labels"][:4]]
    curves = {
        method: faithfulness_scores(model, faces, heat_maps(model, pixels[:4], method, targets[:4]), targets[:4])
        for method in METHODS
    }
    table = faithfulness_table(curves, names)
    assert all(score["value"] == 0 for score in table["centre"]["minus_centre"].values())
    for method in METHODS:
        gain = table[method]["deletion"]["value"] - table["centre"]["deletion"]["value"]
        assert table[method]["minus_centre"]["deletion"]["value"] == pytest.approx(gain, abs=2e-5)
        heights = table[method]["curves"]["deletion"]
        area = np.mean([(one + two) / 2 for one, two in pairwise(heights)])
        assert table[method]["deletion"]["value"] == pytest.approx(area, abs=1e-3)


def test_sanity(model, pixels):
    table = sanity_table(model, pixels[:4], METHODS)
    for control in CONTROLS:
        assert table[control]["all"]["value"] == pytest.approx(1)  # knows nothing of the model
    assert table["gradcam"]["all"]["value"] < 1
