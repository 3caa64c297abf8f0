"""How Sphinx builds the book. `make_book.py` beside it prepares the sources and calls Sphinx."""

import os
import sys
from pathlib import Path

from sphinx.application import Sphinx

from ferlib import __version__

sys.path.append(str(Path(__file__).parent))

project = "ferlib"
author = "The ferlib contributors"
copyright = "the ferlib contributors; Apache-2.0"
version = release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml"]

nb_execution_mode = "off"  # the chapters are shown as they were committed; their live figures come from make_book.py
myst_enable_extensions = ["deflist", "dollarmath"]
myst_update_mathjax = False
myst_heading_anchors = 4
suppress_warnings = ["ref.python"]  # a word in a docstring may name things of several modules

add_module_names = False
autodoc_default_options = {"members": True, "show-inheritance": True, "ignore-module-all": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
default_role = "py:obj"

html_theme = "sphinx_book_theme"
html_title = "Facial expression recognition, honestly measured"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_copy_source = False
html_theme_options: dict[str, object] = {
    "use_download_button": False,
    "show_toc_level": 2,
    "navigation_with_keys": False,
}
html_math_renderer = "mathml"

#: "owner/name" on the public host: chapters get badges for Colab and Binder, files of the project get links.
if repository := os.environ.get("FERLIB_REPOSITORY"):
    html_theme_options |= {
        "repository_url": f"https://github.com/{repository}",
        "repository_branch": "main",
        "use_repository_button": True,
        "launch_buttons": {"colab_url": "https://colab.research.google.com", "binderhub_url": "https://mybinder.org"},
    }


def keep_blocks(app: Sphinx, what: str, name: str, docstring: object, options: object, lines: list[str]) -> None:
    """Show an indented block after a blank line as it stands: formulas and examples of code."""
    for place in range(len(lines) - 1, 1, -1):
        before, blank, line = lines[place - 2 : place + 1]
        if line.startswith("    ") and not blank.strip() and before.strip() and not before.startswith(" "):
            lines[place:place] = ["::", ""]


def add_plotly(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Load the one local plotly.js on the pages that have a live figure, and fit figures in."""
    if "plotly-graph-div" in context.get("body", ""):
        app.add_js_file("plotly.min.js", priority=100)
        # figures are drawn before the sidebar is laid out: they are as wide as their column only after a resize
        app.add_js_file(None, body="addEventListener('load', () => dispatchEvent(new Event('resize')))")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", keep_blocks, priority=100)  # before napoleon reads its sections
    app.connect("html-page-context", add_plotly)
