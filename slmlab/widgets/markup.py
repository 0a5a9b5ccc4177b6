"""Pieces of HTML. All text that is not ours goes through ``slmlab.show.sanitize``."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from slmlab.errors import SlmlabError
from slmlab.evaluation import votes
from slmlab.run.streaming import Answer
from slmlab.show import sanitize

# Of a longer text only the end is drawn while it comes, and only the beginning when it is there.
LONGEST_LIVE = 6_000
LONGEST_SHOWN = 100_000
# A bootstrap over a handful of votes gives intervals that are far too narrow.
FEWEST_VOTES = 20
STATES = {
    "waiting": "waiting for its turn",
    "loading": "loading the model …",
    "reading": "reading the prompt …",
    "writing": "writing …",
    "stopped": "stopped",
    "failed": "failed",
    "done": "",
}


# Pieces of HTML. All text that is not ours goes through display.harmless or safe_html.


def answer_html(answer: Answer, reference: str | None = None, name: str | None = None) -> str:
    """An answer as it stands, as harmless HTML; with the words marked that a reference lacks."""
    text = answer.text
    label = html.escape(f"Answer of {name or answer.model}")
    if reference is not None and answer.state in ("done", "stopped", "failed"):
        marked = sanitize.marked(text[:LONGEST_SHOWN], reference[:LONGEST_SHOWN])
        body = f"<div class='slmlab-plain'>{marked}</div>"
    elif answer.state == "writing" and len(text) > LONGEST_LIVE:
        body = f"<p class='slmlab-quiet'>…</p>{sanitize.safe_html(text[-LONGEST_LIVE:])}"
    else:
        body = sanitize.safe_html(text[:LONGEST_SHOWN])
    if len(text) > LONGEST_SHOWN and answer.state != "writing":
        body += (
            f"<p class='slmlab-quiet'>The first {LONGEST_SHOWN:,} of {len(text):,} characters; "
            "Save keeps them all.</p>"
        )
    state = STATES[answer.state]
    status = f"<p class='slmlab-quiet'><em>{state}</em></p>" if state else ""
    wrong = ""
    if answer.error:
        wrong = f"<p class='slmlab-said slmlab-wrong'>{html.escape(answer.error)}</p>"
    busy = "true" if answer.state in ("loading", "reading", "writing") else "false"
    return (
        f"<div class='slmlab-answer' role='region' tabindex='0' aria-label='{label}' "
        f"aria-busy='{busy}'>{body}{status}{wrong}</div>"
    )


def flags_html(flags: Iterable[str]) -> str:
    """Warnings of a record as small labels."""
    return "".join(f"<span class='slmlab-flag'>⚠ {html.escape(flag)}</span>" for flag in flags)


def bar_html(label: str, value: str, share: float, best: bool) -> str:
    """One line of a metrics strip: a label, a bar for its share of the longest, the value."""
    star = " ★" if best else ""
    width = f"{100 * min(1.0, max(0.0, share)):.0f}%"
    return (
        f"<span>{html.escape(label)}</span>"
        f"<span class='slmlab-track {'slmlab-best' if best else ''}' aria-hidden='true'>"
        f"<div class='slmlab-bar' style='width:{width}'></div></span>"
        f"<span>{html.escape(value)}{star}</span>"
    )


def table_html(rows: Sequence[Sequence[Any]], columns: Sequence[str], caption: str = "") -> str:
    """A small table; cells are escaped, except those that are already HTML (``Markup``)."""
    head = "".join(f"<th scope='col'>{html.escape(one)}</th>" for one in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    said = f"<caption class='slmlab-quiet'>{html.escape(caption)}</caption>" if caption else ""
    return (
        f"<div class='slmlab-scroll' tabindex='0'><table>{said}<thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


class Markup(str):
    """HTML that was made harmless already."""

    __slots__ = ()


def _cell(value: Any) -> str:
    if isinstance(value, Markup):
        return f"<td>{value}</td>"
    kind = " class='slmlab-number'" if isinstance(value, int | float) else ""
    return f"<td{kind}>{html.escape('' if value is None else str(value))}</td>"


def copy_button(text: str) -> str:
    """A button that copies a text, in pages that may; without scripts it does nothing."""
    data = html.escape(re.sub(r"\x00", "", text), quote=True)
    return (
        f"<button type='button' class='jupyter-button lm-Widget' data-text='{data}' onclick="
        '"navigator.clipboard.writeText(this.dataset.text)'
        ".then(() => { this.textContent = 'Copied'; });\">Copy</button>"
    )


def ratings_html(votes_file: Path) -> str:
    """The ratings from a file of votes as a table, or the sentence why there are none."""
    try:
        cast = votes.read_votes(votes_file)
        few = len(cast) < FEWEST_VOTES
        ratings = votes.ratings(cast, resamples=2 if few else 200)
    except SlmlabError as error:
        return f"<p class='slmlab-quiet'>{html.escape(str(error))}</p>"
    rows = [
        (
            one.model,
            f"{one.rating:.0f}",
            "too few votes" if few else f"{one.low:.0f} to {one.high:.0f}",
            one.wins,
            one.ties,
            one.losses,
        )
        for one in ratings.itertuples()
    ]
    caption = f"Bradley–Terry ratings. Votes in {votes_file.name}: {len(cast)}. " + (
        f"They say little before there are {FEWEST_VOTES}."
        if few
        else "95 % intervals by bootstrap; models whose intervals overlap may be equal."
    )
    columns = ("model", "rating", "interval", "won", "tied", "lost")
    return table_html(rows, columns, caption)
