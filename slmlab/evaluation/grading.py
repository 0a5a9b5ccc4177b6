"""Models as judges of single answers: a score by a rubric, with a reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.errors import PromptError, SlmlabError
from slmlab.evaluation.judge import warn_of_unread
from slmlab.evaluation.scorers.reading import answer
from slmlab.models.inventory import as_names
from slmlab.run.compare import compare
from slmlab.run.frames import need, prompt_text
from slmlab.run.options import Options, full_options, parameters_of
from slmlab.run.servers import of_one_engine

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Unpack

RUBRIC = "1 is wrong or useless; the highest score is correct, to the point and clear."
GRADE_TEMPLATE = (
    "Question:\n{question}\n\nAnswer:\n{answer}\n\n"
    "Grade the answer with a score from 1 to {highest}. {rubric}\n"
    "Reply in JSON: the reason in one sentence, then the score."
)
LONGEST_REASON = 200  # characters
# Room for such a reason in any script, where a character may be two tokens, and the JSON around it.
TOKENS = 2 * LONGEST_REASON + 50


def grade(
    frame: pd.DataFrame,
    model: str | Sequence[str],
    rubric: str = RUBRIC,
    *,
    highest: int = 5,
    question: str = "prompt",
    store: str | Path | None = None,
    host: str | Sequence[str] | None = None,
    quiet: bool = False,
    **options: Unpack[Options],
) -> pd.DataFrame:
    """Let models grade each answer by a rubric, with a reason before the score.

    The replies are held to a JSON schema, so that even small models keep to the form; that they
    make sense is another matter. Grade 20 to 50 answers yourself, drawn at random, and see what the
    judge's scores are worth by ``calibrate``.

    Args:
        frame: what ``slmlab.compare`` returned.
        model: the judge, or several.
        rubric: what the scores mean.
        highest: the highest score; 1 is the lowest.
        question: the column that holds the question.
        store: the folder of the records, as in ``slmlab.compare``.
        host: the server, or several that share the work.
        quiet: show no progress.
        options: sampling options; by default ``temperature`` is 0 and ``num_predict`` 450.

    Returns:
        For each judge the rows of the table whose answer did not fail, with ``judge``, ``grade``
        (1 to ``highest``; missing where the reply could not be read, which a line on stderr tells),
        ``judge_score`` (the same from 0 to 1) and ``reason``.

    Raises:
        SlmlabError: there is no answer to grade.
        PromptError: an option, the rubric or the highest score is not usable.

    Examples:
        >>> graded = slmlab.votes.grade(frame.head(2), names[0], "1 is rude, 5 is very polite.")
        >>> len(graded)
        2
    """
    import pandas as pd

    full_options(options, parameters=parameters_of(grade))
    need(frame, question, "text")
    if isinstance(highest, bool) or not isinstance(highest, int) or not 2 <= highest <= 100:
        raise PromptError(f"highest is a score from 2 to 100; got {highest!r}.")
    if not isinstance(rubric, str) or not rubric.strip():
        raise PromptError(f"The rubric is a text that says what the scores mean; got {rubric!r}.")
    answered = frame[frame["error"].isna()] if "error" in frame else frame
    if not len(answered):
        raise SlmlabError("There is no answer to grade.")
    fixed = {"rubric": rubric, "highest": highest}
    questions = [
        {"question": prompt_text(row[question]), "answer": answer(row["text"]), **fixed}
        for row in answered.to_dict("records")
    ]
    sampling: Options = {"temperature": 0.0, "num_predict": TOKENS, **options}
    sampling.setdefault("format", schema(highest))
    tables = []
    for name in as_names([model]):
        replies = compare(
            name,
            questions,
            template=GRADE_TEMPLATE,
            timing=False,
            store=store,
            host=of_one_engine(host),
            quiet=quiet,
            **sampling,
        )
        readings = [read_grade(text, highest) for text in replies["text"]]
        warn_of_unread(name, replies, readings)
        grades = [reading[0] if reading else None for reading in readings]
        tables.append(
            answered.assign(
                judge=name,
                grade=pd.array(grades, dtype="Int64"),
                judge_score=[None if one is None else (one - 1) / (highest - 1) for one in grades],
                reason=[reading[1] if reading else "" for reading in readings],
            )
        )
    return pd.concat(tables, ignore_index=True)


def schema(highest: int) -> dict[str, Any]:
    """The JSON schema of a judge's reply."""
    return {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "maxLength": LONGEST_REASON},
            "score": {"enum": list(range(1, highest + 1))},
        },
        "required": ["reason", "score"],
        "additionalProperties": False,
    }


def read_grade(text: str, highest: int) -> tuple[int, str] | None:
    """The score and the reason in a judge's reply; None if it is not such JSON.

    Examples:
        >>> read_grade('{"reason": "Right.", "score": 5}', 5)
        (5, 'Right.')
        >>> read_grade("I would give it a 5.", 5)
    """
    try:
        reply = json.loads(answer(text))
        score, reason = reply["score"], reply["reason"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if isinstance(score, bool) or not isinstance(score, int) or not 1 <= score <= highest:
        return None
    return score, str(reason)
