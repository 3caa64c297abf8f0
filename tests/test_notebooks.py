"""The notebooks: committed as they ran, built alike, and running again from top to bottom, offline.

To renew one after a change: see notebooks/README.md.
"""

import ast
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_device import fake_device
from notebook_figures import is_found, numbers
from notebook_files import (
    FOLDER,
    NOTEBOOKS,
    advertised,
    code_cells,
    metrics,
    parameters,
    printed,
    read,
    replaced,
    solutions,
    tagged,
    text_cells,
    texts,
)
from PIL import Image
from trees import write_picture
from video_files import crossing, write_film

from ferlib.synthetic.render import sample_face

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("plotly")

ROOT = FOLDER.parent
LARGEST = 1_500_000  # bytes
TIME_LIMIT = 1200  # seconds for a notebook, on a slow and busy machine; chapter 2 takes some 50 s of processor time
#: Functions that are the lesson themselves; each is asserted equal to ferlib's in its notebook.
ALLOWED = {
    "02_building_the_models.ipynb": {"separable_by_hand", "detail_by_hand"},
    "06_what_the_model_sees.ipynb": {"keep"},
}
#: Parameters for which a notebook runs in seconds, by the first two letters of its name: its figures mean nothing then.
SMALL: dict[str, dict[str, object]] = {
    "01": {"SETS": ("ferplus",) if os.environ.get("FERLIB_DATA") else ()},
    "02": {"SEEDS": (0,), "BACKBONES": ("convnext_base",)},
    "03": {"FACES": 20, "EPOCHS": 1, "RUN_EPOCHS": 2, "STEPS": 1},
    "04": {"FACES": 30, "EPOCHS": 2, "SEEDS": (0,)},
    "05": {"DRAWN": 60, "EPOCHS": 2, "LIMIT": 2000},
    "06": {"DRAWN": 12},
    "07": {"PEOPLE": 12, "EPOCHS": 2, "COUNTS": (5,), "SEEDS": (0,), "START_APP": False},
    "08": {"FACES": 30, "EPOCHS": 2, "SEEDS": (0,)},
    "09": {"FACES": 80, "DRAWS": 50},
    "10": {"SECONDS": 3.0, "SIZES": (40, 112), "GROUPS": 1},
}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


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
    assert "widgets" not in notebook.metadata, "the state of progress bars that nobody sees again"
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
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # this ferlib, wherever another may be installed
    monkeypatch.setenv("PLOTLY_RENDERER", "json")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody answers


def run(notebook, folder: Path) -> None:
    """Execute a notebook in a folder of its own."""
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    folder.mkdir(exist_ok=True)
    start = time.perf_counter()
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=TIME_LIMIT, kernel_name="python3", resources=resources).execute()
    print(f"{time.perf_counter() - start:.0f} s")
    assert not list(folder.iterdir()), "a notebook leaves no files behind"


@pytest.mark.slow
@pytest.mark.timeout(TIME_LIMIT)
@each_notebook
def test_runs_and_gives_the_committed_numbers(path, kernel, tmp_path):
    notebook = read(path)
    committed = metrics(notebook)
    run(notebook, tmp_path / "elsewhere")
    assert_close(metrics(notebook), committed, path.name)


def drawn_folder(folder: Path, people: int = 40) -> Path:
    """A folder with a folder a class inside, each with synthetic faces of some people, 200 pixels wide."""
    rng = np.random.default_rng(0)
    for expression in ("happiness", "neutral", "surprise"):
        (folder / expression).mkdir(parents=True)
        for number in range(people):
            pixels = sample_face(expression, rng, 200, clean=True).pixels
            Image.fromarray(pixels).save(folder / expression / f"person{number}--{expression}.png")
    return folder


def files_to_name(number: str, folder: Path) -> dict[str, object]:
    """Values for the parameters that take a file or a folder."""
    if number == "01":
        for place, name in enumerate(("happiness", "tired") * 10):  # one class that no model knows
            write_picture(folder / "own" / name / f"{place}.png", place)
        return {"FOLDER": str(folder / "own"), "RESULTS": str(ROOT / "results")}
    if number == "02":
        photo = folder / "someone.png"
        shutil.copy(ROOT / "docs" / "app.png", photo)
        return {"PHOTOS": (str(photo),), "RESULTS": str(ROOT / "results")}
    if number == "03":
        weights = ROOT / "ferlib" / "weights" / "convcut_ferplus_mirror" / "model.safetensors"
        return {"BACKBONE_WEIGHTS": str(weights), "RESULTS": str(ROOT / "results")}
    if number in ("05", "06"):
        return {
            "DATA" if number == "05" else "PHOTOS": str(drawn_folder(folder / "drawn")),
            "RESULTS": str(ROOT / "results"),
        }
    if number == "07":
        return {"FACES": str(folder / "faces"), "RUN": str(folder / "run")}
    if number == "10":
        times, frames, _ = crossing()
        film = write_film(folder / "film.mp4", frames[:15], times[:15])
        return {"FILM": str(film), "RESULTS": str(ROOT / "results")}
    return {"RESULTS": str(ROOT / "results")}


@pytest.mark.slow
@pytest.mark.timeout(TIME_LIMIT)
@each_notebook
def test_solutions_run_in_order(path, kernel, tmp_path):
    """The exercises' solutions, one after the other behind the notebook's own cells; with files and folders named."""
    notebook, number = read(path), path.name[:2]
    codes = [code for found in solutions(notebook) for code in found]
    assert codes
    replaced(notebook, SMALL[number] | files_to_name(number, tmp_path))
    cells = [nbformat.v4.new_code_cell(code) for code in codes]
    notebook.cells += cells
    run(notebook, tmp_path / "elsewhere")
    found = np.array(numbers(printed(cells)))
    for cell in text_cells(notebook) if number == "02" or SMALL[number].get("SETS") else ():  # others are made small
        for figure, source in cell.metadata.get("quoted", {}).items():
            assert "printed by the solution" not in source or is_found(figure, found), figure


def cases() -> Iterator:
    """Every value that a parameter's comment advertises beside the one that is set."""
    for path in NOTEBOOKS:
        for name, value, comment in parameters(read(path)):
            for other in advertised(comment):
                if other != value and not (other is None and isinstance(value, str)):
                    real = other == "real" or (name in ("SETS", "DATA") and bool(other))
                    marks = [pytest.mark.data] if real else []
                    yield pytest.param(path, name, other, id=f"{path.name[:2]}-{name}-{other}", marks=marks)


def test_values_are_advertised():
    found = {(case.values[0].name[:2], case.values[1], str(case.values[2])) for case in cases()}
    assert {
        ("01", "SETS", "('ferplus',)"),
        ("01", "SETS", "()"),
        ("01", "SHOW_FACES", "real"),
        ("02", "MODEL", "ivsa_fer2013"),
        ("05", "DATA", "ferplus"),
        ("07", "CLASSES", "['tired', 'laughing']"),
        ("08", "METRIC", "macro_f1"),
        ("09", "MODEL", "ivsa_fer2013"),
    } <= found


@pytest.mark.slow
@pytest.mark.timeout(TIME_LIMIT)
@pytest.mark.parametrize(("path", "name", "value"), list(cases()))
def test_an_advertised_value_runs(path, name, value, kernel, tmp_path, request):
    if request.node.get_closest_marker("data"):
        request.getfixturevalue("data_root")
    notebook = read(path)
    replaced(notebook, SMALL[path.name[:2]] | {name: value})
    run(notebook, tmp_path / "elsewhere")


def test_the_loop_by_hand_follows_to_a_gpu(monkeypatch):
    """Chapter 3's loop runs where `fit` does, in the same precision, on a fake device; and learns the same."""
    (path,) = (path for path in NOTEBOOKS if path.name.startswith("03"))
    notebook = read(path)
    replaced(notebook, SMALL["03"])
    imports, settings, setup, step, loop, *_ = (cell.source for cell in code_cells(notebook))
    losses = []
    for device in (nullcontext(torch.device("cpu")), fake_device(monkeypatch)):
        names: dict[str, object] = {}
        exec(imports + "\n" + settings, names)
        with device as there:
            for cell in (setup, step, loop):
                exec(cell, names)
        assert next(names["model"].parameters()).device == there
        assert names["recipe"].precision == "float32"
        losses.append(names["losses"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


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
