"""Sphinx settings for the rendered course; `python scripts/build_docs.py` lays out its sources."""

project = "slmlab"
author = "The slmlab authors"
html_title = "slmlab: meet small language models"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "sphinx_book_theme"
html_theme_options = {
    "show_navbar_depth": 1,
    "home_page_in_toc": True,
    "article_header_end": ["theme-switcher", "toggle-secondary-sidebar"],
}
html_show_sourcelink = False
html_copy_source = True
html_static_path = ["_static"]
html_css_files = ["course.css"]
# The outputs come from the run that the tests made.
nb_execution_mode = "off"
nb_output_stderr = "remove"
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
napoleon_numpy_docstring = False
napoleon_use_rtype = False
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
# A cell with IPython's `%pip` is no pure Python, which is all that the highlighter knows.
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header", "misc.highlighting_failure"]
linkcheck_ignore = [r"https://colab\.research\.google\.com/.*", r"https://github\.com/set_in_.*"]
