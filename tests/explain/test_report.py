"""The tables of chapter 5, computed on synthetic faces: against what must be true of any, and the committed ones."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from ferlib.data.dataset import DataError, FaceDataset
from ferlib.detection.regions import REGIONS
from ferlib.explain.faithfulness import CONTROLS
from ferlib.explain.heat_maps import heat_maps, predicted_classes, table_methods
from ferlib.explain.regions import (
    faces_with_landmarks,
    regions_table,
    removal_table,
    synthetic_regions,
    synthetic_table,
)
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


def test_parts_are_removed_from_faces_of_another_side(model, drawn, pixels, targets):
    """Twice as large faces, of which each pixel is four, with parts of the small ones or as large ones."""
    faces, names = Preprocess.of(model.config).scale(pixels[:2]), np.array(SYNTHETIC)[drawn["labels"][:2]]
    large = faces.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    parts = drawn["regions"][:2]
    enlarged = parts.repeat(2, axis=1).repeat(2, axis=2)
    one, other = (removal_table(model, large, own, targets[:2], names) for own in (parts, enlarged))
    assert one == other


def test_parts_of_faces_do_not_depend_on_the_side_they_are_stored_at(synthetic_faces):
    few = synthetic_faces.subset(np.arange(len(synthetic_faces))[::20])
    pixels = few.pixels.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    large = FaceDataset("large", few.classes, few.frame, pixels)
    found = [faces_with_landmarks(data, 2) for data in (few, large)]
    rows = [dict(zip(one["rows"].tolist(), one["regions"], strict=True)) for one in found]
    both = rows[0].keys() & rows[1].keys()
    assert len(both) >= 3
    assert np.mean([rows[0][row] == rows[1][row] for row in both]) > 0.9


def test_landmarks_are_looked_for_in_all_colours_and_missed_in_a_sentence(synthetic_faces, monkeypatch):
    few, seen = synthetic_faces.subset(np.arange(4)), []
    pixels = torch.randint(256, (4, 3, 48, 48), dtype=torch.uint8)
    monkeypatch.setattr("ferlib.explain.regions.detect_faces", lambda picture: seen.append(picture))
    for own in (pixels, pixels[:, :1]):
        with pytest.raises(DataError, match="in none of 4 faces of x were landmarks found"):
            faces_with_landmarks(FaceDataset("x", few.classes, few.frame, own), 9)
    for picture in seen[:4]:
        assert any(np.array_equal(picture, one.permute(1, 2, 0)) for one in pixels)
    for picture in seen[4:]:
        assert any(np.array_equal(picture, one[0, :, :, None].expand(-1, -1, 3)) for one in pixels)


def empty_where(maps: np.ndarray, empty: np.ndarray) -> np.ndarray:
    return np.where(empty[:, None, None], 0, maps)


def test_faces_with_an_empty_map_are_left_out_of_all(model, drawn, pixels, targets):
    """The table of a method with some empty maps is that of the other faces."""
    truth = drawn["labels"].copy()
    truth[:4] = [SYNTHETIC.index("neutral"), SYNTHETIC.index("sadness")] * 2
    maps, empty = heat_maps(model, pixels, "gradcam", targets).numpy(), np.arange(len(truth)) % 3 == 2

    def table_of(some: np.ndarray, own: np.ndarray) -> dict:
        table = regions_table(
            model, SYNTHETIC, truth[some], drawn["regions"][some], {"own": own[some]}, targets.numpy()[some]
        )
        return table["methods"]["own"]

    every = np.ones(len(truth), bool)
    whole, rest = table_of(every, empty_where(maps, empty)), table_of(~empty, maps)
    assert whole["empty_maps"] == empty.sum() and whole["claims"] == rest["claims"]
    relative = [[one["energy"][part]["relative"] for part in REGIONS] for one in (whole, rest)]
    assert relative[0] == relative[1]
    neutral = truth == SYNTHETIC.index("neutral")
    assert list(table_of(every, empty_where(maps, neutral))["claims"]) == ["above the eyes, outside the face"]
    nothing = table_of(every, empty_where(maps, every))
    assert nothing["claims"] == nothing["energy"] == {}


def test_the_area_of_synthetic_parts_is_that_of_the_faces_with_a_map(model, drawn, monkeypatch):
    """A map of ones lies on the parts like their area, whichever faces have it."""
    empty = np.arange(len(drawn["labels"])) % 3 == 0
    ones = torch.from_numpy(empty_where(np.ones((len(empty), 48, 48), np.float32), empty))
    monkeypatch.setattr("ferlib.explain.regions.heat_maps", lambda *_: ones)
    assert synthetic_table(model, drawn, ["ones"])["methods"]["ones"]["relative"] == {"moved": 1, "still": 1}


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
