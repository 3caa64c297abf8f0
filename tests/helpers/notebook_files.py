"""The notebooks as files: their cells, and what stands in them. No test."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

nbformat = pytest.importorskip("nbformat")
if TYPE_CHECKING:
    from nbformat import NotebookNode

FOLDER = Path(__file__).parents[2] / "notebooks"
WEIGHTS = FOLDER.parent / "ferlib" / "weights"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SOLUTION = re.compile(r"<summary>Solution</summary>(.*?)</details>", re.DOTALL)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n?)+")
LITERAL = re.compile(r"""\((?:\s*"[^"]*",?)*\s*\)|\[[^\]]*\]|(?<![\[(])"[^"]*\"""")
INLINE = re.compile(r"`([^`\n]+)`")


def read(path: Path) -> "NotebookNode":
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook: "NotebookNode") -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_cells(notebook: "NotebookNode") -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


def tagged(notebook: "NotebookNode", tag: str) -> list:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", ())]


def texts(notebook: "NotebookNode") -> str:
    return "\n".join(cell.source for cell in text_cells(notebook))


def metrics(notebook: "NotebookNode") -> dict:
    """What the cell tagged "metrics" printed."""
    (cell,) = tagged(notebook, "metrics")
    return json.loads("".join(output.text for output in cell.outputs if output.get("name") == "stdout"))


def solutions(notebook: "NotebookNode") -> list[list[str]]:
    """The code of every exercise's solution, in order; without code, an empty list."""
    blocks = [FENCED.findall(text) for text in SOLUTION.findall(texts(notebook))]
    return [[code for language, code in found if language == "python"] for found in blocks]


def parameters(notebook: "NotebookNode") -> Iterator[tuple[str, object, str]]:
    """Name, value and comment of every parameter."""
    (cell,) = tagged(notebook, "parameters")
    lines = cell.source.splitlines()
    for node in ast.parse(cell.source).body:
        comments = [line.partition("#")[2].strip() for line in lines[node.lineno - 1 : node.end_lineno]]
        yield node.targets[0].id, ast.literal_eval(node.value), " ".join(filter(None, comments))


def advertised(comment: str) -> list[object]:
    """The values that a parameter's comment offers: literals, None, and the names of released models of a kind."""
    values = [ast.literal_eval(text) for text in LITERAL.findall(comment)]
    if kind := re.search(r"a released (model|Conv-cut|IVSA)", comment):
        starts = {"model": "", "Conv-cut": "convcut", "IVSA": "ivsa"}[kind[1]]
        values += sorted(path.name for path in WEIGHTS.iterdir() if path.is_dir() and path.name.startswith(starts))
    return values + [None] * bool(re.search(r"\bNone\b", comment))


def replaced(notebook: "NotebookNode", values: dict[str, object]) -> None:
    """Give parameters other values, as papermill does."""
    (cell,) = tagged(notebook, "parameters")
    assert values.keys() <= {name for name, *_ in parameters(notebook)}
    cell.source += "".join(f"\n{name} = {value!r}" for name, value in values.items())


def printed(cells: list) -> str:
    """All that the cells put out as text, tables included."""
    parts = []
    for output in (output for cell in cells for output in cell.get("outputs", ())):
        parts.append(output.get("text", ""))
        parts += [text for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
    return re.sub(r"<[^>]+>", " ", "\n".join(parts))


def commands(text: str) -> list[str]:
    """The shell's commands in a cell: of its blocks, as the shell would take them, and of the code within lines."""
    blocks = [code for language, code in FENCED.findall(text) if language in ("sh", "bash")]
    without_fences = FENCED.sub("", text)
    starts = re.compile(r"(python|make|accelerate|torchrun|pip|jupyter) ")
    blocks += [block for block in map(dedent, INDENTED.findall(without_fences)) if starts.match(block)]
    lines = [line for block in blocks for line in re.sub(r"(?<!\\)\\\n", " ", block).splitlines() if line.strip()]
    return lines + [code for code in INLINE.findall(without_fences) if starts.match(code)]


def prose(text: str) -> str:
    """A cell's text without code, formulas and addresses."""
    for pattern in (FENCED, INDENTED, re.compile(r"\$\$.*?\$\$", re.DOTALL), re.compile(r"\$[^$]+\$"), INLINE):
        text = pattern.sub(" ", text)
    return re.sub(r"\]\([^)]*\)", "] ", text)
