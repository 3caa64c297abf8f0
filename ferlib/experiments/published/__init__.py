"""The papers' tables as data, a CSV file each beside this one: every figure with its source and protocol."""

import json
from pathlib import Path

import pandas as pd

from ferlib.data.dataset import RANDOM_SPLIT
from ferlib.data.label_noise import flipped_fraction
from ferlib.data.registry import RELABELLED
from ferlib.errors import UserError
from ferlib.names import display_name

FOLDER = Path(__file__).parent
TABLES = {
    "convcut_table1": "Conv-cut, Table 1: accuracy beside other methods",
    "convcut_table2": "Conv-cut, Table 2: attention and Detail Extraction",
    "convcut_table3": "Conv-cut, Table 3: layers in Detail Extraction",
    "ivsa_table1": "IVSA, Table I: accuracy on FER2013",
    "ivsa_table2": "IVSA, Table II: accuracy on CK+",
    "ivsa_table3": "IVSA, Table III: attention blocks",
}


def read_published(table: str) -> pd.DataFrame:
    """One of `TABLES`, a row a figure.

    Args:
        table: its name.

    Returns:
        `paper`, `table` (its number there), `model`, `year`, `data`, `metric`, `value` (percent), `protocol` (how the
        figure came about, as far as known), `cites` (the reference the paper names), `note`.

    Raises:
        UserError: there is no such table.
    """
    if table not in TABLES:
        raise UserError(f"unknown table {table!r}, expected one of {', '.join(TABLES)}")
    return pd.read_csv(FOLDER / f"{table}.csv", dtype={"table": str}, keep_default_na=False)


def published_name(data: str) -> str:
    """The name by which papers have figures of a data set's variants: other splits, other or flipped labels."""
    name = flipped_fraction(data)[0].removesuffix(RANDOM_SPLIT)
    return RELABELLED[name][0] if name in RELABELLED else name


def read_rivals() -> pd.DataFrame:
    """Figures that the rival methods' papers claim, a row each; none of it was chosen on validation faces.

    Returns:
        `model`, `year`, `data`, `metric`, `value` (percent), `protocol` (how the figure came about, as far as known),
        `built` (name of the training method or model here that is made after it; empty: the note says why there is
        none), `note`.
    """
    return pd.read_csv(FOLDER / "rivals.csv", keep_default_na=False)


#: Our own reports on a whole test set, every face alone, by data set: file in the results folder -> what it is.
REPORTS = {
    "ferplus": {
        "ferlib-l": "fine-tuned MobileNetV1 (faces), 160 px, both sides of a face (released)",
        "convcut_ferplus_mirror": "Conv-cut, fine-tuned EfficientNet-Lite0, both sides of a face (released)",
        "convcut_ferplus": "Conv-cut, fine-tuned EfficientNet-Lite0 (released)",
        "convcut_ferplus_frozen": "Conv-cut, frozen EfficientNet-Lite0",
        "linear_probe_ferplus": "linear probe, frozen EfficientNet-Lite0",
    },
    "fer2013": {
        "ivsa_full_width_ten_crop": "IVSA at full width, ten crops",
        "ivsa_full_width": "IVSA at full width",
        "ivsa_fer2013": "IVSA at half width (released)",
        "ivsa_fer2013_ten_crop": "IVSA at half width, ten crops",
        "convcut_fer2013_head": "Conv-cut, EfficientNet-Lite0 fine-tuned on FERPlus, head on FER2013",
    },
}
ALONE = "every face alone, epoch chosen on validation"
PROTOCOL_TEXTS = {
    "published protocol": "batch attention over class-sorted test faces, epoch chosen on test",
    "one face at a time": ALONE,
    "attention within a face": ALONE,
    "no attention": ALONE,
}


def comparison(data: str, results: Path) -> pd.DataFrame:
    """The accuracies that the papers print for a test set, and ours, each with its protocol; best first.

    Args:
        data: "rafdb", "ferplus", "fer2013" or "ckplus".
        results: folder with our reports, the project's `results/` or one of the same form; it is in no wheel.

    Returns:
        `model`, `source` (the paper's table, or our results file), `accuracy`, `low`, `high` (percent; the papers give
        no intervals), `seeds` (where there are several), `protocol`.

    Raises:
        UserError: a report is not in the folder.
    """
    tables = (read_published(name) for name in ("convcut_table1", "ivsa_table1", "ivsa_table2"))
    printed = pd.concat(tables).query("data == @data and metric == 'accuracy'")
    rows = [
        {
            "model": row.model,
            "source": f"{row.paper.partition(' (')[0]}, Table {row.table}",
            "accuracy": row.value,
            "protocol": row.protocol,
        }
        for row in printed.itertuples()
    ]
    for file, model in REPORTS.get(data, {}).items():
        path = results / f"{file}.json"
        if not path.is_file():
            raise UserError(f"no report {path}; give the folder that holds it, a checkout's results/ say")
        report = json.loads(path.read_text())
        rows.append(_ours(model, f"results/{file}.json", report["metrics"]["accuracy"], ALONE))
    compared = results / "protocols.json"
    for entry in json.loads(compared.read_text())["entries"] if compared.exists() else ():
        name = f"{display_name(entry['model'])}, frozen {display_name(entry['backbone']['name'])}"
        for one in (*entry["protocols"], *entry["references"]) if entry["data"] == data else ():
            if protocol := PROTOCOL_TEXTS.get(one["name"]):
                row = _ours(f"{name}: {one['name']}", "results/protocols.json", one["metrics"]["accuracy"], protocol)
                rows.append(row | {"seeds": len(entry["seeds"])})
    columns = ["model", "source", "accuracy", "low", "high", "seeds", "protocol"]
    table = pd.DataFrame(rows, columns=columns).astype({"seeds": "Int64"})
    return table.sort_values("accuracy", ascending=False, kind="stable", ignore_index=True)


def _ours(model: str, source: str, accuracy: dict[str, float], protocol: str) -> dict[str, object]:
    figures = {"accuracy": accuracy["value"], "low": accuracy["low"], "high": accuracy["high"]}
    return {"model": model, "source": source, "protocol": protocol} | {k: 100 * v for k, v in figures.items()}
