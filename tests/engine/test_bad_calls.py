"""Calls with wrong arguments."""

from __future__ import annotations

from pathlib import Path

import pytest

import slmlab
from slmlab.errors import SlmlabError
from slmlab.evaluation import tasks
from slmlab.run import prompts

# The library, without a server: all of it has to be refused before any work starts.
BAD_CALLS: dict[str, tuple] = {
    "no models": (lambda: slmlab.compare([], "x")),
    "no prompts": (lambda: slmlab.compare("m", [])),
    "a number as prompt": (lambda: slmlab.compare("m", 5)),
    "None as prompt": (lambda: slmlab.compare("m", None)),
    "a list with None": (lambda: slmlab.compare("m", ["x", None])),
    "a number as model": (lambda: slmlab.compare(5, "x")),
    "a list of numbers as models": (lambda: slmlab.compare([5], "x")),
    "repeats of 0": (lambda: slmlab.compare("m", "x", repeats=0)),
    "an unknown option": (lambda: slmlab.compare("m", "x", temprature=1)),
    "a text as temperature": (lambda: slmlab.compare("m", "x", temperature="hot")),
    "NaN as temperature": (lambda: slmlab.compare("m", "x", temperature=float("nan"))),
    "half a token": (lambda: slmlab.compare("m", "x", num_predict=1.5)),
    "an empty list of settings": (lambda: slmlab.compare("m", "x", temperature=[])),
    "a template without its variable": (lambda: slmlab.compare("m", ["x"], template="Say {other}")),
    "a template that is broken": (lambda: slmlab.compare("m", ["x"], template="Say {")),
    "a file that is not there": (lambda: slmlab.compare("m", Path("missing.csv"))),
    "generate: a list of texts": (lambda: slmlab.generate("m", ["x"])),
    "generate: a role of nobody": (
        lambda: slmlab.generate("m", [{"role": "wizard", "content": "x"}])
    ),
    "generate: a lone surrogate": (lambda: slmlab.generate("m", "\ud800")),
    "generate: an empty chat": (lambda: slmlab.generate("m", [])),
    "generate: None": (lambda: slmlab.generate("m", None)),
    "ask: no such template": (lambda: slmlab.ask("m", "x", template="step_by_stepp")),
    "chain: no such template": (lambda: slmlab.chain("m", "stepp")),
    "fill: a missing variable": (lambda: prompts.fill("explain", topic="x")),
    "tasks: no such set": (lambda: tasks.load("sentimant")),
    "tasks: none": (lambda: tasks.load([])),
    "pull: a path": (lambda: slmlab.pull("../../x")),
    "start: an unknown engine": (lambda: slmlab.start("olama")),
    "a number as template": (lambda: slmlab.compare("m", ["x"], template=5)),
    "a number as system prompt": (lambda: slmlab.compare("m", ["x"], system=5)),
    "a message without text": (lambda: slmlab.generate("m", [{"role": "user", "content": None}])),
    "playground: no text": (lambda: slmlab.playground(prompt=b"x")),
    "side_by_side: no text": (lambda: slmlab.side_by_side(["a", "b"], 5)),
}


class TestLibrary:
    @pytest.mark.parametrize("what", BAD_CALLS)
    def test_a_sentence_before_any_work(self, what, lab, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SlmlabError) as caught:
            BAD_CALLS[what]()
        assert len(str(caught.value)) > 15
        assert not list(paths_of_records())


def paths_of_records() -> list[Path]:
    from slmlab import paths

    return list(paths.results().glob("*.jsonl"))
