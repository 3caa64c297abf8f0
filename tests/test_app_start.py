"""The page's start: Gradio writes no type stubs, and the examples are files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from ferlib.app.drawing import example_files, examples

COUNTED = """
import ast
parse, calls = ast.parse, []
ast.parse = lambda *given, **named: calls.append(1) or parse(*given, **named)
import {module}
import gradio
assert callable(gradio.Image(render=False).change), "the events are there"
print(len(calls))
"""


def sources_parsed(module: str) -> int:
    """How many sources are parsed until the module and Gradio are imported, in a process of its own."""
    command = [sys.executable, "-c", COUNTED.format(module=module)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    return int(result.stdout.split()[-1])


def test_gradio_is_imported_without_its_type_stubs():
    """For a stub, the source of every component is parsed and so is the stub before it."""
    alone, page = sources_parsed("gradio"), sources_parsed("ferlib.app.page")
    assert alone > 50 and page < alone / 5


def test_examples_are_the_pictures_in_files_that_are_soon_loaded(tmp_path):
    files = example_files(tmp_path / "examples")
    assert [Path(file).stem for file in files] == list(examples())
    for file, pixels in zip(files, examples().values(), strict=True):
        with Image.open(file) as picture:
            assert np.abs(np.asarray(picture, float) - pixels).mean() < 4
    assert sum(Path(file).stat().st_size for file in files) < 1_000_000
