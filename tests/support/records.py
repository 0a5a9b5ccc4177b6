"""Records, scores and votes as the library makes them, without a server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from slmlab.run.generate import blank
from slmlab.run.options import full_options
from slmlab.run.record import Generation
from slmlab.run.results import to_frame
from slmlab.run.target import Target

# What differs between two runs of the same cell; all else has to be equal.
TIMES = [
    "ttft_s",
    "wall_s",
    "load_s",
    "prompt_s",
    "generation_s",
    "started",
    "tokens_per_s",
    "prompt_tokens_per_s",
    "model_load_s",
    "host",
    "cold",
    "flags",
    "prompt_fresh",
    "cached_tokens",
    "in_flight",
]


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Both have the same rows, but for times."""
    pd.testing.assert_frame_equal(
        one.drop(columns=TIMES), other.drop(columns=TIMES), check_dtype=False
    )


def record(**more) -> Generation:
    """A record as a server's answer would give it."""
    target = Target("http://127.0.0.1:1", "m", "ollama", "1", "d" * 64, False, None)
    return replace(blank(target, "x", full_options({}), False), **more)


def comparison(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Rows of a comparison; fields of the record and further columns."""
    fields = set(record().to_dict())
    records = [record(**{k: v for k, v in row.items() if k in fields}) for row in rows]
    more = [{k: v for k, v in row.items() if k not in fields} for row in rows]
    return to_frame(records, more)


def stored(folder: Path) -> int:
    """How many records a store has."""
    return sum(file.read_bytes().count(b"\n") for file in folder.glob("*.jsonl"))


def scored(**by_model: list[float]) -> pd.DataFrame:
    """A table of scores as compare and score give it."""
    rows = [
        {"model": model, "prompt_id": prompt, "score": float(value)}
        for model, values in by_model.items()
        for prompt, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def vote(a: str, b: str, winner: str, **more) -> dict:
    return {"model_a": a, "model_b": b, "winner": winner, **more}
