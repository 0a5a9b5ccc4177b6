"""The flags of an answer: cold, cut, empty, or still being written."""

from __future__ import annotations

import pytest

import slmlab
from slmlab import models
from slmlab.run.generate import generate
from slmlab.run.job import WARM_UP_PROMPT
from tests.support.engines import GEMMA, SMOL

SHORT = {"num_predict": 12, "temperature": 0}


def test_a_model_with_all_the_context_it_can_have_is_warm(here):
    """SmolLM2 was trained on 8,192 tokens, and no server gives it a longer context."""
    beyond = {"num_ctx": 9000, "num_predict": 2}
    generate(SMOL, "x", **beyond)
    (here_now,) = [one for one in models.loaded() if one.name == SMOL]
    assert here_now.context_length == 8192
    assert not generate(SMOL, "x", **beyond).cold
    # On a busy machine a single answer may wait as long as a model takes to load.
    tries = (
        slmlab.compare(SMOL, WARM_UP_PROMPT, quiet=True, fresh=True, **beyond) for _ in range(4)
    )
    assert any(frame["cold"].tolist() == [False] for frame in tries)
    models.load(SMOL, num_ctx=2048)
    assert generate(SMOL, "x", **beyond).cold, "it has to be loaded with more context"


@pytest.mark.parametrize(
    "prompt", ["Once upon a time", [{"role": "user", "content": "Once upon a time"}]]
)
def test_an_answer_that_is_being_written_is_a_sign_of_life(here, prompt):
    frame = slmlab.compare(
        GEMMA, [prompt], timing=False, timeout=2, num_predict=500, num_thread=1, quiet=True
    )
    assert frame["error"].isna().all()
    assert frame["tokens"].tolist() == [500]
    assert frame["wall_s"].min() > 2, "longer than the limit"
    assert frame["ttft_s"].isna().all()


def test_answers_of_one_token_have_no_speed(at):
    frame = slmlab.compare(at.model, ["Hi", "Hello"], num_predict=1, quiet=True)
    assert frame["tokens"].tolist() == [1, 1]
    assert frame["tokens_per_s"].isna().all()
    assert slmlab.results.summary(frame)["tokens_per_s"].isna().all()
    slmlab.plots.speed(frame)


def test_ask_says_that_a_prompt_was_truncated_and_an_answer_is_empty(here, capsys):
    long = "The sun shines and the birds sing. " * 40
    record = slmlab.ask(SMOL, long, num_ctx=128, **SHORT)
    assert record.truncated
    assert "prompt truncated" in capsys.readouterr().out
    first = record.text.split()[0]
    assert slmlab.ask(SMOL, long, num_ctx=128, stop=[first], **SHORT).text.strip() == ""
    out = capsys.readouterr().out
    assert SMOL in out
    assert "The answer is empty: " in out
    assert "prompt truncated" in out
