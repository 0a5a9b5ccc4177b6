"""Ratings from votes as a table, with their intervals drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from slmlab.errors import SlmlabError
from slmlab.evaluation import votes
from slmlab.evaluation.vote_reader import VoteReader
from slmlab.widgets import markup

if TYPE_CHECKING:
    import pandas as pd

# A bootstrap over a handful of votes gives intervals that are far too narrow.
FEWEST_VOTES = 20
RESAMPLES = 200
# The scale on which intervals are drawn, at least.
SCALE = (800, 1200)


def votes_html(reader: VoteReader, name: str) -> Markup:
    """The ratings from the votes that were read, by tag too, and what could not be read.

    Args:
        reader: the votes.
        name: of their file or folder.
    """
    cast = reader.frame
    problems = Markup().join(markup.note_html(text) for text in reader.problems[:5])
    if cast.empty:
        return problems
    few = len(cast) < FEWEST_VOTES
    voters = cast["voter"].nunique()
    caption = (
        f"Bradley–Terry ratings. Votes in {name}: {len(cast)}"
        + (f", of {voters} voters. " if voters > 1 else ". ")
        + (
            f"They say little before there are {FEWEST_VOTES}."
            if few
            else "95 % intervals by bootstrap; models whose intervals overlap may be equal."
        )
        + (
            " “Both bad” counts as a tie does: half a win for each."
            if (cast["winner"] == "both bad").any()
            else ""
        )
    )
    try:
        table = votes.ratings(cast, 2 if few else RESAMPLES)
        html = ratings_html(table, caption)
    except SlmlabError as error:
        html = markup.QUIET.format(str(error))
    return problems + html + _by_tag_html(cast)


def ratings_html(table: pd.DataFrame, caption: str) -> Markup:
    """A table of ratings, the best first, with intervals where there are enough votes."""
    low = min(SCALE[0], table["low"].min())
    high = max(SCALE[1], table["high"].max())
    by_tag = "tag" in table
    per_tag = table.groupby("tag")["votes"].sum() // 2 if by_tag else None
    rows = []
    for row in table.to_dict("records"):
        count = per_tag[row["tag"]] if per_tag is not None else table["votes"].sum() // 2
        known = row["rating"] == row["rating"]
        few = count < FEWEST_VOTES
        rows.append(
            (
                *((row["tag"],) if by_tag else ()),
                row["model"],
                Markup("<strong>{:.0f}</strong>").format(row["rating"]) if known else "—",
                "never compared"
                if not known
                else "too few votes"
                if few
                else interval_html(row["low"], row["high"], low, high),
                *(row[name] for name in ("wins", "ties", "both_bad", "losses")),
            )
        )
    columns = ("model", "rating", "interval", "won", "tied", "both bad", "lost")
    return markup.table_html(rows, ("tag", *columns) if by_tag else columns, caption)


def interval_html(low: float, high: float, start: float, end: float) -> Markup:
    """An interval in numbers, and as a bar on a scale that all rows share."""
    left, right = (100 * (one - start) / (end - start) for one in (low, high))
    return Markup(
        "<span class='slmlab-range' aria-hidden='true'>"
        "<span style='margin-left:{:.0f}%;width:{:.0f}%'></span></span> {:.0f} to {:.0f}"
    ).format(left, max(2, right - left), low, high)


def _by_tag_html(cast: pd.DataFrame) -> Markup:
    if not cast["tags"].map(len).any():
        return Markup()
    table = votes.ratings_by_tag(cast, RESAMPLES // 4)
    html = ratings_html(table, "Votes with several tags count for each of them.")
    return Markup("<details><summary>Ratings by tag</summary>{}</details>").format(html)
