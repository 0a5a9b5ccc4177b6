"""A model as judge between two answers, and how far its verdicts can be trusted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slmlab.errors import SlmlabError
from slmlab.evaluation import statistics
from slmlab.evaluation.pairs import answer_pairs
from slmlab.evaluation.scorers.reading import answer
from slmlab.run.compare import compare
from slmlab.run.frames import need
from slmlab.run.options import Options, full_options, parameters_of

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Unpack

JUDGE_TEMPLATE = (
    "Question:\n{question}\n\nAnswer 1:\n{one}\n\nAnswer 2:\n{two}\n\n"
    "Which answer is better: more correct, more to the point, clearer? "
    "Reply with 1, 2 or tie, and nothing else."
)
# One line that is a verdict and nothing but one, perhaps with its reason behind it.
VERDICT = re.compile(
    r"(?:(?:the )?(?:better|best) (?:answer|one) is"
    r"|(?:(?:my|the) )?(?:final )?(?:verdict|winner|choice)(?: is)?:?"
    r"|i (?:would |'d )?(?:prefer|choose)|it(?:'s| is)(?: a)?)?"
    r"\s*(?:answer|number|option|response)?:?\s*#?(?P<winner>1|2|tie)"
    r"(?: is (?:the )?(?:clearly |much )?(?:better|best)(?: (?:answer|one|option|response))?"
    r"(?: than (?:(?:answer|number|option|response) )?#?[12])?)?"
    r"(?:[,;:.]?\s*(?:because|since|as) .*)?",
    re.IGNORECASE,
)


def judge(
    frame: pd.DataFrame,
    model: str,
    *,
    template: str = JUDGE_TEMPLATE,
    question: str = "prompt",
    store: str | Path | None = None,
    host: str | Sequence[str] | None = None,
    quiet: bool = False,
    **options: Unpack[Options],
) -> pd.DataFrame:
    """Let a model say which of two answers is better, each pair in both orders.

    A judge that prefers the first answer whatever it says contradicts itself when the order is
    turned; such a pair counts as a tie, and ``judge_consistency`` says how often it happened. Small
    judges are often no better than a coin: look at that number before you believe the votes.

    Args:
        frame: what ``slmlab.compare`` returned, with at least two models.
        model: the judge.
        template: its prompt, with ``{question}``, ``{one}`` and ``{two}``.
        question: the column that holds the question.
        store: the folder of the records, as in ``slmlab.compare``.
        host: the server, or several that share the work.
        quiet: show no progress.
        options: sampling options; by default ``temperature`` is 0 and ``num_predict`` 8.

    Returns:
        Votes for ``ratings``: ``model_a``, ``model_b``, ``winner`` (``a``, ``b``, ``tie``),
        ``prompt_id``, ``repeat``, ``prompt``, ``voter``, ``first`` and ``second`` (the verdict in
        each order: ``a``, ``b``, ``tie``, or None where it could not be read) and ``consistent``.

    Examples:
        >>> votes = slmlab.votes.judge(frame, names[0])
        >>> set(votes["winner"]) <= {"a", "b", "tie"}
        True
    """
    import pandas as pd

    full_options(options, parameters=parameters_of(judge))
    need(frame, question)
    pairs = answer_pairs(frame)
    if not pairs:
        raise SlmlabError("There is no prompt with answers of two models to judge between.")
    questions = [
        {"question": str(one[question]), "one": first["text"], "two": second["text"]}
        for one, two in pairs
        for first, second in ((one, two), (two, one))
    ]
    sampling: Options = {"temperature": 0.0, "num_predict": 8, **options}
    replies = compare(
        model,
        questions,
        template=template,
        timing=False,
        store=store,
        host=host,
        quiet=quiet,
        **sampling,
    )
    verdicts = [read_verdict(text) for text in replies["text"]]
    votes = []
    for (one, two), first, turned in zip(pairs, verdicts[::2], verdicts[1::2], strict=True):
        # Asked the other way round, its "first" is our second.
        second = {"a": "b", "b": "a", "tie": "tie", None: None}[turned]
        consistent = first is not None and first == second
        votes.append(
            {
                "model_a": one["model"],
                "model_b": two["model"],
                "winner": first if consistent else "tie",
                "prompt_id": one["prompt_id"],
                "repeat": one["repeat"],
                "prompt": one[question],
                "voter": model,
                "first": first,
                "second": second,
                "consistent": consistent,
            }
        )
    return pd.DataFrame(votes)


def read_verdict(text: str) -> str | None:
    """``a`` for the first answer, ``b`` for the second, ``tie``; None where it is not clear.

    Clear is a line that says nothing else (see ``VERDICT``), if no other line contradicts it: a
    judge that is misread is worse than one that is not understood. Its thoughts are no verdict.
    """
    marks = r"\\boxed|[*_`\"“”()\[\]{}$]"
    lines = [re.sub(marks, "", line).strip(" \t.!") for line in answer(text).splitlines()]
    found = {match["winner"].lower() for line in lines if (match := VERDICT.fullmatch(line))}
    return {"1": "a", "2": "b", "tie": "tie"}[found.pop()] if len(found) == 1 else None


def judge_consistency(votes: pd.DataFrame) -> statistics.Interval:
    """The share of pairs on which a judge said the same in both orders, with its interval.

    A judge that tosses a coin between two answers is consistent on half of them.

    Examples:
        >>> votes = slmlab.votes.judge(frame, names[0])
        >>> 0 <= slmlab.votes.judge_consistency(votes).value <= 1
        True
    """
    need(votes, "consistent")
    return statistics.interval(votes["consistent"].astype(float).tolist())
