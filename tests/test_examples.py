"""The examples run, and say what their texts promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples"


def run(name: str, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"}
    command = [sys.executable, str(FOLDER / name), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_page_lists_every_example():
    listed = set(re.findall(r"`(\w+\.py)`", (FOLDER / "README.md").read_text()))
    assert listed == {path.name for path in FOLDER.glob("*.py")}


def test_a_folder_of_ones_own():
    said = run("own_folder.py")
    assert re.search(r"happiness +24", said)
    assert "people who stand in more than one split: 0\n" in said


def test_a_model_of_ones_own():
    assert "loaded again, the same answer: True" in run("own_model.py")


def test_a_training_method_of_ones_own():
    said = dict(re.findall(r"^(plain|consistency) \[([\d., ]+)\]$", run("own_training_method.py"), re.M))
    losses = {name: [float(loss) for loss in row.split(", ")] for name, row in said.items()}
    assert {name: len(row) for name, row in losses.items()} == {"plain": 2, "consistency": 2}
    assert losses["consistency"] != losses["plain"]  # it minimises another sum
    assert all(0 < loss < 3 for row in losses.values() for loss in row)


@pytest.mark.parametrize("name", ["convcut_ferplus", "ivsa_fer2013"])
def test_a_released_model_without_this_library(name, tmp_path):
    assert "ferlib" not in re.sub(
        r'""".*?"""|"ferlib" /', "", (FOLDER / "plain_onnxruntime.py").read_text(), flags=re.S
    )
    golden = load_file(ROOT / "ferlib" / "weights" / name / "golden.safetensors")
    Image.fromarray(np.squeeze(golden["faces"][0])).save(tmp_path / "face.png")
    model = ROOT / "ferlib" / "weights" / name / "model.onnx"
    said = run("plain_onnxruntime.py", str(model), str(tmp_path / "face.png"))
    found = sorted((float(value) for value in re.findall(r" (\d\.\d+)$", said, re.M)), reverse=True)
    assert found == pytest.approx(
        np.sort(golden["probabilities"][0])[::-1], abs=0.02
    )  # Pillow resizes a little otherwise
