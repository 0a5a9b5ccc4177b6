"""The answers of a report, by prompt, with what its reader can filter and sort them by."""

from __future__ import annotations

import collections
import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from slmlab.run.cells import plain
from slmlab.run.frames import bare_prompt
from slmlab.run.images import of
from slmlab.show import sanitize
from slmlab.show.answers import row_html
from slmlab.show.differences import marked
from slmlab.show.figure import colour, shorten
from slmlab.show.images import thumbnails

if TYPE_CHECKING:
    import pandas as pd

# Answers with fewer words in common have no marks: all of it would be marked.
UNLIKE = 0.7
# A beginning of fewer characters stays, though all prompts of a task have it.
REPEATED = 30
RESULTS = {"right": "✓", "partly right": "◐", "wrong": "✗"}


def prompts_of(frame: pd.DataFrame, keys: Sequence[str]) -> list[dict[str, Any]]:
    """The answers to each prompt in each repeat, side by side.

    Args:
        frame: a comparison with a column ``variant``.
        keys: of the prompt of each row.
    """
    repeated = bool((frame["repeat"] > 0).any())
    variants = {name: place for place, name in enumerate(dict.fromkeys(frame["variant"]))}
    prompts = [
        rows.to_dict("records")
        for _, rows in frame.groupby([list(keys), frame["repeat"]], sort=False)
    ]
    begins = beginnings(prompts)
    return [
        _prompt(rows, variants, repeated, begin)
        for rows, begin in zip(prompts, begins, strict=True)
    ]


def beginnings(prompts: list[list[dict[str, Any]]]) -> list[int]:
    """Where the question of each prompt begins to differ from all others of its task."""
    by_task: dict[Any, list[str]] = {}
    for rows in prompts:
        by_task.setdefault(plain(rows[0].get("task")), []).append(_question_text(rows[0]))
    shared = {task: _same_beginning(texts) for task, texts in by_task.items()}
    return [shared[plain(rows[0].get("task"))] for rows in prompts]


def _same_beginning(texts: list[str]) -> int:
    """How many characters, in whole words, all of several texts begin with; 0 if it is little."""
    first, last = min(texts), max(texts)  # all others lie between them
    same = len(os.path.commonprefix([first, last]))  # noqa: RUF071  letters are meant
    count = first.rfind(" ", 0, same) + 1
    return count if count >= REPEATED and first != last else 0


def _prompt(
    rows: list[dict[str, Any]], variants: dict[str, int], repeated: bool, begin: int
) -> dict[str, Any]:
    first = next((row_html(row) for row in rows if not isinstance(row["error"], str)), Markup())
    task = plain(rows[0].get("task"))
    place = [f"{task}, prompt" if task else "Prompt", f"{rows[0]['prompt_id']}"]
    if repeated:
        place.append(f"(run {rows[0]['repeat']})")
    results = [_result(row) for row in rows]
    texts = ["" if isinstance(row["error"], str) else row["text"] for row in rows]
    scores = [row["score"] for row in rows if plain(row.get("score")) is not None]
    spread = max(scores) - min(scores) if scores else 0.0
    apart = words_apart(texts)
    return {
        "task": task or "",
        "place": sanitize.harmless(" ".join(place)),
        "question": question(rows[0], begin),
        "prompt": _prompt_text(rows),
        "images": thumbnails(of(rows[0]["prompt"])),
        "differs": spread > 0 if scores else apart > 0,
        # Scores come first: two ways to say the same are no disagreement.
        "apart": round(spread + min(apart, 0.999) / 1000 if scores else apart, 6),
        "answers": [
            {
                "name": row["variant"],
                "variant": variants[row["variant"]] + 1,
                "colour": colour(variants[row["variant"]]),
                "result": result,
                "sign": RESULTS.get(result, ""),
                "flags": [flag for flag in row["flags"].split(", ") if flag],
                "html": _answer_html(row, first, words_apart([texts[0], text])),
                "numbers": _numbers(row),
            }
            for row, result, text in zip(rows, results, texts, strict=True)
        ],
    }


def question(row: dict[str, Any], begin: int) -> str:
    """What was asked in one short line, from where it begins to differ from other prompts."""
    return ("… " if begin else "") + shorten(sanitize.harmless(_question_text(row)[begin:]), 110)


def _question_text(row: dict[str, Any]) -> str:
    """What was asked in one line: of a conversation the last message."""
    given = bare_prompt(row)
    if isinstance(given, str):
        return given
    prompt = row["prompt"]
    return str(prompt if isinstance(prompt, str) else prompt[-1]["content"])


def _prompt_text(rows: list[dict[str, Any]]) -> str:
    """The prompt as it was sent; where templates or histories differ, that of each answer."""
    sent = {sanitize.prompt_text(row["prompt"]): row["variant"] for row in reversed(rows)}
    if len(sent) == 1:
        return next(iter(sent))
    return "\n\n".join(
        f"{row['variant']}:\n{sanitize.prompt_text(row['prompt'])}"
        for row in rows
        if sent[sanitize.prompt_text(row["prompt"])] == row["variant"]
    )


def _result(row: dict[str, Any]) -> str:
    """What the score says in words; empty without one."""
    score = plain(row.get("score"))
    if score is None:
        return ""
    return "right" if score >= 1 else "wrong" if score <= 0 else "partly right"


def words_apart(texts: list[str]) -> float:
    """The share of words that two answers do not have in common, averaged over all pairs."""
    words = [collections.Counter(text.split()) for text in texts]
    pairs = list(itertools.combinations(words, 2))
    shares = [
        1 - 2 * (one & other).total() / (one.total() + other.total()) if one or other else 0.0
        for one, other in pairs
    ]
    return sum(shares) / len(shares) if shares else 0.0


def _answer_html(row: dict[str, Any], first: Markup, apart: float) -> Markup:
    """An answer, with marks around the words in which it differs from the first one."""
    if isinstance(row["error"], str):
        return Markup("<p>{}</p>").format(sanitize.harmless(row["error"]))
    html = row_html(row)
    return marked(html, first) if apart <= UNLIKE else html


def _numbers(row: dict[str, Any]) -> str:
    parts = [f"{row['tokens']} tokens, {row['wall_s']:.2f} s"]
    if plain(row.get("score")) is not None:
        parts.append(f"score {row['score']:.2f}")
    return ", ".join(parts)
