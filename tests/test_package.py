"""The package as a whole: what importing it costs, what its pages and messages say of it, where it looks for files."""

import ast
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from PIL import Image

from ferlib.cli import build_parser, main
from ferlib.cli.settings import parse_settings
from ferlib.data.registry import NAMES
from ferlib.release.coverage import OWN
from ferlib.training.recipes import RECIPES

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.md"), *ROOT.glob("ferlib/**/*.md")]

HEAVY = ("torch", "gradio", "umap", "plotly", "timm", "pandas", "matplotlib", "sklearn")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_is_cheap():
    code = "import sys, time; t = time.perf_counter(); import ferlib; print(time.perf_counter() - t, *sys.modules)"
    runs = [run(code).split() for _ in range(3)]
    assert not set(HEAVY) & set(runs[0][1:])
    assert min(float(seconds) for seconds, *_ in runs) < 0.3


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


def test_every_package_that_is_imported_is_asked_for():
    """The tests run where everything is installed; a user has what pyproject.toml names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = (project["dependencies"], *(lines for name, lines in extras.items() if name not in ("dev", "book")))
    names = {re.match(r"[\w-]+", line)[0].lower() for lines in asked for line in lines}
    homes = packages_distributions()
    for path in ROOT.glob("ferlib/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for top in {module.partition(".")[0] for module in modules} - sys.stdlib_module_names - {"ferlib"}:
                found = {name.lower().replace("_", "-") for name in homes.get(top, [top])}
                own = {"playwright"} if path.name == "inline.py" else set()  # pictures for those who write the chapters
                assert found & (names | own), f"{path.name} imports {top}, which pyproject.toml does not name"


def test_training_needs_no_app():
    modules = run("import sys, ferlib.training.loop; print(*sys.modules)").split()
    assert not {"gradio", "umap", "plotly", "jupyterlab"} & set(modules)


def test_the_two_lists_of_pins_agree_on_every_python():
    pin = re.compile(r"^([\w.-]+)==([\w.]+)", re.MULTILINE)
    texts = "".join((ROOT / f"requirements{half}.txt").read_text() for half in ("-app", ""))
    direct = {name.lower(): version for name, version in pin.findall(texts)}
    closure = [(name.lower(), version) for name, version in pin.findall((ROOT / "constraints.txt").read_text())]
    assert len(direct) > 20 and direct.keys() <= dict(closure).keys()
    assert all(direct.get(name, version) == version for name, version in closure)


def commands_of(page: Path) -> list[list[str]]:
    """The words after `ferlib` of every command line in a page's code blocks."""
    text = re.sub(r"\\\n\s*", "", page.read_text())
    lines = re.findall(r"^ {4,}(\S.*)$", text, re.MULTILINE)
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        lines += block.splitlines()
    found = (re.match(r"(?:.*-m ferlib|ferlib) +(.*)", line) for line in lines)
    return [shlex.split(match[1], comments=True) for match in found if match]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands_of(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_command_line_of_a_page_is_one(page):
    for words in commands_of(page):
        options = build_parser().parse_args(words)
        if words[0] == "train":
            assert options.recipe in RECIPES
            RECIPES[options.recipe].override(parse_settings(options.set))
        data = getattr(options, "data", None) or []
        assert ({data} if isinstance(data, str) else set(data)) <= {*NAMES, OWN}


def test_the_pages_show_every_command():
    (action,) = (action for action in build_parser()._actions if action.choices)
    assert {words[0] for words in commands_of(ROOT / "docs" / "commands.md")} == set(action.choices)


def test_scripts_and_folders_that_pages_name_exist():
    for page in PAGES:
        for name in re.findall(r"\b(?:benchmarks|ferlib|results|notebooks)/[\w/.-]*\w", page.read_text()):
            assert "NAME" in name or list(ROOT.glob(name + "*")), f"{page.name} names {name}"


def test_nothing_in_the_package_is_looked_for_outside_it():
    """A file beside a module goes with it into a wheel; `results/` and all else of a checkout does not."""
    for path in ROOT.glob("ferlib/**/*.py"):
        levels = len(path.relative_to(ROOT).parts) - 1  # parents[levels - 1] is the package's folder
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Subscript)
                and isinstance(node.value, ast.Attribute)
                and node.value.attr == "parents"
            ):
                assert isinstance(node.slice, ast.Constant) and node.slice.value < levels, f"{path}, line {node.lineno}"


def test_messages_name_the_options_of_the_command(few_faces, tmp_path, capsys):
    (tmp_path / "last.safetensors").touch()
    train = ["train", "ivsa", "--data", "synthetic", "--set", "widths=[4,4,8,8]", "hidden=8", "--out", str(tmp_path)]
    assert main(train) == 1
    assert "already holds a run; continue it (--resume) or choose another folder (--out)" in capsys.readouterr().err
    face = tmp_path / "faces" / "test" / "drowsy" / "face.png"
    face.parent.mkdir(parents=True)
    Image.new("L", (48, 48)).save(face)
    evaluated = ["evaluate", "convcut_ferplus", "--data", "folder", "--root", str(tmp_path / "faces")]
    assert main(evaluated) == 1
    assert capsys.readouterr().err.endswith("the model does not know drowsy, classes of folder\n")  # none would be left
    for name in ("happiness", "wide awake"):
        shutil.copytree(face.parent, face.parent.with_name(name))
    assert main(evaluated) == 1
    assert "; `evaluate` leaves them out by --without drowsy 'wide awake'" in capsys.readouterr().err
