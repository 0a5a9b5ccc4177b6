"""The figure of an answer's tokens (see ``slmlab.plots``)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from slmlab.run.logprobs import tokens as table_of
from slmlab.show.figure import BLUE, VERMILION, canvas, legend, result, shorten
from slmlab.show.sanitize import harmless

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from slmlab.run.record import Generation
    from slmlab.show.figure import Drawn

# How many of the most surprising tokens have their text beside them.
NAMED = 6
# Behind the Latin, Greek and Cyrillic letters.
LAST_LETTER = "\u0530"


def tokens(
    record: Generation | Mapping[str, Any] | pd.Series,
    *,
    dark: bool = False,
    ax: Axes | None = None,
) -> Drawn:
    """How surprising each token of an answer was, and how undecided the model was before it.

    The surprise of a token is minus the binary logarithm of its probability: 1 bit at 50 %, 2 bits
    at 25 %. The line is the entropy, the surprise that was to be expected there (at least, see
    ``slmlab.tokens``).

    Args:
        record: an answer that was asked for with ``logprobs``.
        dark: for a dark page.
        ax: axes to draw into.

    Raises:
        SlmlabError: the answer has no probabilities.

    Examples:
        >>> record = slmlab.generate(names[0], "What is 2 + 2?", num_predict=5, logprobs=5)
        >>> slmlab.plots.tokens(record)
    """
    table = table_of(record)
    surprise = -table["logprob"] / math.log(2)
    places = range(1, len(table) + 1)
    most = surprise.nlargest(NAMED)
    named = {place: _name(table["token"][place], place + 1) for place in most.index}
    perplexity = math.exp(-table["logprob"].mean())
    surprising = "; ".join(
        f"{named[place]} at place {place + 1}, {table['probability'][place]:.1%}"
        for place in most.index
    )
    alt = (
        f"Surprise of {len(table)} tokens in bits; perplexity {perplexity:.2f}. The most "
        f"surprising: {surprising}."
    )
    note = (
        f"Perplexity {perplexity:.2f}. Surprise: −log₂ of a token's probability. The entropy counts"
        "\nthe tokens that the server did not report as one, so the true one may be higher."
    )
    with canvas(ax, (10, 4.4), dark=dark, note=note, alt=alt) as axis:
        axis.bar(places, surprise, color=BLUE, alpha=0.8, label="surprise")
        axis.plot(
            places,
            table["entropy"],
            drawstyle="steps-mid",
            color=VERMILION,
            linewidth=1.5,
            label="entropy before it",
        )
        for place, name in named.items():
            axis.annotate(
                name,
                (place + 1, surprise[place]),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=9,
                rotation=30,
            )
        axis.set_xlabel("Token")
        axis.set_ylabel("Bits")
        axis.margins(y=0.2)
        axis.set_ylim(bottom=0)
        legend(ax, axis, "outside upper right")
    return result(ax, axis)


def _name(token: str, place: int) -> str:
    """A token's text; its number where matplotlib's font may not have its letters."""
    if token == "":
        return "(end)"
    text = shorten(harmless(token).strip(), 14)
    known = text != "" and max(text) < LAST_LETTER
    # What stands between dollars would be a formula.
    return text.replace("$", r"\$") if known else f"no. {place}"
