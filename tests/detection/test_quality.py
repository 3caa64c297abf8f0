"""Doubtful faces are said to be doubtful, from thresholds that were measured."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from ferlib.detection import quality
from ferlib.detection.crop import FaceCrop
from ferlib.detection.faces import detect_faces
from ferlib.detection.quality import WARNINGS, Quality, quality_of
from ferlib.predict import Predictor

MEASURED = json.loads((Path(__file__).parents[2] / "results" / "quality.json").read_text())
GOOD = Quality(120, 0.0, 0.7, 200, 0.0)


@pytest.fixture(scope="module")
def predictor():
    return Predictor.load()


@pytest.mark.parametrize("name", ["dark", "overexposed", "blurred", "small", "averted"])
def test_thresholds_are_those_that_were_measured(name):
    assert getattr(quality, name.upper()) == pytest.approx(MEASURED["thresholds"][name], rel=0.02)
    accuracy = [row[2] for row in MEASURED["curves"][name]]
    clean = np.mean(accuracy) if name == "averted" else accuracy[0]
    beyond = [row[2] for row in MEASURED["curves"][name] if is_beyond(name, row[1])]
    assert beyond and max(beyond) < clean - MEASURED["fall"] + 1e-9


def is_beyond(name: str, measure: float) -> bool:
    threshold = getattr(quality, name.upper())
    return measure > threshold if name in ("overexposed", "averted") else measure < threshold


def test_a_tilted_head_needs_no_warning():
    accuracy = [row[2] for row in MEASURED["curves"]["tilted"]]
    assert min(accuracy) > accuracy[0] - MEASURED["fall"] and MEASURED["thresholds"]["tilted"] is None


def test_good_portraits_have_no_warning(predictor, portrait, astronaut):
    for photo in (portrait, astronaut):
        assert predictor.predict(photo).faces[0].warnings == ()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("dark", lambda photo: (photo * 0.2).astype(np.uint8)),
        ("overexposed", lambda photo: (photo * 3.0).clip(0, 255).astype(np.uint8)),
        ("blurred", lambda photo: np.asarray(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(9)))),
        ("small", lambda photo: np.asarray(Image.fromarray(photo).resize((55, 64)))),
    ],
)
def test_a_spoilt_portrait_is_said_to_be_doubtful(predictor, portrait, name, change):
    (face,) = predictor.predict(change(portrait)).faces
    assert face.warnings == (name,)


def test_a_face_seen_from_the_side():
    """Its nose is nearer to one eye."""
    from ferlib.detection.faces import Face

    keypoints = np.array([(30, 40), (70, 40), (50, 60), (50, 80), (10, 45), (90, 45)], float)
    crop = np.random.default_rng(0).integers(60, 200, (100, 100, 3), dtype=np.uint8)
    frontal = Face((0, 0, 100, 100), 0.9, keypoints)
    assert quality.yaw_of(frontal) == 0 and quality_of(FaceCrop(frontal, crop, crop)).warnings == ()
    keypoints = keypoints.copy()
    keypoints[2, 0] = 70
    side = Face((0, 0, 100, 100), 0.9, keypoints)
    assert quality.yaw_of(side) == pytest.approx(0.5) and quality_of(FaceCrop(side, crop, crop)).warnings == (
        "averted",
    )
    turn = np.array([[0, 1], [-1, 0]])  # on its side the same
    assert quality.yaw_of(Face((0, 0, 100, 100), 0.9, keypoints @ turn)) == pytest.approx(0.5)


def test_contrast_is_not_sharpness(portrait):
    crop = FaceCrop.of(portrait, *detect_faces(portrait))
    pale = replace(crop, pixels=(crop.pixels * 0.5 + 60).astype(np.uint8))
    assert quality_of(pale).sharpness == pytest.approx(quality_of(crop).sharpness, rel=0.1)


def test_every_warning_has_a_sentence():
    worst = Quality(0, 1, 0, 0, 9, True)
    assert set(worst.warnings) | {"blurred"} == set(WARNINGS)  # a small face is not called blurred as well
    assert GOOD.warnings == () and all(text.endswith(".") for text in WARNINGS.values())
