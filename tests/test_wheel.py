"""The package as a wheel, in an environment of its own, outside any checkout: every command runs there.

The wheel is built offline, from a copy of the files it is made of, and installed without its dependencies. These come
from the environment that runs the tests, without the editable `ferlib` in it.
"""

import csv
import hashlib
import json
import os
import shutil
import signal
import site
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import matplotlib.cbook
import pytest
from PIL import Image

from ferlib.cli import build_parser
from ferlib.data.dataset import FaceDataset

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
AUTHOR = ["-c", "user.name=user", "-c", "user.email=user@example.org"]
TINY = ["backbone=tf_efficientnet_lite0", "keep_stages=2", "input_size=64", "width=32", "grey=true", "epochs=2"]
SHORT = [
    "--backbone",
    "tf_efficientnet_lite0",
    "--backbone-weights",
    "none",
    "--keep-stages",
    "2",
    "--input-size",
    "32",
]
SHORT += ["--epochs", "1", "--seeds", "0", "--train-faces", "64"]


def commands() -> list[str]:
    """Names of all commands."""
    (choices,) = (action.choices for action in build_parser()._actions if action.choices)
    return list(choices)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pip wheel . --no-deps`, of a copy: an old build/ in the checkout would get into it."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "ferlib", source / "ferlib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*build, "--wheel-dir", "dist"], cwd=source, check=True)
    (path,) = (source / "dist").iterdir()
    return path


@dataclass
class Installation:
    """An environment with the wheel in it.

    Attributes:
        python: its interpreter.
        package: the folder of the installed package.
        work: an unrelated folder, in which commands are run.
        home: the user's, empty at first.
    """

    python: Path
    package: Path
    work: Path
    home: Path

    def environment(self) -> dict[str, str]:
        """Of a user who has set nothing for ferlib, offline."""
        kept = ("PATH", "LANG", "OMP_NUM_THREADS", "TMPDIR")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        return environment | {"HOME": str(self.home), "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}

    def run(self, *arguments: str, code: int = 0) -> str:
        """stdout of a command, after a look at its exit code."""
        command = [str(self.python), "-P", *arguments]
        done = subprocess.run(command, cwd=self.work, env=self.environment(), capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout

    def ferlib(self, *arguments: str, code: int = 0) -> str:
        return self.run("-m", "ferlib", *arguments, code=code)

    def hashes(self) -> dict[str, str]:
        """The package's files, without compiled ones, and what is in them."""
        files = (path for path in self.package.rglob("*") if path.is_file() and path.suffix != ".pyc")
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The wheel in an environment of its own; in the end, nothing was written into the package."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    python = folder / "env" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # pip would find a checkout there
    subprocess.run([*install, str(wheel)], env=own, check=True)
    (packages,) = folder.glob("env/lib/python*/site-packages")
    # A path in a .pth file is searched, but the .pth files there, the editable finder's too, are not read.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    for name in ("work", "home"):
        (folder / name).mkdir()
    (folder / ".gitignore").write_text("env\n")
    for git in (["init", "-q"], ["add", "."], [*AUTHOR, "commit", "-qm", "A user's project"]):
        subprocess.run(["git", *git], cwd=folder, check=True)
    installation = Installation(python, packages / "ferlib", folder / "work", folder / "home")
    with zipfile.ZipFile(wheel) as file:
        names = (name for name in file.namelist() if name.startswith("ferlib/"))
        whole = {str(packages / name): hashlib.sha256(file.read(name)).hexdigest() for name in names}
    assert installation.hashes() == whole
    yield installation
    assert installation.hashes() == whole


@pytest.fixture(scope="module")
def photo(installed: Installation) -> str:
    """A public portrait, in a folder."""
    (installed.work / "photos").mkdir()
    sample = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    return str(shutil.copy(Path(sample), installed.work / "photos" / "grace.jpg"))


@pytest.fixture(scope="module")
def run(installed: Installation) -> str:
    """The folder of a run of two epochs on synthetic faces."""
    tiny = ["train", "convcut", "--data", "synthetic", "--backbone-weights", "none", "--set", *TINY]
    assert "best epoch" in installed.ferlib(*tiny)
    return "runs/convcut"


@pytest.fixture(scope="module")
def faces(installed: Installation, synthetic_faces: FaceDataset) -> list[str]:
    """The options for a folder of 105 synthetic faces: "synthetic" takes a quarter of a minute to draw its 1,400."""
    for row in synthetic_faces.frame.iloc[::4].itertuples():
        folder = installed.work / "drawn" / str(row.split) / synthetic_faces.classes[row.label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(synthetic_faces.pixels[row.Index, 0].numpy()).save(folder / f"{row.Index}.png")
    return ["--data", "folder", "--root", "drawn"]


def test_the_wheel_holds_what_the_package_needs_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "ferlib"], cwd=ROOT, capture_output=True)
    tracked = {name for name in files.stdout.decode().splitlines() if (ROOT / name).exists()}
    assert "ferlib/py.typed" in names and "ferlib/experiments/published/convcut_table1.csv" in names
    assert {name for name in names if ".dist-info/" not in name} == tracked


def test_the_installed_package_is_the_one_that_runs(installed):
    assert installed.run("-c", "import ferlib; print(ferlib.__file__)").strip() == str(
        installed.package / "__init__.py"
    )
    assert "ferlib" in installed.run(str(installed.python.with_name("ferlib")), "--help")


@pytest.mark.parametrize("command", commands())
def test_every_command_says_how_it_is_used(installed, command):
    assert f"usage: ferlib {command}" in installed.ferlib(command, "--help")


def test_the_page_is_served_and_judges_a_photo(installed, photo):
    pytest.importorskip("gradio")
    from gradio_client import Client, handle_file

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(installed.python), "-P", "-m", "ferlib", "app", "--port", str(port)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    server = subprocess.Popen(command, cwd=installed.work, env=installed.environment(), **pipes)
    try:
        assert f"Open http://127.0.0.1:{port}" in server.stdout.readline()
        answer = Client(f"http://127.0.0.1:{port}", verbose=False).predict(handle_file(photo), api_name="/predict")
        assert "neutral" in json.dumps(answer)
    finally:
        server.send_signal(signal.SIGINT)
        rest, _ = server.communicate(timeout=60)
    assert server.returncode == 0 and "Traceback" not in rest, rest


def test_photos(installed, photo):
    assert "neutral" in installed.ferlib("predict", photo)
    for rest in ([], ["--explain", "gradcam", "--out", "maps"]):
        (face,) = json.loads(installed.ferlib("predict", photo, "--format", "json", *rest))["faces"]
        assert face["label"] == "neutral" and (face["overlay"] is None) == (not rest)
    assert (installed.work / face["overlay"]).stat().st_size > 1000
    (row,) = csv.DictReader(installed.ferlib("predict", photo, "--format", "csv").splitlines())
    assert row["label"] == "neutral"
    assert "1 faces in 1 photos" in installed.ferlib("label", "photos", "--out", "faces")
    assert "There is no file" in installed.ferlib("predict", "absent.jpg", code=1)


def test_models_and_data(installed):
    assert "convcut_ferplus" in installed.ferlib("models")
    assert "not found; to get it" in installed.ferlib("data")
    assert "from PyTorch" in installed.ferlib("export", "convcut_ferplus", "--out", "model.onnx")


def test_a_run_of_ones_own(installed, run, photo, faces):
    assert "calibration error" in installed.ferlib("calibrate", f"{run}/best", *faces)
    evaluate = ["evaluate", f"{run}/best", *faces, "--clean", "--audit", "--out", "reports/own.json"]
    assert "passes" in installed.ferlib(*evaluate)
    assert json.loads((installed.work / "reports/own.json").read_text())["faces"]
    assert "margin" in installed.ferlib("predict", photo, "--model", f"{run}/best")


def test_studies(installed, faces):
    table = ["reproduce", "convcut-table3", *faces, "--rows", "one layer", "--out", "table3.json", "--quick"]
    installed.ferlib(*table)
    row = next(csv.DictReader((installed.work / "table3.csv").open()))
    assert float(row["paper"]) == pytest.approx(0.9286)  # the published figure stands beside ours


def test_a_release_of_ones_own(installed, run):
    release = [
        "release",
        "own",
        "--data",
        "synthetic",
        "--run",
        run,
        "--licence",
        "CC0-1.0",
        "--onnx",
        "--out",
        "released",
    ]
    assert installed.ferlib(*release).split() == ["released/own"]
    files = set(os.listdir(installed.work / "released/own"))
    assert {"README.md", "config.json", "model.onnx", "model.safetensors", "report.json"} <= files
    assert "cc0-1.0" in (installed.work / "released/own/README.md").read_text().lower()
    report = json.loads((installed.work / "released/own/report.json").read_text())
    assert report["commit"] == f"ferlib {version('ferlib')}"  # not that of the user's repository, in which all this is
