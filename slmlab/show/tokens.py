"""An answer with each token shaded by its probability, and where two answers part."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from slmlab.errors import SlmlabError
from slmlab.run.logprobs import tokens
from slmlab.show.sanitize import harmless

if TYPE_CHECKING:
    import pandas as pd

    from slmlab.run.record import Generation

# From these probabilities on a token has the shade p0, p1, …; below all of them, p4.
SHADES = (0.9, 0.5, 0.2, 0.05)
SHADE_NAMES = ("90 % or more", "50 to 90 %", "20 to 50 %", "5 to 20 %", "below 5 %")
# How many of the least probable tokens are also told in a table.
LEAST = 10
# Signs for what cannot be seen.
_SIGNS = {"\n": "⏎", "\t": "⇥", "": "■"}
# Of many tokens only one is reached by the tab key; the arrow keys go on from there.
_ARROWS = (
    "const all = [...this.querySelectorAll('button')], at = all.indexOf(document.activeElement);"
    "const to = {ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1}[event.key];"
    "if (at >= 0 && all[to]) { all[to].focus(); event.preventDefault(); event.stopPropagation(); }"
)
_CSS = (Path(__file__).parent / "tokens.css").read_text(encoding="utf-8")
STYLE = Markup("<style>\n{}</style>").format(Markup(_CSS))  # noqa: S704  our own file
_TOKEN = Markup(
    '<button type="button" class="slmlab-token p{}{}" tabindex="{}">{}<span>{}</span></button>{}'
)


class TokensView:
    """The result of ``show_tokens``: shown as the last line of a cell, or with ``print``."""

    def __init__(self, names: Sequence[str], tables: Sequence[pd.DataFrame]) -> None:
        self.names, self.tables = names, tables
        # The token in which each answer parts from the first; the first one's, if they are two.
        self.parting = [_parting(tables[0], table) for table in tables]
        if len(tables) == 2:
            self.parting[0] = _parting(tables[1], tables[0])

    def _repr_html_(self) -> str:
        return STYLE + tokens_html(self)

    def __repr__(self) -> str:
        return "\n\n".join(
            f"{name}:\n{''.join(map(_visible, table['token']))}\n{summary(table)}"
            for name, table in zip(self.names, self.tables, strict=True)
        )


def show_tokens(*answers: Generation | Mapping[str, Any] | pd.DataFrame) -> TokensView:
    """Answers with each token shaded by its probability, beside each other.

    Under the pointer, and with the arrow keys, a token tells its probability and what else was
    likely. Below stand the perplexity and the entropy. Where an answer parts from the first one, a
    frame marks the token.

    Args:
        answers: what ``slmlab.generate`` returned with ``logprobs``, rows of ``slmlab.compare``, or
            a whole table of it.

    Raises:
        SlmlabError: an answer has no probabilities.

    Examples:
        >>> record = slmlab.generate(names[0], "What is 2 + 2?", num_predict=5, logprobs=5)
        >>> slmlab.show_tokens(record)
    """
    import pandas as pd

    rows: list[Any] = []
    for one in answers:
        rows += one.to_dict("records") if isinstance(one, pd.DataFrame) else [one]
    if not rows:
        raise SlmlabError("There is no answer to show.")
    names = [str(row["model"] if hasattr(row, "get") else row.model) for row in rows]
    return TokensView(names, [tokens(row) for row in rows])


def tokens_html(view: TokensView) -> Markup:
    """The answers beside each other, with a key to the shades. It needs ``STYLE`` on its page."""
    columns = Markup().join(
        _answer(name, table, parts, number)
        for number, (name, table, parts) in enumerate(
            zip(view.names, view.tables, view.parting, strict=True)
        )
    )
    key = Markup().join(
        Markup('<span class="slmlab-token p{}">{}</span>').format(shade, name)
        for shade, name in enumerate(SHADE_NAMES)
    )
    return Markup(
        '<div class="slmlab-tokens"><div class="slmlab-tokens-row">{}</div>{}'
        '<p class="slmlab-tokens-key"><small>Probability of a token: {}</small></p></div>'
    ).format(columns, _partings(view), key)


def summary(table: pd.DataFrame) -> str:
    """An answer's number of tokens, perplexity, and entropy, in a line."""
    perplexity = math.exp(-table["logprob"].mean())
    return (
        f"{len(table)} tokens · perplexity {perplexity:.2f} · entropy at least "
        f"{table['entropy'].mean():.2f} bits per token ({table['rest'].mean():.1%} of the "
        "probability lies outside the recorded tokens)"
    )


def _answer(name: str, table: pd.DataFrame, parts: int | None, number: int) -> Markup:
    rows = table.to_dict("records")
    body = Markup().join(
        _token(row, place == parts, first=place == 0) for place, row in enumerate(rows)
    )
    return Markup(
        '<div class="slmlab-tokens-one"><strong>{}</strong>'
        '<div class="slmlab-tokens-text tex2jax_ignore mathjax_ignore" role="group" '
        'aria-label="Tokens of {}; the arrow keys go from one to the next" onkeydown="{}">{}</div>'
        "<small>{}</small>{}</div>"
    ).format(harmless(name), f"answer {number + 1}", _ARROWS, body, summary(table), _least(rows))


def _token(row: Mapping[str, Any], parts: bool, first: bool) -> Markup:
    return _TOKEN.format(
        _shade(row["probability"]),
        " slmlab-parts" if parts else "",
        0 if first else -1,
        _visible(row["token"]),
        _description(row),
        Markup("<br>") * row["token"].count("\n"),
    )


def _shade(probability: float) -> int:
    return sum(probability < limit for limit in SHADES)


def _visible(text: str) -> str:
    """A token's text in which also line breaks, control characters and its end can be seen.

    Blanks too if there is nothing else: a button without a text has no name for a screen reader.
    """
    if text == "":
        return _SIGNS[""]
    if text.isspace():
        text = text.replace(" ", "␣").replace("\u00a0", "␣")
    signs = {code: chr(0x2400 + code) for code in range(32)} | {127: "\u2421"}
    signs |= {ord(name): sign for name, sign in _SIGNS.items() if name}
    return harmless(text.translate(signs))


def _quoted(text: str) -> str:
    return f"“{_visible(text)}”" if text else "the end of the answer"


def _description(row: Mapping[str, Any]) -> str:
    """What a token tells: its probability, what else was likely, and what is not known."""
    sentence = f"{_quoted(row['token'])} {row['probability']:.1%}"
    if not row["whole"]:
        sentence += " (its last part; the server does not tell those of the parts before)"
    others = [
        f"{_quoted(text)} {share:.1%}"
        for place, (text, share) in enumerate(row["alternatives"], 1)
        if place != row["rank"]
    ]
    if others:
        sentence += f"; instead {', '.join(others)}"
    return sentence + f"; all others {row['rest']:.1%}; entropy at least {row['entropy']:.2f} bits"


def _least(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """The least probable tokens as a table, which needs neither pointer nor arrow keys."""
    places = sorted(range(len(rows)), key=lambda place: rows[place]["probability"])[:LEAST]
    cells = Markup().join(
        Markup("<tr><td>{}</td><td>{}</td></tr>").format(place + 1, _description(rows[place]))
        for place in places
    )
    return Markup(
        "<details><summary>The least probable tokens</summary><table><thead><tr><th>place</th>"
        "<th>token</th></tr></thead><tbody>{}</tbody></table></details>"
    ).format(cells)


def _parting(first: pd.DataFrame, other: pd.DataFrame) -> int | None:
    """The place of the token in which an answer's text parts from the first one; None: nowhere."""
    reference, written = "".join(first["token"]), ""
    if "".join(other["token"]) == reference:
        return None
    for place, text in enumerate(other["token"]):
        written += text
        if not reference.startswith(written):
            return place
    return len(other) - 1


def _partings(view: TokensView) -> Markup:
    """Where the answers part from the first one, in sentences."""
    found = Markup()
    first = view.tables[0]
    others = zip(view.names[1:], view.tables[1:], view.parting[1:], strict=True)
    for name, table, place in others:
        if place is None:
            found += Markup("<p>{} wrote the same.</p>").format(harmless(name))
            continue
        row = table.iloc[place]
        there = _parting(table, first)
        sentence = f"{harmless(name)} parts from the first answer at its token {place + 1}, "
        sentence += f"{_quoted(row['token'])} ({row['probability']:.1%})"
        if there is not None:
            one = first.iloc[there]
            sentence += f", where that has {_quoted(one['token'])} ({one['probability']:.1%})"
        found += Markup("<p>{}.</p>").format(sentence)
    return found
