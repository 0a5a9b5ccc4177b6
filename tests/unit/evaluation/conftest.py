"""What the tests of scorers share."""

from __future__ import annotations

import pytest

from slmlab.evaluation import patterns


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regular expressions without an end shall not take seconds."""
    monkeypatch.setattr(patterns, "SECONDS", 0.05)
