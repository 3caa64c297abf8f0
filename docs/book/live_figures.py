"""Figures of a chapter as live plotly figures: its cells tagged `live` are run, on `results/` and without training."""

import json
from pathlib import Path

import nbformat
import plotly.io as pio
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbformat import NotebookNode

KIND = "application/json"  # what plotly's renderer "json" puts out
TAG = "live"


def drawn(notebook: NotebookNode) -> dict[str, list[dict]]:
    """The figures that the cells tagged `live` draw, by the cell's id; each chapter starts from an empty namespace."""
    pio.renderers.default = "json"
    shell = InteractiveShell.instance()
    shell.reset(new_session=False)
    figures = {}
    for cell in notebook.cells:
        if TAG in cell.metadata.get("tags", ()):
            with capture_output() as found:
                shell.run_cell(cell.source).raise_error()
            figures[cell.id] = [output.data[KIND] for output in found.outputs if KIND in output.data]
    return figures


def html(figure: dict) -> str:
    """A figure as part of a page that has loaded plotly.js, as wide as its place."""
    return pio.to_html(
        pio.from_json(json.dumps(figure)).update_layout(width=None),
        include_plotlyjs=False,
        full_html=False,
        config={"responsive": True, "displaylogo": False},
    )


def with_live_figures(path: Path) -> str:
    """A notebook's text, with live figures in place of the pictures of cells tagged `live`.

    Raises:
        ValueError: a cell draws more or fewer figures than it has pictures; the notebook has to be run again.
    """
    notebook = nbformat.read(path, as_version=4)
    figures = drawn(notebook)
    for cell in notebook.cells:
        pictures = [output for output in cell.get("outputs", ()) if "image/png" in output.get("data", {})]
        if cell.get("id") not in figures:
            continue
        if len(pictures) != len(own := figures[cell.id]):
            raise ValueError(f"{path.name}, {cell.id}: {len(pictures)} pictures, but {len(own)} figures")
        for output, figure in zip(pictures, own, strict=True):
            output.data = NotebookNode({"text/html": html(figure)})
    return nbformat.writes(notebook)
