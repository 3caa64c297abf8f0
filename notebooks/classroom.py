"""Copy the chapters for a class, without the exercises' solutions and without outputs: `python notebooks/classroom.py`

Writes build/classroom, and build/classroom.zip to hand out (`make classroom`). Text, code, parameters and the numbers
of the exercises stay as they are.
"""

import argparse
import re
import shutil
from pathlib import Path

import nbformat

FOLDER = Path(__file__).parent
OUT = FOLDER.parent / "build" / "classroom"
SOLUTION = re.compile(r"\n*<details>\s*<summary>Solution</summary>.*?</details>", re.DOTALL)
LINK = re.compile(r"(\]\()\.\./([^)\s]+\))")  # to a page outside notebooks/, which the copy is too far from
PROJECT = "../../"  # from build/classroom


def without_solutions(notebook: nbformat.NotebookNode, keep_outputs: bool = False) -> nbformat.NotebookNode:
    """The same notebook for a class, changed in place.

    Args:
        notebook: a chapter.
        keep_outputs: True keeps the outputs of the committed run.
    """
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(rf"\1{PROJECT}\2", SOLUTION.sub("", cell.source))
            cell.metadata.pop("quoted", None)  # the sources of figures, also of those in solutions
        elif cell.cell_type == "code" and not keep_outputs:
            cell.outputs, cell.execution_count = [], None
    return notebook


def write_classroom(out: Path, keep_outputs: bool = False) -> list[Path]:
    """Write the copies into a folder of their own, which is emptied before, and as a zip beside it."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for path in sorted(FOLDER.glob("[0-9]*.ipynb")):
        copy = without_solutions(nbformat.read(path, as_version=4), keep_outputs)
        nbformat.write(copy, out / path.name)
    shutil.make_archive(str(out), "zip", out.parent, out.name)
    return sorted(out.iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", action="store_true", help="keep the outputs of the committed run")
    options = parser.parse_args()
    chapters = write_classroom(OUT, options.outputs)
    print(f"{len(chapters)} chapters in {OUT} and {OUT.name}.zip")


if __name__ == "__main__":
    main()
