"""The checks of the exercises."""

from __future__ import annotations

import numpy as np
import pytest

import slmlab
from slmlab.course import exercises
from slmlab.errors import PromptError


class TestExercises:
    def test_every_check_hints_at_nonsense_and_never_raises(self, capsys):
        for number, (_, look) in exercises.CHECKS.items():
            count = look.__code__.co_argcount
            for answer in (None, 0, -1.5, "x", [], {}, np.zeros(3), object()):
                slmlab.check(number, *[answer] * count)
                said = capsys.readouterr().out
                assert said.startswith(f"✗ {number}: not yet. "), (number, answer, said)
            slmlab.check(number, *[...] * count)
            assert f"{number}: open" in capsys.readouterr().out

    def test_an_unknown_number_is_an_error(self):
        with pytest.raises(PromptError, match=r"Did you mean '01\.2'"):
            slmlab.check("01.2.")
