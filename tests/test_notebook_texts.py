"""What the notebooks' texts say: commands that parse, places that exist, figures that were measured."""

import re
import shlex
import subprocess
import sys
from functools import cache

import pytest
from notebook_figures import REFERENCE, ROOT, figures, noticed, quotations, untraced
from notebook_files import FENCED, FOLDER, INLINE, NOTEBOOKS, commands, prose, read, solutions, text_cells, texts

from ferlib.cli import build_parser
from ferlib.cli.settings import parse_settings
from ferlib.training.recipes import RECIPES

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@cache
def help_of(script: str) -> str:
    return subprocess.run(
        [sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def check_command(line: str) -> None:
    """Raises where a shell would not run the line, or the program not take its arguments."""
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets), line
    elif "ferlib" in words and words[words.index("ferlib") - 1] == "-m":
        assert words[0] in ("python", "accelerate", "torchrun"), line
        try:
            options = build_parser().parse_args(words[words.index("ferlib") + 1 :])
        except SystemExit as end:
            raise AssertionError(f"{line!r} is wrong usage") from end
        if "train" in words and options.set:
            RECIPES[options.recipe].override(parse_settings(options.set))
    else:
        assert words[0] == "python" and (ROOT / words[1]).is_file(), line
        missing = [word for word in words[2:] if word.startswith("--") and word not in help_of(words[1])]
        assert not missing, line


@each_notebook
def test_commands_are_valid(path):
    for line in commands(texts(read(path))):
        check_command(line)


def test_commands_are_found_and_wrong_ones_noticed():
    found = [line for path in NOTEBOOKS for line in commands(texts(read(path)))]
    assert len(found) >= 10
    assert {shlex.split(line)[0] for line in found} >= {"python", "accelerate", "torchrun"}
    block = "On the command line:\n\n    python -m ferlib train ivsa --data fer2013 \\\\\n        --out runs/mine\n"
    with pytest.raises(AssertionError):
        [check_command(line) for line in commands(block)]
    for line in commands(block.replace("\\\\", "\\")):
        check_command(line)
    for wrong in ("make nothing", "python -m ferlib trian ivsa", "python -m ferlib train ivsa --data x --set colour=1"):
        with pytest.raises((AssertionError, ValueError)):
            check_command(wrong)


def headings(notebook) -> list[str]:
    """Numbers of the sections, "2.6" say, in their order."""
    found = re.findall(r"^## (\d+\.\d+)\b", FENCED.sub("", texts(notebook)), re.MULTILINE)
    return found


@each_notebook
def test_sections_are_numbered_through(path):
    chapter = int(path.name[:2])
    found = headings(read(path))
    assert found == [f"{chapter}.{number}" for number in range(1, len(found) + 1)]


@each_notebook
def test_sections_say_something(path):
    """No heading that is followed by another that is not of its own parts, or by nothing."""
    text = re.sub(r"^(?=#)", "\0", FENCED.sub("code", texts(read(path))), flags=re.MULTILINE)
    parts = text.split("\0")[1:]
    for part, following in zip(parts, [*parts[1:], ""], strict=True):
        heading, _, body = part.partition("\n")
        depth = len(heading) - len(heading.lstrip("#"))
        assert body.strip() or following.startswith("#" * (depth + 1)), f"{heading!r} has no text"


@each_notebook
def test_places_that_are_named_exist(path):
    """Sections, chapters, exercises, notebooks and files."""
    text = texts(read(path))
    sections = [number for other in NOTEBOOKS for number in headings(read(other))]
    missing = [number for number in REFERENCE.findall(prose(text)) if number not in sections]
    chapters = {str(int(other.name[:2])) for other in NOTEBOOKS}
    missing += [f"chapter {n}" for n in re.findall(r"\b[Cc]hapter (\d+)", text) if n not in chapters]
    missing += [f"notebook {n}" for n in re.findall(r"\b[Nn]otebook 0?(\d+)", text) if n not in chapters]
    exercises = len(solutions(read(path)))
    missing += [f"exercise {n}" for n in re.findall(r"\b[Ee]xercise (\d+)", text) if int(n) > exercises]
    links = re.findall(r"\]\(([^)#]+)", FENCED.sub("", text))
    missing += [link for link in links if "://" not in link and not (FOLDER / link).exists()]
    project = re.compile(r"(results|benchmarks|ferlib|notebooks|tests|docs|app\.py)\b[/\w.*]*")
    files = [code for code in INLINE.findall(FENCED.sub("", text)) if project.fullmatch(code) and "/" in code]
    missing += [file for file in files if not list(ROOT.glob(file.rstrip("/")))]
    assert not missing


@each_notebook
def test_figures_have_a_source(path):
    assert not untraced(read(path))


@each_notebook
def test_sources_are_of_figures(path):
    """What metadata names is quoted, and a word alone is the name of a source that exists."""
    notebook = read(path)
    values = {(cell, figure): found for cell, figure, found in quotations(notebook)}
    for cell in text_cells(notebook):
        for figure, source in cell.metadata.get("quoted", {}).items():
            assert figure in figures(cell.source), f"{figure} is not in {cell.id}"
            assert values[cell.id, figure] is not None or " " in source, f"there is no {source}"


def test_the_search_would_notice():
    """A wrong last digit: hardly any passes in a figure with decimals, and of whole percentages not the most."""
    shares = noticed(NOTEBOOKS)
    print(shares)
    assert shares["with a decimal point"] > 0.85 and shares["whole percentages"] > 0.6
