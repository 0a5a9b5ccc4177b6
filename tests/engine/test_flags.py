"""The flags of an answer: cold, cut, empty, or still being written."""

from __future__ import annotations

import slmlab
from slmlab import models
from slmlab.run.generate import generate
from slmlab.run.job import WARM_UP_PROMPT
from tests.support.engines import SHALLOW

SHORT = {"num_predict": 12, "temperature": 0}


def test_a_model_with_all_the_context_it_can_have_is_warm(here):
    """SmolLM2 was trained on 8,192 tokens, and no server gives it a longer context."""
    beyond = {"num_ctx": 9000, "num_predict": 2}
    generate(SHALLOW, "x", **beyond)
    (here_now,) = [one for one in models.loaded() if one.name == SHALLOW]
    assert here_now.context_length == 8192
    assert not generate(SHALLOW, "x", **beyond).cold
    # On a busy machine a single answer may wait as long as a model takes to load.
    tries = (
        slmlab.compare(SHALLOW, WARM_UP_PROMPT, quiet=True, fresh=True, **beyond) for _ in range(4)
    )
    assert any(frame["cold"].tolist() == [False] for frame in tries)
    models.load(SHALLOW, num_ctx=2048)
    assert generate(SHALLOW, "x", **beyond).cold, "it has to be loaded with more context"


def test_an_answer_that_is_being_written_is_a_sign_of_life(here):
    """A text and a conversation, whose requests are different ones, at once."""
    prompts = ["Once upon a time", [{"role": "user", "content": "Once upon a time"}]]
    frame = slmlab.compare(
        SHALLOW, prompts, timing=False, timeout=2, num_predict=2000, num_thread=1, quiet=True
    )
    assert frame["error"].isna().all()
    assert frame["tokens"].tolist() == [2000, 2000]
    assert frame["wall_s"].min() > 2, "longer than the limit"
    assert frame["ttft_s"].isna().all()


def test_answers_of_one_token_have_no_speed(at):
    frame = slmlab.compare(at.shallow, ["Hi", "Hello"], num_predict=1, quiet=True)
    assert frame["tokens"].tolist() == [1, 1]
    assert frame["tokens_per_s"].isna().all()
    assert slmlab.results.summary(frame)["tokens_per_s"].isna().all()
    slmlab.plots.speed(frame)


def test_ask_says_that_a_prompt_was_truncated_and_an_answer_is_empty(here, capsys):
    long = "The sun shines and the birds sing. " * 40
    record = slmlab.ask(SHALLOW, long, num_ctx=128, **SHORT)
    assert record.truncated
    assert "prompt truncated" in capsys.readouterr().out
    first = record.text.split()[0]
    assert slmlab.ask(SHALLOW, long, num_ctx=128, stop=[first], **SHORT).text.strip() == ""
    out = capsys.readouterr().out
    assert SHALLOW in out
    assert "The answer is empty: " in out
    assert "prompt truncated" in out
