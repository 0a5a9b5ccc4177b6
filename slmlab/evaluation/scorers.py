"""Score answers: a scorer is a function of an answer's text and its row, and gives 0 to 1.

>>> def polite(text, row):
...     return "please" in text.lower()
>>> polite("Yes, please.", {})
True

Any function of that form can be given to ``score``, also one of your own. Those here read what they
need (``expected``, ``labels``, ``tests``, …) from the row, where the table of prompts had put it.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import logging
import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from slmlab import models
from slmlab.engines import server
from slmlab.engines.client import client
from slmlab.errors import TaskError, did_you_mean
from slmlab.evaluation import code_runner

if TYPE_CHECKING:
    import pandas as pd


Row = Mapping[str, Any]
Scorer = Callable[[str, Row], float]
log = logging.getLogger(__name__)


class MissingColumn(KeyError):
    """A scorer asked a row for a column that the table does not have."""


class _Row(dict[str, Any]):
    """A row that tells its own missing columns from all other keys that are not found."""

    def __missing__(self, column: str) -> Any:
        raise MissingColumn(column)


def score(
    frame: pd.DataFrame, scorer: str | Scorer | None = None, column: str = "score"
) -> pd.DataFrame:
    """The table with one more column: each answer's score; None where the generation failed.

    Args:
        frame: what ``slmlab.compare`` returned.
        scorer: a scorer's name (see ``SCORERS``) or a function; None takes the name in each row's
            own column ``scorer``, as the task sets have it.
        column: the name of the new column.

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
    if scorer is None and "scorer" not in frame:
        raise TaskError(
            "The table has no column `scorer`; give score() one of "
            f"{', '.join(SCORERS)}, or a function of (text, row)."
        )
    scores = [
        _score_row(_named(row["scorer"] if scorer is None else scorer), number, row)
        for number, row in enumerate(frame.to_dict("records"))
    ]
    return frame.assign(**{column: scores})


def _score_row(scorer: Scorer, number: int, row: Row) -> float | None:
    if isinstance(row["error"], str):
        return None
    name = getattr(scorer, "__name__", repr(scorer))
    try:
        return float(scorer(row["text"], _Row(row)))
    except MissingColumn as error:
        raise TaskError(
            f"The scorer {name} needs a column {error.args[0]!r}, which the table does not have."
        ) from error
    except Exception as error:
        where = f"The scorer {name} failed on row {number}: {row['text'][:80]!r}"
        log.info(where)
        if sys.version_info >= (3, 11):
            error.add_note(where)
        raise


def _named(scorer: str | Scorer) -> Scorer:
    if callable(scorer):
        return scorer
    if scorer not in SCORERS:
        raise TaskError(
            f"There is no scorer {scorer!r}.{did_you_mean(str(scorer), SCORERS)} "
            f"Scorers: {', '.join(SCORERS)}; or give a function of (text, row)."
        )
    return SCORERS[scorer]


# Text.


def exact(text: str, row: Row) -> bool:
    """The answer is ``expected``, but for case, white space and marks around it.

    Examples:
        >>> slmlab.scorers.exact("Paris.", {"expected": "paris"})
        True
    """
    return _plain(text) == _plain(str(row["expected"]))


def contains(text: str, row: Row) -> bool:
    """``expected`` (or, where it is a list, one of it) occurs as words in the answer.

    Examples:
        >>> slmlab.scorers.contains("It is Paris, of course.", {"expected": "Paris"})
        True
    """
    wanted = row["expected"] if isinstance(row["expected"], list) else [row["expected"]]
    return any(_occurs(str(one), text) for one in wanted)


def regex(text: str, row: Row) -> bool:
    """The regular expression in ``expected`` is found; case does not matter, ``.`` takes all.

    Examples:
        >>> slmlab.scorers.regex("Call 555-1234.", {"expected": "[0-9]{3}-[0-9]{4}"})
        True
    """
    return re.search(row["expected"], text, re.IGNORECASE | re.DOTALL) is not None


def label(text: str, row: Row) -> bool:
    """Of all the ``labels``, ``expected`` is the only one that the answer names.

    Examples:
        >>> row = {"labels": ["positive", "negative"], "expected": "positive"}
        >>> slmlab.scorers.label("I would say positive.", row)
        True
        >>> slmlab.scorers.label("Positive or negative, who knows?", row)
        False
    """
    return [one for one in row["labels"] if _occurs(one, text)] == [row["expected"]]


def facts(text: str, row: Row) -> float:
    """The share of the expected facts that the answer names; 0 if it is over ``max_words``.

    Each fact is a word's beginning, or several with ``|`` between, of which one is enough.

    Examples:
        >>> row = {"expected": ["Warsaw", "1867", "physic|chem"]}
        >>> slmlab.scorers.facts("She was born in Warsaw in 1867.", row)
        0.66...
    """
    if row.get("max_words") and len(text.split()) > row["max_words"]:
        return 0.0
    found = [re.search(rf"(?<!\w)(?:{fact})", text, re.IGNORECASE) for fact in row["expected"]]
    return sum(one is not None for one in found) / len(found)


def number(text: str, row: Row) -> bool:
    """The last number in the answer is ``expected``, within ``tolerance`` (default 1e-6) of it.

    The last one, because a model that thinks aloud names others on its way.

    Examples:
        >>> slmlab.scorers.number("3 boxes of 4 are 12.", {"expected": 12})
        True
    """
    found = re.findall(r"[-+]?\d[\d,]*\.?\d*(?:[eE][-+]?\d+)?", text)
    if not found:
        return False
    last = float(found[-1].replace(",", "").rstrip("."))
    tolerance = row.get("tolerance") or 1e-6
    return math.isclose(last, float(row["expected"]), rel_tol=tolerance, abs_tol=tolerance)


def words(at_most: int) -> Scorer:
    """A scorer: the answer has at most so many words.

    Examples:
        >>> slmlab.scorers.words(3)("Short and clear.", {})
        True
    """
    return lambda text, _: len(text.split()) <= at_most


# Structure.


def json_valid(text: str, row: Row) -> bool:
    """The answer holds JSON, and that fits the JSON schema in ``schema`` where there is one.

    Examples:
        >>> row = {"schema": {"type": "object", "required": ["age"]}}
        >>> slmlab.scorers.json_valid('{"age": 4}', row)
        True
        >>> slmlab.scorers.json_valid('{"name": "Ada"}', row)
        False
    """
    import jsonschema

    try:
        value = _json(text)
    except ValueError:
        return False
    schema = row.get("schema")
    if not isinstance(schema, Mapping):
        return True
    try:
        jsonschema.validate(value, schema)
    except jsonschema.ValidationError:
        return False
    return True


def json_fields(text: str, row: Row) -> float:
    """The share of the fields of ``expected`` (a dict) that the JSON in the answer has right.

    Examples:
        >>> row = {"expected": {"name": "Ada", "age": 4}}
        >>> slmlab.scorers.json_fields('{"name": "Ada", "age": 3}', row)
        0.5
    """
    try:
        value = _json(text)
    except ValueError:
        return 0.0
    if not isinstance(value, dict):
        return 0.0
    right = [_plain(str(value.get(k))) == _plain(str(v)) for k, v in row["expected"].items()]
    return sum(right) / len(right)


def code(text: str, row: Row) -> bool:
    """The Python code in the answer passes ``tests``, run in a separate, limited process.

    See ``slmlab.evaluation.code_runner`` for what these limits are worth.

    Examples:
        >>> slmlab.scorers.code("def twice(x): return 2 * x", {"tests": "assert twice(2) == 4"})
        True
    """
    return code_runner.run_tests(_code(text), row["tests"]).passed


# Meaning.


def similar(model: str, host: str | None = None) -> Scorer:
    """A scorer: how near answer and ``expected`` are in meaning, by ``model``'s embeddings.

    Gives the cosine of the two embeddings, cut at 0. It tells subjects apart better than right from
    wrong; an embedding model (``all-minilm``, ``nomic-embed-text``) does it better than a chat
    model.

    Examples:
        >>> similar = slmlab.scorers.similar(names[0])
        >>> round(similar("A cat.", {"expected": "A cat."}), 2)
        1.0
    """
    host = host or server.host()
    models.resolve(model, host)

    @functools.lru_cache(maxsize=4096)
    def embedding(text: str) -> tuple[float, ...]:
        with models.sentences(host, model):
            return tuple(client(host).embed(model, text).embeddings[0])

    def similarity(text: str, row: Row) -> float:
        import numpy as np

        if not text.strip():
            return 0.0
        one, other = np.array(embedding(text)), np.array(embedding(str(row["expected"])))
        return max(0.0, float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other))))

    return similarity


# Several.


def all_of(*scorers: str | Scorer) -> Scorer:
    """A scorer: the lowest of several scores, so that all have to hold.

    Examples:
        >>> brief_and_right = slmlab.scorers.all_of("contains", slmlab.scorers.words(5))
        >>> brief_and_right("Paris.", {"expected": "Paris"})
        1.0
    """
    return lambda text, row: min(float(_named(one)(text, row)) for one in scorers)


def any_of(*scorers: str | Scorer) -> Scorer:
    """A scorer: the highest of several scores, so that one is enough.

    Examples:
        >>> either = slmlab.scorers.any_of("exact", "number")
        >>> either("That makes 12.", {"expected": 12})
        1.0
    """
    return lambda text, row: max(float(_named(one)(text, row)) for one in scorers)


SCORERS: dict[str, Scorer] = {
    one.__name__: one
    for one in (exact, contains, regex, label, facts, number, json_valid, json_fields, code)
}


def _plain(text: str) -> str:
    return " ".join(text.split()).strip(" \t\n.,;:!?\"'`*“”‘’()[]").casefold()


def _occurs(word: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def _json(text: str) -> Any:
    """The first JSON object or list in a text, which may stand in a code block or in prose.

    Raises:
        ValueError: there is none.
    """
    decoder = json.JSONDecoder()
    # A text of nothing but brackets must not take forever: JSON begins early or not at all.
    for match in itertools.islice(re.finditer(r"[{\[]", text), 50):
        with contextlib.suppress(ValueError, RecursionError):
            return decoder.raw_decode(text, match.start())[0]
    raise ValueError("There is no JSON in the text.")


def _code(text: str) -> str:
    """The code in an answer: its fenced blocks, or all of it where there are none."""
    blocks = re.findall(r"```[\w+-]*[^\S\n]*\n(.*?)(?:```|\Z)", text, re.DOTALL)
    return "\n".join(blocks) if blocks else text
