"""Faces in real photos: found, in order, at the right place, and framed as FER2013 frames them."""

import csv
import gzip
import itertools
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ferlib.detection import faces
from ferlib.detection.crop import Face, FaceCrop, crop_box, crop_face, crop_points, cut
from ferlib.detection.faces import detect_faces
from ferlib.detection.landmarks import LEFT_EYE, LIPS, RIGHT_EYE, find_landmarks

pytest.importorskip("onnxruntime")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def face(portrait) -> Face:
    (found,) = detect_faces(portrait)
    return found


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    return np.array(Image.fromarray(image).rotate(degrees, Image.Resampling.BICUBIC))


def resized(image: np.ndarray, width: int) -> np.ndarray:
    height = round(image.shape[0] * width / image.shape[1])
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def iou(a, b) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(0, width) * max(0, height)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def parts(image: np.ndarray, face: Face) -> np.ndarray:
    """Centres of left eye, right eye and mouth, (3, 2), in pixels of an unturned crop of 48."""
    points = crop_points(landmarks(image, face), face, 48, max_roll=180)
    return np.stack([points[list(part)].mean(axis=0) for part in (LEFT_EYE, RIGHT_EYE, LIPS)])


def landmarks(image: np.ndarray, face: Face) -> np.ndarray:
    """Their x and y, (468, 2)."""
    return find_landmarks(image, face).points[:, :2]


def test_portrait(face):
    assert face.score > 0.9
    assert iou(face.box, (170, 140, 370, 340)) > 0.7  # read off the picture by eye
    assert all(type(value) is int for value in face.box)
    assert abs(face.roll) < 6


def test_framing_is_that_of_fer2013(portrait, face, astronaut):
    """The medians measured on FER2013, in pixels of its 48, come out again on two other photos."""
    centres = json.loads((ROOT / "results" / "framing.json").read_text())["centres"]
    expected = [centres[part] for part in ("left eye", "right eye", "mouth")]
    (other,) = detect_faces(astronaut)
    for image, found in ((portrait, face), (astronaut, other)):
        assert np.abs(parts(image, found) - expected).max() < 2.5


def test_two_people_from_left_to_right(portrait, astronaut):
    lower = np.pad(astronaut, ((0, 88), (0, 0), (0, 0)))
    left, right = detect_faces(np.hstack([portrait, lower]))
    assert crop_box(left)[2] < 512 < crop_box(right)[0]
    left, right = detect_faces(np.hstack([lower, portrait]))  # now the smaller face is the left one
    assert crop_box(left)[2] < 512 < crop_box(right)[0]
    assert right.box[2] - right.box[0] > 1.5 * (left.box[2] - left.box[0])


def test_fifty_people(portrait, astronaut):
    tiles = resized(portrait, 256), resized(astronaut[:300, 100:356], 256)
    picture = np.vstack([np.hstack([tiles[(row + column) % 2] for column in range(10)]) for row in range(5)])
    found = detect_faces(picture)
    assert len(found) == 50
    middles = [np.reshape(face.box, (2, 2)).mean(axis=0) // (256, 300) for face in found]
    assert [tuple(middle) for middle in middles] == [(column, row) for row in range(5) for column in range(10)]


@pytest.mark.parametrize(("times", "both"), [(4, True), (16, False)])
def test_a_much_smaller_face_is_not_looked_for(portrait, face, times, both):
    large, small = resized(portrait, 1600), resized(portrait, 1600 // times)
    strip = np.full((large.shape[0], 400, 3), 128, np.uint8)
    strip[: small.shape[0], : small.shape[1]] = small
    width = (face.box[2] - face.box[0]) * 1600 / 512
    found = detect_faces(np.hstack([large, strip]), max_side=2000)
    ratios = sorted(width / (one.box[2] - one.box[0]) for one in found)
    assert ratios == pytest.approx([1] + [times] * both, rel=0.2)
    alone = detect_faces(np.hstack([np.full_like(large, 128), strip]), max_side=2000)  # nothing hides it
    assert [width / (one.box[2] - one.box[0]) for one in alone] == pytest.approx([times], rel=0.2)


def test_no_face_in_noise_or_in_a_blank_picture():
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    assert detect_faces(noise) == []
    assert detect_faces(np.full((200, 200, 3), 180, np.uint8)) == []


@pytest.mark.parametrize("shape", [(0, 0), (0, 9), (1, 1), (1, 4000), (4000, 1), (3, 2)])
def test_odd_sizes(shape):
    assert detect_faces(np.zeros((*shape, 3), np.uint8)) == []


@pytest.mark.parametrize(("shape", "dtype"), [((50, 50), np.uint8), ((50, 50, 3), float), ((9, 9, 4), np.uint8)])
def test_other_arrays_are_refused(shape, dtype):
    with pytest.raises(ValueError, match="read_image"):
        detect_faces(np.zeros(shape, dtype))


@pytest.mark.parametrize("degrees", [-120, -60, -30, 30, 60, 150])
def test_tilted_faces_and_their_landmarks_are_found(portrait, face, degrees):
    """Turned back, the landmarks lie where those of the upright photo do."""
    (found,) = detect_faces(turned(portrait, degrees))
    assert abs(found.tilt) < 45
    angle, middle = np.radians(degrees), np.array([portrait.shape[1] / 2, portrait.shape[0] / 2])
    back = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # y points down
    points = (landmarks(turned(portrait, degrees), found) - middle) @ back.T + middle
    assert np.linalg.norm(points - landmarks(portrait, face), axis=1).mean() < 4  # pixels; the eyes are 78 apart


def test_same_face_on_a_larger_canvas(portrait, face):
    canvas = np.full((1100, 1300, 3), 128, np.uint8)
    canvas[300:900, 500:1012] = portrait
    (found,) = detect_faces(canvas)
    moved = np.subtract(crop_box(found), (500, 300, 500, 300))
    assert np.abs(moved - crop_box(face)).max() < 12  # of 215
    moved = landmarks(canvas, found) - (500, 300)
    assert np.abs(moved - landmarks(portrait, face)).mean() < 5


@pytest.mark.parametrize("width", [60, 150, 3000])
def test_same_face_at_another_size(portrait, face, width):
    (found,) = detect_faces(resized(portrait, width))
    assert iou(np.multiply(crop_box(found), 512 / width), crop_box(face)) > 0.85


def test_crop_is_the_square_of_crop_box(portrait, face):
    x0, y0, x1, y1 = crop_box(face)
    assert x1 - x0 == y1 - y0
    assert np.array_equal(crop_face(portrait, face), portrait[y0:y1, x0:x1])
    small = crop_face(portrait, face, 48)
    assert small.shape == (48, 48, 3) and small.dtype == np.uint8 and small.flags.writeable
    assert np.abs(small.astype(float) - resized(portrait[y0:y1, x0:x1], 48)).mean() < 3


def test_crop_beyond_the_border_repeats_edge_pixels(portrait, face):
    x0, y0, x1, y1 = crop_box(face)
    cut = portrait[y0 + 30 : y1 - 20, x0 + 25 : x1 - 10]  # a photo that ends inside the square
    corner = (x0 + 25, y0 + 30)
    inside = Face(tuple(np.subtract(face.box, corner * 2).tolist()), 1.0, face.keypoints - corner)
    crop = crop_face(cut, inside)
    expected = np.pad(cut, ((30, 20), (25, 10), (0, 0)), mode="edge")
    assert np.array_equal(crop, expected)
    assert crop_face(cut, inside, 224).shape == (224, 224, 3)


@pytest.mark.parametrize("x", [-30, -6, -2, 0, 2, 5, 9, 40])
@pytest.mark.parametrize("y", [-20, -1, 3, 7, 25])
@pytest.mark.parametrize("side", [1, 4, 30])
def test_a_square_anywhere_has_the_nearest_pixels(x, y, side):
    """Also one that does not touch the picture, as of a guess in the margin."""
    picture = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    rows, columns = np.arange(y, y + side).clip(0, 6), np.arange(x, x + side).clip(0, 8)
    assert np.array_equal(cut(picture, (x, y, x + side, y + side)), picture[rows[:, None], columns])


def test_a_tight_picture_of_a_face_is_still_a_face(portrait, face):
    """What FER2013 itself looks like: nothing around the face."""
    tight = crop_face(portrait, face, 48)
    (found,) = detect_faces(tight)
    assert iou(crop_box(found), (0, 0, 48, 48)) > 0.7


@pytest.mark.parametrize("degrees", [-25, 25])
@pytest.mark.parametrize("max_roll", [0, 15, 180])
def test_roll_is_measured_and_reduced(portrait, face, degrees, max_roll):
    picture = turned(portrait, degrees)  # counter-clockwise by `degrees`, so roll falls by as much
    (found,) = detect_faces(picture)
    assert abs(found.roll - (face.roll - degrees)) < 6
    (again,) = detect_faces(crop_face(picture, found, max_roll=max_roll))
    assert abs(again.roll - np.clip(found.roll, -max_roll, max_roll)) < 7


@pytest.mark.parametrize("roll", [-80, -30, 0, 10, 40])
def test_turning_is_exact(roll):
    """Marks painted where the eyes are: in the crop they lie at the tilt asked for, as far apart as before."""
    angle, centre = np.radians(roll), np.array([150.0, 160.0])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # for row vectors
    keypoints = centre + np.array([(-25, -20), (25, -20), (0, 5), (0, 30), (-50, -5), (50, -5)]) @ turn
    picture = np.zeros((320, 300, 3), np.uint8)
    for channel, eye in enumerate(keypoints[:2]):
        x, y = eye.round().astype(int)
        picture[y - 3 : y + 4, x - 3 : x + 4, channel] = 255
    one = Face((0, 0, 9, 9), 1.0, keypoints)
    assert abs(one.roll - roll) < 0.01
    crop = crop_face(picture, one, max_roll=20)
    marks = [np.argwhere(crop[..., channel] > 127).mean(axis=0)[::-1] for channel in (0, 1)]
    assert np.abs(crop_points(keypoints[:2], one, len(crop), max_roll=20) - marks).max() < 1.5
    (dx, dy) = marks[1] - marks[0]
    assert abs(np.degrees(np.arctan2(dy, dx)) - np.clip(roll, -20, 20)) < 1
    assert abs(np.hypot(dx, dy) - 50) < 1.5


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_keypoints_of_a_crop_are_upright(portrait, quarters):
    """Also where the photo lies on its side and the head is tilted by more than a crop keeps."""
    photo = np.ascontiguousarray(np.rot90(turned(portrait, 30), quarters))
    left, right, *_ = FaceCrop.of(photo, *detect_faces(photo)).keypoints
    assert right[0] - left[0] > 0.3 and abs(right[1] - left[1]) < 0.2


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_photo_without_a_tag_is_found_to_be_turned(portrait, astronaut, quarters):
    """Its crop is that of the upright photo, pixel for pixel; box and landmarks lie where the face is in the photo."""
    for upright in (portrait, astronaut):
        (expected,) = detect_faces(upright)
        photo = np.ascontiguousarray(np.rot90(upright, -quarters))
        (found,) = detect_faces(photo)
        assert found.turn == 90 * quarters and found.tilt == pytest.approx(expected.tilt)
        assert found.roll == pytest.approx((expected.roll + 90 * quarters + 180) % 360 - 180)
        assert np.abs(crop_face(photo, found, 48).astype(int) - crop_face(upright, expected, 48)).mean() < 2
        inside = np.zeros(photo.shape[:2], bool)
        x0, y0, x1, y1 = found.box
        inside[y0:y1, x0:x1] = True
        rows, columns = np.nonzero(np.rot90(inside, quarters))
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == expected.box
        points = [crop_points(landmarks(*pair), pair[1], 48) for pair in ((photo, found), (upright, expected))]
        assert np.abs(points[0] - points[1]).max() < 1.5


def test_a_turned_group_is_turned_as_a_whole(portrait, astronaut):
    tiles = resized(portrait, 256), resized(astronaut[:300, 100:356], 256)
    picture = np.vstack([np.hstack([tiles[(row + column) % 2] for column in range(4)]) for row in range(3)])
    found = detect_faces(np.ascontiguousarray(picture[::-1, ::-1]))
    assert [face.turn for face in found] == [180] * 12


@pytest.mark.parametrize("quarters", [1, 3])
def test_small_faces_of_a_photo_that_lies_on_its_side_are_found_too(portrait, astronaut, quarters):
    """Too small to be seen at the long side at which large photos are searched first."""
    people = [resized(portrait[:512], 66), resized(astronaut[:256, 100:356], 66)]
    photo = np.full((1400, 2000, 3), 150, np.uint8)
    for place in range(12):
        y, x = 100 + place // 4 * 420, 100 + place % 4 * 470
        photo[y : y + 66, x : x + 66] = people[place % 2]
    lying = detect_faces(np.ascontiguousarray(np.rot90(photo, quarters)), min_face=20)
    assert [face.turn for face in lying] == [90 * (4 - quarters)] * 12


def test_an_upright_photo_is_not_searched_in_other_turns(portrait, monkeypatch):
    monkeypatch.setattr(faces, "_in_best_turn", lambda *_: pytest.fail("the upright face was sure"))
    assert len(detect_faces(portrait)) == 1


def test_one_face_found_twice_is_kept_once():
    def found(x0, y0, x1, y1, score):
        return Face((x0, y0, x1, y1), score, np.zeros((6, 2)))

    several = [
        found(0, 0, 100, 100, 0.9),
        found(20, 20, 60, 60, 0.6),  # inside the first
        found(10, 5, 115, 110, 0.95),  # the first again, and surer
        found(100, 0, 200, 100, 0.7),  # the neighbour, cheek to cheek
    ]
    assert [face.score for face in faces.without_duplicates(several)] == [0.95, 0.7]


def test_what_looks_like_a_face_at_first_is_looked_at_again():
    """A part of a motorcycle, for one."""
    picture = pytest.importorskip("skimage").data.stereo_motorcycle()[1]
    guesses = faces._look(Image.fromarray(picture), 640, faces._MARGIN, faces._GUESS)
    assert max(guess.score for guess in guesses) > 0.7
    assert detect_faces(picture) == []


@pytest.mark.parametrize(("side", "margin"), [(1200, 16), (300, 32)])
def test_a_picture_is_enlarged_a_tile_at_a_time(portrait, monkeypatch, side, margin):
    """They are parts of the whole, and nothing larger than one is made: memory does not grow with what is searched."""
    monkeypatch.setattr(faces, "_TILE", 320)
    picture, size = Image.fromarray(portrait[:500]), (side, round(side * 500 / 512))
    scaled = np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
    whole = np.pad(scaled, ((margin, margin + 320), (margin, margin + 320), (0, 0)))
    made, resize = [], Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, size, *a, **k: made.append(size) or resize(self, size, *a, **k)
    )
    tiles = list(faces._tiles(picture, size, margin))
    assert len(tiles) == len(made) and max(map(max, made)) <= 320
    for corner, tile in tiles:
        (x, y), (height, width, _) = corner + margin, tile.shape
        assert max(height, width) <= 320 and height % 16 == width % 16 == 0
        assert np.abs(tile.astype(int) - whole[y : y + height, x : x + width]).max() <= 1
    ends = np.max([corner + tile.shape[1::-1] for corner, tile in tiles], axis=0)
    assert (ends >= np.add(size, margin)).all()


def test_small_faces_are_found_in_tiles_as_in_one_piece(portrait, monkeypatch):
    canvas = np.full((300, 400, 3), 128, np.uint8)
    for x, y in ((10, 20), (150, 90), (330, 210)):
        canvas[y : y + 60, x : x + 51] = resized(portrait, 51)[:60]
    expected = detect_faces(canvas, min_face=12)
    monkeypatch.setattr(faces, "_TILE", 320)
    found = detect_faces(canvas, min_face=12)
    assert len(found) == len(expected) == 3
    assert all(iou(one.box, other.box) > 0.8 for one, other in zip(found, expected, strict=True))


def test_faces_can_be_compared_and_hashed(portrait, face):
    (again,) = detect_faces(portrait)
    assert again == face and len({again, face}) == 1
    assert np.array_equal(again.keypoints, face.keypoints)


def test_several_threads(portrait, astronaut):
    pictures = [portrait, astronaut, np.hstack([portrait[:512], astronaut])] * 3

    def look(picture):
        faces = detect_faces(picture)
        return faces, [landmarks(picture, face) for face in faces]

    expected = [look(picture) for picture in pictures[:3]] * 3
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(look, pictures))
    for (found, points), (wanted, right) in zip(results, expected, strict=True):
        assert found == wanted
        assert np.array_equal(points, right)


def run_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_import_loads_none_of_the_heavy_packages():
    heavy = {"onnxruntime", "torch", "cv2", "plotly"}
    code = f"import sys, ferlib.detection.faces; print(sorted({heavy!r} & set(sys.modules)))"
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_missing_package_is_named_with_its_remedy():
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"  # what makes Python's own import fail
        "from matplotlib.cbook import get_sample_data; from ferlib.images import read_image\n"
        "from ferlib.detection.faces import detect_faces\n"
        "image = read_image(get_sample_data('grace_hopper.jpg', asfileobj=False))\n"
        "detect_faces(image)"
    )
    result = run_python(code)
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ferlib.errors.MissingPackage: blazeface.onnx needs onnxruntime")
    assert "pip install onnxruntime" in last


@pytest.mark.data
def test_crops_of_fer2013_pictures_are_the_pictures(data_root):
    """On sixty training rows the square is in the median the whole 48 x 48 picture."""
    path = data_root / "fer2013" / "fer2013.csv.gz"
    if not path.is_file():
        pytest.skip(f"needs FER2013 at {path}")
    boxes = []
    with gzip.open(path, "rt") as file:
        for row in itertools.islice(csv.DictReader(file), 9000, 9060):
            picture = np.array(row["pixels"].split(), np.uint8).reshape(48, 48)
            found = detect_faces(np.repeat(picture[..., None], 3, axis=2))
            boxes += [crop_box(one) for one in found]
    assert len(boxes) > 50
    assert np.abs(np.median(boxes, axis=0) - (0, 0, 48, 48)).max() <= 2.5
