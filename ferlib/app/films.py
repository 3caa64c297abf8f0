"""A film among many photos: its faces followed, and the expression of each over time."""

import math
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from ferlib.detection.crop import cut
from ferlib.errors import UserError
from ferlib.predict import Predictor
from ferlib.video.predictor import FramePrediction, VideoPredictor
from ferlib.video.reading import Frame, VideoReader
from ferlib.video.table import VideoTable

ENDINGS = (
    *(".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi"),
    *(".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv", ".vob", ".ts", ".mts", ".m2ts"),
)
_READABLE = "MP4, MOV, WebM, MKV and AVI can be read"
# how films begin, by their demuxer: FFmpeg also reads lists of other files and addresses, which must not be followed
_BEGINNINGS = {"mov": rb".{4}(ftyp|moov|wide|mdat)", "matroska": rb"\x1aE\xdf\xa3", "avi": rb"RIFF.{4}AVI "}
LOOKS = 10  # at most, at a second of film
MOST_SECONDS = 120.0  # of a film that are looked at
FASTEST = 240  # frames a second; a film that says more has a clock that cannot be true
MOST_FRAMES = 30_000  # of a film that are decoded: at that rate, those of so many seconds
MOST_TRACKS = 12  # faces that are shown: those that are seen longest
SHORTEST = 0.3  # seconds; who is seen for less passes by
_FACE = 96  # side of a face's picture in pixels


@dataclass(frozen=True, eq=False)
class FilmFace:
    """A face that was followed.

    Attributes:
        number: of its track.
        picture: where its expression is clearest, (S, S, 3) uint8.
        spans: (from, to, expression), in seconds.
    """

    number: int
    picture: np.ndarray = field(repr=False)
    spans: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True, eq=False)
class Film:
    """A film's faces and their expressions over time.

    Attributes:
        name: of its file.
        seconds: that were looked at.
        faces: the `MOST_TRACKS` seen longest, by number; none that was seen for less than `SHORTEST`.
        followed: faces in all.
        csv: every face of every frame that was looked at.
        remark: on what of it cannot be read, and that it was not looked at to its end; or "".
    """

    name: str
    seconds: float
    faces: tuple[FilmFace, ...]
    csv: str = field(repr=False)
    remark: str = ""
    followed: int = 0


def is_film(name: str) -> bool:
    """True if a file is a film by its name."""
    return name.lower().endswith(ENDINGS)


def require_film(file: BinaryIO, name: str) -> str:
    """The demuxer of a film, by how its file begins, whatever its name says.

    Raises:
        UserError: it is no film.
    """
    begins = file.read(12)
    for demuxer, beginning in _BEGINNINGS.items():
        if re.match(beginning, begins, re.DOTALL):
            return demuxer
    raise UserError(f"{name} is not a film ({_READABLE})." if begins else f"{name} is empty: it holds 0 bytes.")


class _FewFrames(VideoReader):
    """A reader that gives `LOOKS` frames a second at most, by their own times; after `MOST_FRAMES`, or stopped, any."""

    def __init__(self, path: Path, demuxer: str, stopped: Callable[[], bool]):
        super().__init__(path, live=False, demuxer=demuxer)
        self.stopped = stopped

    def frames(self, every: int = 1) -> Iterator[Frame]:
        due = 0.0
        for frame in super().frames(every):
            if frame.time >= due or frame.number >= MOST_FRAMES or self.stopped():
                due = frame.time + 0.9 / LOOKS  # times are not exact
                yield frame


def watch(path: Path, name: str, predictor: Predictor, stopped: Callable[[], bool]) -> Iterator[float | Film]:
    """Look at a film: the seconds that are done, now and then; at last, the film.

    Args:
        path: of its file.
        name: for people.
        predictor: of single faces.
        stopped: true as soon as nobody wants to know more.

    Raises:
        UserError: it cannot be read, or what reads films is not installed.
    """
    with path.open("rb") as file:
        demuxer = require_film(file, name)
    table, clearest, remark = VideoTable(predictor.classes), dict[int, tuple[float, np.ndarray]](), ""
    try:
        following = VideoPredictor(predictor)
        with _FewFrames(path, demuxer, stopped) as reader:
            every = math.ceil(round(min(reader.rate, FASTEST) / LOOKS, 1))
            for frame in following.frames(reader, max(1, every)):
                if frame.time >= MOST_SECONDS or frame.number >= MOST_FRAMES:
                    remark = f"Only its first {min(frame.time, MOST_SECONDS):.0f} seconds were looked at."
                    break
                table.add(frame)
                _keep_clearest(clearest, frame)
                yield frame.time
                if stopped():
                    remark = "It was stopped here."
                    break
            trouble = reader.trouble
    except UserError as error:
        raise UserError(f"{str(error).replace(str(path), name)}.") from error
    table.end()
    table.smooth()
    if trouble:
        remark = f"{trouble.replace(str(path), name)}. {remark}".rstrip()
    yield Film(name, table.seconds, _faces(table, clearest), _csv(table), remark, len(table.tracks()))


def _keep_clearest(clearest: dict[int, tuple[float, np.ndarray]], frame: FramePrediction) -> None:
    """Of every track, keep the picture on which one expression is most probable."""
    for face in frame.faces:
        score = max(face.scores.values())
        if score > clearest.get(face.track, (0.0, None))[0]:
            picture = Image.fromarray(cut(frame.pixels, face.box)).resize((_FACE, _FACE), reducing_gap=2.0)
            clearest[face.track] = score, np.asarray(picture)


def _faces(table: VideoTable, clearest: dict[int, tuple[float, np.ndarray]]) -> tuple[FilmFace, ...]:
    rows, found = table.rows, []
    for track, places in table.tracks().items():
        own = np.array(rows[places])
        labels = own["smoothed"].argmax(axis=1)
        came_back = own["time"][1:] > own["time"][:-1] + own["seconds"][:-1] + 1e-3
        starts = np.flatnonzero(np.diff(labels, prepend=-1) | np.append(True, came_back))  # of one expression, unbroken
        ends = [*starts[1:], len(own)]
        spans = tuple(
            (float(own["time"][i]), float(own["time"][j - 1] + own["seconds"][j - 1]), table.classes[labels[i]])
            for i, j in zip(starts, ends, strict=True)
        )
        found.append((float(own["seconds"].sum()), FilmFace(track, clearest[track][1], spans)))
    longest = sorted((one for one in found if one[0] >= SHORTEST), key=lambda one: -one[0])[:MOST_TRACKS]
    return tuple(sorted((face for _, face in longest), key=lambda face: face.number))


def _csv(table: VideoTable) -> str:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "film.csv"
        table.write(file)
        return file.read_text(encoding="utf-8")
