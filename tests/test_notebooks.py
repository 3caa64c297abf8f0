"""The notebooks: committed as they ran, built alike, and running again from top to bottom, offline.

To renew one after a change: see notebooks/README.md.
"""

import ast
import json
import os
import sys
import time
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("plotly")

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 1_500_000  # bytes
TIME_LIMIT = 1200  # seconds for a notebook, on a slow and busy machine; chapter 2 takes some 50 s of processor time
#: Functions that are the lesson themselves; each is asserted equal to ferlib's in its notebook.
ALLOWED = {"02_building_the_models.ipynb": {"separable_by_hand", "detail_by_hand"}}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(notebook, tag: str) -> list:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", ())]


def texts(notebook) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def metrics(notebook) -> dict:
    """What the cell tagged "metrics" printed."""
    (cell,) = tagged(notebook, "metrics")
    return json.loads("".join(output.text for output in cell.outputs if output.get("name") == "stdout"))


def test_there_are_notebooks_and_the_table_names_them():
    table = (FOLDER / "README.md").read_text()
    assert NOTEBOOKS
    for path in NOTEBOOKS:
        assert f"({path.name})" in table


@each_notebook
def test_structure(path):
    """Question, versions, parameters, work, exercises with folded solutions, recorded metrics."""
    notebook = read(path)
    assert notebook.metadata.kernelspec.name == "python3"
    first, *_ = notebook.cells
    assert first.cell_type == "markdown" and first.source.startswith("# ") and "**Question.**" in first.source
    versions, parameters, *_ = code_cells(notebook)
    assert "__version__" in versions.source
    assert "parameters" in parameters.metadata.get("tags", ()) and len(tagged(notebook, "parameters")) == 1
    assert all(isinstance(node, ast.Assign) for node in ast.parse(parameters.source).body)  # papermill may replace them
    exercises = texts(notebook).partition("## Exercises")[2]
    solutions = exercises.count("<details><summary>Solution</summary>")
    assert solutions >= 2 and solutions == exercises.count("</details>") == exercises.count("\n**") + (
        exercises.startswith("**")
    )
    assert code_cells(notebook)[-1] is tagged(notebook, "metrics")[0]


@each_notebook
def test_committed_as_it_ran(path):
    notebook = read(path)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.text  # warnings are part of the lesson or not there
    pictures = [output for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})]
    assert pictures, "run with PLOTLY_RENDERER=png, so that a code host shows the figures"
    stored = path.read_text()
    assert "application/vnd.plotly" not in stored
    assert os.sep + "site-packages" not in stored and str(FOLDER.parent) not in stored  # nobody's folders
    assert metrics(notebook)


@each_notebook
def test_size(path):
    assert path.stat().st_size <= LARGEST


@each_notebook
def test_thin(path):
    """No functions or classes in a notebook, unless they are the lesson."""
    source = "\n".join(cell.source for cell in code_cells(read(path)))
    defined = {
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    assert defined <= ALLOWED.get(path.name, set())
    assert not any(isinstance(node, ast.Lambda) for node in ast.walk(ast.parse(source)))


@pytest.fixture
def kernel(tmp_path, monkeypatch) -> None:
    """A "python3" kernel of this very interpreter, whatever else is installed, without network and browser."""
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "tests", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PLOTLY_RENDERER", "json")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody answers


@pytest.mark.slow
@pytest.mark.timeout(TIME_LIMIT)
@each_notebook
def test_runs_and_gives_the_committed_numbers(path, kernel, tmp_path):
    notebook = read(path)
    committed = metrics(notebook)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    start = time.perf_counter()
    nbclient.NotebookClient(
        notebook, timeout=TIME_LIMIT, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    print(f"{path.name}: {time.perf_counter() - start:.0f} s")
    assert not list(folder.iterdir()), "a notebook leaves no files behind"
    assert_close(metrics(notebook), committed, path.name)


def assert_close(new: object, old: object, where: str) -> None:
    """Equal words and counts; measured numbers within 0.02, as other processors round differently."""
    if isinstance(old, dict):
        assert isinstance(new, dict) and list(new) == list(old), where
        for key in old:
            assert_close(new[key], old[key], f"{where}: {key}")
    elif isinstance(old, float):
        assert new == pytest.approx(old, abs=0.02, rel=0.02), where
    else:
        assert new == old, f"{where} is {new!r}, but {old!r} in the committed notebook: run it again"
