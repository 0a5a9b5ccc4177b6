"""Score a table of answers, row by row."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Sequence
from functools import cache, partial, wraps
from typing import TYPE_CHECKING, Any

from slmlab.errors import TaskError, Unscorable
from slmlab.evaluation import tasks
from slmlab.evaluation.scorers.python_code import code, tests_of
from slmlab.evaluation.scorers.reading import MissingColumn, Noted, Row, Scorer, is_blank
from slmlab.evaluation.scorers.registry import SCORERS, named
from slmlab.run.cells import plain
from slmlab.run.frames import need
from slmlab.run.tables import read_table
from slmlab.terminal import printable

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


class _Row(dict[str, Any]):
    """A row that raises ``MissingColumn``, so that it can be told from other KeyErrors."""

    def __missing__(self, column: str) -> Any:
        raise MissingColumn(column)


def score(
    frame: pd.DataFrame,
    scorer: str | Scorer | None = None,
    column: str = "score",
    *,
    run_code: bool = False,
) -> pd.DataFrame:
    """The table with two more columns: each answer's score, and a note on it where there is one.

    An answer has no score (NaN) where the generation failed, and where its row cannot be used: a
    blank ``expected``, a regular expression that is none, … Then ``score_note`` has the reason, a
    line on stderr says how many there are, and the other rows are scored all the same. A score has
    a note where an answer only writes the call of a tool. Another line says how many of the answers
    were cut by ``num_predict`` and not asked for again.

    Args:
        frame: what ``slmlab.compare`` returned.
        scorer: a scorer's name (see ``SCORERS``) or a function; None takes the name in each row's
            own column ``scorer``, as the task sets have it.
        column: the name of the new column; the other is called the same with ``_note`` behind it.
        run_code: run tests that are not slmlab's own, and code where this system cannot confine
            it (see ``slmlab.evaluation.code_runner``).

    A table may come from a file that somebody else made, and the scorer ``code`` runs what is in
    its column ``tests``. So it runs tests other than those of slmlab's own task sets only with
    ``run_code=True``, or where ``scorer`` names it.

    Raises:
        TaskError: there is no such scorer; the table lacks a column that its scorer needs; or code
            would run without your word.
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
    given, rows = _prepared(frame, scorer, run_code)
    results = [_score_row(given, number, row, run_code) for number, row in enumerate(rows)]
    notes = [note for _, note in results]
    for what, scored in (("no score", False), ("a note on their score", True)):
        found = [
            (number, note)
            for number, (value, note) in enumerate(results)
            if note and (value is not None) == scored
        ]
        if found:
            number, note = found[0]
            _say(
                f"{len(found)} of {len(rows)} answers have {what}; in row {number}: {note} "
                f"The column `{column}_note` has all of them."
            )
    if cut := sum(_cut_short(row) for row in rows):
        _say(
            f"{cut} of {len(rows)} scored answers were cut by num_predict, perhaps before their "
            "result: compare(…, ask_again=True) asks those again with four times as many tokens."
        )
    scores = [math.nan if value is None else value for value, _ in results]
    return frame.assign(
        **{
            column: pd.Series(scores, index=frame.index, dtype=float),
            f"{column}_note": pd.Series(notes, index=frame.index, dtype=object),
        }
    )


def _say(line: str) -> None:
    log.info(line)
    print(printable(line), file=sys.stderr)


def _cut_short(row: Row) -> bool:
    """Whether ``num_predict`` cut an answer, and nobody asked again with more room."""
    if not plain(row.get("cut")) or plain(row.get("asked_again")):
        return False
    # An answer that ended before its limit met the end of the context.
    return bool(plain(row.get("tokens", math.inf)) >= plain(row.get("num_predict", 0)))


def check_prompts(
    frame: pd.DataFrame, scorer: str | Scorer | None = None, *, run_code: bool = False
) -> None:
    """Check that answers to these prompts can be scored, before there are any.

    Args:
        frame: a table of prompts with the columns that its scorers read.
        scorer: as for ``score``.
        run_code: as for ``score``.

    Raises:
        TaskError: there is no such scorer, a column is missing, code would run without your word,
            or a row cannot be used; the message names the row.
    """
    given, rows = _prepared(frame, scorer, run_code)
    for number, row in enumerate(rows):
        chosen = named(row["scorer"]) if given is None else given
        if chosen is code:
            if "tests" not in row or is_blank(plain(row["tests"])):
                raise TaskError(f"Row {number}: the scorer code needs a column `tests`.")
            continue
        value, reason = _score_row(
            chosen, number, {**row, "text": "", "error": None, "tool_calls": []}, run_code
        )
        if value is None:
            raise TaskError(f"Row {number}: {reason}")


def _prepared(
    frame: pd.DataFrame, scorer: str | Scorer | None, run_code: bool
) -> tuple[Scorer | None, list[dict[Any, Any]]]:
    """The scorer, None if each row has its own, and the rows; a TaskError if that cannot work."""
    if scorer is None and "scorer" not in frame:
        raise TaskError(
            "The table has no column `scorer`; give score() one of "
            f"{', '.join(SCORERS)}, or a function of (text, row)."
        )
    given = None if scorer is None else named(scorer)
    rows = frame.to_dict("records")
    if given is None and rows and all(is_blank(plain(row["scorer"])) for row in rows):
        raise TaskError("The column `scorer` is blank in all rows.")
    if given is None and not run_code:
        _refuse_foreign_tests(rows)
    return given, rows


def _refuse_foreign_tests(rows: Sequence[Row]) -> None:
    """Raise a TaskError if a row names the scorer ``code`` with tests that are not slmlab's own."""
    tests = [
        (number, tests_of(plain(row.get("tests"))))
        for number, row in enumerate(rows)
        if plain(row["scorer"]) == "code" and not is_blank(plain(row.get("tests")))
    ]
    foreign = [number for number, one in tests if one not in _own_tests()]
    if foreign:
        raise TaskError(
            f"{len(foreign)} of {len(rows)} rows name the scorer `code`, which would run their "
            f"column `tests` as a program; they are not from slmlab's task sets. Read the tests, "
            f"those of row {foreign[0]} first, and if you trust them, give run_code=True (in a "
            "terminal --run-code)."
        )


@cache
def _own_tests() -> frozenset[str]:
    items = read_table(tasks.FOLDER / "code.jsonl")["tests"]
    return frozenset(tests_of(plain(one)) for one in items)


def _score_row(
    scorer: Scorer | None, number: int, row: Row, run_code: bool
) -> tuple[float | None, str | None]:
    """A row's score and a note on it, or why it has none; neither if the generation failed."""
    if isinstance(row.get("error"), str) and row["error"]:
        return None, None
    text = "" if is_blank(plain(row["text"])) else row["text"]
    if scorer is None:
        name = plain(row["scorer"])
        if is_blank(name):
            return None, "`scorer` is blank."
        scorer = named(name)
    if scorer is code and run_code:
        scorer = wraps(code)(partial(code, unconfined=True))
    name = getattr(scorer, "__name__", repr(scorer))
    try:
        score: Any = scorer(text, _Row(row))
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
    if is_blank(score):
        return None, f"The scorer {name} returned none."
    return float(score), score.note if isinstance(score, Noted) else None
