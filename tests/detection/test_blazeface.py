"""The detector alone: what it says of real faces, at any place, on pictures of any size."""

import numpy as np
import pytest
from PIL import Image

from ferlib.detection.blazeface import LARGEST, SMALLEST, Detections, _blended, detect

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def small(portrait) -> np.ndarray:
    """The portrait with a face 43 pixels wide, (128, 109, 3)."""
    return np.asarray(Image.fromarray(portrait).resize((109, 128), Image.Resampling.LANCZOS))


def on_canvas(picture: np.ndarray, shape: tuple[int, int], place: tuple[int, int]) -> np.ndarray:
    canvas = np.zeros((*shape, 3), np.uint8)
    y, x = place
    canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return canvas


def test_a_face_and_its_parts(small):
    found = detect(on_canvas(small, (128, 128), (0, 0)))
    assert found.boxes.shape == (1, 2, 2) and found.keypoints.shape == (1, 6, 2) and found.scores[0] > 0.9
    left, right, nose, mouth, left_ear, right_ear = found.keypoints[0]
    assert left_ear[0] < left[0] < nose[0] < right[0] < right_ear[0]
    assert max(left[1], right[1]) < nose[1] < mouth[1]
    assert (found.boxes[0, 0] < found.keypoints[0, :4]).all() and (found.keypoints[0, :4] < found.boxes[0, 1]).all()


@pytest.mark.parametrize("shape", [(128, 128), (128, 256), (320, 192)])
@pytest.mark.parametrize("place", [(0, 0), (0, 16)])
def test_a_picture_of_any_size(small, shape, place):
    """Away from its edges the network does not know how large the picture is, nor where in it the face."""
    alone = detect(on_canvas(small, (128, 128), (0, 0)))
    found = detect(on_canvas(small, shape, place))
    assert np.abs(found.boxes - (place[1], place[0]) - alone.boxes).max() < 1


def test_many_faces_the_surest_first(small):
    picture = np.vstack([np.hstack([on_canvas(small, (128, 112), (0, 0))] * 6)] * 4)
    picture[:128, :112] = (picture[:128, :112] * 0.4).astype(np.uint8)  # one in the dark
    found = detect(picture)
    assert len(found.scores) == 24 and (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("side", [SMALLEST, 2 * SMALLEST, LARGEST])
def test_sizes_that_are_promised(portrait, side):
    width = round(side * 512 / 202)
    picture = np.asarray(Image.fromarray(portrait).resize((width, width * 600 // 512), Image.Resampling.LANCZOS))
    (box,) = detect(on_canvas(picture, (384, 384), (0, 0))).boxes
    assert (box[1] - box[0]).mean() == pytest.approx(side, rel=0.15)


def test_nothing_there():
    found = detect(np.full((64, 96, 3), 90, np.uint8))
    assert found.boxes.shape == (0, 2, 2) and found.scores.shape == (0,) and found.keypoints.shape == (0, 6, 2)


def test_boxes_of_one_face_are_averaged_by_their_scores():
    boxes = np.array([[[0, 0], [100, 100]], [[10, 0], [110, 100]], [[300, 0], [400, 100]]], float)
    found = _blended(Detections(boxes, np.array([0.6, 0.9, 0.7]), np.zeros((3, 6, 2))))
    assert found.scores.tolist() == [0.9, 0.7]
    assert found.boxes[0].ravel() == pytest.approx([6, 0, 106, 100])
