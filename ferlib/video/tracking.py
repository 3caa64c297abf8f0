"""Follow faces from frame to frame: which face of this frame is which of those before.

Every track expects its face where its speed would have taken it. Faces and tracks are then assigned to one another at
the least cost (the Hungarian method, scipy's `linear_sum_assignment`), where the cost says how far the six keypoints
and the box of a face are from where they were expected, in units of the face's size, so that it means the same for
large faces and small ones. A face that is hidden for a moment, say behind another one, goes on being expected for a
second and then keeps its number.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from ferlib.detection.blazeface import iou
from ferlib.detection.crop import Face

LOST_AFTER = 1.0  # seconds without a face, and two frames or more, that end a track
_REACH = 0.25, 1.5  # how far a face may be from where it was expected, in its sides: at once, and more a second
_GROWTH = 0.5  # logarithm of the largest change of size
_HIDDEN = 0.5  # cost a second of not having been seen: of two tracks, the face belongs to the one seen last
_BEHIND = 0.1  # overlap (IoU) with a face that is seen, from which on a lost one is taken to be hidden by it
_STEADY = 0.4  # seconds over which the speed is averaged: a face that is about to be hidden seems to speed up
_CUT = 45.0  # grey values by which two frames differ, on average, where the film is cut
_FAR = 1e6


@dataclass(eq=False)
class Track:
    """One face over time.

    Attributes:
        number: from 1, in the order in which they appear.
        face: as it was last seen.
        time: when, in seconds.
        velocity: of the keypoints' centre, (2,) pixels a second.
        missed: updates since then without it.
        gone: seconds since then in which no other face hid it.
    """

    number: int
    face: Face
    time: float
    velocity: np.ndarray
    missed: int = 0
    gone: float = 0.0

    def expected(self, time: float) -> Face:
        """The face where it should be at a time, in seconds."""
        step = self.velocity * (time - self.time)
        x0, y0, x1, y1 = (np.reshape(self.face.box, (2, 2)) + step).round().astype(int).ravel().tolist()
        return replace(self.face, box=(x0, y0, x1, y1), keypoints=self.face.keypoints + step)

    def follow(self, face: Face, time: float) -> None:
        """Go on with the face in a later frame."""
        passed = max(time - self.time, 1e-3)
        moved = (face.keypoints.mean(axis=0) - self.face.keypoints.mean(axis=0)) / passed
        self.velocity = self.velocity + (1 - math.exp(-passed / _STEADY)) * (moved - self.velocity)
        self.face, self.time, self.missed, self.gone = face, time, 0, 0.0


class Tracker:
    """Gives the faces of frame after frame their tracks.

    Attributes:
        tracks: those that go on, lost faces that may still return among them.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._begun = 0
        self._glimpse: np.ndarray | None = None
        self._time = 0.0

    def end_at_cuts(self, pixels: np.ndarray) -> bool:
        """End all tracks where a frame, (H, W, 3) uint8, looks nothing like the one before; true if it does not."""
        height, width = pixels.shape[:2]
        glimpse = pixels[:: max(1, height // 24), :: max(1, width // 32), 1].astype(np.float32)
        before, self._glimpse = self._glimpse, glimpse
        if before is None or (before.shape == glimpse.shape and np.abs(before - glimpse).mean() < _CUT):
            return False
        self.tracks = []
        return True

    def update(self, faces: list[Face], time: float, may_begin: bool = True) -> list[Track | None]:
        """The track of every face.

        Args:
            faces: of one frame.
            time: of the frame, in seconds.
            may_begin: false where a face that fits no track is to be ignored: its track is None.
        """
        followed: list[Track | None] = [None] * len(faces)
        for track, place in self._pairs(faces, time):
            track.follow(faces[place], time)
            followed[place] = track
        boxes = np.reshape([face.box for face in faces], (-1, 2, 2)).astype(float)
        for track in self.tracks:
            if track.time < time:
                track.missed += 1
                expected = np.reshape(track.expected(time).box, (2, 2)).astype(float)
                if iou(expected, boxes).max(initial=0.0) < _BEHIND:
                    track.gone += time - self._time
        self.tracks = [track for track in self.tracks if track.missed < 2 or track.gone <= LOST_AFTER]
        self._time = time
        for place, face in enumerate(faces):
            if followed[place] is None and may_begin:
                self._begun += 1
                self.tracks.append(Track(self._begun, face, time, np.zeros(2)))
                followed[place] = self.tracks[-1]
        return followed

    def _pairs(self, faces: list[Face], time: float) -> list[tuple[Track, int]]:
        """Tracks with the positions of the faces that they go on with."""
        from scipy.optimize import linear_sum_assignment

        if not faces or not self.tracks:
            return []
        costs = np.array([[_cost(track, face, time) for face in faces] for track in self.tracks])
        rows, columns = linear_sum_assignment(costs)
        return [(self.tracks[r], int(c)) for r, c in zip(rows, columns, strict=True) if costs[r, c] < _FAR]


def _cost(track: Track, face: Face, time: float) -> float:
    """The cost of going on with a track by a face; `_FAR` where it cannot be the same."""
    unseen = time - track.time
    expected = track.expected(time)
    side = max(1.0, math.sqrt(max(expected.side, 1) * max(face.side, 1)))
    distance = float(np.linalg.norm(expected.keypoints - face.keypoints, axis=1).mean()) / side
    growth = abs(math.log(max(face.side, 1) / max(expected.side, 1)))
    if distance > _REACH[0] + _REACH[1] * min(unseen, LOST_AFTER) or growth > _GROWTH:
        return _FAR
    boxes = np.reshape([expected.box, face.box], (2, 2, 2)).astype(float)
    return distance + growth + 1 - float(iou(boxes[0], boxes[1:])[0]) + _HIDDEN * unseen
