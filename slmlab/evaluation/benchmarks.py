"""Published benchmarks as task sets: from the Hugging Face hub, or from files in their formats."""

from __future__ import annotations

import collections
import re
import string
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from slmlab.errors import TaskError
from slmlab.run.cells import parse
from slmlab.run.tables import frame_of, records

if TYPE_CHECKING:
    import pandas as pd

HUB = "hf:"
CHOOSE = "Reply with the letter of the right answer only."
CALCULATE = "End your reply with the result as a number."
# Tokens for a calculation in words, and for a letter with its text.
LONG, SHORT = 400, 32
# The column by which files of IFEval are known, and its rules that are not checked here: they take
# a program that recognizes languages, sentences or English words.
INSTRUCTIONS = "instruction_id_list"
UNCHECKED = {
    "language:response_language",
    "length_constraints:number_sentences",
    "change_case:capital_word_frequency",
}


def from_hub(name: str, split: str) -> pd.DataFrame:
    """One split of a dataset on the Hugging Face hub, as a table.

    Args:
        name: ``hf:owner/name``, or ``hf:owner/name/configuration`` if it has several.
        split: such as ``test``, ``validation``, ``train``.

    Raises:
        TaskError: the package ``datasets`` is missing, or there is no such dataset or split.
    """
    try:
        import datasets  # type: ignore[import-untyped]
    except ImportError as error:
        raise TaskError(f"To load {name}, install datasets: pip install datasets.") from error
    parts = name.removeprefix(HUB).split("/")
    if len(parts) > 3 or not all(re.fullmatch(r"\w[\w.-]*", part) for part in parts):
        raise TaskError(
            f"{name!r} names no dataset: it is hf:owner/name, or hf:owner/name/configuration."
        )
    path = "/".join(parts[:2])
    try:
        dataset = datasets.load_dataset(path, *parts[2:3], split=split)
    except Exception as error:  # it raises many kinds, from ValueError to ConnectionError
        why = str(error).strip().split("\n")[0].rstrip(".")
        raise TaskError(f"{name} cannot be loaded, split {split!r}: {why}.") from error
    return frame_of(dataset.to_list())


def as_tasks(table: pd.DataFrame, name: str, where: str) -> pd.DataFrame:
    """A table in a benchmark's own columns, as a task set.

    Recognized are questions with a calculation that ends in ``#### 42`` (as in GSM8K), and
    questions with ``choices``: a list with the position or letter of the ``answer`` (as in MMLU),
    or texts with labels and the ``answerKey`` (as in ARC). The prompts are plain: no examples
    precede the question, so scores may differ from published ones, which mostly have some.

    Args:
        table: the benchmark.
        name: the set's name, for the column ``task``.
        where: its file or address, for messages.

    Raises:
        TaskError: these are no such columns, or a row is broken; the message names the row.
    """
    rows = records(table)
    items = []
    for number, row in enumerate(rows):
        try:
            items.append({**_item(row), "task": row.get("subject") or name})
        except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
            if number == 0 and not ("question" in row and {"choices", "answer"} & row.keys()):
                raise TaskError(
                    f"{where} has no column `prompt`; it has {', '.join(map(str, table.columns))}, "
                    "which are the columns of no benchmark that is known here. Say which are "
                    'which: columns={"prompt": "…", "expected": "…"}.'
                ) from error
            hint = "" if number else ". If it is of another benchmark, say columns={…}"
            raise TaskError(
                f"{where}, row {number + 1}, is broken{_why(error)}: {row!r:.200}{hint}"
            ) from error
    return frame_of(items)


def _why(error: Exception) -> str:
    """What is wrong with a row, in parentheses, if it is known."""
    if isinstance(error, KeyError):
        return f" (it has no {error})"
    return f" ({error})" if type(error) is ValueError else ""


def with_rules(table: pd.DataFrame, name: str, where: str) -> tuple[pd.DataFrame, str]:
    """IFEval's prompts with what its rules need, and a sentence on those that are left out.

    A prompt with a rule that is not checked here is left out as a whole, since nobody could say
    whether all of its rules are followed.

    Raises:
        TaskError: a row is broken; the message names it.
    """
    items, left = [], collections.Counter[str]()
    for number, row in enumerate(records(table)):
        try:
            kinds, given = _list(row[INSTRUCTIONS]), _list(row["kwargs"])
            if len(kinds) != len(given):
                raise ValueError(f"{len(kinds)} instructions and {len(given)} kwargs")
            wanted = [
                {"type": str(kind), **{k: v for k, v in (more or {}).items() if v is not None}}
                for kind, more in zip(kinds, given, strict=True)
            ]
            if not wanted or not isinstance(row["prompt"], str):
                raise ValueError("nothing is asked")
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise TaskError(
                f"{where}, row {number + 1}, is broken{_why(error)}: {row!r:.200}"
            ) from error
        if unknown := UNCHECKED & {*map(str, kinds)}:
            left.update(unknown)
            continue
        identity = {"id": row["key"]} if row.get("key") is not None else {}
        items.append(
            identity
            | {
                "prompt": row["prompt"],
                "instructions": wanted,
                "scorer": "instructions",
                "num_predict": LONG * 3,
            }
        )
    rules = ", ".join(f"{rule} ({count})" for rule, count in left.items())
    if not items:
        raise TaskError(f"{where} has no prompt whose rules are all checked here; not {rules}.")
    count = f"{len(table) - len(items)} of {len(table)} prompts"
    return frame_of(items), f"Left out of {name}: {count}, for the rules {rules}." if left else ""


def _list(value: Any) -> list[Any]:
    """A list, which a CSV file has as text."""
    values = parse(value) if isinstance(value, str) else value
    if not isinstance(values, list):
        raise ValueError(f"{value!r:.40} is no list")
    return values


def _item(row: Mapping[str, Any]) -> dict[str, Any]:
    """One question as an item of a task set; an error of any kind if it is none."""
    question = row["question"]
    stem = question["stem"] if isinstance(question, dict) else question
    if not isinstance(stem, str) or not stem.strip():
        raise ValueError("it has no question")
    if isinstance(question, dict):
        row = {**row, "choices": question["choices"]}
    identity = {"id": row["id"]} if row.get("id") is not None else {}
    if "choices" not in row:
        result = re.fullmatch(
            r"[-+]?\d[\d,]*(?:\.\d+)?", row["answer"].rpartition("####")[2].strip()
        )
        if "####" not in row["answer"] or result is None:
            raise ValueError("its answer has no number after ####")
        return identity | {
            "prompt": f"{stem}\n\n{CALCULATE}",
            "expected": result[0].replace(",", ""),
            "scorer": "number",
            "num_predict": LONG,
        }
    labels, texts = _choices(row["choices"])
    answer = row["answerKey"] if "answerKey" in row else row["answer"]
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(texts):
        place = answer
    elif str(answer) in labels:
        place = labels.index(str(answer))
    else:
        raise ValueError(f"the answer {answer!r} is none of its {len(texts)} choices")
    letters = list(string.ascii_uppercase[: len(texts)])
    listed = "\n".join(f"{one}) {text}" for one, text in zip(letters, texts, strict=True))
    return identity | {
        "prompt": f"{stem}\n\n{listed}\n\n{CHOOSE}",
        "expected": letters[place],
        "labels": letters,
        "choices": texts,
        "scorer": "label",
        "num_predict": SHORT,
    }


def _choices(given: Any) -> tuple[list[str], list[str]]:
    """The labels and the texts of a question's choices."""
    if isinstance(given, dict):
        labels, texts = given["label"], given["text"]
    elif isinstance(given[0], dict):
        labels, texts = [one["label"] for one in given], [one["text"] for one in given]
    else:
        labels, texts = string.ascii_uppercase[: len(given)], given
    if len(labels) != len(texts) or not 2 <= len(texts) <= 26:
        raise ValueError(f"{len(labels)} labels for {len(texts)} choices, of which 2 to 26 can be")
    return [str(one) for one in labels], [str(one) for one in texts]


def drawn(table: pd.DataFrame, items: int, seed: int, name: str) -> tuple[pd.DataFrame, str]:
    """So many rows drawn at random, in their order, and a sentence on what they are worth."""
    import numpy as np

    if items >= len(table):
        return table, ""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(table))[:items])
    points = 98 / items**0.5  # half of the widest 95 % interval, 1.96 · √(¼ / n), in points
    note = (
        f"{items} of {len(table):,} items of {name}, drawn with seed {seed}: a rate measured on "
        f"them is known to about ±{points:.0f} percentage points."
    )
    return table.iloc[chosen], note


def renamed(table: pd.DataFrame, columns: Mapping[str, str], name: str) -> pd.DataFrame:
    """The table with its columns under the names that slmlab reads.

    Raises:
        TaskError: a column is not there.
    """
    missing = [one for one in columns.values() if one not in table]
    if missing:
        has = ", ".join(map(str, table.columns))
        raise TaskError(f"{name} has no column {missing[0]!r}; it has {has}.")
    others = [one for one in table.columns if one in columns and one not in columns.values()]
    return table.drop(columns=others).rename(columns={old: new for new, old in columns.items()})
