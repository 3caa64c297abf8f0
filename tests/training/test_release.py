"""A run folder made a released model."""

import json

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from ferlib.data.dataset import FaceDataset
from ferlib.evaluation.calibration import tempered
from ferlib.evaluation.evaluate import evaluate, predict_dataset
from ferlib.explain.embed import penultimate
from ferlib.models import released, zoo
from ferlib.models.listing import read_figures
from ferlib.models.zoo import create_model, load_model, released_models
from ferlib.predict import Predictor
from ferlib.training import release as module
from ferlib.training.release import release


@pytest.fixture
def run(tmp_path, monkeypatch, drawn_faces):
    """What `fit` leaves: the kept model, the history and the recipe; and an empty place for released models."""
    for owner in (module, released):
        monkeypatch.setattr(owner, "WEIGHTS", tmp_path / "weights")
    folder = tmp_path / "run"
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
    model.save_pretrained(str(folder / "best"))
    history = {"epoch": [0, 1, 2], "accuracy": [0.3, 0.5, 0.4], "balanced_accuracy": [0.1, 0.2, 0.3]}
    pd.DataFrame(history).to_csv(folder / "history.csv", index=False)
    (folder / "recipe.json").write_text(json.dumps({"epochs": 3, "seed": 7}))
    return folder


def test_a_released_model_is_loaded_by_name_and_has_card_reports_and_golden_pair(run, drawn_faces):
    folder = release("some_model", drawn_faces, run, "some_recipe")
    assert released_models() == {"some_model": folder}
    reports = {"report.json", "report_clean.json"}
    files = {"README.md", "config.json", "golden.safetensors", "model.safetensors", "training.json"} | reports
    assert {path.name for path in folder.iterdir()} == files
    report, clean = (json.loads((folder / name).read_text()) for name in sorted(reports))
    expected = {"name": "some_model", **evaluate(load_model("some_model"), drawn_faces)}
    assert report == json.loads(json.dumps(expected))
    assert clean["clean"] and clean["faces"] <= report["faces"]
    accuracy = report["metrics"]["accuracy"]
    assert read_figures(folder / "report.json").accuracy == accuracy["value"]
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n") and "train some_recipe --data synthetic" in card
    assert f"| accuracy | {accuracy['value']:.4f} ({accuracy['low']:.4f} to {accuracy['high']:.4f}) |" in card
    anger = report["per_class"]["anger"]
    assert f"| anger | {anger['support']:.0f} | {anger['precision']:.3f} | {anger['f1']:.3f} | " in card
    assert f"{anger['recall']:.3f} ({anger['recall_low']:.3f} to {anger['recall_high']:.3f})" in card
    assert "| ece uncalibrated |" in card and f"logits / {load_model('some_model').config.temperature}" in card
    assert "ImageNet weights of `test_convnext`" in card and "Epoch 2 of 3" in card
    golden = load_file(folder / "golden.safetensors")
    probabilities, _ = Predictor(load_model("some_model")).classify(list(golden["faces"]))
    assert abs(probabilities - golden["probabilities"]).max() <= 1e-5


def test_measuring_a_released_model_again_changes_nothing(run, drawn_faces):
    folder = release("some_model", drawn_faces, run, "some_recipe", onnx=True)
    assert zoo.released_onnx("some_model") == folder / "model.onnx"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert release("some_model", drawn_faces) == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    with pytest.raises(ValueError, match="no released model other; there are some_model"):
        release("other", drawn_faces)


def test_a_model_without_a_trunk_says_so(run, drawn_faces):
    model = create_model("ivsa", widths=(8, 8, 8, 8), hidden=16, classes=drawn_faces.classes)
    model.save_pretrained(str(run / "best"))
    card = (release("small_ivsa", drawn_faces, run, "ivsa") / "README.md").read_text()
    assert "improved VGG with Salient Attention Blocks" in card and "Nothing is pretrained." in card
    assert "    python -m ferlib train ivsa --data synthetic\n" in card and "{" not in card.partition("```json")[0]


def test_a_new_temperature_is_written_into_the_exported_model_too(run, drawn_faces):
    folder = release("some_model", drawn_faces, run, onnx=True)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"temperature": 3.0}))
    fitted, *_ = module.calibrate(folder, drawn_faces)
    stored = {prop.key: prop.value for prop in onnx.load(folder / "model.onnx").metadata_props}
    assert float(stored["temperature"]) == pytest.approx(fitted, abs=1e-4)


def test_the_card_names_the_most_frequent_confusions():
    counts = [[8, 2, 0], [0, 5, 0], [3, 1, 6]]
    assert module._confusions(["a", "b", "c"], counts) == ["c: a (3 of 10)", "a: b (2 of 10)"]


def test_calibration_finds_how_much_too_sure_a_model_is(run, drawn_faces):
    """Labels are drawn from a model's own probabilities, then its logits are tripled: the temperature is near 3."""
    folder = run / "best"
    model = load_model(folder)
    logits = penultimate(model, drawn_faces.pixels)[0] @ model.classifier.weight.detach().numpy().T
    scale = 2 / logits.std(axis=0).mean()
    model.classifier.weight.data *= 3 * scale
    model.classifier.bias.data = torch.from_numpy(-3 * scale * logits.mean(axis=0))
    model.save_pretrained(str(folder))
    chances = tempered(predict_dataset(model, drawn_faces), 3)
    rng = np.random.default_rng(0)
    labels = [rng.choice(len(row), p=row) for row in chances]
    frame = drawn_faces.frame.assign(label=labels, split="validation")
    faces = FaceDataset("guessed", drawn_faces.classes, frame, drawn_faces.pixels)
    part = faces.split("validation")
    before = predict_dataset(load_model(folder), part)
    temperature, error, left = module.calibrate(folder, faces)
    after = predict_dataset(load_model(folder), part)
    assert 2 < temperature < 4.5 and left < error / 2
    assert load_model(folder).config.temperature == pytest.approx(temperature, abs=1e-4)
    assert (after.argmax(1) == before.argmax(1)).all()
    assert after == pytest.approx(tempered(before, temperature), abs=1e-4)
    pixels = [face[0].numpy() for face in part.pixels]
    assert Predictor(load_model(folder)).classify(pixels)[0] == pytest.approx(after, abs=1e-5)
    again, plain, _ = module.calibrate(folder, faces)
    assert again == pytest.approx(temperature, rel=1e-3) and plain == pytest.approx(error, abs=1e-3)
    report = evaluate(load_model(folder), faces, "validation")["metrics"]
    assert report["ece"]["value"] == pytest.approx(left, abs=1e-3)
    assert report["ece_uncalibrated"]["value"] == pytest.approx(error, abs=1e-3)
