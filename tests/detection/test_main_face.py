"""Which faces are wanted: the main one alone, and none below a size."""

import json

import numpy as np
import pytest
from PIL import Image

from ferlib.cli import main
from ferlib.detection.crop import Face
from ferlib.detection.faces import LEAST, detect_faces
from ferlib.detection.main_face import main_face, prominence
from ferlib.errors import UserError
from ferlib.predict import Predictor, find_faces


def face(x: float, y: float, side: int) -> Face:
    x0, y0 = round(x - side / 2), round(y - side / 2)
    return Face((x0, y0, x0 + side, y0 + side), 1.0, np.zeros((6, 2)))


def scaled(picture: np.ndarray, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((width, width * picture.shape[0] // picture.shape[1])))


@pytest.fixture(scope="module")
def street(portrait) -> np.ndarray:
    """A portrait, and beside it the same face twenty times smaller; (1200, 1424, 3) uint8."""
    picture = np.full((1200, 1424, 3), 128, np.uint8)
    picture[:, :1024] = scaled(portrait, 1024)
    small = scaled(portrait, 51)
    picture[300 : 300 + len(small), 1200:1251] = small
    return picture


def test_the_main_face_is_large_and_central():
    shape = (600, 800, 3)
    assert prominence(face(400, 300, 100), shape) == 100
    assert prominence(face(0, 0, 100), shape) == pytest.approx(50)
    middle, corner, large = face(400, 300, 100), face(50, 50, 150), face(600, 300, 200)
    assert main_face([corner, middle], shape) is middle
    assert main_face([corner, middle, large], shape) is large


def test_a_small_face_beside_a_portrait_is_found_where_it_is_asked_for(street):
    assert [one.side > 300 for one in detect_faces(street)] == [True]
    both = detect_faces(street, min_face=15)
    assert [one.side > 300 for one in both] == [True, False]
    assert both[1].side == pytest.approx(both[0].side / 20, rel=0.25)
    assert [one.side > 300 for one in detect_faces(street, min_face=60)] == [True]  # the other one is left out


def test_a_face_of_less_than_a_hundredth_of_a_photo(portrait):
    """Searched in tiles, seven times as finely as photos are by themselves; the face lies where two tiles meet."""
    picture = np.full((2400, 3000, 3), 128, np.uint8)
    small = scaled(portrait, 51)  # its face is 20 pixels wide
    picture[850 : 850 + len(small), 850:901] = small
    assert detect_faces(picture, turns=False) == []
    (found,) = detect_faces(picture, turns=False, min_face=16)
    assert 866 < (found.box[0] + found.box[2]) / 2 < 888 and found.side == pytest.approx(20, rel=0.25)


def test_photos_take_the_switches(street):
    assert len(find_faces(street, min_face=15).faces) == 2
    (crop,) = find_faces(street, faces="main", min_face=15).faces
    assert crop.face.side > 300
    nothing = find_faces(scaled(street, 300), min_face=200)
    assert nothing.error == "No face of 200 pixels or more was found in the picture."
    results = Predictor.load().predict([street, street], faces="main", min_face=15)
    assert [len(result.faces) for result in results] == [1, 1]


def test_what_cannot_be_asked_for_is_said():
    with pytest.raises(UserError, match="all or main, not 'best'"):
        find_faces(None, faces="best")
    for small in (LEAST - 1, -3, float("nan")):
        with pytest.raises(UserError, match="from 10 pixels on"):
            find_faces(None, min_face=small)


def test_the_command_takes_them(street, tmp_path, capsys):
    path = tmp_path / "street.png"
    Image.fromarray(street).save(path)
    for options, count in ((["--min-face", "15"], 2), (["--min-face", "15", "--faces", "main"], 1)):
        assert main(["predict", str(path), "--format", "json", *options]) == 0
        assert len(json.loads(capsys.readouterr().out)["faces"]) == count
    assert main(["predict", str(path), "--min-face", "5"]) == 1
    assert "from 10 pixels on" in capsys.readouterr().err
    assert main(["predict", str(path), "--no-detection", "--faces", "main"]) == 1
    assert "--no-detection looks for no faces" in capsys.readouterr().err
