"""A run folder made a released model."""

import json

import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from ferlib.evaluation.calibration import tempered
from ferlib.evaluation.evaluate import evaluate, predict_dataset
from ferlib.models import zoo
from ferlib.models.listing import read_figures
from ferlib.models.zoo import create_model, load_model, released_models
from ferlib.predict import Predictor
from ferlib.training import release as module
from ferlib.training.release import release

REPORT = {
    "name": "runs/some/best",
    "data": "ferplus",
    "split": "test",
    "faces": 1200,
    "metrics": {
        "accuracy": {"value": 0.51234, "low": 0.4, "high": 0.6},
        "balanced_accuracy": {"value": 0.25, "low": 0.2, "high": 0.3},
        "ece": {"value": 0.125},
    },
    "per_class": {"anger": {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 40}},
    "commit": "0123456789ab",
}


@pytest.fixture
def run(tmp_path):
    """What `fit` leaves: the kept model, the history and the recipe."""
    folder = tmp_path / "run"
    model = create_model("convcut", trunk="test_convnext", keep_stages=2, input_size=64, width=32)
    model.save_pretrained(str(folder / "best"))
    history = {"epoch": [0, 1, 2], "accuracy": [0.3, 0.5, 0.4], "balanced_accuracy": [0.1, 0.2, 0.3]}
    pd.DataFrame(history).to_csv(folder / "history.csv", index=False)
    (folder / "recipe.json").write_text(json.dumps({"epochs": 3, "seed": 7}))
    return folder


def test_a_released_model_is_loaded_by_name_and_has_card_report_and_golden_pair(run, tmp_path, monkeypatch):
    for owner in (module, zoo):
        monkeypatch.setattr(owner, "WEIGHTS", tmp_path / "weights")
    folder = release(run, "some_model", REPORT, "some_recipe")
    assert released_models() == {"some_model": folder}
    files = {"README.md", "config.json", "golden.safetensors", "model.safetensors", "report.json"}
    assert {path.name for path in folder.iterdir()} == files
    assert json.loads((folder / "report.json").read_text()) == REPORT
    assert read_figures(folder / "report.json").accuracy == 0.51234
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n") and "train some_recipe --data ferplus" in card
    assert "| accuracy | 0.5123 | 0.4000 to 0.6000 |" in card and "| anger | 0.500 | 0.250 | 0.333 | 40 |" in card
    assert "ImageNet weights of `test_convnext`" in card and "labelled by ten people each" in card
    assert "Epoch 2 of 3" in card and "1,200 faces" in card
    golden = load_file(folder / "golden.safetensors")
    probabilities, _ = Predictor(load_model("some_model")).classify(list(golden["faces"]))
    assert abs(probabilities - golden["probabilities"]).max() <= 1e-5


def test_a_model_without_a_trunk_says_so(run, tmp_path, monkeypatch):
    for owner in (module, zoo):
        monkeypatch.setattr(owner, "WEIGHTS", tmp_path / "weights")
    create_model("ivsa", widths=(8, 8, 8, 8), hidden=16).save_pretrained(str(run / "best"))
    card = (release(run, "small_ivsa", REPORT | {"data": "fer2013"}, "ivsa") / "README.md").read_text()
    assert "improved VGG with Salient Attention Blocks" in card and "Nothing is pretrained." in card
    assert "    python -m ferlib train ivsa --data fer2013\n" in card and "{" not in card.partition("```json")[0]


def test_calibration_makes_an_overconfident_model_mean_what_it_says(run, tmp_path, drawn_faces, monkeypatch):
    """The logits of a model that knows nothing are blown up: the temperature takes that back, no answer changes."""
    folder = run / "best"
    model = create_model(
        "convcut",
        trunk="test_convnext",
        keep_stages=2,
        input_size=64,
        width=32,
        classes=drawn_faces.classes,
        grey=True,
        source_size=48,
    )
    with torch.no_grad():
        model.classifier.weight.mul_(300)
    model.save_pretrained(str(folder))
    part = drawn_faces.split("validation")
    before = predict_dataset(load_model(folder), part)
    temperature, error, left = module.calibrate(folder, drawn_faces)
    after = predict_dataset(load_model(folder), part)
    assert temperature > 2 and left < error / 2
    assert load_model(folder).config.temperature == pytest.approx(temperature, abs=1e-4)
    assert (after.argmax(1) == before.argmax(1)).all()
    assert after == pytest.approx(tempered(before, temperature), abs=1e-4)
    pixels = [face[0].numpy() for face in part.pixels]
    assert Predictor(load_model(folder)).classify(pixels)[0] == pytest.approx(after, abs=1e-5)
    again, plain, _ = module.calibrate(folder, drawn_faces)
    assert again == pytest.approx(temperature, rel=1e-3) and plain == pytest.approx(error, abs=1e-3)
    report = evaluate(load_model(folder), drawn_faces, "validation")["metrics"]
    assert report["ece"]["value"] == pytest.approx(left, abs=1e-3)
    assert report["ece_uncalibrated"]["value"] == pytest.approx(error, abs=1e-3)
