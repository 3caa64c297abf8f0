"""Rebuild the tables of README.md from results/: `python benchmarks/tables.py` (`make tables`).

A table stands between `<!-- table NAME -->` and `<!-- end -->`; everything between is replaced.
"""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def read(name: str) -> dict:
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def cell(metric: dict) -> str:
    """73.0 (71.5 to 74.4), in percent."""
    text = f"{100 * metric['value']:.1f}"
    return f"{text} ({100 * metric['low']:.1f} to {100 * metric['high']:.1f})" if "low" in metric else text


def row(label: str, faces: int, metrics: dict) -> str:
    names = ("accuracy", "balanced_accuracy", "macro_f1")
    return " | ".join([f"| {label}", f"{faces:,}", *(cell(metrics[name]) for name in names)]) + " |"


HEAD = "| model | faces | accuracy, % | balanced accuracy, % | macro-F1, % |\n|---|---|---|---|---|"


def released() -> str:
    """The released model beside what a frozen trunk gives, FERPlus test."""
    models = {
        "**Conv-cut, fine-tuned trunk (released)**": "convcut_ferplus",
        "Conv-cut, frozen trunk": "convcut_ferplus_frozen",
        "linear probe on the same frozen trunk": "linear_probe_ferplus",
    }
    reports = [(label, read(name)) for label, name in models.items()]
    return "\n".join([HEAD, *(row(label, report["faces"], report["metrics"]) for label, report in reports)])


def beside_fer() -> str:
    """The released model beside the `fer` package on the same rows."""
    fer = read("fer_package")["sets"]
    lines = [HEAD]
    for data, title in (("ferplus", "FERPlus without contempt"), ("fer2013", "FER2013's own labels")):
        ours = read(f"convcut_ferplus_on_{data}_7")
        lines.append(row(f"**ours**, {title}", ours["faces"], ours["metrics"]))
        if data == "fer2013":
            again = read("convcut_fer2013_head")
            lines.append(row(f"**ours, head retrained on them**, {title}", again["faces"], again["metrics"]))
        lines.append(row(f"`fer` 25.10.3, {title}", fer[data]["faces"], fer[data]["metrics"]))
    return "\n".join(lines)


TABLES = {"released": released, "fer": beside_fer}


def rebuilt(text: str) -> str:
    """The README with every table made anew."""

    def replace(match: re.Match) -> str:
        return f"<!-- table {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- table (\w+) -->\n.*?<!-- end -->", replace, text, flags=re.DOTALL)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(rebuilt(readme.read_text()))
