"""A page that opens offline: one of our templates with our style and scripts in it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from markupsafe import Markup

import slmlab
from slmlab.show.figure import CSS_COLOURS
from slmlab.show.markdown import COPY_SCRIPT, STYLE

FOLDER = Path(__file__).parent.parent / "data"


def page(template: str, **values: Any) -> str:
    """A template of the folder ``data``, filled.

    Everything is escaped, except HTML that is already harmless and has the type Markup.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, loader=jinja2.FileSystemLoader(FOLDER))
    script = (FOLDER / "report.js").read_text(encoding="utf-8")
    style = (FOLDER / "report.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(
        version=slmlab.__version__,
        colours=CSS_COLOURS,
        text_style=STYLE,
        style=Markup(style),  # noqa: S704  our own file
        copy_hash=_csp_hash(COPY_SCRIPT),
        script=Markup(script),  # noqa: S704  our own file
        script_hash=_csp_hash(script),
        **values,
    )


def _csp_hash(script: str) -> str:
    """By this the page's policy knows a script that may run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
