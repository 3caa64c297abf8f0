"""Entries of `ferlib reproduce methods` beside each other, by their flipped labels, and beside the papers' claims."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ferlib.data.label_noise import flipped_fraction
from ferlib.evaluation.report_format import in_points
from ferlib.experiments.published import published_name, read_rivals
from ferlib.experiments.rivals import PLAIN, methods_table

NOISE = "-noise"  # ends the names of the tables with flipped labels


def sentence(row: dict[str, Any], metric: str = "accuracy") -> str:
    """A row's verdict in a sentence: "SCN: cannot be told, +0.1 points (-0.4 to +0.6)".

    Args:
        row: of an entry, see `ferlib.experiments.rivals.compare_rivals`.
        metric: accuracy, balanced accuracy or macro-F1.
    """
    if row["name"] == PLAIN:
        return f"{PLAIN}: what the others are compared with"
    if "minus_plain" not in row:
        return f"{row['name']}: not compared yet, plain training has none of its seeds"
    gain = row["minus_plain"][metric]
    return f"{row['name']}: {gain['verdict']}, {in_points(gain).replace(' (', ' points (')}"


def noise_table(entries: Sequence[dict]) -> pd.DataFrame:
    """The tables with flipped labels as one, a row a backbone, fraction, row and metric; empty without such entries.

    Args:
        entries: of a results file; one without flipped labels is the fraction 0 of those that its recipe and backbone
            are the same of, with the rows that are set alike.

    Returns:
        The columns of `methods_table`, where `data` and `table` are those without flipped labels, and `flipped`.
    """
    entries = _of_methods(entries)
    noisy: dict[tuple[str, str, str], list[dict]] = {}
    for entry in entries:
        if entry["table"].endswith(NOISE):
            noisy.setdefault(_origin(entry), []).append(entry)
    parts = []
    for entry in entries:
        alike = [one for one in noisy.get(_origin(entry), ()) if one["recipe"] == entry["recipe"]]
        set_alike = {(row["name"], str(row["changes"])) for one in alike for row in one["rows"]}
        rows = [row for row in entry["rows"] if (row["name"], str(row["changes"])) in set_alike]
        if rows:
            (data, fraction), table = flipped_fraction(entry["data"]), entry["table"].removesuffix(NOISE)
            frame = methods_table([entry | {"rows": rows, "data": data, "table": table}])
            parts.append(frame.assign(flipped=fraction))
    if not parts:
        return pd.DataFrame()
    return pd.concat(parts, ignore_index=True).sort_values(["backbone", "flipped"], kind="stable", ignore_index=True)


def _of_methods(entries: Sequence[dict]) -> list[dict]:
    """Those of the methods' tables: a results file may have others too."""
    return [entry for entry in entries if entry["table"].removesuffix(NOISE) in ("methods", "methods-frozen")]


def _origin(entry: dict) -> tuple[str, str, str]:
    """Table, data and backbone, which an entry shares with those of other fractions of flipped labels."""
    return entry["table"].removesuffix(NOISE), flipped_fraction(entry["data"])[0], str(entry["backbone"])


def claims_table(entries: Sequence[dict]) -> pd.DataFrame:
    """Accuracies that the methods' papers claim beside those found here, a row a method and entry; fractions of 1.

    Args:
        entries: of a results file; those with flipped labels are left out, as are rows without a published figure.

    Returns:
        `table`, `data`, `backbone`, `row`, `method` (its name there), `claimed` and `claimed_on`: on the same data if
        the paper has a figure for it, else on the first that it has; `value`, `low`, `high`: the epoch chosen on
        validation; `chosen_on_test`; `minus_plain`, `minus_plain_low`, `minus_plain_high` and `verdict`.
    """
    published = read_rivals().query("metric == 'accuracy'")
    found = []
    for entry in (entry for entry in _of_methods(entries) if not entry["table"].endswith(NOISE)):
        for row in entry["rows"]:
            figures = published[published["model"] == row["paper"]]
            if figures.empty:
                continue
            same = figures[figures["data"] == published_name(entry["data"])]
            figure = (figures if same.empty else same).iloc[0]
            gain = row.get("minus_plain", {}).get("accuracy", {})
            found.append(
                {
                    "table": entry["table"],
                    "data": entry["data"],
                    "backbone": entry["backbone"]["name"],
                    "row": row["name"],
                    "method": row["paper"],
                    "claimed": figure["value"] / 100,
                    "claimed_on": figure["data"],
                }
                | row["metrics"]["accuracy"]
                | {"chosen_on_test": row["chosen_on_test"], "minus_plain": gain.get("value")}
                | {f"minus_plain_{end}": gain.get(end) for end in ("low", "high")}
                | {"verdict": gain.get("verdict", "")}
            )
    return pd.DataFrame(found)
