"""A class that votes: each voter is a process."""

from __future__ import annotations

from typing import Any

from slmlab.widgets.voting import Ballot


def vote_at_once(folder: str, name: str, count: int, begin: Any) -> None:
    """Cast votes into a folder when all are ready."""
    ballot = Ballot(name, folder)
    ballot.tags.value = "maths"
    begin.wait(60)
    for number in range(count):
        ballot.cast(f"Why? {name} {number} " + "é" * 500, "x", "y", "ab"[number % 2])
