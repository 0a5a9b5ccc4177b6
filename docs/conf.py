"""Sphinx settings for the rendered course; `python scripts/build_docs.py` lays out its sources."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

from slmlab.show.mathematics import mathml

if TYPE_CHECKING:
    from docutils.nodes import Element
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator

project = "slmlab"
author = "The slmlab authors"
html_title = "slmlab: meet small language models"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "sphinx_book_theme"
html_theme_options = {
    "show_navbar_depth": 1,
    "home_page_in_toc": True,
    "article_header_end": ["search-button", "theme-switcher", "toggle-secondary-sidebar"],
}
html_show_sourcelink = False
html_copy_source = True
html_static_path = ["_static"]
html_css_files = ["course.css"]
html_js_files = [("course.js", {"defer": "defer"})]
# The outputs come from the run that the tests made.
nb_execution_mode = "off"
nb_output_stderr = "remove"
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
myst_enable_extensions = ["attrs_inline", "dollarmath", "deflist"]
# "$5 and $6" is money.
myst_dmath_allow_digits = False
html_math_renderer = "mathml"
myst_heading_anchors = 3
napoleon_numpy_docstring = False
napoleon_use_rtype = False
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
# A cell with IPython's `%pip` is no pure Python, which is all that the highlighter knows.
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header", "misc.highlighting_failure"]
linkcheck_ignore = [r"https://colab\.research\.google\.com/.*", r"https://github\.com/set_in_.*"]


def setup(app: Sphinx) -> None:
    """Formulas as MathML, which needs no script from the network; shorter signatures."""
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))
    app.connect("autodoc-process-signature", short_signature)


def formula(translator: HTML5Translator, node: Element) -> None:
    """Write a formula; its source, where it cannot be read."""
    import docutils.nodes

    source = node.astext()
    block = node.tagname == "math_block"
    found = mathml(source, block) or f"<code>{html.escape(source)}</code>"
    tag = "div" if block else "span"
    translator.body.append(f'<{tag} class="formula">{found}</{tag}>')
    raise docutils.nodes.SkipNode


def short_signature(
    app: Sphinx, kind: str, name: str, value: Any, options: Any, arguments: str, returned: str
) -> tuple[str, str] | None:
    """Arrays by their numbers' type; nothing of how a widget is made, for a function makes it."""
    array = r"~?numpy\.ndarray\[tuple\[[^]]*\], ~?numpy\.dtype\[~?(?:[\w.]*\.)?(\w+)\]\]"
    if kind == "class" and arguments and arguments.startswith("(*args"):
        arguments = "()"
    short = [re.sub(array, r"NDArray[\1]", one) if one else one for one in (arguments, returned)]
    return short[0], short[1]
