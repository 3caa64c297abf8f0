"""Tables of hard faces, from results/robustness.json, augmentation.json and slices_*.json; `tables.py` places them."""

from collections.abc import Callable
from functools import partial

from study_tables import read, written

from ferlib.evaluation.report_format import in_percent, in_points

#: Of `ferlib.evaluation.slices.measured_columns`, in words.
COLUMNS = {
    "brightness": "brightness, 0 to 255",
    "overexposed": "overexposed, fraction",
    "sharpness": "sharpness",
    "landmarks": "landmarks",
    "yaw": "turned left or right, degrees",
    "pitch": "turned up or down, degrees",
    "roll": "tilted, degrees",
    "eye_openness": "openness of the eyes",
    "mouth_openness": "openness of the mouth",
}
KINDS = {"clear": "clear faces", "noise": "noise", "blur": "blur", "weather": "weather", "digital": "digital",
         "all fifteen": "all fifteen corruptions"}  # fmt: skip
OTHERS = {"dark": "too dark", "tilted": "tilted by 10° to 60°", "sunglasses": "sunglasses", "mask": "mask"}
AUGMENTATIONS = {
    "none": "none",
    "flip": "flips",
    "flip_affine": "flips, turns",
    "flip_affine_erase": "flips, turns, erased patches",
    "flip_affine_erase_spoil": "these, and half of the faces spoilt",
}
LARGEST = 6  # differences, where none is more than noise


def slices(name: str) -> str:
    """The slices in results/slices_{name}.json that differ by more than noise, and their number; or the largest."""
    found = read(f"slices_{name}")["slices"]
    told = [one for one in found if one["more_than_noise"]]
    shown = told or sorted(found, key=lambda one: -abs(one["difference"]))[:LARGEST]
    lines = ["| slice | | faces | right, % | expected, % | difference, points | adjusted p |", "|---" * 7 + "|"]
    for one in shown:
        cells = [COLUMNS[one["column"]], one["group"], f"{one['faces']:,}", in_percent(one["accuracy"])]
        cells += [f"{100 * one['expected']:.1f}", f"{100 * one['difference']:+.1f}", f"{one['adjusted_p']:.2g}"]
        lines.append(f"| {' | '.join(cells)} |")
    rest = "" if told else f"; these have the largest differences of all {len(found)}"
    return "\n".join([*lines, "", f"{len(told)} of {len(found)} slices differ by more than noise{rest}."])


def rows_of(entry: dict) -> dict[str, dict]:
    """A model's figures by what was done to the faces, in words."""
    rows = {"clear": entry["clear"]} | entry["kinds"] | {key: entry["conditions"][key] for key in OTHERS}
    return {(KINDS | OTHERS)[key]: row for key, row in rows.items()}


def robustness() -> str:
    """Accuracy of every model by kind of corruption."""
    columns = {
        f"`{name}`": {title: in_percent(row["accuracy"]) for title, row in rows_of(entry).items()}
        for name, entry in read("robustness")["entries"].items()
    }
    return written("right, %", columns, [*KINDS.values(), *OTHERS.values()])


def robustness_sets() -> str:
    """Prediction sets of our models and calibration of all by kind of corruption, a table each."""
    entries, tables = read("robustness")["entries"], []
    for title, key in (("in the 90 % set, %", "coverage"), ("cannot say, %", "cannot say"), ("ECE, %", "ece")):
        columns = {
            f"`{name}`": {what: f"{100 * row[key]:.1f}" for what, row in rows_of(entry).items()}
            for name, entry in entries.items()
            if key in entry["clear"]
        }
        tables.append(written(title, columns, [*KINDS.values(), *OTHERS.values()]))
    return "\n\n".join(tables)


def augmentation() -> str:
    """Accuracy of one network by augmentation and kind of corruption, then less that with the released models'."""
    arms = {AUGMENTATIONS[name]: entry["kinds"] for name, entry in read("augmentation")["arms"].items()}
    rows = KINDS | OTHERS
    right = {
        title: {rows[kind]: in_percent(row["accuracy"]) for kind, row in kinds.items()} for title, kinds in arms.items()
    }
    less = {
        title: {rows[kind]: in_points(row[key]) for kind, row in kinds.items() for key in row if key != "accuracy"}
        for title, kinds in arms.items()
        if any(len(row) > 1 for row in kinds.values())
    }
    reference = f"less '{AUGMENTATIONS['flip_affine_erase']}', points"
    return "\n\n".join(
        written(title, table, [*rows.values()]) for title, table in (("right, %", right), (reference, less))
    )


def robustness_conditions(model: str = "convcut_ferplus") -> str:
    """Every corruption of one model, by strength."""
    lines = ["| corruption | clear | 1 | 2 | 3 | 4 | 5 | mean change, points |", "|---" * 8 + "|"]
    entry = read("robustness")["entries"][model]
    for name, row in entry["conditions"].items():
        clear = row["accuracy"]["value"] - row["change"]["value"]
        steps = [f"{100 * one:.1f}" for one in row["by strength"]]
        cells = [
            name.replace("_", " "),
            f"{100 * clear:.1f}",
            *steps,
            *[""] * (5 - len(steps)),
            in_points(row["change"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def robustness_tables() -> dict[str, Callable[[], str]]:
    """All of them, by name."""
    return {
        "slices_ferplus": partial(slices, "ferplus"),
        "slices_photos": partial(slices, "facial_expressions"),
        "slices_ferplus_l": partial(slices, "ferplus_ferlib-l"),
        "slices_photos_l": partial(slices, "facial_expressions_ferlib-l"),
        "robustness": robustness,
        "robustness_sets": robustness_sets,
        "robustness_conditions": robustness_conditions,
        "augmentation": augmentation,
    }
