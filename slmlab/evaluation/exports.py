"""Comparisons and votes as files of other programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from slmlab.errors import ResultsError
from slmlab.evaluation.pairs import answer_pairs
from slmlab.run.cells import plain
from slmlab.run.frames import need, prompt_text
from slmlab.run.store import write

if TYPE_CHECKING:
    import pandas as pd

# LLM Comparator's scores go from -1.5 (the second model is better) to 1.5.
MOST = 1.5
# The winners in the published votes of Chatbot Arena.
WINNERS = {"a": "model_a", "b": "model_b", "tie": "tie", "both bad": "tie (bothbad)"}


def llm_comparator(
    frame: pd.DataFrame, path: str | Path, *, models: Sequence[str] | None = None
) -> Path:
    """Write the answers of two models as a JSON file for LLM Comparator.

    It shows them side by side, and where which model does better
    (https://github.com/PAIR-code/llm-comparator). The score of a pair is the difference of the two
    scores, in its scale from -1.5 to 1.5 (0 without scores): a scorer of your own may give others
    than 0 to 1, and then the largest difference in the table is 1.5. The prompt's task is its tag.

    Args:
        frame: what ``slmlab.compare`` returned, scored or not.
        path: where to write.
        models: which two, if it has more.

    Raises:
        ResultsError: these are not two models of the table, they have no prompt in common, or the
            file cannot be written.

    Examples:
        >>> slmlab.exports.llm_comparator(frame, "comparison.json").name
        'comparison.json'
    """
    need(frame, "model")
    there = list(dict.fromkeys(frame["model"]))
    two = there if models is None else list(models)
    if len(two) != 2 or not {*two} <= {*there}:
        raise ResultsError(
            f"LLM Comparator shows two models; name two of {', '.join(there)} as models=…. "
            f"Got {', '.join(map(str, two))}."
        )
    pairs = answer_pairs(frame[frame["model"].isin(two)])
    if not pairs:
        raise ResultsError(f"There is no prompt with answers of {' and '.join(two)} to compare.")
    ordered = [sorted(pair, key=lambda row: two.index(row["model"])) for pair in pairs]
    scored = [[plain(row.get("score")) for row in pair] for pair in ordered]
    gaps = [0.0 if None in scores else scores[0] - scores[1] for scores in scored]
    largest = max(1.0, *map(abs, gaps))
    examples = []
    for (one, other), scores, gap in zip(ordered, scored, gaps, strict=True):
        examples.append(
            {
                "input_text": prompt_text(one["prompt"]),
                "tags": [str(tag)] if (tag := plain(one.get("task"))) else [],
                "output_text_a": one["text"],
                "output_text_b": other["text"],
                "score": round(gap / largest * MOST, 6),
                "individual_rater_scores": [],
                "custom_fields": {
                    "tokens": [one.get("tokens"), other.get("tokens")],
                    "own_score": scores,
                },
            }
        )
    fields = [{"name": name, "type": "per_model_number"} for name in ("tokens", "own_score")]
    data = {
        "metadata": {"source_path": Path(path).stem, "custom_fields_schema": fields},
        "models": [{"name": name} for name in two],
        "examples": examples,
    }
    return write(path, json.dumps(data, ensure_ascii=False, indent=1, default=plain))


def arena_votes(votes: pd.DataFrame, path: str | Path) -> Path:
    """Write votes as JSON lines in the form of Chatbot Arena's published votes.

    So programs that read those, such as notebooks that compute ratings, read these too. Votes do
    not hold the answers, so a conversation has only the prompt.

    Args:
        votes: what ``slmlab.votes.read_votes`` returned.
        path: where to write.

    Raises:
        ResultsError: the file cannot be written.

    Examples:
        >>> vote = slmlab.votes.add_vote(
        ...     "votes.jsonl", voter="Ada", prompt="Hi!", model_a="x", model_b="y", winner="a"
        ... )
        >>> slmlab.exports.arena_votes(slmlab.votes.read_votes("votes.jsonl"), "arena.jsonl").name
        'arena.jsonl'
    """
    need(votes, "id", "voter", "prompt", "model_a", "model_b", "winner", "time")
    lines = []
    for row in votes.to_dict("records"):
        messages = [{"role": "user", "content": row["prompt"]}]
        line = {
            "question_id": row["id"],
            "model_a": row["model_a"],
            "model_b": row["model_b"],
            "winner": WINNERS[row["winner"]],
            "judge": row["voter"],
            "conversation_a": messages,
            "conversation_b": messages,
            "turn": 1,
            "anony": True,
            "tstamp": datetime.fromisoformat(row["time"]).timestamp(),
        }
        lines.append(json.dumps(line, ensure_ascii=False))
    return write(path, "".join(f"{line}\n" for line in lines))
