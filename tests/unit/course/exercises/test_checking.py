"""Checks of exercises: nonsense, unknown numbers, cells that are open."""

from __future__ import annotations

from pathlib import Path

import nbformat
import numpy as np
import pytest

import slmlab
from slmlab.course import exercises
from slmlab.errors import TaskError

NOTEBOOKS = Path(__file__).parents[4] / "notebooks"


class TestCheck:
    def test_every_check_hints_at_nonsense_and_never_raises(self, capsys):
        for number, judge in exercises.CHECKS.items():
            count = judge.__code__.co_argcount
            for answer in (None, 0, -1.5, "x", [], {}, np.zeros(3), object()):
                slmlab.check(number, *[answer] * count)
                printed = capsys.readouterr().out
                assert printed.startswith(f"✗ {number}: not yet. "), (number, answer, printed)
            slmlab.check(number, *[...] * count)
            assert f"{number}: open" in capsys.readouterr().out

    def test_an_unknown_number_is_an_error(self):
        with pytest.raises(TaskError, match=r"Did you mean '01\.2'"):
            slmlab.check("01.2.")

    def test_all_39_are_there(self):
        numbers = [f"{book:02}.{n}" for book in range(13) for n in (1, 2, 3)]
        assert sorted(exercises.CHECKS) == numbers

    def test_an_untouched_cell_is_open(self, capsys):
        """Each exercise of the students' notebooks, run as it is, with the lesson's names empty."""
        for path in sorted(NOTEBOOKS.glob("*.ipynb")):
            for cell in nbformat.read(path, as_version=4).cells:
                if "exercise" in cell.metadata.get("tags", []):
                    lesson = dict.fromkeys(
                        [
                            "room",
                            "names",
                            "model",
                            "reviews",
                            "ways",
                            "verdict",
                            "text",
                            "texts",
                            "logits",
                            "scored",
                            "recorded",
                            "held_out",
                            "price",
                            "found",
                        ]
                    )
                    lesson |= {"slmlab": slmlab, "training_curve": len}
                    exec(cell.source, lesson)
                    assert ": open. " in capsys.readouterr().out, cell.source

    @pytest.mark.parametrize("answer", [..., [1, ...], {"attn": ...}, (1, {"x": [...]})])
    def test_a_gap_within_an_answer_is_open_too(self, answer, capsys):
        slmlab.check("07.1", answer)
        assert ": open. " in capsys.readouterr().out

    def test_a_function_that_does_something_is_not_open(self, verdict):
        def q4_1(x):
            return x

        assert not verdict("07.2", q4_1)
        assert not verdict("07.2", lambda x: print(end=""))
