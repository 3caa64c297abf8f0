"""Hard faces: what is drawn on them, and the figures made of answers, beside what is counted by hand."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import robustness
from PIL import Image
from robustness import COMMON, DARK, OTHERS, TILTED, covered, dark, figures, landmarks_of, of_sets, tilted

from ferlib.detection.crop import FaceCrop
from ferlib.detection.faces import detect_faces
from ferlib.detection.landmarks import LEFT_EYE, LIPS, RIGHT_EYE

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def face(portrait: np.ndarray) -> np.ndarray:
    """A face in the training set's framing, (48, 48) uint8."""
    crop = FaceCrop.of(portrait, detect_faces(portrait)[0])
    return np.asarray(Image.fromarray(crop.resized(48)).convert("L"))


def test_glasses_cover_the_eyes_and_a_mask_the_mouth(face):
    points = landmarks_of(face)
    assert points is not None
    eyes = np.concatenate([points[list(eye)] for eye in (LEFT_EYE, RIGHT_EYE)]).round().astype(int)
    lips = points[list(LIPS)].round().astype(int)
    glasses, mask = covered(face, points, "sunglasses"), covered(face, points, "mask")
    assert glasses.shape == mask.shape == face.shape
    assert (glasses[eyes[:, 1], eyes[:, 0]] < 60).all() and (mask[lips[:, 1], lips[:, 0]] > 190).all()
    assert (glasses[lips[:, 1], lips[:, 0]] == face[lips[:, 1], lips[:, 0]]).all()  # and nothing else is changed
    assert (mask[eyes[:, 1], eyes[:, 0]] == face[eyes[:, 1], eyes[:, 0]]).all()


def test_the_corruptions_are_asked_for_from_any_folder(tmp_path, monkeypatch):
    """Here by a worker that leaves the faces as they are, from a folder named as seen from here."""
    worker = tmp_path / "same.py"
    worker.write_text(
        "import sys, numpy as np\n"
        "np.savez(sys.argv[2], **{'same 1': np.fromfile(sys.argv[1], np.uint8).reshape(-1, 48, 48)})\n"
    )
    monkeypatch.setattr(robustness, "PACKAGE", replace(robustness.PACKAGE, worker=str(worker)))
    monkeypatch.setattr(robustness, "environment", lambda _, folder: folder.mkdir(parents=True) or [sys.executable])
    monkeypatch.chdir(tmp_path)
    faces = np.arange(2 * 48 * 48, dtype=np.uint32).reshape(2, 48, 48).astype(np.uint8)
    assert np.array_equal(robustness.corrupted(faces, Path("runs"))["same 1"], faces)


def test_the_noise_of_a_face_is_as_strong_as_that_of_one_channel(face, monkeypatch):
    """The package gives three channels, each with noise of its own; their mean would be quieter."""
    noisy = np.random.default_rng(0).normal(128, 40, (48, 48, 3)).clip(0, 255).astype(np.uint8)
    seeds = []

    def corrupt(face, strength, name, seed=None):
        seeds.append(seed)
        return noisy

    package = SimpleNamespace(corrupt=corrupt, get_corruption_names=lambda: [])
    monkeypatch.setitem(sys.modules, "imagecorruptions", package)
    monkeypatch.delitem(sys.modules, "corrupt_faces", raising=False)
    corrupted = importlib.import_module("corrupt_faces").corrupted
    assert corrupted(face, "gaussian_noise", 3, 0).std() > 0.95 * noisy[..., 0].std()
    for number in (0, 1):
        corrupted(face, "impulse_noise", 3, number)
        corrupted(face, "glass_blur", 3, number)
    assert seeds[0] is None and None not in seeds[1:]  # those of the package that are deaf to numpy's seed get one
    assert seeds[1] == seeds[2] != seeds[3] == seeds[4]  # and every face another


def test_stronger_is_darker_and_more_tilted(face):
    means = [dark(face, strength).mean() for strength in range(1, 6)]
    assert means == sorted(means, reverse=True)
    assert means[-1] == pytest.approx(DARK[-1] * face.mean(), abs=0.5)
    back = Image.fromarray(tilted(face, 1)).rotate(-TILTED[0], Image.Resampling.BICUBIC)
    middle = slice(14, 34)
    assert np.abs(np.asarray(back)[middle, middle].astype(int) - face[middle, middle]).mean() < 6


def test_noise_has_no_face_to_draw_on():
    noise = np.random.default_rng(0).integers(0, 256, (48, 48)).astype(np.uint8)
    assert landmarks_of(noise) is None


def test_accuracy_and_change_are_means_over_strengths_and_faces():
    clear = np.array([1.0, 1, 1, 0] * 50)
    right = np.stack([clear, clear * (np.arange(200) % 2)])
    found = figures(right, clear)
    assert found["by strength"] == [0.75, right[1].mean()]
    assert found["accuracy"]["value"] == pytest.approx(right.mean())
    assert found["change"]["value"] == pytest.approx(right.mean() - 0.75)
    rng = np.random.default_rng(1)
    drawn = [(right - clear)[:, rng.integers(0, 200, 200)].mean() for _ in range(4000)]
    assert [found["change"]["low"], found["change"]["high"]] == pytest.approx(
        np.quantile(drawn, [0.025, 0.975]), abs=0.01
    )


def test_sets_that_are_empty_or_large_are_no_answer():
    chosen = np.array([[[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0]]], bool)
    found = of_sets(chosen, np.array([0, 2, 2, 0]))
    assert found == {"coverage": 0.5, "cannot say": 0.5, "mean set": 1.5}


def test_the_committed_results_are_whole():
    report = json.loads((RESULTS / "robustness.json").read_text())
    for name, entry in report["entries"].items():
        assert set(entry["conditions"]) == {*COMMON, *OTHERS}, name
        kind = entry["kinds"]["all fifteen"]["accuracy"]["value"]
        assert kind == pytest.approx(np.mean([entry["conditions"][one]["accuracy"]["value"] for one in COMMON]))
        for row in entry["conditions"].values():
            assert row["accuracy"]["value"] == pytest.approx(np.mean(row["by strength"]))
