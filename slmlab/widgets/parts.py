"""What the widgets have in common: how they look, show themselves and follow answers.

Colab's front end draws what a widget's callback changes while the callback runs, and nothing that
is changed later or from another thread. So there the callback stays until the answers are finished,
and an interrupt of the kernel stops them. Elsewhere the callback returns at once and a task of the
kernel's own event loop draws, so that the Stop button can be heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import html
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import ipywidgets as widgets

from slmlab import display, models, server, votes
from slmlab.errors import PromptError, SlmlabError
from slmlab.streaming import STOPS_WITHIN, Answer

FRAMES_PER_SECOND = 8
# Drawing may take this share of a core; a slow browser or a long text makes the frames fewer.
DRAWING_SHARE = 0.25
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

# Colours come from the page's own theme (text colour, greys that work on light and dark), since
# JupyterLab, Colab and VS Code name their colours differently.
STYLE = """<style>
.slmlab { max-width: 100%; font-size: 14px; line-height: 1.45; overflow: hidden; }
.slmlab .widget-html, .slmlab .jupyter-widgets.widget-html { margin: 0 2px; }
.slmlab .widget-html-content { font-size: 14px; line-height: 1.45; overflow: visible; }
.slmlab .widget-label { width: 7.5em; }
.slmlab .slmlab-row { display: flex; flex-flow: row wrap; align-items: center; gap: 2px 6px; }
.slmlab .slmlab-row > * { flex: 0 1 auto; }
.slmlab .slmlab-columns { display: grid; align-items: start; gap: 0 14px; margin: 4px 2px;
  grid-template-columns: repeat(auto-fit, minmax(min(16em, 100%), 1fr)); overflow: visible; }
.slmlab .slmlab-columns > * { width: auto; min-width: 0; margin: 0 0 8px; overflow: visible; }
.slmlab .slmlab-columns > .widget-vbox { display: grid; grid-template-rows: subgrid;
  grid-row: span 5; }
.slmlab .slmlab-columns > .widget-vbox > .widget-html { align-items: stretch; }
.slmlab .slmlab-columns > .widget-vbox > .widget-html > div { display: flex; flex-flow: column; }
.slmlab .slmlab-columns .slmlab-answer { flex: 1 1 auto; }
.slmlab .slmlab-columns .widget-label { width: auto; }
.slmlab button { height: auto; min-height: 30px; line-height: 1.3; white-space: normal;
  padding: 3px 12px; }
.slmlab .jupyter-widget-Collapse-header, .slmlab .p-Collapse-header { padding: 4px 10px;
  font-weight: 600; line-height: 1.5; color: inherit; background: rgba(128,128,128,.14); }
.slmlab .jupyter-widget-Collapse-contents, .slmlab .p-Collapse-contents { padding: 6px; }
.slmlab .slmlab-columns .slmlab-row button { padding: 2px 9px; min-height: 27px; }
.slmlab button.mod-primary:enabled { background: #0b62b5; color: #fff; }
.slmlab :focus-visible { outline: 2px solid #1a8cff; outline-offset: 1px; }
.slmlab textarea { font: inherit; min-height: 2.6em; resize: vertical; }
.slmlab-answer { overflow-wrap: anywhere; max-height: 30em; overflow: auto; padding: 4px 12px;
  border: 1px solid rgba(128,128,128,.45); border-radius: 6px; min-height: 4em;
  line-height: 1.5; }
.slmlab-answer p, .slmlab-answer ul, .slmlab-answer ol { margin: .4em 0; }
.slmlab-answer h1, .slmlab-answer h2, .slmlab-answer h3, .slmlab-answer h4 { font-size: 1.05em;
  font-weight: 600; margin: .6em 0 .3em; }
.slmlab-answer pre, .slmlab-code pre { overflow: auto; padding: 8px;
  background: rgba(128,128,128,.13); border-radius: 4px; line-height: 1.4; font-size: 13px; }
.slmlab-answer pre, .slmlab-answer code, .slmlab-code pre { color: inherit; }
.slmlab-answer code { background: rgba(128,128,128,.13); }
.slmlab-answer pre code { background: none; }
.slmlab-answer a { color: inherit; text-decoration: underline; }
.slmlab-answer mark { background: #ffe08a; color: #1a1a1a; border-radius: 2px; }
.slmlab-plain { white-space: pre-wrap; }
.slmlab-quiet { opacity: .85; font-size: 13px; margin: 2px 0; }
.slmlab-title { font-weight: 600; overflow-wrap: anywhere; margin: 2px 0; }
.slmlab-said { padding: 4px 12px; margin: 4px 0; border-left: 4px solid #0072B2;
  background: rgba(0,114,178,.12); overflow-wrap: anywhere; }
.slmlab-wrong { border-left-color: #D55E00; background: rgba(213,94,0,.14); }
.slmlab-flag { display: inline-block; padding: 0 6px; border-radius: 8px; margin-right: 4px;
  border: 1px solid currentColor; font-size: 12px; }
.slmlab-strip { display: grid; grid-template-columns: max-content minmax(20px, 1fr) max-content;
  gap: 3px 8px; align-items: center; font-size: 13px; margin: 6px 0 4px; }
.slmlab-track { height: 9px; border-radius: 5px; background: rgba(128,128,128,.25); }
.slmlab-bar { height: 9px; border-radius: 5px; background: #0072B2; }
.slmlab-best .slmlab-bar { background: #009E73; }
.slmlab table { border-collapse: collapse; font-size: 13px; margin: 6px 0; color: inherit; }
.slmlab caption { text-align: left; caption-side: top; color: inherit; padding: 2px 0; }
.slmlab th, .slmlab td { padding: 3px 9px; text-align: left; vertical-align: top;
  border-bottom: 1px solid rgba(128,128,128,.35); }
.slmlab td.slmlab-number { text-align: right; font-variant-numeric: tabular-nums; }
.slmlab-scroll { overflow-x: auto; }
.slmlab-tall .slmlab-scroll { max-height: 26em; overflow: auto; }
.slmlab-tall td:first-child { white-space: nowrap; font-weight: 600; }
</style>"""


# How a widget shows itself.


class Panel:
    """A widget with its state; the last line of a cell shows it.

    Where nobody can click (nbconvert, papermill, nbmake) it shows ``static_html()``, and in a
    terminal ``str()``.
    """

    def __init__(self, name: str) -> None:
        self.said = widgets.HTML()
        self.box = widgets.VBox([widgets.HTML(STYLE), self.said])
        self.box.add_class("slmlab")
        self.box.add_class(f"slmlab-{name}")

    def show(self, *children: widgets.Widget) -> None:
        """Put the parts on the screen; what is said to the reader stands below them."""
        self.box.children = (self.box.children[0], *children, self.said)

    def say(self, text: str, wrong: bool = False) -> None:
        """Tell the reader something; nothing takes it away."""
        kind = "slmlab-said slmlab-wrong" if wrong else "slmlab-said"
        role = "alert" if wrong else "status"
        lines = html.escape(text).replace("\n", "<br>")
        self.said.value = f"<div class='{kind}' role='{role}'>{lines}</div>" if text else ""

    @contextlib.contextmanager
    def sentences(self) -> Iterator[None]:
        """Say what goes wrong instead of raising it: in a callback nobody else would show it."""
        try:
            yield
        except SlmlabError as error:
            self.say(str(error), wrong=True)

    def static_html(self) -> str:
        """The widget for those who can only read."""
        return f"<pre>{html.escape(str(self))}</pre>"

    def _ipython_display_(self) -> None:
        from IPython.display import display as show

        bundle: dict[str, Any] = {"text/plain": str(self)}
        if unattended():
            bundle["text/html"] = f"{STYLE}<div class='slmlab'>{self.static_html()}</div>"
        elif display.in_notebook():
            bundle["application/vnd.jupyter.widget-view+json"] = {
                "version_major": 2, "version_minor": 0, "model_id": self.box.model_id,
            }  # fmt: skip
        show(bundle, raw=True)

    def __repr__(self) -> str:
        return str(self)


def unattended() -> bool:
    """Whether a notebook runs with nobody to click: nbconvert, papermill, nbmake.

    Such a runner says that it cannot answer ``input()``. So does Voilà, which has readers.
    """
    if not display.in_notebook():
        return False
    from IPython import get_ipython

    voila = os.environ.get("SERVER_SOFTWARE", "").startswith("voila")
    return not (getattr(get_ipython().kernel, "_allow_stdin", True) or voila)


# Following answers.


class Work(Protocol):
    """Something under way elsewhere: ``slmlab.streaming.Answers``, or a download."""

    @property
    def running(self) -> bool:
        """Whether there is more to come."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End it as soon as it can be ended."""

    def wait(self, seconds: float) -> bool:
        """Wait for its threads; whether they are done."""


def follow(answers: Work, draw: Callable[[], None], end: Callable[[], None]) -> None:
    """Start answers and draw them as they come; ``end`` is called when all are final."""
    loop = None
    if "COLAB_RELEASE_TAG" not in os.environ and display.in_notebook() and not unattended():
        with contextlib.suppress(RuntimeError):
            loop = asyncio.get_running_loop()
    answers.start()
    if loop is not None:
        task = loop.create_task(_follow_from_the_loop(answers, draw, end))
        # An event loop keeps only weak references to its tasks.
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)
        return
    try:
        for pause in _frames(answers, draw):
            time.sleep(pause)
    except KeyboardInterrupt:
        answers.stop()
    answers.wait(STOPS_WITHIN)
    draw()
    end()


_tasks: set[asyncio.Task] = set()


async def _follow_from_the_loop(
    answers: Work, draw: Callable[[], None], end: Callable[[], None]
) -> None:
    with _interrupts_go_to(answers.stop):
        for pause in _frames(answers, draw):
            await asyncio.sleep(pause)
    for _ in range(int(STOPS_WITHIN / 0.05)):
        if answers.wait(0):
            break
        await asyncio.sleep(0.05)
    draw()
    end()


def _frames(answers: Work, draw: Callable[[], None]) -> Iterator[float]:
    """Draw, and yield the seconds until the next frame, while anything is under way."""
    while answers.running:
        started = time.perf_counter()
        draw()
        took = time.perf_counter() - started
        yield max(1 / FRAMES_PER_SECOND - took, took * (1 / DRAWING_SHARE - 1), 0.01)


@contextlib.contextmanager
def _interrupts_go_to(stop: Callable[[], None]) -> Iterator[None]:
    """While no cell runs, a kernel ignores interrupts; let them stop the answers instead."""
    from IPython import get_ipython

    before: list[Any] = []

    def take() -> None:
        before.append(signal.signal(signal.SIGINT, lambda *_: stop()))

    def give_back() -> None:
        if before:
            signal.signal(signal.SIGINT, before[0])

    # Only the main thread may say so, and newer kernels run callbacks in another one.
    if threading.current_thread() is threading.main_thread():
        in_main: Callable[[Callable], Any] = lambda call: call()  # noqa: E731
    else:
        in_main = get_ipython().kernel.io_loop.add_callback
    in_main(take)
    try:
        yield
    finally:
        in_main(give_back)


# Pieces of HTML. All text that is not ours goes through display.harmless or safe_html.


def answer_html(answer: Answer, reference: str | None = None, name: str | None = None) -> str:
    """An answer as it stands, as harmless HTML; with the words marked that a reference lacks."""
    text = answer.text
    label = html.escape(f"Answer of {name or answer.model}")
    if reference is not None and answer.state in ("done", "stopped", "failed"):
        marked = display.marked(text[:LONGEST_SHOWN], reference[:LONGEST_SHOWN])
        body = f"<div class='slmlab-plain'>{marked}</div>"
    elif answer.state == "writing" and len(text) > LONGEST_LIVE:
        body = f"<p class='slmlab-quiet'>…</p>{display.safe_html(text[-LONGEST_LIVE:])}"
    else:
        body = display.safe_html(text[:LONGEST_SHOWN])
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


# Small things.


def button(text: str, call: Callable[[], None], hint: str = "", style: str = "") -> widgets.Button:
    """A button as wide as its text."""
    one = widgets.Button(
        description=text, tooltip=hint or text, button_style=style,
        layout=widgets.Layout(width="auto"),
    )  # fmt: skip
    one.on_click(lambda _: call())
    return one


def row(*children: widgets.Widget, kind: str = "row") -> widgets.Box:
    """Parts beside each other, in further lines where the page is narrow."""
    box = widgets.Box(list(children))
    box.add_class(f"slmlab-{kind}")
    return box


def chosen(models_wanted: Iterable[str] | str | None, host: str) -> list[str]:
    """Full names of the models to offer: those asked for, else all that the server has.

    Raises:
        ModelError: a model is not there, or there is none at all.
        ServerError: no server answers.
    """
    from slmlab.errors import ModelError

    if isinstance(models_wanted, str):
        models_wanted = [models_wanted]
    if models_wanted is not None:
        return [models.resolve(name, host).name for name in models_wanted]
    names = [one.name for one in models.installed(host)]
    if not names:
        raise ModelError(
            "There is no model here yet. Get some with slmlab.ready(), then press Look again."
        )
    return names


def host_here(host: str | None) -> str:
    """The server that a widget talks to."""
    return host or server.host()


def first_text(question: object) -> str:
    """The text that a widget starts with; ``PromptError`` where it is none."""
    if question is not None and not isinstance(question, str):
        raise PromptError(f"The question is a text; got {question!r}.")
    return question or ""


def new_file(kind: str, ending: str) -> Path:
    """A path in the current folder that is not taken, with the time in its name."""
    return Path(f"{kind}-{datetime.now():%Y-%m-%d-%H%M%S}.{ending}")


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
            one.model, f"{one.rating:.0f}",
            "too few votes" if few else f"{one.low:.0f} to {one.high:.0f}", one.wins, one.ties,
            one.losses,
        )
        for one in ratings.itertuples()
    ]  # fmt: skip
    caption = f"Bradley–Terry ratings. Votes in {votes_file.name}: {len(cast)}. " + (
        f"They say little before there are {FEWEST_VOTES}."
        if few
        else "95 % intervals by bootstrap; models whose intervals overlap may be equal."
    )
    columns = ("model", "rating", "interval", "won", "tied", "lost")
    return table_html(rows, columns, caption)


def user() -> str:
    """The name of who uses this machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "anonymous"
