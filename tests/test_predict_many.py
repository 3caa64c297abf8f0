"""Many pictures in several processes: the same results in the same order, whatever is among them."""

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from worker_tasks import Fragile

from ferlib.errors import MissingPackage, UserError
from ferlib.predict import DEFAULT_MODEL, Predictor
from ferlib.predict_many import ENDED
from ferlib.results import FacePrediction, ImagePrediction, csv_columns, to_frame
from ferlib.runtime.released import model_folder


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, portrait, astronaut) -> list:
    """Paths, arrays, a PIL image, bytes, an open file, a folder, and what is no picture."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, pixels in (("a", portrait), ("b", astronaut)):
        Image.fromarray(pixels[::2, ::2]).save(folder / f"{name}.png")
    (folder / "c.jpg").write_text("no picture")
    photo = folder / "a.png"
    both = np.concatenate([portrait[:512:2, ::2], astronaut[::2, ::2]], axis=1)
    return [photo, both, Image.open(photo), photo.read_bytes(), photo.open("rb"), folder, "absent.jpg", None, photo]


def test_processes_give_what_one_gives(predictor, pictures):
    def results(workers: int) -> list[dict]:
        pictures[4].seek(0)
        return [one.to_dict() for one in predictor.predict_many(pictures, workers, landmarks=True)]

    alone = results(1)
    assert [len(one["faces"]) for one in alone] == [1, 2, 1, 1, 1, 1, 1, 0, 0, 0, 1]
    assert results(2) == alone
    pictures[4].seek(0)
    assert [one.to_dict() for one in predictor.predict(pictures, landmarks=True)] == alone


def test_odd_pictures_are_what_they_are_in_one_process(predictor, pictures, portrait, tmp_path):
    """A PIL image of a file that is cut short, one whose meaning its file tells, and what cannot be sent."""
    Image.fromarray(portrait).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:3000])
    grey = np.asarray(Image.fromarray(portrait[::2, ::2]).convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(tmp_path / "deep.tif")
    odd = [lambda: Image.open(tmp_path / "cut.jpg"), lambda: Image.open(tmp_path / "deep.tif")]
    results = {}
    for workers in (1, 2):
        given = [*(make() for make in odd), memoryview(b"no picture"), lambda: None, pictures[0]]
        results[workers] = [one.to_dict() for one in predictor.predict_many(given, workers)]
    assert results[1] == results[2] and [len(one["faces"]) for one in results[1]] == [0, 1, 0, 0, 1]


def test_results_of_other_processes_are_whole(predictor, pictures):
    (result,) = predictor.predict_many(pictures[:1], workers=2, explain="gradcam")
    (here,) = predictor.predict_many(pictures[:1], explain="gradcam")
    for one, other in zip(result.faces, here.faces, strict=True):
        assert np.array_equal(one.crop, other.crop) and np.array_equal(one.heatmap, other.heatmap)
        assert one.parts == other.parts
    assert np.array_equal(result.image, here.image)


def test_what_cannot_be_is_said_before_anything_is_done(predictor):
    with pytest.raises(UserError, match="at least one worker, not 0"):
        predictor.predict_many([], workers=0)
    with pytest.raises(UserError, match="unknown explanation"):
        predictor.predict_many([], workers=2, explain="voodoo")


def test_a_picture_that_ends_its_process_is_a_result(portrait):
    """A decoder that crashes, or one picture too large for the memory, costs one row and no more."""
    fragile = Predictor(Fragile(model_folder(DEFAULT_MODEL) / "model.onnx"))
    dark = (portrait * 0.2).astype(np.uint8)
    first, second, third = fragile.predict_many([portrait, dark, portrait], workers=2)
    assert second.error == ENDED and not second.faces
    assert first.faces[0].scores == third.faces[0].scores


def test_threads_share_a_predictor(portrait, astronaut):
    """Also before its model was opened, and for faces, landmarks and heat maps."""
    predictor = pickle.loads(pickle.dumps(Predictor.load()))
    pictures = [portrait[::2, ::2], astronaut[::2, ::2]] * 10

    def answer(picture: np.ndarray) -> tuple:
        (face,) = predictor.predict(picture, "gradcam", landmarks=True).faces
        return face.to_dict(), face.heatmap.tobytes()

    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(answer, pictures))
    assert together == [answer(picture) for picture in pictures]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_workers_answer_in_a_forked_process(tmp_path, portrait):
    path = tmp_path / "photo.png"
    Image.fromarray(portrait[::2, ::2]).save(path)
    code = (
        "import os, sys\nfrom ferlib.predict import Predictor\npredictor = Predictor.load()\n"
        "labels = [one.faces[0].label for one in predictor.predict_many([sys.argv[1]] * 2, 2)]\n"
        "if child := os.fork(): sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "assert [one.faces[0].label for one in predictor.predict_many([sys.argv[1]] * 2, 2)] == labels\n"
        "print(labels)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout == "['neutral', 'neutral']\n", done.stderr


def test_a_predictor_is_sent_without_what_can_be_made_again(predictor, portrait):
    predictor.predict(portrait, explain="eigencam")  # loads PyTorch's model
    assert len(pickle.dumps(predictor)) < 10_000


def test_a_frame_has_a_row_a_face(predictor, portrait, astronaut):
    both = np.concatenate([portrait[:512], astronaut], axis=1)
    result = predictor.predict(both)
    frame = result.to_frame()
    assert list(frame.columns) == csv_columns(predictor.classes) and frame["face"].tolist() == [1, 2]
    assert frame["label"].tolist() == ["neutral", "happiness"] and frame["error"].isna().all()
    for row, face in zip(frame.to_dict("records"), result.faces, strict=True):
        assert {name: row[name] for name in predictor.classes} == face.scores and row["margin"] == face.margin
        assert (row["x0"], row["y0"], row["x1"], row["y1"]) == face.box


def test_a_frame_of_many_results_has_their_errors_and_all_that_was_asked_for(portrait):
    predictor = Predictor.load(coverage=0.9)
    frame = to_frame(predictor.predict_many(["absent.jpg", portrait], landmarks=True))
    assert list(frame.columns) == csv_columns(predictor.classes, sets=True, measures=True)
    absent, face = frame.to_dict("records")
    assert "absent.jpg" in absent["error"] and pd.isna(absent["face"]) and pd.isna(absent["yaw"])
    assert face["face"] == 1 and face["coverage"] == 0.9 and abs(face["yaw"]) < 15 and pd.isna(face["error"])
    other = FacePrediction((0, 0, 1, 1), {"tired": 0.7, "awake": 0.3}, np.zeros((2, 2, 3), np.uint8))
    both = to_frame([predictor.predict(portrait), ImagePrediction("b.jpg", (other,))])
    assert {*predictor.classes, "tired", "awake"} <= set(both) and both["tired"].tolist()[-1] == 0.7
    assert both["happiness"].notna().tolist()[0] and not both["happiness"].notna().tolist()[-1]
    assert to_frame([]).empty and "absent" in predictor.predict("absent.jpg").to_frame()["error"][0]


@pytest.mark.parametrize(
    ("names", "told"), [(("a", "b"), "a b"), (("very happy", "not happy"), "very happy; not happy")]
)
def test_classes_of_a_prediction_set_can_be_told_apart(names, told):
    scores = dict(zip((*names, "c"), (0.5, 0.4, 0.1), strict=True))
    face = FacePrediction((0, 0, 9, 9), scores, np.zeros((9, 9, 3), np.uint8), coverage=0.9, prediction_set=names)
    assert to_frame([ImagePrediction("a.jpg", (face,))])["prediction_set"].tolist() == [told]


def test_a_frame_without_pandas_is_a_sentence(monkeypatch, predictor):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackage, match="needs pandas, not installed: pip install pandas"):
        predictor.predict("absent.jpg").to_frame()
