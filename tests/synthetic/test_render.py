"""The synthetic faces: the same every time, moved where a muscle moves, masked where the parts are, and learnable."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from skimage.feature import hog
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ferlib import labels
from ferlib.synthetic.canvas import Camera
from ferlib.synthetic.geometry import ellipse, ribbon, spline
from ferlib.synthetic.render import (
    ACTION_UNITS,
    EXPRESSIONS,
    MOVED_PARTS,
    PARTS,
    Identity,
    Scene,
    render,
    sample_face,
    sample_faces,
    sample_units,
)

SMALL_PARTS = PARTS[:4]
VIEWS = [(Identity(), Scene.studio())] + [
    (Identity.sample(np.random.default_rng(seed)), Scene.sample(np.random.default_rng(seed))) for seed in range(3)
]


def middle_row(mask: np.ndarray) -> float:
    return np.nonzero(mask)[0].mean()


def test_expressions_are_those_of_the_vocabulary_and_made_of_known_units():
    assert tuple(EXPRESSIONS) == labels.SYNTHETIC
    assert {unit for units in EXPRESSIONS.values() for unit in units} <= set(ACTION_UNITS) == set(MOVED_PARTS)


def test_same_seed_same_bytes_other_seed_other_faces():
    first, again, other = (sample_faces(3, seed=seed, size=32) for seed in (5, 5, 6))
    assert first[0].tobytes() == again[0].tobytes()
    assert first[1] == again[1] and first[2].tolist() == again[2].tolist()
    assert first[0].tobytes() != other[0].tobytes()
    one, two = (sample_face("fear", np.random.default_rng(1), size=64) for _ in range(2))
    assert one.pixels.tobytes() == two.pixels.tobytes() and one.action_units == two.action_units


@pytest.mark.parametrize("size", [24, 48, 200])
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_masks_are_ordered_disjoint_and_inside_the_face(expression, size):
    for seed in range(4):
        face = sample_face(expression, np.random.default_rng(seed), size=size)
        assert face.pixels.shape == (size, size, 3) and face.pixels.dtype == np.uint8
        assert face.label == expression and set(face.masks) == set(PARTS)
        rows = [middle_row(face.masks[part]) for part in SMALL_PARTS]  # fails on an empty mask
        assert rows == sorted(rows)
        assert sum(face.masks[part].astype(int) for part in SMALL_PARTS).max() == 1
        for part in SMALL_PARTS:
            assert face.masks[part].sum() >= 5 and not (face.masks[part] & ~face.masks["face"]).any()
        assert 0.2 < face.masks["face"].mean() < 0.7


def test_a_portrait_is_framed_like_fer2013():
    masks = render({}, Identity(), Scene.studio(), size=100).masks
    assert 28 <= middle_row(masks["brows"]) <= 36
    assert 70 <= middle_row(masks["mouth"]) <= 78


@pytest.mark.parametrize(
    "pose", [{"yaw": 18.0}, {"pitch": -10.0}, {"roll": 12.0}, {"shift": (0.1, -0.1)}, {"scale": 0.8}]
)
def test_masks_follow_the_pose(pose):
    """Dark brows and irises must lie in the masks of brows and eyes, however the head is turned."""
    face = render(
        {}, Identity(skin=0.0, brow_thickness=1.2, age=0.0, hair="bald"), Scene(**pose, light_strength=0.2), size=160
    )
    dark = (face.pixels.sum(axis=2) < 240) & face.masks["face"]
    dark &= np.arange(160)[:, None] < middle_row(face.masks["nose"])
    assert dark.sum() > 100
    assert (dark & (face.masks["brows"] | face.masks["eyes"])).sum() > 0.97 * dark.sum()


def test_a_turned_head_brings_its_nose_with_it():
    def offset(scene: Scene) -> float:
        """How far the nose lies to the right of the eyes, in pixels."""
        masks = render({}, Identity(), scene, size=100).masks
        return np.nonzero(masks["nose"])[1].mean() - np.nonzero(masks["eyes"])[1].mean()

    left, ahead, right = (offset(Scene(yaw=yaw)) for yaw in (-15, 0, 15))
    assert abs(ahead) < 0.5 and left < -1 and right > 1


def test_the_camera_undoes_its_projection():
    camera = Camera(Scene(yaw=15, pitch=-8, roll=10, shift=(0.05, -0.02)), size=64)
    x, y = camera.grid(64)
    inner = np.hypot(x, y) < 0.8
    rows, columns = np.nonzero(inner)
    pixels = camera.project(np.stack([x[inner], y[inner]], axis=1))
    assert np.abs(pixels - np.stack([columns, rows], axis=1) - 0.5).max() < 0.25  # pixels


@pytest.mark.parametrize("unit", ACTION_UNITS)
def test_a_unit_changes_the_picture_where_its_muscle_is(unit):
    for who, scene in VIEWS:
        rest, moved = render({}, who, scene, size=96), render({unit: 1.0}, who, scene, size=96)
        change = np.abs(rest.pixels.astype(int) - moved.pixels).sum(axis=2)
        around = {part: binary_dilation(rest.masks[part] | moved.masks[part], iterations=4) for part in PARTS}
        share = {part: change[around[part]].sum() / change.sum() for part in PARTS}
        assert share["face"] > 0.95  # the background stands still
        assert change[np.logical_or.reduce([around[part] for part in MOVED_PARTS[unit]])].sum() > 0.3 * change.sum()
        assert share[MOVED_PARTS[unit][0]] > 0.25
        if MOVED_PARTS[unit] == ("mouth",):
            assert share["brows"] < 0.01 and share["eyes"] < 0.15
        if MOVED_PARTS[unit] in (("brows",), ("eyes",)):
            assert share["mouth"] < 0.01


def test_more_intensity_changes_more():
    rest = render({}, Identity(), Scene.studio(), size=64).pixels.astype(int)
    changes = [
        np.abs(rest - render({"AU12": v}, Identity(), Scene.studio(), size=64).pixels).sum() for v in (0.2, 0.5, 1.0)
    ]
    assert 0 < changes[0] < changes[1] < changes[2]


def test_counts_and_persons():
    pixels, names, persons = sample_faces({"happiness": 12, "disgust": 3, "fear": 0}, seed=2, size=24)
    assert pixels.shape == (15, 24, 24) and pixels.dtype == np.uint8
    assert sorted(names) == ["disgust"] * 3 + ["happiness"] * 12
    assert names != sorted(names) and names != sorted(names, reverse=True)
    assert np.unique(persons, return_counts=True)[1].tolist() == [7, 7, 1]
    assert sample_faces(1, size=24, grey=False)[0].shape == (7, 24, 24, 3)
    assert sample_faces(0, size=24)[0].shape == (0, 24, 24)


def test_a_person_keeps_the_face_and_people_differ():
    """Skin, hair and clothes vary between persons, not between the faces of one."""
    studio = [
        [
            render(EXPRESSIONS[name], Identity.sample(np.random.default_rng(seed)), Scene.studio(), 48).pixels / 255.0
            for name in EXPRESSIONS
        ]
        for seed in range(6)
    ]
    studio = np.array(studio)  # (person, expression, H, W, 3)
    assert studio.mean(axis=1).std(axis=0).mean() > 3 * studio.std(axis=1).mean()


def test_a_grey_scene_has_no_colour():
    pixels = render({"AU12": 1.0}, Identity(), Scene(grey=True, noise=0.02), size=48).pixels
    assert (pixels == pixels[..., :1]).all() and pixels.std() > 10


def test_the_light_comes_from_its_side():
    left, right = (render({}, Identity(hair="bald"), Scene(light=(azimuth, 0)), size=64) for azimuth in (-60, 60))
    face = left.masks["face"]
    brighter = np.where(face, left.pixels.astype(int).sum(axis=2) - right.pixels.astype(int).sum(axis=2), 0)
    assert brighter[:, :30].sum() > 0 > brighter[:, 34:].sum()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: render({"AU99": 0.5}, Identity(), Scene.studio()), r"unknown action units \['AU99'\].*AU12"),
        (lambda: render({"AU12": 1.2}, Identity(), Scene.studio()), r"AU12 must lie in 0\.\.1, not 1\.2"),
        (lambda: render({"AU12": float("nan")}, Identity(), Scene.studio()), r"AU12 must lie in 0\.\.1"),
        (lambda: render({}, Identity(), Scene.studio(), size=8), "at least 24 pixels, not 8"),
        (lambda: sample_face("boredom", np.random.default_rng(0)), "unknown expression 'boredom'.*happiness"),
        (lambda: sample_face("boredom", np.random.default_rng(0), clean=True), "unknown expression 'boredom'"),
        (lambda: sample_face("fear", np.random.default_rng(0), intensity=2), r"must lie in 0\.\.1, not 2"),
        (lambda: sample_face("fear", np.random.default_rng(0), intensity=2, clean=True), r"must lie in 0\.\.1, not 2"),
        (lambda: sample_faces({"boredom": 1}), "unknown expression 'boredom'"),
        (lambda: sample_faces(-1), "-1 faces"),
        (lambda: sample_faces(1, size=8), "at least 24 pixels"),
        (lambda: Identity(hair="mohican"), "unknown hair 'mohican'.*crop"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_sampled_units_stay_near_the_prototype():
    rng = np.random.default_rng(0)
    smiles = [sample_units("happiness", rng) for _ in range(200)]
    assert all(0 <= value <= 1 for units in smiles for value in units.values())
    assert 0.5 < np.mean([units["AU12"] for units in smiles]) < 0.9
    assert any(units["AU12"] == 0 for units in smiles)  # sometimes a unit of the prototype is missing
    assert any("AU4" in units for units in smiles)  # and sometimes a foreign one moves
    assert all(value <= 0.3 for value in sample_units("neutral", rng).values())


def test_curves():
    knots = [(0, 0), (1, 2), (3, 1)]
    curve = spline(*knots)
    assert all(np.abs(curve - knot).sum(axis=1).min() < 1e-12 for knot in knots)
    straight = ribbon(np.array([(0.0, 0.0), (1.0, 0.0), (2.0, 0.0)]), (2.0, 4.0))
    assert np.allclose(sorted(map(tuple, straight)), [(0, -1), (0, 1), (1, -1.5), (1, 1.5), (2, -2), (2, 2)])
    oval = ellipse(3, 4, 2, 1)
    assert np.allclose(((oval - (3, 4)) / (2, 1)) ** 2 @ (1, 1), 1)


def test_expressions_can_be_learnt_but_not_from_brightness():
    """Persons of the test are new; chance is 1/7."""
    pixels, names, persons = sample_faces(80, seed=3)
    names, test = np.array(names), persons % 4 == 0
    edges = np.array([hog(face, 9, (8, 8), (2, 2)) for face in pixels])
    tone = np.stack([pixels.mean(axis=(1, 2)), pixels.std(axis=(1, 2))], axis=1)
    score = {}
    for name, features in (("edges", edges), ("tone", tone)):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
        score[name] = model.fit(features[~test], names[~test]).score(features[test], names[test])
    assert score["edges"] > 0.45
    assert score["tone"] < 0.25
