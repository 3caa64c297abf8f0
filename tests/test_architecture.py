"""The tree keeps its shape: no cycle between packages, and the runtime needs nothing of the lab."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ferlib"
RUNTIME = (
    *("predict", "predict_many", "results", "labels", "names", "images", "tiff", "image_paths", "errors"),
    *("detection", "runtime", "video", "bulk"),
)
LAB = ("data", "models", "training", "evaluation", "experiments", "release", "annotation", "plots")
#: The lab from below: a package may import those of the lines above its own, of this list, and no other.
LAYERS = (
    ("utils", "synthetic"),
    ("data", "models"),
    ("evaluation",),
    ("training", "explain"),
    ("experiments", "release", "annotation", "plots"),
    ("app",),
    ("cli",),
)
LIBRARIES = ("torch", "timm", "torchvision", "pandas", "sklearn", "scipy", "matplotlib", "kornia", "accelerate", "tqdm")


def imports(file: Path, everywhere: bool) -> set[str]:
    """Modules that a file imports: at its top level, or also within functions; those for type checkers are left out."""
    tree = ast.parse(file.read_text())
    for node in list(ast.walk(tree)):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = [ast.Pass()]
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{name.name}" for name in node.names} if node.module == "ferlib" else set()
    return found


def part_of(file: Path) -> str:
    """The package, or the module at the top, that a file belongs to."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def test_the_lab_is_built_in_layers():
    height = {name: number for number, names in enumerate(LAYERS) for name in names}
    upwards = {
        f"{file.relative_to(PACKAGE)} imports {module}"
        for file in PACKAGE.rglob("*.py")
        for module in imports(file, everywhere=True)
        if module.startswith("ferlib.") and part_of(file) in height
        if (other := module.split(".")[1]) in height and other != part_of(file)
        if height[other] >= height[part_of(file)]
    }
    assert not upwards
    assert {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()} == {
        *height,
        "detection",
        "runtime",
        "video",
        "bulk",
    }


def test_packages_depend_on_one_another_in_one_direction():
    needs: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        parts = {name.split(".")[1] for name in imports(file, everywhere=True) if name.startswith("ferlib.")}
        needs.setdefault(part_of(file), set()).update(parts - {part_of(file), "__version__"})
    needs["predict"] -= {"models", "explain"}  # only where the lab is installed, inside functions
    needs["detection"] -= {"models"}
    left = dict(needs)
    while free := [name for name, others in left.items() if not others & left.keys()]:
        left = {name: others for name, others in left.items() if name not in free}
    assert not left, f"these import one another in a circle: {left}"


@pytest.mark.parametrize("name", RUNTIME)
def test_the_runtime_imports_nothing_of_the_lab(name):
    files = [PACKAGE / f"{name}.py"] if (PACKAGE / f"{name}.py").exists() else list((PACKAGE / name).rglob("*.py"))
    assert files
    for file in files:
        for module in imports(file, everywhere=False):
            assert module.split(".")[0] not in LIBRARIES, f"{file} imports {module}"
            assert not (module.startswith("ferlib.") and module.split(".")[1] in LAB), f"{file} imports {module}"


def test_files_are_short():
    assert not {file.name for file in PACKAGE.rglob("*.py") if len(file.read_text().splitlines()) > 400}


def test_docstrings_say_what_is_returned_or_done():
    """In the first word: a docstring that opens with "What" describes around the thing."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                assert not text.startswith(("What ", "Whether ", "How ", "Which ", "Where ")), f"{file}: {text[:60]}"
