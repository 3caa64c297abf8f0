"""The `VideoPredictor`: a film, camera or stream in, every face of every frame with its track and expression out."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ferlib.detection.crop import Face, FaceCrop
from ferlib.detection.faces import require_min_face
from ferlib.detection.main_face import prominence, require_choice
from ferlib.predict import DEFAULT_MODEL, FoundFaces, Predictor
from ferlib.results import FacePrediction
from ferlib.utils.packages import require
from ferlib.video.finding import SEARCH_EVERY, FaceFinder
from ferlib.video.reading import Frame, VideoReader
from ferlib.video.smoothing import TIME_CONSTANT, ExponentialSmoother
from ferlib.video.table import VideoTable
from ferlib.video.tracking import Tracker

Source = str | Path | int
_STAYS = 1.3  # how many times as prominent another face must be to become the main one


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """A face of a frame.

    Attributes:
        track: its number, the same in all frames where this face was followed; from 1.
        box: the square (x0, y0, x1, y1) that the model saw, in pixels of the frame.
        scores: probability of every class, of this frame alone.
        smoothed: the same in the light of this track's frames so far.
        roll: tilt of the line through the eyes, degrees; positive: it falls to the right.
        warnings: reasons to doubt the answer, keys of `ferlib.detection.quality.WARNINGS`.
    """

    track: int
    box: tuple[int, int, int, int]
    scores: dict[str, float]
    smoothed: dict[str, float]
    roll: float
    warnings: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The most probable class, smoothed."""
        return max(self.smoothed, key=self.smoothed.__getitem__)


@dataclass(frozen=True, eq=False)
class FramePrediction:
    """A frame and its faces, from left to right.

    Attributes:
        number: of the frame, from 0.
        time: in seconds since the first frame.
        faces: maybe none.
        pixels: the frame, (H, W, 3) uint8.
        lasts: seconds until the next frame that is looked at, or the end, as far as is known before it comes.
    """

    number: int
    time: float
    faces: tuple[TrackedFace, ...]
    pixels: np.ndarray = field(repr=False)
    lasts: float = 0.0


class VideoPredictor:
    """A trained model behind face detection and tracking.

    Args:
        predictor: of single faces; None: the default model.
        search_every: seconds between two searches of whole frames for new faces; 0: every frame is searched.
        time_constant: of smoothing as the frames come, in seconds; 0: none.
        faces: "all", or "main" for the largest, most central one alone; in a film it stays until another is 1.3
            times as prominent.
        min_face: side in pixels of the smallest faces that are begun to be followed; None: as small as a search of the
            whole frame finds them quickly. Smaller ones cost time.

    Raises:
        MissingPackage: PyAV or scipy is not installed.
        UserError: the default model is not there, or `faces` or `min_face` is not what can be asked for.
    """

    def __init__(
        self,
        predictor: Predictor | None = None,
        *,
        search_every: float = SEARCH_EVERY,
        time_constant: float = TIME_CONSTANT,
        faces: str = "all",
        min_face: float | None = None,
    ):
        require("following faces", "av", "scipy")
        require_choice(faces)
        require_min_face(min_face)
        self.predictor = predictor or Predictor.load(DEFAULT_MODEL)
        self.search_every, self.time_constant = search_every, time_constant
        self.faces, self.min_face = faces, min_face

    def frames(self, reader: VideoReader, every: int = 1, until: float | None = None) -> Iterator[FramePrediction]:
        """The frames of an open source with their faces, as they come; only one frame is in memory at a time.

        Args:
            reader: the source; that of a camera or stream drops the frames that this is too slow for.
            every: of every so many frames only the first is looked at.
            until: seconds of the source after which to stop; None: at its end.

        Raises:
            VideoError: not one frame can be read.
        """
        finder, tracker = FaceFinder(self.search_every, self.min_face), Tracker()
        smoothers: dict[int, ExponentialSmoother] = {}
        main: int | None = None
        for frame in reader.frames(every):
            if until is not None and frame.time >= until:
                return
            cut = tracker.end_at_cuts(frame.pixels)
            expected = [track.expected(frame.time) for track in tracker.tracks]
            found, searched = finder.find(frame.pixels, frame.time, expected, cut)
            found.sort(key=lambda face: face.box[0] + face.box[2])
            tracks = tracker.update(found, frame.time, may_begin=searched)
            known = {track.number for track in tracker.tracks}
            smoothers = {number: smoother for number, smoother in smoothers.items() if number in known}
            followed = [(t.number, face) for t, face in zip(tracks, found, strict=True) if t is not None]
            if self.faces == "main" and followed:
                main = _main_track(followed, main, frame.pixels.shape)
                followed = [one for one in followed if one[0] == main]
            crops = tuple(FaceCrop.of(frame.pixels, face) for _, face in followed)
            judged = self._judge(frame, crops)
            faces = []
            for (number, face), one in zip(followed, judged, strict=True):
                smoother = smoothers.setdefault(number, ExponentialSmoother(self.time_constant))
                values = smoother(np.array(list(one.scores.values())), frame.time).tolist()
                smoothed = dict(zip(one.scores, values, strict=True))
                faces.append(TrackedFace(number, one.box, one.scores, smoothed, face.roll, one.warnings))
            lasts = frame.lasts if until is None else min(frame.lasts, until - frame.time)
            yield FramePrediction(frame.number, frame.time, tuple(faces), frame.pixels, lasts)

    def predict(self, source: Source, every: int = 1, until: float | None = None) -> VideoTable:
        """The table of a whole film, smoothed with all its frames known; otherwise as `frames`.

        Of a damaged film it is the table of what can be read: its `trouble` says so, and a warning does.

        Raises:
            VideoError: the film cannot be read.
        """
        table = VideoTable(self.predictor.classes)
        with VideoReader(source, live=False) as reader:
            for frame in self.frames(reader, every, until):
                table.add(frame)
        table.trouble = reader.trouble
        if table.trouble:
            warnings.warn(table.trouble, stacklevel=2)
        table.end()
        table.smooth()
        return table

    def _judge(self, frame: Frame, crops: tuple[FaceCrop, ...]) -> tuple[FacePrediction, ...]:
        if not crops:
            return ()
        return self.predictor.judge(FoundFaces("frame", crops, image=frame.pixels)).faces


def _main_track(faces: list[tuple[int, Face]], before: int | None, shape: tuple[int, ...]) -> int:
    """The number of the main one among a frame's tracks; that of the frame before unless another is well ahead."""
    weights = {number: prominence(face, shape) for number, face in faces}
    best = max(weights, key=weights.__getitem__)
    return before if before in weights and weights[best] < _STAYS * weights[before] else best
