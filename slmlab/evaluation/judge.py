"""Models as judges of two answers, and how consistent their verdicts are."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slmlab.errors import SlmlabError
from slmlab.evaluation import statistics
from slmlab.evaluation.pairs import answer_pairs
from slmlab.evaluation.scorers.reading import answer
from slmlab.models.inventory import as_names
from slmlab.run.cells import plain
from slmlab.run.compare import compare
from slmlab.run.frames import need, prompt_text
from slmlab.run.options import Options, full_options, parameters_of
from slmlab.run.servers import of_one_engine

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Unpack

log = logging.getLogger(__name__)

JUDGE_TEMPLATE = (
    "Question:\n{question}\n\nAnswer 1:\n{one}\n\nAnswer 2:\n{two}\n\n"
    "Which answer is better: more correct, more to the point, clearer? "
    "Reply with 1, 2 or tie, and nothing else."
)
# A line that consists of a verdict, perhaps followed by a reason.
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
    model: str | Sequence[str],
    *,
    template: str = JUDGE_TEMPLATE,
    question: str = "prompt",
    store: str | Path | None = None,
    host: str | Sequence[str] | None = None,
    quiet: bool = False,
    **options: Unpack[Options],
) -> pd.DataFrame:
    """Let models say which of two answers is better, each pair in both orders.

    A judge that always prefers the first answer contradicts itself when the order is reversed. Such
    a pair counts as a tie, and ``judge_consistency`` gives the share without contradiction. Small
    models are often no better judges than a coin: before you trust the votes, look at
    ``judge_bias``, and vote on some of the pairs yourself for ``check_judge``. A line on stderr
    says so where a judge replies with something else than a verdict.

    Args:
        frame: what ``slmlab.compare`` returned, with at least two models.
        model: the judge, or several.
        template: its prompt, with ``{question}``, ``{one}`` and ``{two}``.
        question: the column that holds the question.
        store: the folder of the records, as in ``slmlab.compare``.
        host: the server, or several that share the work.
        quiet: show no progress.
        options: sampling options; by default ``temperature`` is 0 and ``num_predict`` 8.

    Returns:
        Votes for ``ratings``: ``model_a``, ``model_b``, ``winner`` (``a``, ``b``, ``tie``),
        ``prompt_id``, ``repeat``, ``prompt``, ``voter``, ``first`` and ``second`` (the verdict in
        each order: ``a``, ``b``, ``tie``, or None if it could not be read), ``consistent``, and
        ``length_a`` and ``length_b``, the characters of both answers.

    Raises:
        SlmlabError: no prompt has answers of two models.
        PromptError: an option or the template is not usable.

    Examples:
        >>> votes = slmlab.votes.judge(frame[frame["repeat"] == 0], names[0])
        >>> set(votes["winner"]) <= {"a", "b", "tie"}
        True
    """
    import pandas as pd

    full_options(options, parameters=parameters_of(judge))
    need(frame, question)
    pairs = answer_pairs(frame)
    if not pairs:
        raise SlmlabError("There is no prompt with answers of two models to compare.")
    questions = [
        {"question": prompt_text(one[question]), "one": first["text"], "two": second["text"]}
        for one, two in pairs
        for first, second in ((one, two), (two, one))
    ]
    sampling: Options = {"temperature": 0.0, "num_predict": 8, **options}
    votes = []
    for name in as_names([model]):
        replies = compare(
            name,
            questions,
            template=template,
            timing=False,
            store=store,
            host=of_one_engine(host),
            quiet=quiet,
            **sampling,
        )
        verdicts = [read_verdict(text) for text in replies["text"]]
        warn_of_unread(name, replies, verdicts)
        for (one, two), first, turned in zip(pairs, verdicts[::2], verdicts[1::2], strict=True):
            # In the reversed order, the first answer is our second.
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
                    "voter": name,
                    "first": first,
                    "second": second,
                    "consistent": consistent,
                    "length_a": len(one["text"]),
                    "length_b": len(two["text"]),
                }
            )
    return pd.DataFrame(votes)


def warn_of_unread(name: str, replies: pd.DataFrame, verdicts: Sequence[object]) -> None:
    """Say on stderr which of a judge's replies were not as asked for (None), and the first's why.

    Args:
        name: the judge.
        replies: what ``slmlab.compare`` returned.
        verdicts: what was read in each reply.
    """
    rows = zip(replies.to_dict("records"), verdicts, strict=True)
    unread = [row for row, verdict in rows if verdict is None]
    if not unread:
        return
    shown = " ".join(str(unread[0]["text"]).split())
    note = f"{name} gave no verdict that can be read in {len(unread)} of {len(replies)} replies, "
    failed = [error for row in unread if (error := plain(row.get("error"))) is not None]
    note += f"of which {len(failed)} failed: {failed[0]}" if failed else f"such as {shown[:80]!r}."
    log.info(note)
    print(note, file=sys.stderr)


def read_verdict(text: str) -> str | None:
    """``a`` for the first answer, ``b`` for the second, ``tie``; None if it is not clear.

    A verdict is clear if a line consists of it (see ``VERDICT``) and no other line contradicts it:
    better no verdict than a wrong one. The judge's thoughts are ignored.
    """
    marks = r"\\boxed|[*_`\"“”()\[\]{}$]"
    lines = [re.sub(marks, "", line).strip(" \t.!") for line in answer(text).splitlines()]
    verdicts = {match["winner"].lower() for line in lines if (match := VERDICT.fullmatch(line))}
    return {"1": "a", "2": "b", "tie": "tie"}[verdicts.pop()] if len(verdicts) == 1 else None


def judge_consistency(votes: pd.DataFrame) -> statistics.Interval:
    """The share of pairs with the same verdict in both orders, with its interval.

    A judge that tosses a coin between two answers is consistent on half of the pairs.

    Examples:
        >>> import pandas as pd
        >>> votes = pd.DataFrame({"consistent": [True, True, False]})
        >>> round(slmlab.votes.judge_consistency(votes).value, 2)
        0.67
    """
    need(votes, "consistent")
    return statistics.interval(votes["consistent"].astype(float).tolist())
