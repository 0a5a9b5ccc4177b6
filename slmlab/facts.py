"""A few facts as a small HTML table: what objects show in a notebook (``_repr_html_``)."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

# Notebooks center or right-align tables by default, and each has its own colours: these styles set
# the alignment and leave the colours to the theme.
_TITLE = "text-align: left; padding: 2px 0; font-weight: 600;"
_NAME = "text-align: left; padding: 2px 16px 2px 0; vertical-align: top; font-weight: normal; "
_NAME += "white-space: nowrap; opacity: .75;"
_VALUE = "text-align: left; padding: 2px 0; vertical-align: top; white-space: pre-wrap; "
_VALUE += "overflow-wrap: anywhere;"


class Sentence:
    """A result whose ``str()`` is all there is to show of it; in a notebook with a title."""

    TITLE = ""

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return facts_html(self.TITLE, [("result", str(self))])


def facts_html(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """A table with a title and a row for each fact, as HTML.

    Everything is escaped, except what is already HTML (``markupsafe.Markup``). Line breaks in a
    value stay.

    Args:
        title: the table's caption.
        rows: pairs of a fact's name and its value.
    """
    row = Markup("<tr><th scope='row' style='{}'>{}</th><td style='{}'>{}</td></tr>")
    table = Markup("<table style='margin: 4px 0;'><caption style='{}'>{}</caption>{}</table>")
    body = Markup().join(row.format(_NAME, name, _VALUE, value) for name, value in rows)
    return str(table.format(_TITLE, title, body))
