"""The catalogue of models as a widget: sort, filter, see sources, pull."""

from __future__ import annotations

import functools
import logging
import threading
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
from markupsafe import Markup

from slmlab import hardware
from slmlab.engines.client import engine_of
from slmlab.errors import SlmlabError
from slmlab.memory import room_for
from slmlab.models import catalog
from slmlab.models.download import pull
from slmlab.widgets import controls, markup
from slmlab.widgets.live import follow
from slmlab.widgets.panel import Panel

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

# The columns of the table: a label, the column of ``CatalogExplorer.frame`` that sorts it, and
# whether the first click sorts it from least to most.
COLUMNS = (
    ("Model", "name", True),
    ("Parameters", "parameters", True),
    ("Context", "context", False),
    ("Released", "released", False),
    ("License", "license", True),
    ("How it was made", "made_by", True),
    ("Memory", "memory", True),
    ("Speed", "tokens_per_s", False),
    ("This machine", "fits", False),
)
# A label, and the largest number of parameters that is shown.
SIZES = {"any size": None, "up to 1 B": 1.05e9, "up to 4 B": 4.4e9, "up to 10 B": 10e9}
FITS = {True: "fits", False: "✘ too large", None: "unknown"}
# Facts that only apply to mixtures of experts and to models with sliding windows.
ONLY_SOME = {"active_parameters", "sliding_window", "full_attention_every"}
LABELS = {
    "developer": "Developer",
    "released": "Released",
    "parameters": "Parameters",
    "active_parameters": "Active parameters",
    "layers": "Layers",
    "kv_heads": "KV heads",
    "head_size": "Head size",
    "sliding_window": "Sliding window (tokens)",
    "full_attention_every": "Full attention every … layers",
    "context": "Context (tokens)",
    "training_tokens": "Training tokens",
    "made_by": "How it was made",
    "modality": "Modality",
    "languages": "Languages",
    "license": "License",
    "download_gb": "Download (GB)",
}


def catalog_explorer(*, num_ctx: int = 4096, host: str | None = None) -> CatalogExplorer:
    """Browse small language models, with the source of each fact, and pull them.

    Args:
        num_ctx: the context length for which memory is estimated.
        host: the server (default: ``slmlab.server.host()``).

    Returns:
        An ipywidget: the last line of a cell shows it, and it can be put into an ``HBox`` or
        ``Tab``. Its ``frame`` is a DataFrame of the rows on the screen.

    Examples:
        >>> explorer = slmlab.catalog_explorer(num_ctx=8192)
        >>> explorer.frame["name"].is_unique
        True
    """
    return CatalogExplorer(num_ctx, controls.host_here(host))


class _Pull:
    """A running download, with the interface of ``slmlab.run.streaming.Answers``."""

    def __init__(self, name: str, host: str) -> None:
        self.name, self.host = name, host
        self.done, self.total = 0, 0
        self.error = ""
        self.thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self.thread.start()

    @property
    def running(self) -> bool:
        """Whether the download is not finished yet."""
        return self.thread.is_alive()

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the download; returns whether it has ended."""
        self.thread.join(seconds)
        return not self.running

    def stop(self) -> None:
        """Do nothing: the server goes on by itself, and another pull joins the download."""

    def _note(self, _: str, done: int, total: int) -> None:
        self.done, self.total = done, total

    def _work(self) -> None:
        try:
            pull(self.name, host=self.host, on_progress=self._note)
        except SlmlabError as error:
            log.info("%s cannot be pulled", self.name, exc_info=error)
            self.error = str(error)


class CatalogExplorer(Panel):
    """See ``slmlab.catalog_explorer``; ``frame`` has the rows on the screen."""

    def __init__(self, num_ctx: int, host: str) -> None:
        super().__init__("catalog")
        self.num_ctx, self.host = num_ctx, host
        self.all = catalog.on_this_machine(num_ctx, host=host)
        self.pulling: _Pull | None = None
        narrow = widgets.Layout(width="19em")
        self.words = widgets.Text(
            description="Search", placeholder="name, developer, license …", layout=narrow
        )
        self.order = ("parameters", True)
        # The headings of the table press them.
        self.sorters = [
            controls.button(f"Sort by {label}", functools.partial(self.sort, name, rising))
            for label, name, rising in COLUMNS
        ]
        for number, sorter in enumerate(self.sorters):
            sorter.add_class(f"slmlab-sorter-{number}")
        self.size = widgets.Dropdown(description="Size", options=list(SIZES), layout=narrow)
        self.fitting = controls.checkbox("fits this machine")
        self.present = controls.checkbox("already here")
        self.table = widgets.HTML()
        self.model = widgets.Dropdown(
            description="Details of", options=list(self.all["name"]), layout=narrow
        )
        self.pull_button = controls.button(
            "Pull", self.pull, "Download it to the server", "primary"
        )
        self.progress = widgets.HTML()
        self.details = widgets.HTML()
        for part in (self.words, self.size, self.fitting, self.present):
            part.observe(lambda _: self.draw(), "value")
        self.model.observe(lambda _: self.draw(), "value")
        self.arrange(
            controls.row(self.words, self.size, self.fitting, self.present),
            controls.row(*self.sorters, kind="hidden"),
            self.table,
            controls.row(self.model, self.pull_button, self.progress),
            self.details,
        )
        self.draw()

    @property
    def frame(self) -> pd.DataFrame:
        """The rows on the screen, sorted."""
        rows = self.all
        if word := self.words.value.strip().lower():
            text = rows[["name", "developer", "license", "made_by", "modality", "languages"]]
            joined = text.fillna("").astype(str).agg(" ".join, axis=1).str.lower()
            rows = rows[joined.str.contains(word, regex=False)]
        if limit := SIZES[self.size.value]:
            rows = rows[rows["parameters"].map(lambda n: n is not None and n <= limit)]
        if self.fitting.value:
            rows = rows[rows["fits"].map(lambda fits: fits is True)]
        if self.present.value:
            rows = rows[rows["here"].notna()]
        column, rising = self.order
        return rows.sort_values(column, ascending=rising, na_position="last")

    def sort(self, column: str, rising: bool = True) -> None:
        """Sort by a column of ``frame``; a second time, the other way round."""
        if self.order == (column, rising):
            rising = not rising
        self.order = (column, rising)
        self.draw()

    def pull(self) -> None:
        """Download the selected model to the server, with a progress bar."""
        if self.pulling is not None and self.pulling.running:
            return
        with self.errors_shown():
            tag = self._chosen()["ollama_tag"]
            if tag is None:
                raise SlmlabError(
                    f"The catalogue has no tag in Ollama's library for {self.model.value}."
                )
            self.say("")
            self.pulling = pulling = _Pull(tag, self.host)
            follow(pulling, lambda: self._draw_progress(pulling), lambda: self._pulled(pulling))

    def _pulled(self, pulling: _Pull) -> None:
        self.progress.value = ""
        if pulling.error:
            self.say(pulling.error, wrong=True)
            return
        self.say(f"{pulling.name} is installed.")
        self.all = catalog.on_this_machine(self.num_ctx, host=self.host)
        self.draw()

    def _chosen(self) -> dict[str, Any]:
        row: dict[str, Any] = self.all[self.all["name"] == self.model.value].iloc[0].to_dict()
        return row

    # Drawing.

    def _draw_progress(self, pulling: _Pull) -> None:
        done, total = pulling.done, pulling.total
        share = done / total if total else 0.0
        progress = f"{share:.0%} of {total / 1e9:.2f} GB" if total else "asking …"
        self.progress.value = Markup(
            "<div class='slmlab-download' role='progressbar' "
            "aria-label='Download of {}' aria-valuemin='0' aria-valuemax='100' "
            "aria-valuenow='{:.0f}'>{}</div>"
        ).format(pulling.name, 100 * share, markup.bar_html(pulling.name, progress, share))

    def _draw(self) -> None:
        self._draw_table()
        self._draw_details()

    def _draw_table(self) -> None:
        frame = self.frame
        rows = [
            (
                one.name,
                _count(one.parameters, one.active_parameters),
                _tokens(one.context),
                one.released or "unknown",
                one.license or "unknown",
                one.made_by or "unknown",
                "unknown" if one.memory is None else hardware.gib(int(one.memory)),
                "—" if one.tokens_per_s is None else f"≈ {one.tokens_per_s:.0f} tokens/s",
                "✔ here" if one.here else FITS[one.fits],
            )
            for one in frame.itertuples()
        ]
        room = hardware.gib(room_for(engine_of(controls.host_here(self.host))))
        caption = (
            f"{len(rows)} of {len(self.all)} models. Memory: at 4 bits with a context of "
            f"{self.num_ctx:,} tokens for each request that runs at once, estimated; models may "
            f"take {room} here. Speed: predicted for this machine's processor from its memory "
            f"bandwidth. A heading sorts. Facts last checked {catalog.last_checked()}."
        )
        headings = [
            _heading_html(number, label, self.order[1] if name == self.order[0] else None)
            for number, (label, name, _) in enumerate(COLUMNS)
        ]
        self.table.value = Markup("<div class='slmlab-tall'>{}{}</div>").format(
            markup.table_html(rows, headings, caption), FOCUS
        )

    def _draw_details(self) -> None:
        chosen, sources = self._chosen(), catalog.sources(self.model.value)
        rows = []
        for fact, label in LABELS.items():
            value = chosen[fact]
            if value is None:
                rows += [(label, "unknown", "")] if fact not in ONLY_SOME else []
                continue
            text = f"{value:,}" if isinstance(value, int) else str(value)
            link = Markup("<a href='{0}' title='{0}' target='_blank' rel='noopener'>{1}</a>")
            address = sources[fact]
            rows.append((label, text, link.format(address, catalog.source_name(address))))
        tag = chosen["ollama_tag"]
        self.pull_button.disabled = tag is None or chosen["here"] is not None
        self.details.value = markup.table_html(
            rows,
            ("Fact", "Value", "Source"),
            f"{self.model.value} · Ollama tag: {tag or 'unknown'}",
        )

    # Without a front end.

    def static_html(self) -> str:
        """The table with the current filters."""
        return markup.shown(self.table)

    def __str__(self) -> str:
        frame = self.frame
        short = frame[["name", "parameters", "context", "license", "fits", "here"]]
        return str(short.to_string(index=False, na_rep="unknown"))


# Drawing replaces the heading that was pressed, so the new one takes the focus.
FOCUS = Markup(
    "<img src='{}' alt='' width='1' height='1' onload=\""
    "const box = this.closest('.slmlab-catalog'), number = box?.dataset.sort; "
    "if (number) {{ delete box.dataset.sort; "
    "box.querySelectorAll('.slmlab-sort')[number].focus(); }}\">"
).format(markup.BLANK)


def _heading_html(number: int, label: str, rising: bool | None) -> Markup:
    """The heading of a column, which sorts it; None: another column is sorted."""
    order = {True: "ascending", False: "descending", None: "none"}[rising]
    arrow = {True: "▲", False: "▼", None: ""}[rising]
    return Markup(
        "<th scope='col' aria-sort='{}'><button type='button' class='slmlab-sort' onclick=\""
        "const box = this.closest('.slmlab-catalog'); box.dataset.sort = '{}'; "
        "box.querySelector('.slmlab-sorter-{}').click();\">"
        "{} <span aria-hidden='true'>{}</span></button></th>"
    ).format(order, number, number, label, arrow)


def _count(parameters: int | None, active: int | None) -> str:
    if parameters is None:
        return "unknown"
    text = f"{parameters / 1e9:.2f} B" if parameters >= 995e6 else f"{parameters / 1e6:.0f} M"
    return f"{text}, {active / 1e9:.1f} B active" if active else text


def _tokens(context: int | None) -> str:
    return "unknown" if context is None else f"{context:,}"
