"""Tables of `benchmarks/detection.py`, from results/detection.json; `benchmarks/tables.py` places them."""

from collections.abc import Callable
from functools import partial

from study_tables import read, written

#: Name in the results -> heading.
DETECTORS = {
    "before": "before",
    "after": "now",
    "after, min_face 16": "now, `min_face=16`",
    "MTCNN, facenet-pytorch 2.6.0": "MTCNN (facenet-pytorch 2.6.0)",
}
#: Curve -> what its values are, of those that show faces.
SINGLE = {
    "size": "side of the face, pixels",
    "turn": "turned by, degrees",
    "blur": "blurred by, pixels of a face of 100",
    "brightness": "light, times",
    "cut": "beyond the edge, of the face",
    "filling": "face, of the picture's side",
}
MANY = {
    "group": "group of 60, side of the faces, pixels",
    "sheet": "60 photos in rows, side of each, pixels",
    "behind": "two faces, one so many times smaller",
    "large photo": "four faces in 4,000 x 3,000, side, pixels",
}


def recall(curves: dict[str, str]) -> str:
    """Found faces in per cent along some curves, a column a detector, and false alarms where there are any."""
    report = read("detection")
    first = report["before"]["curves"]
    rows = {f"{title}: {value}": (curve, value) for curve, title in curves.items() for value in first[curve]}
    columns = {
        heading: {
            row: _cell(report[name]["curves"][curve][value])
            for row, (curve, value) in rows.items()
            if curve in report[name]["curves"]
        }
        for name, heading in DETECTORS.items()
    }
    kept = {heading: cells for heading, cells in columns.items() if cells}
    return written("found, %", kept, list(rows))


def _cell(point: dict) -> str:
    found, there = (sum(counts[i] for counts in point["found"].values()) for i in (0, 1))
    alarms = f" ({point['false_alarms']} false)" if point["false_alarms"] else ""
    return f"{100 * found / there:.0f}{alarms}"


def false_alarms() -> str:
    """False alarms in pictures without a face, and processor time a picture."""
    report = read("detection")
    first = report["before"]["curves"]["no face"]
    columns = {}
    for name, heading in DETECTORS.items():
        points = report[name]["curves"].get("no face")
        if points:
            columns[heading] = {f"{value} pixels": str(point["false_alarms"]) for value, point in points.items()}
    pictures = next(iter(first.values()))["pictures"]
    return written(f"false alarms in {pictures} pictures, long side", columns, [f"{value} pixels" for value in first])


def times() -> str:
    """Processor time a picture, median, where each curve begins and ends."""
    report = read("detection")
    rows = {f"{curve}, {value}": (curve, value) for curve, points in report["before"]["curves"].items()
            for value in (next(iter(points)), list(points)[-1])}  # fmt: skip
    columns = {
        heading: {
            row: f"{report[name]['curves'][curve][value]['milliseconds']:,.0f}"
            for row, (curve, value) in rows.items()
            if curve in report[name]["curves"]
        }
        for name, heading in DETECTORS.items()
    }
    return written("processor time a picture, ms", columns, list(rows))


def detection_tables() -> dict[str, Callable[[], str]]:
    """Name of a table -> what makes it."""
    return {
        "detection_single": partial(recall, SINGLE),
        "detection_many": partial(recall, MANY),
        "detection_false": false_alarms,
        "detection_times": times,
    }
