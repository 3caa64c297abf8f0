"""Tables of the studies that `ferlib reproduce` runs, from results/ to Markdown; `benchmarks/tables.py` places them."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ferlib.evaluation.report_format import in_percent
from ferlib.experiments.paper_tables import pattern

RESULTS = Path(__file__).parents[1] / "results"


def read(name: str) -> dict:
    """A file of results/."""
    return json.loads((RESULTS / f"{name}.json").read_text())


#: Backbones of the studies, in the order of the tables, and what each was trained on.
BACKBONES = {
    "mobilenetv1_100": "MobileNetV1 (faces)",
    "tf_efficientnet_lite0": "EfficientNet-Lite0 (ImageNet)",
    "convnext_nano": "ConvNeXt-Nano, two stages (ImageNet)",
}


def columns_of(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The parts of a table by backbone, under a heading each."""
    parts = {backbone: part for backbone, part in table.groupby("backbone") if backbone in BACKBONES}
    return {BACKBONES[name]: parts[name] for name in BACKBONES if name in parts}


def written(head: str, columns: dict[str, dict[str, str]], rows: Sequence[str]) -> str:
    """A Markdown table from heading -> row -> cell."""
    lines = [f"| {head} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    return "\n".join([*lines, *(f"| {row} | {' | '.join(c.get(row, '') for c in columns.values())} |" for row in rows)])


def ladder(model: str, data: str, marks: bool = False) -> str:
    """Accuracy at every rung of a model's ladders on one data set, a column a backbone, from results/ladder.csv."""
    table = pd.read_csv(RESULTS / "ladder.csv").query("metric == 'accuracy' and model == @model and data == @data")
    wanted = table[(table["part"] == "rung") | marks | (table["rung"] == "no attention")]
    columns = {name: cells(part.set_index("rung")) for name, part in columns_of(wanted).items()}
    return written(f"accuracy, %, {seeds(table)}", columns, list(dict.fromkeys(wanted["rung"])))


def seeds(table: pd.DataFrame) -> str:
    counts = sorted(set(table["seeds"]))
    return f"{counts[0]} seeds" if counts != [1] else "1 seed"


def cells(part: pd.DataFrame) -> dict[str, str]:
    return {str(name): in_percent(row) for name, row in part[["value", "low", "high"]].T.to_dict().items()}


def paper_table(name: str, data: str, backbone: str) -> str:
    """One of the papers' tables run again: the paper's figure, and ours under every protocol, accuracy."""
    table = pd.read_csv(RESULTS / "paper_tables.csv").query(
        "metric == 'accuracy' and table == @name and data == @data and (backbone == @backbone or backbone.isna())"
    )
    names = {
        "published": "as published",
        "alone": "the same networks, one face at a time",
        "honest": "attention within a face",
        "ten crops": "ten crops",
    }
    paper = table.drop_duplicates("row").set_index("row")
    columns = {"the paper": {r: f"{100 * v:.2f}" for r, v in paper["paper"].dropna().items()}}
    columns |= {
        names[protocol]: cells(part.set_index("row")) for protocol, part in table.groupby("protocol", sort=False)
    }
    return written(f"accuracy, %, {seeds(table)}", columns, list(paper.index))


def paper_steps(data: str, backbone: str) -> str:
    """Conv-cut's Tables 2 and 3, every row less the one before: the paper's step, ours, and if it appears."""
    every = pd.read_csv(RESULTS / "paper_tables.csv").query("data == @data and backbone == @backbone")
    lines = ["| step, points of accuracy | the paper | as published | appears | alone | appears |", "|---" * 6 + "|"]
    for name in ("convcut-table2", "convcut-table3"):
        for step, part in pattern(every[every["table"] == name]).groupby("step", sort=False):
            cells = [f"| {step}", f"{part['paper'].iloc[0]:+.1f}"]
            for protocol in ("published", "alone"):
                own = part[part["protocol"] == protocol].iloc[0]
                cells += [f"{own['ours']:+.1f} ({own['low']:+.1f} to {own['high']:+.1f})", own["appears"]]
            lines.append(" | ".join(cells) + " |")
    return "\n".join(lines)


def purity(data: str) -> str:
    """How the company decides, from results/purity.json: curve, foreign faces, readings and controls."""
    found = [e for e in read("purity")["entries"] if e["data"] == data]
    columns: dict[str, dict[str, str]] = {}
    for entry in found:
        column = {f"{p['own']} of 16 of its own class": in_percent(p["accuracy"]) for p in entry["curve"]}
        column["among 15 of one other class: its own label"] = in_percent(entry["foreign"]["accuracy"])
        column["among 15 of one other class: their label"] = f"{100 * entry['foreign']['their label']:.1f}"
        readings = {r["batches"]: r for r in entry["readings"]}
        for name, heading in (("sorted 16", "class-sorted, 16"), ("shuffled 16", "shuffled, 16"), ("single", "alone")):
            column[heading] = in_percent(readings[name]["accuracy"])
        column |= {control["about"]: in_percent(control["accuracy"]) for control in entry["controls"].values()}
        columns[BACKBONES[entry["backbone"]["name"]]] = column
    columns = {name: columns[name] for name in BACKBONES.values() if name in columns}
    kept = ("1", "2", "4", "8", "12", "16")
    rows = [r for r in next(iter(columns.values())) if not r.endswith("of its own class") or r.split()[0] in kept]
    return written("accuracy, %, 3 seeds", columns, rows)


#: Rows of the two annotators' table, as they read for FERPlus.
TRAINED_ON = {
    "own labels": "FERPlus's labels",
    "other labels": "FER2013's labels of the same faces",
    "both, LTNet": "both, LTNet's latent truth",
    "own, LTNet": "FERPlus's labels alone, LTNet",
    "both, half and half": "both, half of every target from each",
}


def annotators() -> str:
    """Networks trained on either annotator's labels and on both, and these labels themselves, on FERPlus's votes."""
    (entry,) = read("annotators")["entries"]
    names = {
        "accuracy": "accuracy, %",
        "balanced_accuracy": "balanced accuracy, %",
        "macro_f1": "macro-F1, %",
        "vote_share": "share of the votes, %",
    }
    columns: dict[str, dict[str, str]] = {heading: {} for heading in (*names.values(), "less FERPlus's labels, points")}
    gains = columns["less FERPlus's labels, points"]
    for row in entry["rows"]:
        label = TRAINED_ON[row["name"]]
        for metric, heading in names.items():
            columns[heading][label] = in_percent(row["metrics"][metric])
        if gain := row.get("minus_own", {}).get("vote_share"):
            value, low, high = (round(100 * gain[key], 1) + 0 for key in ("value", "low", "high"))  # + 0: no -0.0
            gains[label] = f"{value:+.1f} ({low:+.1f} to {high:+.1f}): {gain['verdict']}"
    for name, title in (("own", "*FERPlus's label itself*"), ("fer2013", "*FER2013's label itself*")):
        for metric in ("accuracy", "vote_share"):
            columns[names[metric]][title] = f"*{in_percent(entry['labels_alone'][name][metric])}*"
    head = f"trained on, {len(entry['seeds'])} seeds"
    return written(head, columns, list(columns["accuracy, %"]))


def annotator_classes() -> str:
    """How often an annotator says a class: as learnt of faces of that latent truth, and as counted."""
    (entry,) = read("annotators")["entries"]
    classes, theirs = (entry["annotators"][name] for name in ("own", "fer2013"))
    learnt = entry["matrices"]["both, LTNet"]
    counts = dict(zip(classes, entry["empirical"], strict=True))
    columns: dict[str, dict[str, str]] = {
        "training faces": {name: f"{sum(row):,}" for name, row in counts.items()},
        "FERPlus, learnt": {name: f"{100 * learnt['own'][i][i]:.1f}" for i, name in enumerate(classes)},
        "FER2013, learnt": {},
        "FER2013, counted": {},
        "FER2013 else says most often, counted": {},
    }
    for i, name in enumerate(classes):
        if name in theirs:
            place = theirs.index(name)
            columns["FER2013, learnt"][name] = f"{100 * learnt['fer2013'][i][place]:.1f}"
            columns["FER2013, counted"][name] = f"{100 * counts[name][place] / sum(counts[name]):.1f}"
        others = {one: count for one, count in zip(theirs, counts[name], strict=True) if one != name}
        most = max(others, key=lambda one: others[one])
        columns["FER2013 else says most often, counted"][name] = f"{most} {100 * others[most] / sum(counts[name]):.1f}"
    return written("says the class, %", columns, list(classes))
