"""Score a table of answers, row by row."""

from __future__ import annotations

import logging
import math
import sys
from typing import TYPE_CHECKING, Any

from slmlab.errors import TaskError
from slmlab.evaluation.scorers.reading import (
    MissingColumn,
    Row,
    Scorer,
    Unscorable,
    is_blank,
)
from slmlab.evaluation.scorers.registry import SCORERS, named
from slmlab.run.cells import plain
from slmlab.run.frames import need

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


class _Row(dict[str, Any]):
    """A row that raises ``MissingColumn``, so that it can be told from other KeyErrors."""

    def __missing__(self, column: str) -> Any:
        raise MissingColumn(column)


def score(
    frame: pd.DataFrame, scorer: str | Scorer | None = None, column: str = "score"
) -> pd.DataFrame:
    """The table with two more columns: each answer's score, and why an answer has none.

    An answer has no score (NaN) where the generation failed, and where its row cannot be used: a
    blank ``expected``, a regular expression that is none, … Then ``score_note`` has the reason, a
    line on stderr says how many there are, and the other rows are scored all the same.

    Args:
        frame: what ``slmlab.compare`` returned.
        scorer: a scorer's name (see ``SCORERS``) or a function; None takes the name in each row's
            own column ``scorer``, as the task sets have it.
        column: the name of the new column; the other is called the same with ``_note`` behind it.

    Raises:
        TaskError: there is no such scorer, or the table lacks a column that its scorer needs.
        Exception: whatever your own scorer raised, with a note that names the row.

    Examples:
        >>> scored = slmlab.score(frame)  # each row by the scorer that its task names
        >>> def brief(text, row):
        ...     return len(text) < 200
        >>> slmlab.score(frame, brief, column="brief")["brief"].unique().tolist()
        [1.0]
    """
    import pandas as pd

    need(frame)
    if "text" not in frame:
        raise TaskError("The table has no column `text` with answers, as compare() returns it.")
    if scorer is None and "scorer" not in frame:
        raise TaskError(
            "The table has no column `scorer`; give score() one of "
            f"{', '.join(SCORERS)}, or a function of (text, row)."
        )
    given = None if scorer is None else named(scorer)
    rows = frame.to_dict("records")
    if given is None and rows and all(is_blank(plain(row["scorer"])) for row in rows):
        raise TaskError("The column `scorer` is blank in all rows.")
    results = [_score_row(given, number, row) for number, row in enumerate(rows)]
    notes = [note for _, note in results]
    if reasons := [(number, note) for number, note in enumerate(notes) if note]:
        number, note = reasons[0]
        line = (
            f"{len(reasons)} of {len(rows)} answers have no score; in row {number}: {note} "
            f"The column `{column}_note` has all reasons."
        )
        log.info(line)
        print(line, file=sys.stderr)
    scores = [math.nan if value is None else value for value, _ in results]
    return frame.assign(
        **{
            column: pd.Series(scores, index=frame.index, dtype=float),
            f"{column}_note": pd.Series(notes, index=frame.index, dtype=object),
        }
    )


def _score_row(scorer: Scorer | None, number: int, row: Row) -> tuple[float | None, str | None]:
    """A row's score, or the reason why it has none; neither if the generation failed."""
    if isinstance(row.get("error"), str) and row["error"]:
        return None, None
    text = "" if is_blank(plain(row["text"])) else row["text"]
    if scorer is None:
        name = plain(row["scorer"])
        if is_blank(name):
            return None, "`scorer` is blank."
        scorer = named(name)
    name = getattr(scorer, "__name__", repr(scorer))
    try:
        found: Any = scorer(text, _Row(row))
    except Unscorable as error:
        return None, str(error)
    except MissingColumn as error:
        raise TaskError(
            f"The scorer {name} needs a column {error.args[0]!r}, which the table does not have."
        ) from error
    except Exception as error:
        where = f"The scorer {name} failed on row {number}: {str(text)[:80]!r}"
        log.info(where)
        if sys.version_info >= (3, 11):
            error.add_note(where)
        raise
    return (None, f"The scorer {name} returned none.") if is_blank(found) else (float(found), None)
