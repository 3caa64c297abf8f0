"""Faces are numbered as one reads."""

import numpy as np
import pytest

from ferlib.detection.crop import Face
from ferlib.detection.reading_order import in_reading_order


def square(x: float, y: float, side: float = 100) -> Face:
    """A face by its centre."""
    box = (round(x - side / 2), round(y - side / 2), round(x + side / 2), round(y + side / 2))
    return Face(box, 0.9, np.zeros((6, 2)))


@pytest.mark.parametrize("seed", range(5))
def test_rows_from_above_and_in_each_from_the_left(seed):
    """Heads of a row are not all on one line, nor of one size, and are found in any order."""
    rng = np.random.default_rng(seed)
    expected = [
        square(150 * column + rng.uniform(-20, 20), 170 * row + rng.uniform(-15, 15), rng.uniform(85, 115))
        for row in range(3)
        for column in range(6)
    ]
    mixed = [expected[i] for i in rng.permutation(len(expected))]
    assert in_reading_order(mixed) == expected


def test_one_row_goes_by_the_centres():
    """As it was before rows were told apart, also where a small face reaches into a large one."""
    faces = [square(*place) for place in ((500, 210, 40), (100, 200, 90), (300, 190, 200))]
    assert [face.box[0] for face in in_reading_order(faces)] == [55, 200, 480]


def test_a_child_in_front_stands_in_the_next_row():
    parents, child = [square(100, 100), square(300, 110)], square(200, 190, 70)
    assert in_reading_order([child, *parents]) == [*parents, child]


def test_no_face_and_one():
    assert in_reading_order([]) == []
    assert in_reading_order([square(5, 5)]) == [square(5, 5)]
