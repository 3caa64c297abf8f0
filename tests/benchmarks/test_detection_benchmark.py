"""The benchmark of detection: faces lie where its pictures say, and what it counts is what there is."""

import detection
import detection_pictures as pictures
import numpy as np
import pytest

from ferlib.detection.faces import detect_faces


@pytest.fixture(autouse=True)
def few_heads(monkeypatch):
    """The portraits and three drawn faces."""
    few = pictures.heads(3, 0)
    monkeypatch.setattr(pictures, "heads", lambda: few)


def test_faces_lie_where_the_pictures_say():
    found = detection.measured(detection.ours, pictures.by_size(128))
    assert found["found"] == {"portraits": [2, 2], "drawn": [3, 3]}
    assert found["false_alarms"] == 0 and found["pictures"] == 5
    (case, *_) = pictures.by_size(128)
    (face,), (place,) = detect_faces(case.pixels), case.places
    assert face.side == pytest.approx(place.side, rel=0.25)
    assert np.abs(np.reshape(face.box, (2, 2)).mean(axis=0) - (place.x, place.y)).max() < 0.15 * place.side


def test_a_group_has_sixty_faces():
    drawn, mixed = pictures.by_group(20)
    assert drawn.pixels.shape == (180, 300, 3)
    assert len(drawn.places) == 60 and len(mixed.places) == 60


def test_each_box_counts_for_one_face_at_most():
    places = [pictures.Place(x, 50, 40, "drawn") for x in (50, 65, 200)]
    assert detection.matched(places, [(52, 50, 40)]) == [True, False, False]
    assert detection.matched(places, [(60, 50, 40), (50, 50, 45), (200, 75, 40)]) == [True, True, False]
    assert detection.matched(places, [(200, 50, 100)]) == [False] * 3  # too large


def test_false_alarms_are_counted():
    case = pictures.Case(np.zeros((9, 9, 3), np.uint8), (pictures.Place(4, 4, 4, "drawn"),))
    found = detection.measured(lambda _: [(4, 4, 4), (4, 4, 4), (0, 0, 1)], [case])
    assert found["found"] == {"drawn": [1, 1]} and found["false_alarms"] == 2
