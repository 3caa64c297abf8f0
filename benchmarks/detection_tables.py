"""Tables of `benchmarks/detection.py`, from results/detection.json; `benchmarks/tables.py` places them."""

from collections.abc import Callable, Iterable
from functools import partial

from study_tables import read, written

#: Name in the results -> first cell of its row.
DETECTORS = {
    "before": "before",
    "after": "now",
    "after, min_face 16": "now, `min_face=16`",
    "MTCNN, facenet-pytorch 2.6.0": "MTCNN, facenet-pytorch 2.6.0",
}
#: Curve -> what its values are: pictures with one face ...
SINGLE = {
    "size": "side of the face, pixels",
    "turn": "turned by, degrees",
    "blur": "blurred, standard deviation in pixels",
    "brightness": "light, times",
    "cut": "beyond an edge, part of the face",
    "filling": "side of the face, part of the picture's",
}
#: ... and with several.
MANY = {
    "group": "60 faces close together, side of each, pixels",
    "sheet": "60 photos in rows, side of each, pixels",
    "behind": "two faces, one smaller by, times",
    "large photo": "four faces in 4,000 x 3,000, side, pixels",
}
NO_FACE = "no face"


def found(curves: dict[str, str]) -> str:
    """A table a curve: faces found, in per cent, a row a detector and a column a value, and false alarms if any."""
    return "\n\n".join(_table(curve, f"found, %; {values}", _recall) for curve, values in curves.items())


def false_alarms() -> str:
    """False alarms in pictures without a face."""
    pictures = next(iter(read("detection")["before"]["curves"][NO_FACE].values()))["pictures"]
    head = f"false alarms in {pictures} pictures without a face; their long side, pixels"
    return _table(NO_FACE, head, lambda point: str(point["false_alarms"]))


def times() -> str:
    """Processor time a picture: a row a detector, a column each for the first and the last value of some curves."""
    report = read("detection")
    columns = {}
    for curve in ("size", "group", "sheet", "large photo", NO_FACE):
        points = report["before"]["curves"][curve]
        for value in (next(iter(points)), next(reversed(points))):
            columns[f"{curve}, {value}"] = {
                title: f"{there[value]['milliseconds']:,.0f}" for title, there in _measured(curve)
            }
    return written("milliseconds a picture, medians", columns, list(DETECTORS.values()))


def _table(curve: str, head: str, cell: Callable[[dict], str]) -> str:
    """A row a detector, a column a value of a curve."""
    rows = dict(_measured(curve))
    values = read("detection")["before"]["curves"][curve]
    columns = {value: {title: cell(points[value]) for title, points in rows.items()} for value in values}
    return written(head, columns, list(rows))


def _measured(curve: str) -> Iterable[tuple[str, dict]]:
    """Title and points of every detector that a curve was measured with."""
    report = read("detection")
    for name, title in DETECTORS.items():
        if curve in report[name]["curves"]:
            yield title, report[name]["curves"][curve]


def _recall(point: dict) -> str:
    hits, there = (sum(counts[i] for counts in point["found"].values()) for i in (0, 1))
    alarms = f" ({point['false_alarms']} false)" if point["false_alarms"] else ""
    return f"{100 * hits / there:.0f}{alarms}"


def detection_tables() -> dict[str, Callable[[], str]]:
    """Name of a table -> what makes it."""
    return {
        "detection_single": partial(found, SINGLE),
        "detection_many": partial(found, MANY),
        "detection_false": false_alarms,
        "detection_times": times,
    }
