"""The pages of the API reference: one a package, with every module's docstrings."""

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

import ferlib

#: No interface; and one whose docstrings are written for Gradio, which shows them at the page's API.
LEFT_OUT = {"ferlib.__main__", "ferlib.app.endpoints"}
MODULE = """
## {name}

```{{eval-rst}}
.. automodule:: {name}
```
"""


def modules_of(package: ModuleType) -> list[str]:
    """A package, and its modules that are no packages."""
    found = (f"{package.__name__}.{one.name}" for one in pkgutil.iter_modules(package.__path__) if not one.ispkg)
    return [package.__name__, *(name for name in found if name not in LEFT_OUT)]


def packages() -> list[ModuleType]:
    """The package ferlib and those in it."""
    names = (one.name for one in pkgutil.iter_modules(ferlib.__path__, "ferlib.") if one.ispkg)
    inner = [importlib.import_module(name) for name in names]
    below = [
        importlib.import_module(one.name)
        for package in inner
        for one in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
        if one.ispkg
    ]
    return [ferlib, *inner, *below]


def write_api_pages(folder: Path) -> None:
    """Write a page for every package, and one that lists them."""
    folder.mkdir(parents=True)
    for package in packages():
        name = package.__name__
        text = f"# {name}\n" + "".join(MODULE.format(name=module) for module in modules_of(package))
        (folder / f"{name}.md").write_text(text, "utf-8")
    names = sorted(package.__name__ for package in packages())
    listed = "\n".join(names)
    text = f"# API\n\nFrom the docstrings.\n\n```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"
    (folder / "index.md").write_text(text, "utf-8")
