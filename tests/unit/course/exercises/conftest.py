"""What the tests of all exercises' checks share."""

from __future__ import annotations

import pytest

import slmlab


@pytest.fixture
def verdict(capsys):
    """Whether a check calls an answer right; an untouched one is no verdict."""

    def judged(number: str, *answers: object) -> bool:
        slmlab.check(number, *answers)
        printed = capsys.readouterr().out
        assert printed.startswith((f"✓ {number}: right.", f"✗ {number}: not yet. ")), printed
        return printed.startswith("✓")

    return judged
