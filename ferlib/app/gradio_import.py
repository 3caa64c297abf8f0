"""Gradio imported faster: without the type stubs that it writes anew for every component at every start.

Its metaclass parses the source of each component and rewrites the .pyi beside it, for editors. A page needs none of it.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

MODULE, WRITER = "gradio.component_meta", "create_or_modify_pyi"


class _StubFree(SourceFileLoader):
    """Loads the module of the metaclass, then takes the writer of stubs out of it."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        if hasattr(module, WRITER):
            setattr(module, WRITER, _nothing)


class _Finder:
    """Finds that one module; all others are left to Python."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == MODULE else None
        if spec and spec.origin:
            spec.loader = _StubFree(name, spec.origin)
        return spec


def _nothing(*arguments: object) -> None:
    """Writes no stub."""


def without_stubs() -> None:
    """Let the first import of Gradio in this process write no stubs; of no effect once it is imported."""
    if "gradio" not in sys.modules and _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
