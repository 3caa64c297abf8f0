"""The rows of a film, one a face and frame, kept in a temporary file while they are collected, and their summary.

A row takes about a hundred bytes of the disk, so that an hour of film does not grow in memory.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ferlib.detection.quality import WARNINGS
from ferlib.video.smoothing import fit_rate, label_changes, smooth

if TYPE_CHECKING:
    from ferlib.video.predictor import FramePrediction

#: Seconds that a row counts for at most: a stream may pause, and faces be lost. Where fewer frames are looked at, it is
#: twice the shortest time so far between two of them.
LONGEST = 1.0
_TOGETHER = 16_384  # rows that are in memory at once


def row_type(classes: Sequence[str]) -> np.dtype:
    """A row: frame, time and track; the square that the model saw; tilt; bits of `WARNINGS`; probabilities.

    `time` is in seconds from the first frame, `seconds` the time until the next frame that was looked at. `smoothed` is
    what was known up to that frame, until `VideoTable.smooth` puts what is known from all.
    """
    scores = ("f4", (len(classes),))
    return np.dtype(
        [("frame", "i8"), ("time", "f8"), ("seconds", "f4"), ("track", "i4"), ("box", "i4", (4,)), ("roll", "f4"),
         ("warnings", "u4"), ("raw", *scores), ("smoothed", *scores)]
    )  # fmt: skip


class VideoTable:
    """The rows of a film.

    Attributes:
        classes: class names in the order of the probabilities.
        frames: frames that were looked at.
        seconds: time between the first and the end of the last of them.
        rate: draws of a state a second, once `smooth` has fitted it, see `changes_a_second`.
        trouble: one sentence if the film is damaged and this is the table of a part of it; else None.

    Args:
        classes: class names.
    """

    def __init__(self, classes: Sequence[str]):
        self.classes, self.type = tuple(classes), row_type(classes)
        self.frames, self.seconds = 0, 0.0
        self.rate: float | None = None
        self.trouble: str | None = None
        self._file = tempfile.TemporaryFile(prefix="ferlib-")  # noqa: SIM115  # gone with the table
        self._pending = np.empty(0, self.type)  # of the last frame, whose time has not ended yet
        self._time: float | None = None
        self._lasts = 0.0  # of the last frame, by what was known when it came
        self._passed, self._shortest = 0.0, math.inf

    def add(self, frame: "FramePrediction") -> np.ndarray:
        """Append the faces of a frame; the rows of the frame before, whose duration is known now."""
        done = self._finish(0.0 if self._time is None else frame.time - self._time)
        self.frames, self._time, self._lasts = self.frames + 1, frame.time, frame.lasts
        rows = np.zeros(len(frame.faces), self.type)
        for row, face in zip(rows, frame.faces, strict=True):
            row["frame"], row["time"], row["track"] = frame.number, frame.time, face.track
            row["box"], row["roll"] = face.box, face.roll
            row["warnings"] = sum(1 << bit for bit, name in enumerate(WARNINGS) if name in face.warnings)
            row["raw"], row["smoothed"] = list(face.scores.values()), list(face.smoothed.values())
        self._pending = rows
        return done

    def end(self) -> np.ndarray:
        """After the last frame, which lasts as long as the one before it, but not longer than it says; its rows."""
        if self._time is None:
            return self._pending
        passed = self._passed if self.seconds else self._lasts
        done = self._finish(min(passed, self._lasts) if self._lasts else passed)
        self._time = None
        return done

    def _finish(self, passed: float) -> np.ndarray:
        done, self._pending = self._pending, self._pending[:0]
        self._shortest = min(self._shortest, passed or math.inf)
        done["seconds"] = min(passed, max(LONGEST, 2 * self._shortest))
        self._file.write(done.tobytes())
        self.seconds, self._passed = self.seconds + passed, passed
        return done

    def __len__(self) -> int:
        self._file.flush()
        return self._file.seek(0, 2) // self.type.itemsize

    @property
    def rows(self) -> np.ndarray:
        """All rows by frame and face, of `row_type`, as they lie on the disk: what is assigned to them is kept."""
        if not len(self):
            return np.empty(0, self.type)
        return np.memmap(self._file, self.type, "r+")

    def chunks(self) -> Iterator[np.ndarray]:
        """All rows, some at a time."""
        for start in range(0, len(self), _TOGETHER):
            yield np.array(self.rows[start : start + _TOGETHER])

    def tracks(self) -> dict[int, np.ndarray]:
        """Positions of every track's rows, in order of time."""
        numbers = np.array(self.rows["track"])
        order = np.argsort(numbers, kind="stable")
        found, starts = np.unique(numbers[order], return_index=True)
        return dict(zip(found.tolist(), np.split(order, starts[1:]), strict=True)) if len(found) else {}

    def smooth(self) -> None:
        """Smooth every track with all its frames known, at the rate that fits them; see `ferlib.video.smoothing`."""
        rows, tracks = self.rows, list(self.tracks().values())
        faces = [(np.array(rows["raw"][places]), np.array(rows["time"][places])) for places in tracks]
        self.rate = fit_rate(faces) if any(len(times) > 1 for _, times in faces) else None  # else nothing tells it
        for places, (raw, times) in zip(tracks, faces, strict=True):
            rows["smoothed"][places] = smooth(raw, times, self.rate or 0.0)

    @property
    def changes_a_second(self) -> float | None:
        """Changes of expression a second by the fitted rate: of K draws of a state one is of that there was before."""
        return self.rate and self.rate * (1 - 1 / len(self.classes))

    def columns(self, rows: np.ndarray) -> dict[str, Any]:
        """Some rows as columns, name -> (N,): what files of a table have."""
        columns: dict[str, Any] = {name: rows[name] for name in ("frame", "time", "seconds", "track")}
        columns |= dict(zip(("x0", "y0", "x1", "y1"), rows["box"].T, strict=True))
        columns["roll"] = rows["roll"]
        for kind, prefix in (("raw", ""), ("smoothed", "smoothed_")):
            scores = rows[kind]
            names = np.array(self.classes, object)
            columns[f"{prefix}label"] = names[scores.argmax(axis=1)]
            columns[f"{prefix}margin"] = np.diff(np.sort(scores, axis=1)[:, -2:], axis=1)[:, 0]
            columns |= {f"{prefix}{name}": scores[:, place] for place, name in enumerate(self.classes)}
        columns["warnings"] = np.array([" ".join(warnings_of(int(bits))) for bits in rows["warnings"]], object)
        return columns

    def write(self, path: str | Path) -> None:
        """Write all rows as a CSV or Parquet file, by its ending.

        Raises:
            UserError: another ending.
            MissingPackage: Parquet without pyarrow.
        """
        from ferlib.video.table_files import open_table

        with open_table(path, self) as file:
            for rows in self.chunks():
                file.write(rows)

    def summary(self) -> list[dict[str, Any]]:
        """Of every track: number, when it was seen, seconds of every expression, changes of label, warnings."""
        rows, classes = self.rows, self.classes
        found = []
        for track, places in self.tracks().items():
            own = np.array(rows[places])
            lasts = own["seconds"].astype(float)
            labels = {kind: own[kind].argmax(axis=1) for kind in ("raw", "smoothed")}
            spent = np.bincount(labels["smoothed"], lasts, len(classes))
            minutes = max(float(lasts.sum()), 1e-9) / 60
            doubts = {name: float(lasts[own["warnings"] >> bit & 1 == 1].sum()) for bit, name in enumerate(WARNINGS)}
            found.append(
                {
                    "track": track,
                    "first": float(own["time"][0]),
                    "last": float(own["time"][-1]),
                    "seconds": float(lasts.sum()),
                    "expressions": {classes[k]: float(spent[k]) for k in np.argsort(-spent) if spent[k] > 0},
                    "label_changes_a_minute": {kind: label_changes(one) / minutes for kind, one in labels.items()},
                    "warnings": {name: seconds for name, seconds in doubts.items() if seconds},
                }
            )
        return found

    def most_telling(self) -> dict[tuple[int, str], int]:
        """Of every track and expression the position of the row that shows it best.

        It is the row with the largest probability, raw, among those with that smoothed label; one without a warning
        comes before all with one.
        """
        rows = self.rows
        best = {}
        for track, places in self.tracks().items():
            own = np.array(rows[places])
            for place, name in enumerate(self.classes):
                shown = np.flatnonzero(own["smoothed"].argmax(axis=1) == place)
                if len(shown):
                    merit = own["raw"][shown, place] + (own["warnings"][shown] == 0)
                    best[track, name] = int(places[shown[merit.argmax()]])
        return best


def warnings_of(bits: int) -> tuple[str, ...]:
    """Names of a row's warnings."""
    return tuple(name for bit, name in enumerate(WARNINGS) if bits >> bit & 1)
