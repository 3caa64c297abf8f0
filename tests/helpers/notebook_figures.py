"""Figures quoted in the notebooks' texts, and where they come from. No test.

A figure is a number with a percent sign or a decimal point. It has to be found, rounded to the digits that are quoted,

1. in what the cells of the same section ("## ...") print, or, as it stands there, in the papers' tables;
2. else where the text cell's metadata says, `"quoted": {"figure": "source"}`: the id of another cell that prints it, a
   file of `results/`, "parameters", or a sentence: the paper that has it in its text, or how it follows.

That a number of the same digits is there does not prove that it is the one that is meant. `noticed` counts how many
wrong figures would be found out.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from notebook_files import printed, prose, read, tagged

if TYPE_CHECKING:
    from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
PUBLISHED = sorted(ROOT.glob("ferlib/**/published/*.csv"))
REFERENCE = re.compile(
    r"\b(?:[Ss]ections?|see|in|of|and|what) ((?:10|[1-9])\.\d{1,2})\b(?!,?\d| ?[%×]| (?:points|[MG]|px)\b)"
)
FIGURE = re.compile(r"(?<![\w.,-])(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?( ?%)?(?![\w]|\.\d)")
NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?(?:e[+-]?\d+)?")
MANY = 60  # a list of more numbers, say the points of a figure, is no source: anything would be found in it


def figures(text: str) -> list[str]:
    """The figures of a text cell, as they are written there: "82.46 %", "0.0088", "37 %"."""
    text = re.sub(r"^#+ .*$", "", REFERENCE.sub(" ", prose(text)), flags=re.MULTILINE)
    return [match[0] for match in FIGURE.finditer(text) if match[2] or match[3]]


def numbers(text: str) -> list[float]:
    return [float(found.replace(",", "")) for found in NUMBER.findall(text)]


def leaves(data: Any) -> Iterator[float]:
    """The numbers in the values of a JSON file."""
    if isinstance(data, bool) or data is None:
        return
    if isinstance(data, int | float):
        yield abs(float(data))
    elif isinstance(data, str):
        yield from numbers(data)
    else:
        parts = list(data.values()) if isinstance(data, dict) else data
        if not (isinstance(data, list) and len(parts) > MANY):
            for part in parts:
                yield from leaves(part)


def values_in(path: Path) -> list[float]:
    if path.suffix == ".json":
        return list(leaves(json.loads(path.read_text())))
    with path.open(newline="") as handle:
        return [number for row in csv.reader(handle) for cell in row for number in numbers(cell)]


def published() -> set[str]:
    """The papers' figures, with all their decimals."""
    rows = (row for path in PUBLISHED for row in csv.DictReader(path.read_text().splitlines()))
    return {f"{float(row['value']):.2f}" for row in rows}


def sections(notebook: "NotebookNode") -> list[list]:
    """The cells between headings of the second order."""
    parts: list[list] = [[]]
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            parts.append([])
        parts[-1].append(cell)
    return parts


def named(source: str, notebook: "NotebookNode") -> np.ndarray | None:
    """The numbers of a source that metadata name; None where it is a sentence."""
    cells = [cell for cell in notebook.cells if cell.id == source]
    if cells or source == "parameters":
        found = numbers(printed(cells)) or numbers("\n".join(c.source for c in cells or tagged(notebook, source)))
    elif (path := ROOT / "results" / source).is_file():
        found = values_in(path)
    else:
        return None
    return np.array(found)


def is_found(figure: str, values: np.ndarray) -> bool:
    """Whether a value, or with a percent sign a hundred times a share, is the figure when rounded to its digits."""
    match = FIGURE.fullmatch(figure)
    assert match, f"{figure} is no figure"
    number, decimals, percent = match.groups()
    wanted, half = float(number.replace(",", "") + (decimals or "")), 0.5 * 10.0 ** -len((decimals or ".")[1:])
    candidates = np.append(values, 100 * values[values <= 1]) if percent else values
    return bool((np.abs(candidates - wanted) <= half * (1 + 1e-6)).any())


def quotations(notebook: "NotebookNode") -> Iterator[tuple[str, str, np.ndarray | None]]:
    """Cell, figure, and the numbers among which it should be; None where a sentence answers for it."""
    for part in sections(notebook):
        values = np.array(numbers(printed(part)))
        for cell in part:
            quoted = cell.metadata.get("quoted", {})
            for figure in figures(cell.source) if cell.cell_type == "markdown" else ():
                yield cell.id, figure, named(quoted[figure], notebook) if figure in quoted else values


def untraced(notebook: "NotebookNode") -> list[tuple[str, str]]:
    """Cell and figure, for every figure that no source has."""
    papers = published()
    return [
        (cell, figure)
        for cell, figure, values in quotations(notebook)
        if values is not None and not is_found(figure, values) and figure.split()[0] not in papers
    ]


def slips(figure: str) -> list[str]:
    """The figure with its last digit wrong."""
    place = max(i for i, sign in enumerate(figure) if sign.isdigit())
    return [figure[:place] + str((int(figure[place]) + by) % 10) + figure[place + 1 :] for by in range(1, 10)]


def noticed(paths: Iterable[Path]) -> dict[str, float]:
    """Fraction of wrong last digits that would be noticed, of figures with and without a decimal point."""
    papers = published()
    counts: dict[str, list[bool]] = {"with a decimal point": [], "whole percentages": []}
    for path in paths:
        for _, figure, values in quotations(read(path)):
            kind = "with a decimal point" if "." in figure else "whole percentages"
            if values is not None:
                counts[kind] += [
                    not is_found(wrong, values) and wrong.split()[0] not in papers for wrong in slips(figure)
                ]
    return {kind: sum(found) / len(found) for kind, found in counts.items()}
