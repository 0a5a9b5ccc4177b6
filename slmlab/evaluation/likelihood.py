"""How probable given texts are to a model: multiple choice, perplexity, KL divergence."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slmlab.engines import server
from slmlab.errors import PromptError, ServerError, SlmlabError
from slmlab.evaluation.perplexities import NUM_CTX, kl_divergence, perplexity
from slmlab.models.inventory import as_names
from slmlab.run.cells import plain
from slmlab.run.given_tokens import first_tokens, token_rows
from slmlab.run.tables import frame_of, rows
from slmlab.run.target import resolve_target

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["choose", "kl_divergence", "multiple_choice", "perplexity"]


def choose(
    model: str,
    prompt: str,
    choices: Sequence[str],
    *,
    chat: bool = False,
    before: str | None = None,
    num_ctx: int = NUM_CTX,
    host: str | None = None,
) -> pd.DataFrame:
    """How probable each choice is as the continuation of a prompt.

    The log-probability of a choice is the sum of its tokens' log-probabilities, each given the
    prompt and the tokens before it. It takes no writing, so a model that cannot keep to a format
    can be tested too; but it is not what the model would write, for that may be none of the
    choices. Long choices are less probable than short ones, for which ``per_character`` makes up
    (``acc_norm`` in lm-evaluation-harness).

    The embedded engine does it for any choices. Ollama does not give the probabilities of given
    tokens, only those of the 20 likeliest: there it works for choices of one token each that are
    among them, such as letters.

    Args:
        model: a model's name.
        prompt: what comes before.
        choices: at least two different texts.
        chat: the prompt is a user's message in the model's chat template, and the choices are the
            assistant's answers. By default the prompt is read as it is.
        before: what stands between prompt and choice. By default a space, except with ``chat`` or
            after a prompt that ends with white space.
        num_ctx: the context length, which prompt and choice have to fit in.
        host: the server (default: ``slmlab.server.host()``).

    Returns:
        One row for each choice: ``choice``, ``logprob`` (natural logarithm), ``tokens`` (how many
        there are), ``per_character`` (``logprob`` by the choice's length) and ``probability``
        (among the choices, which together have 1).

    Raises:
        PromptError: the choices are not usable, or the server does not give their probabilities.
        ModelError: there is no such model, the prompt is too long, or a base model has no template.
        ServerError: no server answers.

    Examples:
        >>> table = slmlab.likelihood.choose(names[0], "Paris is in", ["France", "Italy"])
        >>> table["choice"][table["logprob"].idxmax()]
        'France'
    """
    import numpy as np
    import pandas as pd

    texts = _choices(choices)
    if not isinstance(prompt, str) or not prompt.strip():
        raise PromptError(f"The prompt before the choices is a text that is not blank: {prompt!r}.")
    target = resolve_target(model, num_ctx, server.address_of(host))
    if before is None:
        before = "" if chat or prompt[-1].isspace() else " "
    given = [before + one for one in texts]
    if target.engine == "embedded":
        found = token_rows(target, given, num_ctx, prompt=prompt, chat=chat)
        sums = [math.fsum(row["logprob"] for row in one) for one in found]
        counts = [len(one) for one in found]
    else:
        sums, counts = first_tokens(target, prompt, given, num_ctx, chat), [1] * len(texts)
    weights = np.exp(np.array(sums) - max(sums))
    return pd.DataFrame(
        {
            "choice": texts,
            "logprob": sums,
            "tokens": counts,
            "per_character": [one / len(t) for one, t in zip(sums, texts, strict=True)],
            "probability": weights / weights.sum(),
        }
    )


def multiple_choice(
    names: str | Sequence[str],
    questions: Any,
    *,
    choices: str = "labels",
    chat: bool = False,
    before: str | None = None,
    num_ctx: int = NUM_CTX,
    host: str | None = None,
    quiet: bool = False,
) -> pd.DataFrame:
    """Let models choose among the choices of each question, by their probabilities.

    The same questions through ``slmlab.compare`` and ``slmlab.score`` show what the models write;
    the results differ, often by much: a model may know an answer that it does not manage to write
    as it was asked to, and some that choose well write something else.

    Args:
        names: a model or several.
        questions: a table with ``prompt``, ``expected`` and the column of choices, as
            ``slmlab.tasks.load`` returns it.
        choices: that column, of lists of texts: ``labels``, such as letters, or ``choices``, the
            texts that they stand for. ``expected`` is one of them, or its label.
        chat: see ``choose``.
        before: see ``choose``; by default each question's own column ``before``, if it has one.
        num_ctx: see ``choose``.
        host: the server.
        quiet: show no progress.

    Returns:
        One row for each model and question, which ``slmlab.statistics`` reads like a scored
        comparison: the question's columns, ``model``, ``prompt_id``, ``text`` (the most probable
        choice), ``score`` (1 if it is right), ``score_per_character`` (the same by
        ``per_character``), ``probability`` (of the right one among the choices), ``logprobs`` (of
        all) and ``error`` (why there is no score, as where two choices are equal). After an
        interrupt, or when the server is lost, the rows until then are returned, and a line on
        stderr says so.

    Raises:
        PromptError: a question has no such choices, or the right one is not among them; nothing has
            run then.
        ModelError: there is no such model.
        ServerError: no server answers.

    Examples:
        >>> questions = slmlab.tasks.load("sentiment", 2)
        >>> table = slmlab.likelihood.multiple_choice(names[0], questions, chat=True)
        >>> bool(table["score"].isin([0, 1]).all())
        True
    """
    items = [(row, *_question(row, number, choices)) for number, row in enumerate(rows(questions))]
    if not items:
        raise PromptError("There are no questions.")
    equal = [number for number, (_, texts, _) in enumerate(items) if _are_equal(texts)]
    if len(equal) == len(items):
        raise PromptError(f"Every question has equal choices, such as {items[0][1]}.")
    if equal:
        warning = (
            f"{len(equal)} of {len(items)} questions are left out, since some of their choices "
        )
        print(f"{warning}are equal: {', '.join(map(str, equal))}", file=sys.stderr)
    address = server.address_of(host)
    model_names = as_names([names])
    for name in model_names:
        resolve_target(name, num_ctx, address)
    results: list[dict[str, Any]] = []
    for name in model_names:
        for number, (row, texts, right) in enumerate(items):
            # A benchmark may say what stands between its prompts and choices.
            between = row.get("before") if before is None else before
            base = {**row, "model": name, "prompt_id": number, choices: texts}
            if number in equal:
                results.append(
                    base | {"text": "", "score": None, "error": "Some choices are equal."}
                )
                continue
            try:
                table = choose(
                    name,
                    row["prompt"],
                    texts,
                    chat=chat,
                    before=between,
                    num_ctx=num_ctx,
                    host=address,
                )
            except (KeyboardInterrupt, ServerError) as error:
                if not results:
                    raise
                why = str(error) or "interrupted"
                total = len(model_names) * len(items)
                print(f"Stopped after {len(results)} of {total}: {why}", file=sys.stderr)
                return frame_of(results)
            except SlmlabError as error:
                results.append(base | {"text": "", "score": None, "error": str(error)})
                continue
            results.append(base | _scored(table, texts, right))
        if not quiet:
            print(f"{name}: {len(items)} questions", file=sys.stderr)
    return frame_of(results, floats=("score", "score_per_character", "probability"))


def _scored(table: pd.DataFrame, texts: Sequence[str], right: int) -> dict[str, Any]:
    """What one question's table of choices says, as columns."""
    best, by_character = int(table["logprob"].idxmax()), int(table["per_character"].idxmax())
    return {
        "text": texts[best],
        "score": float(best == right),
        "score_per_character": float(by_character == right),
        "probability": float(table["probability"][right]),
        "logprobs": table["logprob"].tolist(),
        "error": None,
    }


def _question(row: Any, number: int, column: str) -> tuple[list[str], int]:
    """The choices of a question, and the place of the right one."""
    where = f"Question {number}"
    if not isinstance(row, Mapping) or not isinstance(row.get("prompt"), str):
        raise PromptError(f"{where} has no text in a column `prompt`.")
    texts = plain(row.get(column))
    if not isinstance(texts, list):
        raise PromptError(f"{where} has no list of choices in the column {column!r}.")
    try:
        texts = _texts(texts)
    except PromptError as error:
        raise PromptError(f"{where}: {error}") from error
    expected, labels = row.get("expected"), plain(row.get("labels"))
    # The label first: of the blood types O, A, B and AB, the choice with the label A is O.
    if isinstance(labels, list) and len(labels) == len(texts) and expected in labels:
        return texts, labels.index(expected)
    if expected in texts:
        return texts, texts.index(expected)
    raise PromptError(f"{where}: the right choice, {expected!r}, is not one of {texts}.")


def _choices(given: Any) -> list[str]:
    texts = _texts(given)
    if _are_equal(texts):
        raise PromptError(f"Choices are different texts; got {given!r}.")
    return texts


def _texts(given: Any) -> list[str]:
    texts = [] if isinstance(given, str) else list(given)
    if len(texts) < 2 or not all(isinstance(one, str) and one.strip() for one in texts):
        raise PromptError(f"Choices are at least two different texts; got {given!r}.")
    return texts


def _are_equal(texts: list[str]) -> bool:
    return len(set(texts)) < len(texts)
