"""The predictor with the released model: real portraits in, predictions and maps out."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from ferlib.explain import METHODS
from ferlib.models.zoo import WEIGHTS, create_model, load_model, released_models, released_onnx
from ferlib.predict import DEFAULT_MODEL, FacePrediction, ImagePrediction, Predictor


@pytest.fixture(scope="module")
def predictor():
    return Predictor.load()


def test_a_portrait(predictor, portrait):
    result = predictor.predict(portrait, explain="gradcam")
    (face,) = result.faces
    assert result.error is None and result.image.shape == portrait.shape
    assert list(face.scores) == list(predictor.classes)
    assert sum(face.scores.values()) == pytest.approx(1, abs=1e-5)
    assert face.label == "neutral"
    first, second = sorted(face.scores.values())[-2:][::-1]
    assert face.margin == pytest.approx(first - second)
    x0, y0, x1, y1 = face.box
    assert 150 < (x0 + x1) / 2 < 350 and 80 < (y0 + y1) / 2 < 320
    assert face.heatmap.min() == 0 and face.heatmap.max() == 1
    assert face.overlay().shape == face.face.shape == (224, 224, 3)
    assert not np.array_equal(face.overlay(), face.face)


def test_several_faces_from_left_to_right(predictor, portrait, astronaut):
    both = np.concatenate([portrait[:512], astronaut], axis=1)
    left, right = predictor.predict(both).faces
    assert left.box[2] < 512 < right.box[0] + 100
    assert (left.label, right.label) == ("neutral", "happiness")  # Grace Hopper, and Eileen Collins, who smiles
    assert left.heatmap is None
    with pytest.raises(ValueError, match="no heat map"):
        left.overlay()


def test_the_answer_is_the_same_alone_and_in_company(predictor, portrait, astronaut):
    crops = [np.asarray(Image.fromarray(image).resize((48, 48))) for image in (portrait, astronaut)] * 20
    together, maps = predictor.classify(crops, explain="gradcam")
    for i in (0, 39):
        alone, own_map = predictor.classify([crops[i]], explain="gradcam")
        plain, none = predictor.classify([crops[i]])
        assert np.abs(alone[0] - together[i]).max() < 1e-4
        assert np.abs(own_map[0] - maps[i]).max() < 1e-3
        assert np.abs(plain - alone).max() < 1e-5 and none is None


@pytest.mark.parametrize("name", [name for name in released_models() if released_onnx(name)])
def test_the_exported_model_answers_as_the_model_does(name):
    """Which is that of the weights that stand beside it, at its temperature, for one face and for several."""
    fast, plain = Predictor.load(name), Predictor(load_model(name))
    assert fast._onnx is not None and plain._onnx is None
    faces = list(load_file(released_models()[name] / "golden.safetensors")["faces"])
    for some in (faces, faces[:1]):
        assert fast.classify(some)[0] == pytest.approx(plain.classify(some)[0], abs=1e-5)


def test_nobody_there(predictor):
    result = predictor.predict(np.full((200, 300, 3), 90, np.uint8))
    assert result.faces == () and result.error == "No face was found in the picture."


def test_a_bad_file_is_a_sentence(predictor, portrait, tmp_path):
    good, empty = tmp_path / "good.png", tmp_path / "empty.jpg"
    Image.fromarray(portrait).save(good)
    empty.touch()
    results = [predictor.predict(path) for path in (empty, good, tmp_path / "absent.jpg")]
    assert [bool(result.faces) for result in results] == [False, True, False]
    assert results[0].error == "empty.jpg is empty: it holds 0 bytes."
    assert "There is no file" in results[2].error
    assert results[1].name == str(good)


def test_unknown_explanations_are_refused(predictor, portrait):
    with pytest.raises(ValueError, match="unknown explanation 'voodoo'"):
        predictor.predict(portrait, explain="voodoo")


@pytest.mark.parametrize("method", ["eigencam", "gradient", "attention"])
def test_other_explanations(predictor, portrait, method):
    assert predictor.methods == METHODS
    (face,) = predictor.predict(portrait, explain=method).faces
    assert face.label == "neutral" and face.heatmap.shape == (112, 112)
    assert face.heatmap.min() >= 0 and face.heatmap.max() == pytest.approx(1, abs=1e-6)


def test_a_model_without_attention_says_so(portrait):
    torch.manual_seed(0)
    predictor = Predictor(create_model("ivsa_plain", widths=(8, 8, 8, 8), hidden=8))
    assert "attention" not in predictor.methods
    with pytest.raises(ValueError, match="ivsa_plain has no attention"):
        predictor.predict(portrait, explain="attention")


def test_results_are_validated():
    face = np.zeros((224, 224, 3), np.uint8)
    with pytest.raises(ValueError, match="a box is"):
        FacePrediction((5, 5, 5, 9), {"a": 0.5, "b": 0.5}, face)
    with pytest.raises(ValueError, match="sum to 1"):
        FacePrediction((0, 0, 5, 9), {"a": 0.5, "b": 0.6}, face)
    with pytest.raises(ValueError, match="faces or an error"):
        ImagePrediction("x", ())


def test_golden_pair():
    """The released weights give the recorded output on the recorded input: nothing in between has changed."""
    golden = load_file(WEIGHTS / DEFAULT_MODEL / "golden.safetensors")
    probabilities, _ = Predictor.load().classify(list(golden["faces"]))
    assert np.abs(probabilities - golden["probabilities"]).max() < 1e-4
