"""Calls with wrong arguments, beside a server that would take right ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import slmlab
from slmlab import models, paths
from slmlab.errors import ModelError, PromptError, ServerError, SlmlabError, TaskError
from slmlab.evaluation import tasks
from slmlab.run import prompts
from tests.support.engines import SHALLOW

TABLE = "text, a list of texts or conversations, a table, or a table's file; got "
AT_LEAST = "at least one model, one prompt and one repeat"
NO_MESSAGE = "Each message is "


def asking(*arguments: object, **more: object) -> Callable[[], object]:
    return lambda: slmlab.compare(SHALLOW, *arguments, **more)


def generating(prompt: object) -> Callable[[], object]:
    return lambda: slmlab.generate(SHALLOW, prompt)


# Calls, and the error messages that refuse them before any work starts.
BAD_CALLS: dict[str, tuple[Callable[[], object], type[SlmlabError], str]] = {
    "no models": (lambda: slmlab.compare([], "x"), PromptError, AT_LEAST),
    "no prompts": (asking([]), PromptError, AT_LEAST),
    "a number as prompt": (asking(5), PromptError, TABLE + "5"),
    "None as prompt": (asking(None), PromptError, TABLE + "None"),
    "a list with None": (asking(["x", None]), PromptError, "list of messages; got None"),
    "a number as model": (lambda: slmlab.compare(5, "x"), ModelError, "by their names"),
    "a list of numbers as models": (
        lambda: slmlab.compare([5], "x"),
        ModelError,
        "by their names",
    ),
    "repeats of 0": (asking("x", repeats=0), PromptError, AT_LEAST),
    "an unknown option": (asking("x", temprature=1), PromptError, "mean 'temperature'"),
    "a text as temperature": (
        asking("x", temperature="hot"),
        PromptError,
        "temperature is a number; got 'hot'",
    ),
    "NaN as temperature": (
        asking("x", temperature=float("nan")),
        PromptError,
        "temperature is a number; got nan",
    ),
    "half a token": (asking("x", num_predict=1.5), PromptError, "num_predict is a whole number"),
    "an empty list of settings": (asking("x", temperature=[]), PromptError, AT_LEAST),
    "a template without its variable": (
        asking([{"topic": "x"}], template="Say {other}"),
        PromptError,
        "other",
    ),
    "a template that is broken": (asking(["x"], template="Say {"), PromptError, "not well-formed"),
    "a file that is not there": (
        asking(Path("missing.csv")),
        PromptError,
        "missing.csv cannot be read: No such file",
    ),
    "generate: a list of texts": (generating(["x"]), PromptError, NO_MESSAGE),
    "generate: a role of nobody": (
        generating([{"role": "wizard", "content": "x"}]),
        PromptError,
        NO_MESSAGE,
    ),
    "generate: a lone surrogate": (generating("\ud800"), PromptError, "half a character"),
    "generate: an empty chat": (generating([]), PromptError, "list of messages is empty"),
    "generate: None": (generating(None), PromptError, "list of messages; got None"),
    "ask: no such template": (
        lambda: slmlab.ask(SHALLOW, "x", template="step_by_stepp"),
        PromptError,
        "Did you mean 'step_by_step'",
    ),
    "chain: no such template": (
        lambda: slmlab.chain(SHALLOW, "stepp"),
        PromptError,
        "no template 'stepp'",
    ),
    "fill: a missing variable": (
        lambda: prompts.fill("explain", topic="x"),
        PromptError,
        "also needs audience",
    ),
    "tasks: no such set": (lambda: tasks.load("sentimant"), TaskError, "mean 'sentiment'"),
    "tasks: none": (lambda: tasks.load([]), TaskError, "at least one task set"),
    "pull: a path": (lambda: slmlab.pull("../../x"), ModelError, "../../x"),
    "start: an unknown engine": (
        lambda: slmlab.start("olama"),
        ServerError,
        "There is no engine 'olama'",
    ),
    "a number as template": (
        asking(["x"], template=5),
        PromptError,
        "A template is a text; got 5",
    ),
    "a number as system prompt": (
        asking(["x"], system=5),
        PromptError,
        "A system prompt is a text; got 5",
    ),
    "a message without text": (
        generating([{"role": "user", "content": None}]),
        PromptError,
        "The user message 1 has no text",
    ),
    "playground: no text": (
        lambda: slmlab.playground(prompt=b"x"),
        PromptError,
        "is a text; got b'x'",
    ),
    "side_by_side: no text": (
        lambda: slmlab.side_by_side([SHALLOW, SHALLOW], 5),
        PromptError,
        "is a text; got 5",
    ),
}


@pytest.mark.parametrize("what", BAD_CALLS)
def test_a_sentence_before_any_work(what, here, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    models.unload(SHALLOW)
    call, kind, words = BAD_CALLS[what]
    with pytest.raises(kind) as caught:
        call()
    assert words in str(caught.value)
    assert not list(paths.results().glob("*.jsonl"))
    assert SHALLOW not in [one.name for one in models.loaded()], "a model was loaded for it"
