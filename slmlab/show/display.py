"""Show a model's text as it is generated: as Markdown in a notebook, as text in a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from slmlab.errors import PromptError, SlmlabError
from slmlab.models.inventory import validate_model
from slmlab.run.generate import generate
from slmlab.run.images import of, with_images
from slmlab.run.logprobs import validate_logprobs
from slmlab.run.options import Options, Prompt, full_options, parameters_of, validate_prompt
from slmlab.run.prompts import fill
from slmlab.run.record import Generation
from slmlab.run.tools import written
from slmlab.show.images import thumbnails
from slmlab.show.markdown import STYLE, calls_html, to_html
from slmlab.show.sanitize import harmless
from slmlab.terminal import Printable, printable

if TYPE_CHECKING:
    from typing_extensions import Unpack

# Fast enough to read along, but not more, since each update sends the whole text again.
UPDATES_PER_SECOND = 8
NOTHING = Markup()
_FOOTER = Markup("<p style='opacity:.8'><small>{}</small></p>")


def in_notebook() -> bool:
    """Whether output goes to a notebook's cell."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


class Stream:
    """An output area that fills with text: call it with each piece, then ``close`` it."""

    def __init__(self, title: str = "", above: Markup = NOTHING) -> None:
        self.above = above
        self.title, self.text, self.drawn = harmless(title), "", 0.0
        self.printable = Printable()
        self.handle: Any = None
        if in_notebook():
            from IPython.display import display

            self.handle = display(self._bundle(live=True), raw=True, display_id=True)

    def __call__(self, piece: str) -> None:
        """Add a piece of text."""
        if self.handle is None and not self.text and self.title:
            print(f"{self.title}\n")
        self.text += piece
        if self.handle is None:
            print(self.printable(piece), end="", flush=True)
        elif time.monotonic() - self.drawn > 1 / UPDATES_PER_SECOND:
            self.handle.update(self._bundle(live=True), raw=True)
            self.drawn = time.monotonic()

    def close(self, footer: str = "", record: Generation | None = None) -> None:
        """Draw the complete text with the thoughts of its record, and a line below."""
        if self.handle is not None:
            self.handle.update(self._bundle(footer, record), raw=True)
        elif self.text:
            print(f"\n\n{printable(footer)}\n")
        elif footer:
            print(f"{self.title}\n\n{printable(footer)}\n")

    def _bundle(
        self, footer: str = "", record: Generation | None = None, live: bool = False
    ) -> dict[str, str]:
        """What a notebook shows: as HTML, and as text where it is turned into something else."""
        title = Markup("<strong>{}</strong>").format(harmless(self.title)) if self.title else ""
        below = _FOOTER.format(harmless(footer)) if footer else ""
        text = record_html(record) if record else to_html(self.text, live=live)
        html = Markup("{}<div style='max-width:48em'>{}{}{}{}</div>").format(
            STYLE, title, self.above, text, below
        )
        return {"text/html": html, "text/plain": harmless(self.text)}


def record_html(record: Generation) -> Markup:
    """The text of a record, with its thoughts and calls of tools, as harmless HTML."""
    text = to_html(
        record.text,
        thinking=record.thinking,
        tokens=record.tokens,
        seconds=record.generation_s,
    )
    return text + calls_html(record.tool_calls)


def why_it_ended(record: Generation) -> str:
    """The reason why an answer ended, in words."""
    reasons = {"stop": "the model", "length": "the length limit", "stopped": "you"}
    return reasons.get(record.stop_reason or "", record.stop_reason or "unknown")


def ask(
    model: str,
    prompt: Prompt | None = None,
    *,
    template: str = "plain",
    variables: Mapping[str, Any] | None = None,
    think: bool = False,
    logprobs: int = 0,
    images: Any = None,
    host: str | None = None,
    **options: Unpack[Options],
) -> Generation:
    """Ask a model, show its answer as it is generated, and return the record.

    Args:
        model: a model's name.
        prompt: fills the template's ``{question}``; a list of messages is sent as a chat.
        template: a template's name or text (see ``slmlab.prompts.TEMPLATES``).
        variables: values for a template with other variables.
        think: let a model that can think do so before it answers.
        logprobs: record how probable each token was, and this many of the likeliest ones at its
            place, up to 20 (True: 5); see ``slmlab.tokens`` and ``slmlab.show_tokens``.
        images: an image or several, to be sent beside the prompt to a model that can see: paths,
            bytes, or pictures of PIL. They are shown small above the answer.
        host: the server (default: ``slmlab.server.host()``).
        options: sampling options (see ``slmlab.run.options.DEFAULT_OPTIONS``).

    Raises:
        PromptError: the prompt, the template or an option is not usable.
        ModelError: there is no such model.
        ServerError: no server answers.
        GenerationError: it failed after it had started; ``.record`` has the text until then.

    Examples:
        >>> answer = slmlab.ask(names[0], "Why is the sky blue?", num_predict=40)
        >>> answer.tokens
        40
    """
    validate_model(model)
    full_options(options, parameters=parameters_of(ask))
    if not isinstance(variables, (Mapping, type(None))):
        raise PromptError(f"variables is a dict such as {{'topic': 'rain'}}; got {variables!r}.")
    if isinstance(prompt, str) or prompt is None:
        values = dict(variables or {}) | ({} if prompt is None else {"question": prompt})
        prompt = fill(template, **values)
    prompt = validate_prompt(with_images(prompt, images))
    logprobs = validate_logprobs(logprobs)
    stream = Stream(model, thumbnails(of(prompt)))
    footer, record = "stopped", None
    try:
        record = generate(
            model, prompt, on_text=stream, think=think, logprobs=logprobs, host=host, **options
        )
        if calls := written(record.tool_calls):
            stream(f"{calls}\n")
        text = record.text.strip() or calls
        footer = str(record) if text else f"The answer is empty: {record}"
    except SlmlabError:
        footer = "failed" if stream.text else ""
        raise
    finally:
        stream.close(footer, record)
    return record
