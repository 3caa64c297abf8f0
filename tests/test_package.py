"""The package as a whole: what importing it costs."""

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "gradio", "dlib", "umap", "plotly", "timm", "pandas", "matplotlib", "sklearn")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_is_cheap():
    code = "import sys, time; t = time.perf_counter(); import ferlib; print(time.perf_counter() - t, *sys.modules)"
    seconds, *modules = run(code).split()
    assert not set(HEAVY) & set(modules)
    assert float(seconds) < 0.3


def test_public_names_exist():
    import ferlib

    for name in ferlib.__all__:
        assert getattr(ferlib, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        ferlib.nonsense  # noqa: B018


def test_public_names_are_listed_and_hide_no_module():
    import ferlib

    assert dir(ferlib) == sorted(ferlib.__all__) and {"Predictor", "evaluate", "audit", "fit"} <= set(ferlib.__all__)
    assert not {module.name for module in pkgutil.iter_modules(ferlib.__path__)} & set(ferlib.__all__)


def test_training_needs_no_app():
    modules = run("import sys, ferlib.training.loop; print(*sys.modules)").split()
    assert not {"gradio", "dlib", "umap", "plotly", "jupyterlab"} & set(modules)


def test_the_two_lists_of_pins_agree_on_every_python():
    root = Path(__file__).parents[1]
    pin = re.compile(r"^([\w.-]+)==([\w.]+)", re.MULTILINE)
    direct = {name.lower(): version for name, version in pin.findall((root / "requirements.txt").read_text())}
    closure = [(name.lower(), version) for name, version in pin.findall((root / "constraints.txt").read_text())]
    assert len(direct) > 20 and direct.keys() <= dict(closure).keys()
    assert all(direct.get(name, version) == version for name, version in closure)
