"""The answers of a comparison beside each other, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from slmlab.run.frames import need
from slmlab.show.figure import BLUE
from slmlab.show.markdown import STYLE, calls_html, to_html
from slmlab.show.sanitize import harmless

if TYPE_CHECKING:
    import pandas as pd

NEEDED = ("model", "text", "error", "stop_reason", "truncated")
# Tables that come from elsewhere may lack these.
OF_THOUGHTS = ("thinking", "tokens", "generation_s")
MORE = (*OF_THOUGHTS, "tool_calls")


class AnswersTable:
    """The result of ``show_answers``: shown as the last line of a cell, or with ``print``."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def _repr_html_(self) -> str:
        return STYLE + side_by_side_html(map(_answer_html, self.rows))

    def __repr__(self) -> str:
        parts = (f"{row['model']}:\n{row['error'] or row['text']}" for row in self.rows)
        return harmless("\n\n".join(parts))


def show_answers(frame: pd.DataFrame) -> AnswersTable:
    """The answers of a comparison beside each other: a column for each row of the table.

    The answers are rendered as Markdown and made harmless.

    Args:
        frame: what ``slmlab.compare`` returned, or some of its rows.

    Raises:
        SlmlabError: it is not what ``slmlab.compare`` returned.

    Examples:
        >>> slmlab.show_answers(frame)
    """
    need(frame, *NEEDED)
    columns = [name for name in (*NEEDED, *MORE) if name in frame]
    rows = frame[columns].astype(object).where(frame[columns].notna(), None)
    return AnswersTable(rows.to_dict("records"))


def _answer_html(row: dict[str, Any]) -> Markup:
    body = Markup("<p>{}</p>").format(harmless(row["error"])) if row["error"] else row_html(row)
    notes = ["cut by the length limit"] if row["stop_reason"] == "length" else []
    notes += ["prompt truncated"] if row["truncated"] else []
    if notes:
        body += Markup("<p><em>({})</em></p>").format(", ".join(notes))
    return Markup(
        "<div style='padding:.3em 1em;border-left:3px solid {}'><strong>{}</strong>{}</div>"
    ).format(BLUE, harmless(row["model"]), body)


def row_html(row: Mapping[str, Any]) -> Markup:
    """The text of a comparison's row, with its thoughts and calls of tools, as harmless HTML."""
    known = {name: row[name] for name in MORE if name in row and row[name] == row[name]}
    html = to_html(
        row["text"],
        thinking=known.get("thinking") or "",
        tokens=known.get("tokens"),
        seconds=known.get("generation_s"),
    )
    return html + calls_html(known.get("tool_calls"))


def side_by_side_html(parts: Iterable[Markup]) -> Markup:
    """Parts in columns that share the page's width, with inline styles only."""
    column = Markup("<div style='flex:1 1 17em;min-width:0;overflow-wrap:anywhere'>{}</div>")
    return Markup("<div style='display:flex;flex-wrap:wrap;gap:12px'>{}</div>").format(
        Markup().join(map(column.format, parts))
    )
