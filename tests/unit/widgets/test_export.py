"""A widget's answers as a table."""

from __future__ import annotations

import pytest

from slmlab.errors import SlmlabError
from slmlab.run.streaming import Answer
from slmlab.widgets import export
from tests.support.records import record


def answer(model: str, prompt: str, **more) -> Answer:
    return Answer(model, prompt, "h", record=record(model=model, prompt=prompt, **more))


def test_prompts_and_repeats_are_numbered():
    unsent = Answer("a", "One?", "h")
    runs = [
        *(answer("a", "One?"), answer("b", "One?"), unsent, answer("a", "Two?")),
        *(answer("a", "One?"), answer("a", "One?", text="again")),
    ]
    frame = export.to_frame(runs)
    assert list(frame["prompt_id"]) == [0, 0, 1, 0, 0]
    assert list(frame["repeat"]) == [0, 0, 0, 1, 2]
    assert frame["text"].iloc[-1] == "again"
    assert "All 5 answers" in export.frame_html(frame)
    with pytest.raises(SlmlabError, match="press Run first"):
        export.to_frame([unsent])
