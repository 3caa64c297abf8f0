"""The chapters' copy for a class: no solutions, everything else as it was, and it runs from where it lies."""

import re
import zipfile
from pathlib import Path

import pytest
from notebook_files import NOTEBOOKS, code_cells, read, replaced, solutions, text_cells, texts
from test_notebooks import SMALL, TIME_LIMIT, kernel, run  # noqa: F401  (kernel is a fixture)

classroom = pytest.importorskip("classroom")  # needs nbformat

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def copies(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("build") / "classroom"
    classroom.write_classroom(out)
    return out


@each_notebook
def test_no_solution_is_left(path, copies):
    """No line of a solution, but those that stand elsewhere in the chapter, too."""
    original, copy = read(path), read(copies / path.name)
    first, *parts = texts(original).split("<summary>Solution</summary>")
    hidden = [
        line.strip() for part in parts for line in part.partition("</details>")[0].splitlines() if line.strip(" `")
    ]
    shown = [first, *(part.partition("</details>")[2] for part in parts), *(c.source for c in code_cells(original))]
    text = texts(copy)
    assert len(hidden) >= len(parts) == len(solutions(original)) >= 2
    assert not [line for line in hidden if line in text and not any(line in part for part in shown)]
    assert "Solution" not in text and "<details" not in text
    assert "quoted" not in (copies / path.name).read_text()  # figures of solutions stand there


@each_notebook
def test_the_rest_is_the_same(path, copies):
    original, copy = read(path), read(copies / path.name)
    assert [cell.id for cell in copy.cells] == [cell.id for cell in original.cells]
    assert [cell.source for cell in code_cells(copy)] == [cell.source for cell in code_cells(original)]
    assert all(not cell.outputs and cell.execution_count is None for cell in code_cells(copy))
    for old, new in zip(text_cells(original), text_cells(copy), strict=True):
        if "<details" not in old.source:
            assert new.source == old.source.replace("](../", "](../../")
    exercises = texts(original).partition("## Exercises")[2]
    starts = [line for line in exercises.splitlines() if line.startswith("**")]
    assert [line for line in texts(copy).partition("## Exercises")[2].splitlines() if line.startswith("**")] == starts
    assert starts and len(starts) == len(solutions(original))


def test_links_lead_to_the_project(copies):
    """From build/classroom, where `make classroom` writes it."""
    links = [link for path in copies.iterdir() for link in re.findall(r"\]\((\.\./[^)]+)\)", texts(read(path)))]
    assert links  # or the rule may go
    assert not [link for link in links if not (classroom.OUT / link.partition("#")[0]).resolve().exists()]


def test_outputs_are_kept_where_asked_for(tmp_path):
    (path, *_) = classroom.write_classroom(tmp_path / "classroom", keep_outputs=True)
    assert any(cell.outputs for cell in code_cells(read(path))) and "Solution" not in texts(read(path))


def test_the_zip_holds_the_folder_and_nothing_old(tmp_path):
    out = tmp_path / "classroom"
    out.mkdir()
    (out / "of_last_year.ipynb").touch()
    assert {path.name for path in classroom.write_classroom(out)} == {path.name for path in NOTEBOOKS}
    names = {Path(name).name for name in zipfile.ZipFile(tmp_path / "classroom.zip").namelist()}
    assert names - {"classroom", ""} == {path.name for path in NOTEBOOKS}


@pytest.mark.slow
@pytest.mark.timeout(TIME_LIMIT)
@pytest.mark.usefixtures("kernel")
def test_a_copy_runs_where_it_lies(copies, tmp_path):
    (path,) = copies.glob("03_*.ipynb")
    notebook = read(path)
    replaced(notebook, SMALL["03"])
    run(notebook, tmp_path / "elsewhere")
    assert all(cell.execution_count for cell in code_cells(notebook))
