"""The mesh: the square it is shown, where its points lie, and what is measured on them."""

from dataclasses import astuple

import numpy as np
import pytest
from PIL import Image

from ferlib.detection.crop import Face, FaceCrop
from ferlib.detection.facemesh import FACE_SIDE, eye_contours, mesh
from ferlib.detection.faces import detect_faces
from ferlib.detection.landmarks import (
    LEFT_EYE,
    LIPS,
    NOSE_TIP,
    OVAL,
    RIGHT_EYE,
    SURE,
    face_square,
    find_eyelids,
    find_landmarks,
    turned_square,
)
from ferlib.detection.measures import _CANONICAL, _INDICES, FaceMeasures, head_pose, measures_of
from ferlib.synthetic.render import Identity, Scene, render

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def face(portrait) -> Face:
    (found,) = detect_faces(portrait)
    return found


def measured(picture: np.ndarray) -> FaceMeasures:
    best = max(detect_faces(picture), key=lambda one: one.score)
    measures = measures_of(FaceCrop.of(picture, best))
    assert measures
    return measures


def drawn(units: dict[str, float], person: int, **scene: float) -> np.ndarray:
    identity = Identity.sample(np.random.default_rng(person))
    return render(units, identity, Scene(**scene), 160).pixels  # type: ignore[arg-type]


def mean_of(name: str, units: dict[str, float], people: int = 2, **scene: float) -> float:
    return float(np.mean([getattr(measured(drawn(units, person, **scene)), name) for person in range(people)]))


def test_the_square_is_mediapipes(face):
    """Half as large again as the long side of the box, about its centre."""
    centre, side = face_square(Face((10, 20, 110, 220), 1.0, face.keypoints))
    assert centre.tolist() == [60, 120] and side == 300


@pytest.mark.parametrize("roll", [0, 35, -100, 180])
@pytest.mark.parametrize("side", [10, 16, 60, 150, 300])
def test_a_turned_square_is_turned_scaled_and_placed(roll, side):
    """A picture whose colours are the coordinates tells where every pixel came from, also beyond its edge."""
    rows, columns = np.mgrid[:250, :250]
    picture = np.stack([columns, rows, 0 * rows], axis=2).astype(np.uint8)
    centre = np.array([120.3, 131.8])
    seen = turned_square(picture, centre, side, roll, 16).astype(float)[..., :2] + 0.5
    angle = np.radians(roll)
    across, down = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    places = (np.arange(16) + 0.5) / 16 - 0.5
    expected = centre + side * (places[None, :, None] * across + places[:, None, None] * down)
    inside = ((expected > side / 16) & (expected < 250 - side / 16)).all(axis=2)
    assert np.abs(seen - expected)[inside].max() < 2  # the colours are whole
    assert np.abs(seen - expected.clip(0, 250))[~inside].max(initial=0) < side / 16


def test_landmarks_lie_where_the_detector_sees_the_parts(portrait, face):
    points, score = find_landmarks(portrait, face)
    assert points.shape == (468, 3) and points.dtype == np.float32 and score > 0.99
    parts = [points[list(part), :2].mean(axis=0) for part in (LEFT_EYE, RIGHT_EYE, (NOSE_TIP,), LIPS)]
    assert np.abs(parts - face.keypoints[:4]).max() < 14  # pixels; the eyes are 78 apart
    assert points[NOSE_TIP, 2] < points[list(OVAL), 2].min()  # nearest to the camera


def test_several_faces_at_once_are_as_one_by_one(portrait, face):
    seen = turned_square(portrait, *face_square(face), face.roll, FACE_SIDE)
    several = np.stack([seen, seen[:, ::-1], seen // 2])
    points, scores = mesh(several)
    for place, picture in enumerate(several):
        (alone,), (score,) = mesh(picture[None])
        np.testing.assert_allclose(points[place], alone, atol=1e-3)
        assert scores[place] == pytest.approx(score, abs=1e-5)


def test_what_is_no_face_is_said_to_be_none(portrait):
    """A guess in the flag beside the head: neither parts nor measures are made up for it."""
    nowhere = Face(
        (0, 150, 90, 240), 0.6, np.array([(25, 180), (65, 180), (45, 200), (45, 220), (5, 190), (85, 190)], float)
    )
    crop = FaceCrop.of(portrait, nowhere)
    assert crop.landmarks.score < SURE and measures_of(crop) is None


def test_the_lids_lie_in_the_mesh_and_mirror_with_the_photo(portrait, face):
    lids = find_eyelids(portrait, find_landmarks(portrait, face))
    assert lids.shape == (2, 16, 2)
    (left, right), eyes = lids, face.keypoints[:2]
    assert np.abs(lids.mean(axis=1) - eyes).max() < 12
    assert left[0, 0] < left[8, 0] < right[8, 0] < right[0, 0]  # outer, inner, inner, outer corner
    assert (lids[:, 12, 1] < lids[:, 4, 1]).all()  # the upper lid above the lower
    other = np.ascontiguousarray(portrait[:, ::-1])
    mirrored = find_eyelids(other, find_landmarks(other, *detect_faces(other)))[::-1]
    assert np.abs(mirrored * (-1, 1) + (portrait.shape[1], 0) - lids).max() < 8
    assert eye_contours(np.zeros((3, 64, 64, 3), np.uint8)).shape == (3, 16, 2)


@pytest.mark.parametrize("angles", [(0, 0, 0), (30, 0, 0), (0, 25, 0), (0, 0, -70), (-40, 15, 160)])
def test_the_pose_of_a_head_that_was_turned_by_hand(angles):
    """The canonical face, turned, enlarged and moved: pitch first, then yaw, then roll."""
    yaw, pitch, roll = np.radians(angles)
    about_x = [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    about_y = [[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]]
    about_z = [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    turn = np.array(about_z) @ about_y @ about_x
    if not roll:
        assert (turn @ (0, 0, -1))[0] * yaw >= 0  # a positive yaw looks to the right of the picture
    points = np.zeros((468, 3))
    points[_INDICES] = 7 * _CANONICAL @ turn.T + (100, 50, 3)
    assert head_pose(points) == pytest.approx(angles, abs=1e-6)


def test_pose_of_drawn_heads_that_are_turned():
    """Signs and order are those of the scene. A drawn head is half as deep as a real one, so its turns look smaller."""
    for name, most in (("yaw", 20), ("pitch", 20)):
        seen = [mean_of(name, {}, **{name: turn}) for turn in (-most, 0, most)]
        assert np.diff(seen).min() > 4 and abs(seen[1]) < 4
    assert [mean_of("roll", {}, roll=turn) for turn in (-20, 20)] == pytest.approx([-20, 20], abs=2)


@pytest.mark.parametrize("degrees", [-60, -20, 20, 150])
def test_a_turned_photo_changes_the_roll_alone(portrait, degrees):
    upright = measured(portrait)
    turned = measured(np.array(Image.fromarray(portrait).rotate(degrees, Image.Resampling.BICUBIC)))
    assert (turned.roll - upright.roll + degrees + 180) % 360 - 180 == pytest.approx(0, abs=3)
    assert (turned.yaw, turned.pitch) == pytest.approx((upright.yaw, upright.pitch), abs=5)


def test_a_mirrored_photo_changes_the_signs_of_yaw_and_roll(portrait, astronaut):
    for photo in (portrait, astronaut, drawn({}, 0, yaw=20), drawn({}, 1, yaw=-20, roll=10)):
        one, other = measured(photo), measured(np.ascontiguousarray(photo[:, ::-1]))
        expected = (-one.yaw, one.pitch, -one.roll, one.eye_openness, one.mouth_openness)
        assert astuple(other) == pytest.approx(expected, abs=4.5)
        assert (other.eye_openness, other.mouth_openness) == pytest.approx(expected[3:], abs=0.06)


def test_the_mouth_opens(portrait):
    closed, ajar, wide = (mean_of("mouth_openness", {"AU25": much, "AU26": much}) for much in (0, 0.5, 1))
    assert closed < 0.08 and ajar > closed + 0.1 and wide > ajar + 0.1
    assert measured(portrait).mouth_openness < 0.1


def test_the_eyes_close():
    shut, relaxed, wide = (mean_of("eye_openness", units) for units in ({"AU43": 1.0}, {}, {"AU5": 1.0}))
    assert shut < relaxed - 0.05 and wide > relaxed
