"""How often and how long faults are injected; see ``docs/reliability.md``."""

from __future__ import annotations

import os

FULL = os.environ.get("TEST_FAULTS") == "full"


def times(short: int, full: int) -> int:
    return full if FULL else short


def note(**facts: object) -> None:
    print("\n   ", ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in facts.items()))
