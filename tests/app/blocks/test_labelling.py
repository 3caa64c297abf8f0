"""Chapter 7's page: labels given, a head trained and tried, by its API, on drawn photos through the real detector."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ferlib.annotation.proposals import LabelFile, apply_labels, propose_labels
from ferlib.app.blocks.labelling import WHO, Lesson, labelling_page
from ferlib.data.registry import load_dataset
from ferlib.models.registry import load_model, released_models
from ferlib.plots.labelling import trainings
from ferlib.synthetic.photo_sheets import draw_booth
from ferlib.training.recipes import RECIPES

pytest.importorskip("gradio_client")

import gradio_client
from block_client import asking


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Faces of twelve drawn people in the folders of what was drawn, and their sheets beside."""
    root = tmp_path_factory.mktemp("booth")
    truth = draw_booth(root / "photos", people=12)
    found = propose_labels(root / "photos", root / "faces").merge(truth, on="photo", suffixes=("", "_drawn"))
    x, y = (found["x0"] + found["x1"]) / 2, (found["y0"] + found["y1"]) / 2
    found = found[x.between(found["x0_drawn"], found["x1_drawn"]) & y.between(found["y0_drawn"], found["y1_drawn"])]
    apply_labels(root / "faces", found.set_index("file")["expression"])
    return root


@pytest.fixture(scope="module")
def lesson(folder) -> Lesson:
    faces = load_dataset("folder", folder / "faces")
    backbone = {"backbone": "tf_efficientnet_lite0", "input_size": 112, "grey": True}
    recipe = RECIPES["convcut"].override(
        {"classes": faces.classes, "epochs": 8, "schedule": "onecycle", "batch_size": 16} | backbone
    )
    return Lesson(faces, folder / "faces", recipe, released_models()["convcut_ferplus"] / "model.safetensors")


@pytest.fixture(scope="module")
def client(lesson) -> Iterator:
    with asking(labelling_page(lesson, load_model("convcut_ferplus"), None, {"guessing": 1 / 7})) as client:
        yield client


def test_label_train_try(client, lesson, folder):
    """In this order, as a visitor would go."""
    said, first = LabelFile(folder / "faces", WHO), lesson.queue.files[0]
    _, status = client.predict(api_name="/face")
    assert status.startswith(f"Face 1 of {lesson.train_rows.sum()}") and not len(said.read())
    text, _ = client.predict(api_name="/train")
    assert "at least two classes" in text and lesson.model is None
    *_, mine, theirs = client.predict(1, api_name="/try_face")
    assert not mine and len(theirs["confidences"]) > 3

    _, status = client.predict("disgust", api_name="/label")
    assert status.startswith("Face 2") and said.read().to_dict() == {first: "disgust"}
    assert client.predict(api_name="/back")[1].startswith("Face 1")
    lesson.queue.go_to(2)  # in another window
    client.predict("unsorted", api_name="/label")  # another opinion: it shows nothing clear, so it trains nothing
    assert said.read()[first] == "unsorted" and lesson.labelled().empty

    _, status = client.predict(3, api_name="/by_folder")
    counts = lesson.labelled().value_counts()
    assert set(counts) == {3} and len(counts) == 7 and "fear 3" in status
    people = lesson.faces.frame.loc[lesson.labelled().index]
    assert set(people["split"]) == {"train"}
    text, figure = client.predict(api_name="/train")
    assert "21 faces, 0 of them not labelled as their folder says" in text and "Training 1" in text
    assert "your trainings" in figure["plot"]

    client.predict(15, api_name="/by_folder")
    text, _ = client.predict(api_name="/train")
    assert "Training 2" in text
    few, more = lesson.done.to_dict("records")
    assert more["faces"] > 3 * few["faces"] and more["value"] > few["value"]  # what the chapter's curve says
    assert more["low"] <= more["value"] <= more["high"] and more["value"] > 0.4

    picture, text, mine, _ = client.predict(1, api_name="/try_face")
    label = lesson.faces.classes[lesson.test[0][1]]
    assert f"**{label}**" in text and {entry["label"] for entry in mine["confidences"]} <= set(lesson.faces.classes)
    assert Image.open(picture).size == (224, 224)


def test_a_photo_of_ones_own(client, folder, tmp_path):
    photo = next((folder / "photos").rglob("sheet1.png"))
    _, text, _, theirs = client.predict(gradio_client.handle_file(str(photo)), api_name="/try_photo")
    assert "of 4 faces" in text and theirs["label"]
    Image.new("RGB", (300, 200), "grey").save(tmp_path / "nobody.png")
    _, text, *_ = client.predict(gradio_client.handle_file(str(tmp_path / "nobody.png")), api_name="/try_photo")
    assert text.startswith("No face")


def test_figure_of_the_trainings():
    done = pd.DataFrame({"faces": [10, 20], "value": [0.5, 0.75], "low": [0.4, 0.6], "high": [0.7, 0.8]})
    curve = pd.DataFrame({"metric": "accuracy", "faces": [35], "value": [0.8], "low": [0.7], "high": [0.9]}, index=[0])
    figure = trainings(done, curve, {"guessing": 0.14})
    behind, own = figure.data
    assert (behind.name, own.name) == ("the chapter's curve", "your trainings") and own.text == ("1: 50", "2: 75")
    np.testing.assert_allclose(own.y - own.error_y.arrayminus, [40, 60])
    np.testing.assert_allclose(own.y + own.error_y.array, [70, 80])
    assert "guessing: 14 %" in figure.layout.annotations[0].text
