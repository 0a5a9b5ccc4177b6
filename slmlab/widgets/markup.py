"""Pieces of HTML. Everything is escaped but ``Markup``, such as ``slmlab.show.sanitize`` makes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import ipywidgets as widgets
from markupsafe import Markup

from slmlab.run.streaming import FINAL, Answer
from slmlab.show import display
from slmlab.show.differences import marked
from slmlab.show.markdown import to_html

# States whose seconds are shown, for nothing else moves in them; no server says how far it is.
TIMED = {"loading": "loading the model …", "reading": "reading the prompt …"}
STATES = {"waiting": "waiting for its turn", "stopped": "stopped", "failed": "failed", "done": ""}
# A picture of one invisible pixel, whose onload runs where a page runs scripts.
BLANK = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
QUIET = Markup("<p class='slmlab-quiet'>{}</p>")
TITLE = Markup("<p class='slmlab-title'>{}</p>")
WRONG = Markup("<p class='slmlab-message slmlab-wrong'>{}</p>")


def answer_html(answer: Answer, reference: str | None = None, name: str | None = None) -> Markup:
    """An answer in its current state, with words marked that are not in a reference.

    Args:
        answer: the answer, running or finished.
        reference: the text to compare it with when it is finished.
        name: the name of its author for screen readers (default: its model).
    """
    text = answer.text
    live = answer.state == "writing"
    body = to_html(text, live=live) if answer.record is None else display.record_html(answer.record)
    if reference is not None and answer.state in FINAL:
        body = marked(body, to_html(reference))
    if state := state_text(answer):
        body += QUIET.format(Markup("<em>{}</em>").format(state))
    if answer.error:
        body += WRONG.format(answer.error)
    busy = "true" if answer.state in ("loading", "reading", "writing") else "false"
    return region_html(f"Answer of {name or answer.model}", body, busy)


def seconds_in_state(answer: Answer) -> int:
    """Whole seconds that an answer has been loading or reading; 0 in other states."""
    return int(time.monotonic() - answer.since) if answer.state in TIMED else 0


def state_text(answer: Answer) -> str:
    """The state of an answer in words; empty when it is complete."""
    if answer.state in TIMED:
        seconds = seconds_in_state(answer)
        return f"{TIMED[answer.state]} {seconds} s" if seconds else TIMED[answer.state]
    if answer.state == "writing":
        return f"writing … about {len(answer.pieces)} tokens"
    return STATES[answer.state]


def region_html(label: str, body: Markup, busy: str = "false") -> Markup:
    """A region around an answer that screen readers can find and the keyboard can scroll."""
    return Markup(
        "<div class='slmlab-answer' role='region' tabindex='0' aria-label='{}' aria-busy='{}'>"
        "<div>{}</div></div>"
    ).format(label, busy, body)


def note_html(text: str) -> Markup:
    """A note that somebody should not miss; nothing for an empty text."""
    return WRONG.format(text) if text else Markup()


def flags_html(flags: Iterable[str]) -> Markup:
    """The flags of a record as small labels."""
    return Markup().join(
        Markup("<span class='slmlab-flag'>⚠ {}</span>").format(flag) for flag in flags
    )


def bar_html(label: str, value: str, share: float) -> Markup:
    """A label, a bar for a share, and what it stands for."""
    return Markup("<span>{}</span>{}<span>{}</span>").format(label, track_html(share), value)


def track_html(share: float) -> Markup:
    """A bar that is filled to a share of its length."""
    return Markup(
        "<span class='slmlab-track' aria-hidden='true'>"
        "<span class='slmlab-bar' style='width:{:.0f}%'></span></span>"
    ).format(100 * min(1.0, max(0.0, share)))


def number_html(label: str, value: str, unit: str, share: float | None, best: bool) -> Markup:
    """A number with its label and its unit, above a bar for its share of the largest, if any."""
    return Markup(
        "<div class='slmlab-measure {}'><span class='slmlab-label'>{}</span> "
        "<span class='slmlab-value'><strong>{}</strong> {}{}</span>{}</div>"
    ).format(
        "slmlab-best" if best else "",
        label,
        value,
        unit,
        Markup(" <span title='clearly the best of these models'>★</span>") if best else "",
        "" if share is None else track_html(share),
    )


def table_html(rows: Iterable[Sequence[Any]], columns: Sequence[str], caption: str = "") -> Markup:
    """A small table; None is an empty cell, and a heading of ``Markup`` a whole cell."""
    about = Markup("<caption class='slmlab-quiet'>{}</caption>").format(caption) if caption else ""
    heading = Markup("<th scope='col'>{}</th>")
    head = Markup().join(one if isinstance(one, Markup) else heading.format(one) for one in columns)
    body = Markup().join(
        Markup("<tr>{}</tr>").format(Markup().join(map(_cell, row))) for row in rows
    )
    return Markup(
        "<div class='slmlab-scroll' tabindex='0'><table>{}<thead><tr>{}</tr></thead>"
        "<tbody>{}</tbody></table></div>"
    ).format(about, head, body)


def _cell(value: Any) -> Markup:
    kind = Markup(" class='slmlab-number'") if isinstance(value, int | float) else ""
    return Markup("<td{}>{}</td>").format(kind, "" if value is None else value)


def copy_button(text: str) -> Markup:
    """A button that copies a text, in pages that may do so; without scripts it does nothing."""
    return Markup(
        "<button type='button' class='jupyter-button lm-Widget' data-text='{}' onclick="
        '"navigator.clipboard.writeText(this.dataset.text)'
        ".then(() => {{ this.textContent = 'Copied'; }});\">Copy</button>"
    ).format(text.replace("\0", ""))


def shown(part: widgets.HTML) -> Markup:
    """The HTML in a part, to be shown elsewhere."""
    return Markup(part.value)  # noqa: S704  parts only contain pieces from this module
