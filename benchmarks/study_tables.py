"""Tables of the studies that `ferlib reproduce` runs, from results/ to Markdown; `benchmarks/tables.py` places them."""

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from io import StringIO
from pathlib import Path

import pandas as pd

from ferlib.data.label_noise import flipped_fraction
from ferlib.evaluation.kept_epoch import best_epoch
from ferlib.evaluation.metrics import METRICS
from ferlib.evaluation.report_format import in_percent, in_points
from ferlib.experiments.paper_tables import pattern
from ferlib.experiments.published import read_rivals
from ferlib.experiments.rival_tables import NOISE, noise_table
from ferlib.experiments.rivals import RIVALS
from ferlib.names import display_name

RESULTS = Path(__file__).parents[1] / "results"


def read(name: str) -> dict:
    """A file of results/."""
    return json.loads((RESULTS / f"{name}.json").read_text())


#: Backbones of the studies, in the order of the tables, and what each was trained on.
BACKBONES = {
    "mobilenetv1_100": "MobileNetV1 (faces)",
    "tf_efficientnet_lite0": "EfficientNet-Lite0 (ImageNet)",
    "convnext_nano": "ConvNeXt-Nano, two stages (ImageNet, then hand gestures)",
}
#: The rivals' tables with right labels, by what the pages call their hosts.
HOSTS = {"methods": "fine-tuned", "methods-frozen": "frozen"}


def columns_of(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The parts of a table by backbone, under a heading each."""
    parts = {backbone: part for backbone, part in table.groupby("backbone") if backbone in BACKBONES}
    return {BACKBONES[name]: parts[name] for name in BACKBONES if name in parts}


def written(head: str, columns: dict[str, dict[str, str]], rows: Sequence[str]) -> str:
    """A Markdown table from heading -> row -> cell."""
    lines = [f"| {head} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    return "\n".join([*lines, *(f"| {row} | {' | '.join(c.get(row, '') for c in columns.values())} |" for row in rows)])


def protocols(model: str, data: str, references: bool = False) -> str:
    """A model's accuracy under every protocol on one data set, a column a backbone, from results/protocols.csv."""
    table = pd.read_csv(RESULTS / "protocols.csv").query("metric == 'accuracy' and model == @model and data == @data")
    wanted = table[(table["part"] == "protocol") | references | (table["protocol"] == "no attention")]
    columns = {name: cells(part.set_index("protocol")) for name, part in columns_of(wanted).items()}
    return written(f"accuracy, %, {seeds(table)}", columns, list(dict.fromkeys(wanted["protocol"])))


def seeds(table: pd.DataFrame) -> str:
    """How many seeds the rows of a table have: "3 seeds", "1 to 3 seeds"."""
    few, most = table["seeds"].min(), table["seeds"].max()
    return f"{few} to {most} seeds" if few < most else f"{most} seed{'s' if most > 1 else ''}"


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
            gains[label] = judged(gain)
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


def methods_entries(table: str, data: str = "ferplus") -> dict[str, dict]:
    """Entries of one of the rivals' tables without flipped labels, under the backbones' headings."""
    found = {e["backbone"]["name"]: e for e in read("methods")["entries"] if (e["table"], e["data"]) == (table, data)}
    return {heading: found[name] for name, heading in BACKBONES.items() if name in found}


def methods(table: str, data: str = "ferplus") -> str:
    """The rows of one of the rivals' tables with their differences to plain training, a table a backbone."""
    return "\n\n".join(methods_rows(heading, entry) for heading, entry in methods_entries(table, data).items())


def methods_rows(heading: str, entry: dict) -> str:
    names = {metric: display_name(metric) for metric in METRICS} | {"ece": "calibration error"}
    columns: dict[str, dict[str, str]] = {f"{name}, %": {} for name in names.values()}
    gains = {metric: f"{names[metric]} less plain, points" for metric in ("accuracy", "macro_f1")}
    more = ("seeds with McNemar's p < 0.05", "accuracy by the epoch best on test, points more")
    devices = sorted({device for row in entry["rows"] for device in row["minutes"]})
    minutes = {device: f"minutes on {'a CPU' if device == 'cpu' else f'one {device}'}" for device in devices}
    columns |= {name: {} for name in (*gains.values(), *more, *minutes.values(), "ms a face")}
    significant, on_test = (columns[name] for name in more)
    wanted, labels = len(entry["seeds"]), []
    for row in entry["rows"]:
        seeds = len(row["seeds"])
        other = f" ({seeds} of {wanted} seeds)" if seeds < wanted else f" ({seeds} seeds)" if seeds > wanted else ""
        labels.append(label := row["name"] + other)
        for metric, name in names.items():
            columns[f"{name}, %"][label] = in_percent(row["metrics"][metric])
        if "minus_plain" in row:
            for metric, name in gains.items():
                columns[name][label] = judged(row["minus_plain"][metric])
            significant[label] = f"{sum(p < 0.05 for p in row['mcnemar'])} of {len(row['mcnemar'])}"
        on_test[label] = f"{100 * (row['chosen_on_test'] - row['metrics']['accuracy']['value']):.1f}"
        for device, time in row["minutes"].items():
            columns[minutes[device]][label] = f"{time:.1f}"
        columns["ms a face"][label] = f"{row['ms_per_face']:.1f}"
    up_to = "up to " if min(len(row["seeds"]) for row in entry["rows"]) < wanted else ""
    return written(f"{heading}, {up_to}{wanted} seeds, {entry['epochs']} epochs", columns, labels)


def judged(gain: dict) -> str:
    return f"{in_points(gain)}: {gain['verdict']}"


def methods_noise(table: str, data: str = "ferplus") -> str:
    """Accuracy of the rivals' rows by the fraction of flipped labels, and less plain training; a table a backbone."""
    frame = noise_table(read("methods")["entries"]).query(
        "table == @table.removesuffix('-noise') and data == @data and metric == 'accuracy'"
    )
    return "\n\n".join(noise_rows(heading, part) for heading, part in columns_of(frame).items())


def noise_rows(heading: str, frame: pd.DataFrame) -> str:
    parts = dict(iter(frame.groupby("flipped")))
    alike = len({seeds(part) for part in parts.values()}) == 1
    columns: dict[str, dict[str, str]] = {}
    for fraction, part in parts.items():
        own = "" if alike else f" ({seeds(part)})"
        columns[f"{100 * fraction:.0f} % flipped{own}"] = cells(part.set_index("row"))
    for fraction, part in frame[(frame["flipped"] > 0) & frame["minus_plain_value"].notna()].groupby("flipped"):
        gains = {row["row"]: {end: row[f"minus_plain_{end}"] for end in ("value", "low", "high", "verdict")}
                 for _, row in part.iterrows()}  # fmt: skip
        columns[f"less plain at {100 * fraction:.0f} %"] = {name: judged(gain) for name, gain in gains.items()}
    rows = [rival.name for rival in RIVALS if rival.name in set(frame["row"])]
    return written(f"{heading}, accuracy, %{f', {seeds(frame)}' if alike else ''}", columns, rows)


def methods_verdicts() -> str:
    """What every row helps or harms, told from plain training, a column a table of the rivals."""
    columns: dict[str, dict[str, str]] = {}
    for entry in sorted(read("methods")["entries"], key=verdict_place):
        data, fraction = flipped_fraction(entry["data"])
        heading = f"{HOSTS[entry['table'].removesuffix(NOISE)]}, {BACKBONES[entry['backbone']['name']]}"
        heading += f", {display_name(data)}" if data != "ferplus" else ""
        heading += f", {100 * fraction:.0f} % of the labels flipped" if fraction else ""
        columns[heading] = {row["name"]: verdict(row) for row in entry["rows"] if "minus_plain" in row}
    rows = [rival.name for rival in RIVALS if any(rival.name in column for column in columns.values())]
    return written("less plain training", columns, rows)


def verdict_place(entry: dict) -> tuple:
    """Where a table stands among the verdicts: right labels before flipped, fine-tuned before frozen, FERPlus first."""
    data, fraction = flipped_fraction(entry["data"])
    host = list(HOSTS).index(entry["table"].removesuffix(NOISE))
    return fraction > 0, host, data != "ferplus", list(BACKBONES).index(entry["backbone"]["name"]), fraction


def verdict(row: dict) -> str:
    """The metrics that a row helps and harms, "cannot be told" without any; with a word on a row of a single seed."""
    told = {how: [display_name(metric) for metric in METRICS if row["minus_plain"][metric]["verdict"] == how]
            for how in ("helps", "harms")}  # fmt: skip
    found = [f"{how} {'all three' if len(names) == len(METRICS) else ', '.join(names)}"
             for how, names in told.items() if names]  # fmt: skip
    return ("; ".join(found) or "cannot be told") + (" (1 seed)" if len(row["seeds"]) == 1 else "")


def methods_claims() -> str:
    """What the methods' papers claim, how that was measured, what is found here, and what was built of each."""
    claims = read_rivals().query("metric == 'accuracy'")
    built = {rival.paper: rival for rival in RIVALS if rival.paper}
    found = {f"here, FERPlus: {heading}, {how}": (entry, {row["paper"]: row for row in entry["rows"] if row["paper"]})
             for table, how in HOSTS.items() for heading, entry in methods_entries(table).items()}  # fmt: skip
    columns: dict[str, dict[str, str]] = {"the paper, %": {}, "its protocol": {}, **{name: {} for name in found}}
    columns["what was built, and remarks"] = {}
    for method, own in claims.groupby("model", sort=False):
        paper = ", ".join(f"{display_name(d)} {v:.2f}" for d, v in zip(own["data"], own["value"], strict=True))
        columns["the paper, %"][method] = paper
        columns["its protocol"][method] = "; ".join(dict.fromkeys(own["protocol"]))
        notes = list(dict.fromkeys(part for note in own["note"] for part in note.split("; ") if part))
        rival = built.get(method)
        columns["what was built, and remarks"][method] = "; ".join([*([rival.about] if rival else []), *notes])
        for name, (entry, rows) in found.items():
            columns[name][method] = here(rival is not None, rival is None or rival.frozen, entry, rows.get(method))
    return written("method", columns, list(dict.fromkeys(claims["model"])))


def here(built: bool, frozen: bool, entry: dict, row: dict | None) -> str:
    """A cell on a method in an entry: accuracy and the difference to plain training, or why there is none."""
    if row is None:
        needs = entry["table"] == "methods-frozen" and not frozen
        return "not built" if not built else "left out there" if needs else "not run"
    gain = row.get("minus_plain", {}).get("accuracy")
    return in_percent(row["metrics"]["accuracy"]) + (f"; {judged(gain)}" if gain else "")


def methods_tables() -> dict[str, Callable[[], str]]:
    """The rivals' tables that have entries, by their names in the pages, which name other data than FERPlus."""
    makers = {"methods": methods, "methods-noise": methods_noise}
    makers |= {"methods-frozen": methods, "methods-frozen-noise": methods_noise}
    tables: dict[str, Callable[[], str]] = {"methods_verdicts": methods_verdicts, "methods_claims": methods_claims}
    for entry in read("methods")["entries"]:
        table, (data, _) = entry["table"], flipped_fraction(entry["data"])
        name = table.replace("-", "_") + ("" if data == "ferplus" else f"_{data}")
        tables[name] = partial(makers[table], table, data)
    return tables


#: Networks trained on FERPlus's votes: what was done, and where their histories are (a part of a GPU session, by its
#: name without the seed, or folders of results/teachers that begin so).
TRIED = {
    "whole network, 112 px, 12 epochs": "mobilenetv1_face_112",
    "the same, 10 epochs, mixup": "teacher_face_112_mixup",
    "the same, 18 epochs, 70 % of a target the answers of five networks": "student_l",
    "whole network, 160 px, 10 epochs (became `ferlib-l`)": "teacher_face_160",
    "cut at stride 16, Detail Extraction and attention, 128 px, 10 epochs": "teacher_face_head_128",
    "the same, 112 px, 18 epochs, the five networks' answers": "student_m",
    "the same cut at stride 8, 112 px, 18 epochs, the five networks' answers": "student_s",
}


def tried() -> str:
    """PublicTest figures at the best epoch of the networks that were tried for a release, from results/."""
    session = {name: part["history"] for name, part in read("gpu_session")["parts"].items()}
    lines = ["| MobileNetV1, pretrained on faces | seeds | accuracy, % | balanced accuracy, % |", "|---|---|---|---|"]
    for label, source in TRIED.items():
        parts = [name for name in session if re.fullmatch(rf"{source}(_\d)?", name)]
        histories = [pd.read_csv(StringIO("\n".join(session[name]))) for name in parts]
        histories += [pd.read_csv(path) for path in (RESULTS / "teachers").glob(f"{source}*/history.csv")]
        best = [history.loc[best_epoch(history)] for history in histories]
        found = [[100 * one[name] for one in best] for name in ("accuracy", "balanced_accuracy")]
        figures = ["–".join(f"{value:.1f}" for value in sorted({min(values), max(values)})) for values in found]
        lines.append(f"| {label} | {len(best)} | {' | '.join(figures)} |")
    return "\n".join(lines)
