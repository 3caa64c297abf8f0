"""The predictor with the released model: real portraits in, predictions and maps out."""

import base64
import io
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from torch import nn

from ferlib.app.batch_demo import PUBLISHED
from ferlib.data.registry import load_dataset
from ferlib.errors import UserError
from ferlib.explain import METHODS
from ferlib.explain.classifier import TorchClassifier
from ferlib.models.base import FaceModel
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import WEIGHTS, create_model, load_model, released_models, released_onnx
from ferlib.predict import DEFAULT_MODEL, FacePrediction, ImagePrediction, Predictor
from ferlib.runtime.classifier import OnnxClassifier
from ferlib.runtime.released import model_folder
from ferlib.utils.devices import choose_device

ROOT = Path(__file__).parents[1]
EXPORTED = model_folder(DEFAULT_MODEL) / "model.onnx"


@pytest.fixture(scope="module")
def predictor():
    return Predictor.load()


def faces_in_colour(portrait: np.ndarray) -> list[np.ndarray]:
    """Pieces of a photo, larger than any model's input."""
    return [portrait[y : y + 150, x : x + 150] for y in (0, 200, 400) for x in (0, 150, 300)]


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
def test_the_exported_model_answers_as_the_model_does(name, synthetic_faces, portrait):
    """The same probabilities and heat maps as the weights that stand beside it, for one face and for several."""
    fast, plain = Predictor.load(name), Predictor(load_model(name))
    assert isinstance(fast.classifier, OnnxClassifier) and isinstance(plain.classifier, TorchClassifier)
    assert fast.classes == plain.classes and fast.methods == plain.methods
    faces = list(load_file(released_models()[name] / "golden.safetensors")["faces"])
    for some in (faces, faces[:1], list(synthetic_faces.pixels[:64, 0].numpy()), faces_in_colour(portrait)):
        assert fast.classify(some)[0] == pytest.approx(plain.classify(some)[0], abs=1e-5)
        (scores, maps), (expected, heat) = fast.classify(some, "gradcam"), plain.classify(some, "gradcam")
        assert scores == pytest.approx(expected, abs=1e-5) and maps == pytest.approx(heat, abs=1e-4)


def assert_runtime_equals_pytorch(file: Path, model: FaceModel, faces: list[np.ndarray]) -> None:
    """Scores and heat maps of an exported file and of the model beside it differ by rounding alone.

    The gradient of a ReLU jumps at 0: where a value in the head is nothing but rounding, so is the map. That may be so
    of one face in a hundred, and is looked up in the model.
    """
    predictors = Predictor(OnnxClassifier(file)), Predictor(model)
    (scores, maps), (expected, heat) = (one.classify(faces, "gradcam", together=True) for one in predictors)
    assert maps is not None and heat is not None
    assert scores.shape == expected.shape and np.abs(scores - expected).max() < 1e-4 and maps.shape == heat.shape
    apart = np.flatnonzero(np.abs(maps - heat).max(axis=(1, 2)) >= 1e-4)
    assert len(apart) <= len(faces) / 100 and all(nearest_to_a_jump(model, faces[i]) < 1e-6 for i in apart)
    assert np.ptp(expected, axis=0).max() > 0.05 and heat.max(axis=(1, 2)).mean() > 0.5  # or it says nothing


def nearest_to_a_jump(model: FaceModel, face: np.ndarray) -> float:
    """Smallest distance from 0 of a value that a ReLU of the head gets, for one face (S, S)."""
    values = []
    with torch.inference_mode():
        images = Preprocess.of(model.config)(torch.from_numpy(face.copy())[None, None])
        features = [model.forward_features(side) for side in model.sides(images)]
        hooks = [
            module.register_forward_pre_hook(lambda _, inputs: values.append(inputs[0].abs().min().item()))
            for module in model.modules()
            if isinstance(module, nn.ReLU)
        ]
        for side in features:
            model.forward_head(side)
    for hook in hooks:
        hook.remove()
    return min(values)


@pytest.mark.parametrize("name", released_models())
def test_the_runtime_gives_scores_and_heat_maps_of_pytorch_on_500_synthetic_faces(name, synthetic_faces):
    faces = list(synthetic_faces.pixels[:, 0].numpy()) + list(synthetic_faces.pixels[:80, 0].numpy()[:, :, ::-1])
    assert len(faces) == 500
    assert_runtime_equals_pytorch(released_onnx(name), load_model(name), faces)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", released_models())
def test_the_runtime_gives_scores_and_heat_maps_of_pytorch_on_500_faces_of_private_test(name, data_root):
    faces = list(load_dataset("fer2013", data_root).split("test").pixels[:500, 0].numpy())
    assert_runtime_equals_pytorch(released_onnx(name), load_model(name), faces)


@pytest.mark.filterwarnings("ignore:batch attention mixes")
@pytest.mark.parametrize("number", [2, 16, 31])
def test_batch_attention_in_the_runtime_is_that_of_pytorch_in_any_company(number, synthetic_faces):
    """Its answer depends on the batch, so the number of faces counts."""
    file, faces = PUBLISHED / "model.onnx", list(synthetic_faces.pixels[::7, 0].numpy()[:number])
    assert len(faces) == number
    assert_runtime_equals_pytorch(file, load_model(PUBLISHED), faces)
    classifier = OnnxClassifier(file)
    alone = classifier.classify(np.stack(faces[:1]))[0][0]
    assert classifier.mixes_batch and np.abs(classifier.classify(np.stack(faces))[0][0] - alone).max() > 0.01


@pytest.mark.filterwarnings("ignore:batch attention mixes")
def test_a_face_is_asked_about_alone_where_others_would_change_the_answer(synthetic_faces):
    predictor, faces = Predictor(load_model(PUBLISHED)), list(synthetic_faces.pixels[::7, 0].numpy()[:4])
    scores, maps = predictor.classify(faces, "gradcam")
    alone, own_maps = zip(*(predictor.classify([face], "gradcam") for face in faces), strict=True)
    assert np.array_equal(scores, np.concatenate(alone)) and np.array_equal(maps, np.concatenate(own_maps))
    assert np.abs(predictor.classify(faces, together=True)[0] - scores).max() > 0.01
    many = list(synthetic_faces.pixels[:40, 0].numpy())  # more than are answered in one pass otherwise
    whole, _ = predictor.classifier.classify(np.stack(many))
    assert np.abs(predictor.classify(many, together=True)[0] - whole).max() < 1e-6


def test_a_folder_with_nothing_but_the_exported_file_answers(portrait, tmp_path):
    (tmp_path / "model.onnx").write_bytes(EXPORTED.read_bytes())
    predictor = Predictor.load(tmp_path)
    assert isinstance(predictor.classifier, OnnxClassifier)
    assert predictor.predict(portrait, "gradcam").faces[0].label == "neutral"
    assert predictor.methods == predictor.classifier.methods  # the others need the network
    with pytest.raises(UserError, match="convcut has no hirescam; there is gradcam"):
        predictor.predict(portrait, "hirescam")
    with pytest.raises(UserError, match=r"has a model\.onnx and no weights"):
        _ = predictor.model


def test_an_exported_file_beside_weights_it_may_not_belong_to_is_not_used(tmp_path):
    load_model("ivsa_fer2013").save_pretrained(str(tmp_path))
    (tmp_path / "model.onnx").write_bytes(EXPORTED.read_bytes())
    assert isinstance(Predictor.load(tmp_path).classifier, TorchClassifier)


@pytest.mark.parametrize("content", [b"", b"no model", EXPORTED.read_bytes()[:100_000]])
def test_a_damaged_exported_file_is_one_sentence(content, tmp_path):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.onnx is not a"):
        Predictor.load(tmp_path)


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


def test_a_model_with_a_class_that_tables_have_another_column_for_is_refused(predictor):
    with pytest.raises(UserError, match="a class cannot be called error"):
        create_model("ivsa_plain", classes=("happy", "error"))
    classifier = pickle.loads(pickle.dumps(predictor.classifier))
    classifier.classes = ("face", *classifier.classes[1:])
    with pytest.raises(UserError, match="a class cannot be called face"):
        Predictor(classifier)


def test_results_are_validated():
    face = np.zeros((224, 224, 3), np.uint8)
    with pytest.raises(ValueError, match="a box is"):
        FacePrediction((5, 5, 5, 9), {"a": 0.5, "b": 0.5}, face)
    with pytest.raises(ValueError, match="sum to 1"):
        FacePrediction((0, 0, 5, 9), {"a": 0.5, "b": 0.6}, face)
    for scores in ({"a": 1.0, "b": float("nan")}, {"a": float("nan"), "b": 1.0}):
        with pytest.raises(ValueError, match="must be probabilities"):
            FacePrediction((0, 0, 5, 9), scores, face)
    with pytest.raises(ValueError, match="faces or an error"):
        ImagePrediction("x", ())


def test_golden_pair():
    """The released weights give the recorded output on the recorded input: nothing in between has changed."""
    golden = load_file(WEIGHTS / DEFAULT_MODEL / "golden.safetensors")
    probabilities, _ = Predictor.load().classify(list(golden["faces"]))
    assert np.abs(probabilities - golden["probabilities"]).max() < 1e-4


def run_in_processes(code: str) -> str:
    """Run a script with two threads; `code` has `predictor`, which has answered and explained, and `photo`."""
    script = (
        "import os, sys, matplotlib.cbook, torch\n"
        "from ferlib.predict import Predictor\n"
        "photo = matplotlib.cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)\n"
        "def answer(predictor, explain=None):\n"
        "    print(predictor.predict(photo, explain).faces[0].label, flush=True)\n"
        "if __name__ == '__main__':\n"
        "    torch.set_num_threads(2)\n"
        "    predictor = Predictor.load(sys.argv[1])\n"
        "    answer(predictor)\n"
        "    answer(predictor, 'gradcam')\n"
    ) + code
    lines = []
    for model in ("convcut_ferplus", "ivsa_fer2013"):  # one with an exported file, one without
        command = [sys.executable, "-c", script, model]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        lines.append(done.stdout.split())
    assert lines[0] == lines[1]
    return " ".join(lines[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("used", [True, False])
def test_a_forked_process_answers_and_ends(used):
    """Threads stay behind in the parent; whoever waits for them, in a computation or at the end, waits for ever."""
    work = "answer(predictor); answer(predictor, 'gradcam'); " if used else ""
    said = run_in_processes(
        "    child = os.fork()\n"
        f"    if not child: {work}sys.exit(0)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert said == " ".join(["neutral"] * (4 if used else 2) + ["0"])


def test_a_predictor_can_be_sent_to_another_process(predictor, portrait, tmp_path):
    again = pickle.loads(pickle.dumps(predictor))
    expected = predictor.predict(portrait, explain="gradcam").faces[0]
    assert again.predict(portrait, explain="gradcam").faces[0].scores == expected.scores
    assert again.predict(portrait).faces[0].scores == predictor.predict(portrait).faces[0].scores
    (tmp_path / "predictor").write_bytes(pickle.dumps(predictor))
    code = (
        "import pickle, sys, matplotlib.cbook\n"
        "predictor = pickle.load(open(sys.argv[1], 'rb'))\n"
        "photo = matplotlib.cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)\n"
        "print(predictor.predict(photo).faces[0].label)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "predictor")]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120).stdout == "neutral\n"


def test_explanations_in_inference_mode(predictor, portrait):
    expected = predictor.predict(portrait, explain="gradcam").faces[0]
    with torch.inference_mode():
        face = predictor.predict(portrait, explain="gradcam").faces[0]
    assert face.scores == expected.scores and np.array_equal(face.heatmap, expected.heatmap)


def test_faces_may_be_floats(predictor, synthetic_faces):
    faces = synthetic_faces.pixels[:20, 0].numpy()
    expected = predictor.classify(list(faces))[0]
    assert len(set(expected.argmax(axis=1))) > 1
    for floats in (faces / 255, (faces / 255).astype(np.float32)):
        assert np.array_equal(predictor.classify(list(floats))[0], expected)


@pytest.mark.parametrize(
    ("faces", "words"),
    [
        ([np.full((48, 48), 255.0)], "from 255 to 255"),
        ([np.zeros((48, 48), np.int64)], "int64"),
        ([np.zeros((48, 48), np.uint8), np.zeros((40, 40), np.uint8)], "one shape"),
        (np.zeros((48, 48, 3), np.uint8), "faces are a list, each (S, S) or (S, S, 3), not (48, 3)"),
        ([np.zeros((50, 40, 3), np.uint8)], "not (50, 40, 3)"),
        ([np.zeros((3, 48, 48), np.uint8)], "(3, 48, 48)"),
        ([np.zeros((0, 0), np.uint8)], "(0, 0)"),
    ],
)
def test_what_is_no_face_is_refused(predictor, faces, words):
    with pytest.raises(UserError, match=re.escape(words)):
        predictor.classify(faces)


def test_no_faces_give_no_answers(predictor):
    scores, maps = predictor.classify([])
    assert scores.shape == (0, 8) and maps is None
    scores, maps = predictor.classify([], explain="gradcam")
    assert scores.shape == (0, 8) and maps.shape == (0, 48, 48)


def test_device(portrait):
    predictor = Predictor.load(device="auto")
    assert isinstance(predictor.classifier, OnnxClassifier) == (choose_device("auto").type == "cpu")
    assert predictor.predict(portrait).faces[0].label == "neutral"
    with pytest.raises(UserError, match="device"):
        Predictor.load(device="toaster")


def test_ways_in(predictor, portrait, tmp_path, monkeypatch):
    buffer = io.BytesIO()
    Image.fromarray(portrait).save(buffer, "JPEG")
    data = buffer.getvalue()
    (tmp_path / "below").mkdir()
    for name in ("a.jpg", "b.jfif", "below/c"):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "notes.txt").write_text("no picture")
    monkeypatch.setenv("HOME", str(tmp_path))
    buffer.seek(0)
    url = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    expected = predictor.predict(data).faces[0].scores
    with (tmp_path / "a.jpg").open("rb") as file:
        for source in (buffer, file, url, "~/a.jpg"):
            assert predictor.predict(source).faces[0].scores == expected
    assert predictor.predict(url).name == "image"
    names = [result.name for result in predictor.predict([tmp_path, str(tmp_path / "*.j*"), "~/below", data])]
    inside = [str(tmp_path / name) for name in ("a.jpg", "b.jfif", "below/c")]
    assert names == [*inside, *inside[:2], inside[2], "image"]
    assert predictor.predict([]) == []
    (none,) = predictor.predict([str(tmp_path / "*.png")])
    assert none.error == f"There is no file {tmp_path}/*.png."


def test_a_web_address_is_said_to_be_one(predictor):
    result = predictor.predict("https://example.org/photo.jpg")
    assert result.name == "https://example.org/photo.jpg"
    assert result.error.startswith("https://example.org/photo.jpg is a URL")


def test_a_face_that_was_cut_out_needs_no_detection(predictor, synthetic_faces, portrait):
    for pixels in synthetic_faces.pixels[:10, 0].numpy():
        (face,) = predictor.predict(pixels, detection=False).faces
        assert face.box == (0, 0, 48, 48)
        assert list(face.scores.values()) == pytest.approx(predictor.classify([pixels])[0][0].tolist(), abs=1e-6)
    (face,) = predictor.predict(portrait, explain="gradcam", detection=False).faces  # not square: its middle
    assert face.box == (0, 44, 512, 556) and face.parts is None  # its face is nowhere near as large
    (crop,) = (one.crop for one in predictor.predict(portrait).faces)
    (face,) = predictor.predict(crop, explain="gradcam", detection=False, landmarks=True).faces
    assert face.parts and face.measures and sum(share for share, _ in face.parts.values()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_photo_keeps_its_answer(predictor, astronaut, quarters):
    (upright,) = predictor.predict(astronaut, explain="gradcam").faces
    (face,) = predictor.predict(np.rot90(astronaut, quarters), explain="gradcam").faces
    assert face.label == upright.label == "happiness" and face.warnings == ("turned",)
    assert np.abs(face.overlay().astype(int) - upright.overlay()).mean() < 4  # the same way up
    corners = np.zeros(astronaut.shape[:2], bool)
    corners[slice(*face.box[1::2]), slice(*face.box[::2])] = True
    rows, columns = np.nonzero(np.rot90(corners, -quarters))
    found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert np.abs(np.subtract(found, upright.box)).max() <= 2
