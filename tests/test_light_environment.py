"""The light half where the lab is not installed: a real environment with what `make demo` installs, and no more."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import matplotlib.cbook
import pytest

from ferlib.runtime.released import models_of_their_own

ROOT = Path(__file__).parents[1]
LAB = (
    *("torch", "timm", "torchvision", "kornia", "accelerate", "safetensors", "huggingface_hub", "platformdirs", "tqdm"),
    *("pandas", "sklearn", "scipy", "matplotlib", "skimage"),
)
OF_GRADIO = ("pandas", "tqdm", "huggingface_hub")
HIDDEN = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of processes in which none of `LAB` can be imported; the working tree's ferlib is first."""
    folder = tmp_path_factory.mktemp("light")
    (folder / "sitecustomize.py").write_text(HIDDEN.format(names=LAB))
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "OMP_NUM_THREADS") if name in os.environ}
    return kept | {"HOME": str(folder), "PYTHONPATH": f"{folder}:{ROOT}", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A public portrait, as a file."""
    sample = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    return Path(shutil.copy(sample, tmp_path_factory.mktemp("photos") / "grace.jpg"))


def run(environment: dict[str, str], *arguments: str, code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == code and "Traceback" not in done.stderr, done.stdout + done.stderr
    return done


def test_the_lab_is_really_away(light):
    code = "import importlib.util as u, sys\ntry: import torch\nexcept ImportError: print('away')"
    assert run(light, "-c", code).stdout == "away\n"


def test_the_runtime_imports_nothing_heavy():
    code = (
        f"import sys, ferlib.predict; ferlib.predict.Predictor.load(); print(sorted({set(LAB)!r} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert run(environment, "-c", code).stdout == "[]\n"


def test_the_command_line_answers_in_every_form(light, photo, tmp_path):
    predict = ["-m", "ferlib", "predict", str(photo)]
    assert "neutral" in run(light, *predict).stdout.splitlines()[1]
    more = ["--explain", "gradcam", "--out", str(tmp_path), "--landmarks"]
    data = json.loads(run(light, *predict, "--format", "json", *more).stdout)
    (face,) = data["faces"]
    assert abs(face["measures"]["yaw"]) < 15
    assert face["label"] == "neutral" and sum(face["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert Path(face["overlay"]).read_bytes().startswith(b"\x89PNG")
    (row,) = csv.DictReader(run(light, *predict, "--format", "csv").stdout.splitlines())
    assert float(row["neutral"]) == pytest.approx(face["scores"]["neutral"], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [["predict", "PHOTO", "--explain", "smoothgrad"], ["predict", "PHOTO", "--device", "cuda"], ["models"], ["data"],
     ["train", "convcut", "--data", "synthetic"], ["evaluate", "convcut_ferplus", "--data", "synthetic"]],
    ids=lambda command: " ".join(command),
)  # fmt: skip
def test_what_needs_the_lab_says_so(light, photo, command):
    done = run(light, "-m", "ferlib", *(str(photo) if word == "PHOTO" else word for word in command), code=1)
    assert done.stderr.count("\n") == 1 and "pip install 'ferlib[lab]'" in done.stderr


@pytest.mark.slow
def test_the_page_answers_without_pytorch(light, photo):
    """Gradio itself imports some packages, so these alone may be there."""
    names = tuple(name for name in LAB if name not in OF_GRADIO)
    folder = Path(light["HOME"]) / "page"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HIDDEN.format(names=names))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = light | {"PYTHONPATH": f"{folder}:{ROOT}"}
    page = subprocess.Popen([sys.executable, "-m", "ferlib", "app", "--port", str(port)], env=environment)
    try:
        client = waiting_client(f"http://127.0.0.1:{port}", page)
        from gradio_client import handle_file

        data, boxed, overlays = client.predict(handle_file(photo), api_name="/predict")
        (face,) = data["faces"]
        assert face["label"] == "neutral" and sum(face["looked_at"].values()) == pytest.approx(1, abs=1e-4)
        assert boxed and len(overlays) == 1
        models = client.predict(api_name="/models")
        assert {model["name"] for model in models} == set(models_of_their_own())
        assert all(model["methods"] == ["gradcam"] for model in models)
        answer = client.predict(handle_file(photo), api_name="/neighbours")
        assert len({max(row["honest"], key=row["honest"].get) for row in answer["companies"]}) == 1
    finally:
        page.send_signal(signal.SIGINT)
        assert page.wait(30) == 0


@pytest.mark.slow
def test_the_page_loads_nothing_of_an_installed_lab():
    """Not for its models, its example photos, an answer with a heat map, or batch attention."""
    code = f"""
import sys
import ferlib.app.page
from ferlib.app.drawing import example_pictures
from ferlib.app.service import Service
service = Service()
service.load()
photo = example_pictures()[-1]
with service.look(photo, *service.models, explain="gradcam") as results:
    assert len(results) == len(service.models)
    assert all(face.heatmap is not None for result in results for face in result.faces)
assert len(service.among_neighbours(photo).rows) == 6
print(sorted({set(LAB) - set(OF_GRADIO)!r} & set(sys.modules)))
"""
    assert run(os.environ | {"PYTHONPATH": str(ROOT)}, "-c", code).stdout == "[]\n"


def waiting_client(url: str, page: subprocess.Popen):
    """A client of the page, as soon as that has loaded its models."""
    from gradio_client import Client

    for _ in range(300):
        assert page.poll() is None, "the page ended"
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
                if json.load(answer)["status"] == "ok":
                    return Client(url, verbose=False)
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError("the page did not start in a minute")
