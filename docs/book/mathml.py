"""A Sphinx extension: formulas as MathML, which browsers show without a script or a font from elsewhere."""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

SIZES = re.compile(r"\\[bB]igg?[lr]?(?![a-zA-Z])")  # MathML's brackets grow by themselves
DOTS = re.compile(r"\\dots(?![a-zA-Z])")
logger = logging.getLogger(__name__)


def mathml(node: nodes.Element, as_block: bool) -> str:
    """A formula as MathML; a warning, and its TeX, where it cannot be read."""
    try:
        return tex2mathml(DOTS.sub(r"\\ldots", SIZES.sub("", node.astext())), as_block=as_block)
    except MathError as error:
        logger.warning("formula %r: %s", node.astext(), error, location=node)
        return f"<code>{node.astext()}</code>"


def visit_inline(translator: HTML5Translator, node: nodes.Element) -> None:
    """Write a formula in a line."""
    translator.body.append(mathml(node, as_block=False))
    raise nodes.SkipNode


def visit_block(translator: HTML5Translator, node: nodes.Element) -> None:
    """Write a formula that stands alone."""
    translator.body.append(f'<div class="math">{mathml(node, as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
