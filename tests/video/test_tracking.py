"""Faces keep their numbers."""

import numpy as np
import pytest

from ferlib.detection.crop import Face
from ferlib.video.tracking import Tracker

POINTS = np.array([(0.3, 0.3), (0.7, 0.3), (0.5, 0.55), (0.5, 0.75), (0.1, 0.4), (0.9, 0.4)])


def face(x: float, y: float = 100, side: float = 60) -> Face:
    return Face((round(x), round(y), round(x + side), round(y + side)), 0.9, POINTS * side + (x, y))


def numbers(tracker: Tracker, faces: list[Face], time: float, **settings) -> list[int | None]:
    return [None if track is None else track.number for track in tracker.update(faces, time, **settings)]


def test_two_that_pass_each_other_keep_their_numbers():
    """One hides the other for half a second; both go on as before."""
    tracker, seen = Tracker(), set()
    for step in range(60):
        left, right = face(4 * step), face(240 - 4 * step, y=104, side=54)
        hidden = abs(left.box[0] - right.box[0]) < 40
        found = numbers(tracker, [left] if hidden else [right, left], step / 25)
        seen.add((found[-1], "front"))
        seen |= set() if hidden else {(found[0], "back")}
    assert seen == {(2, "front"), (1, "back")}


@pytest.mark.parametrize(("gap", "same"), [(0.8, True), (1.6, False)])
def test_a_lost_face_may_return_within_a_second(gap, same):
    tracker = Tracker()
    assert numbers(tracker, [face(100)], 0.0) == [1] and numbers(tracker, [face(100)], 0.1) == [1]
    for time in np.arange(0.2, 0.1 + gap, 0.1):
        assert numbers(tracker, [], time) == []
    assert numbers(tracker, [face(110)], 0.1 + gap) == [1 if same else 2]


def test_the_time_behind_another_face_does_not_count():
    """Somebody walks slowly past somebody who stands there, and hides them for more than a second and a half."""
    tracker, hidden = Tracker(), 0
    for time in np.arange(0, 4, 0.1):
        walks, stands = face(80 + 60 * time), face(200)
        if abs(walks.box[0] - 200) < 48:
            hidden += 1
            assert numbers(tracker, [walks], time) == [1]
        else:
            assert numbers(tracker, [walks, stands], time) == [1, 2]
    assert hidden >= 15


def test_steps_longer_than_a_second_lose_nobody():
    tracker = Tracker()
    assert [numbers(tracker, [face(100), face(300)], time) for time in (0, 3, 6, 9)] == [[1, 2]] * 4


def test_faces_far_away_or_of_another_size_are_others():
    tracker = Tracker()
    assert numbers(tracker, [face(100)], 0.0) == [1]
    assert numbers(tracker, [face(300)], 0.04) == [2]
    assert numbers(tracker, [face(100, side=120)], 0.08) == [3]
    assert numbers(tracker, [face(600)], 0.12, may_begin=False) == [None]


def test_a_face_does_not_jump_from_one_frame_to_the_next():
    """Half its width is too far within a fortieth of a second, and near after a quarter."""
    for pause, same in ((0.025, False), (0.25, True)):
        tracker = Tracker()
        assert numbers(tracker, [face(100)], 0.0) == [1]
        assert numbers(tracker, [face(130)], pause) == [1 if same else 2]


def test_tracks_end_where_the_film_is_cut():
    rng = np.random.default_rng(0)
    tracker, dark, bright = Tracker(), np.full((90, 160, 3), 60, np.uint8), np.full((90, 160, 3), 190, np.uint8)
    noisy = (dark + rng.integers(0, 30, dark.shape)).astype(np.uint8)
    cuts = []
    for step, frame in enumerate((dark, noisy, dark, bright, bright)):
        cuts.append(tracker.end_at_cuts(frame))
        (number,) = numbers(tracker, [face(50)], step / 25)
    assert cuts == [False, False, False, True, False] and number == 2
