"""Whether a prompt was cut is known, not guessed: the same prompts with room and without."""

from __future__ import annotations

import pytest

import slmlab
from slmlab.engines.client import Session
from slmlab.run import results
from slmlab.run.generate import generate
from slmlab.run.truncation import from_second_request

ENGLISH = "The sun shines over the harbour, and the boats come in one after the other. "
TEXTS = {
    "English": ENGLISH * 8,
    "Russian": "Солнце светит над гаванью, и лодки возвращаются. " * 2,
    "Hindi": "सूरज बंदरगाह पर चमकता है। " * 2,
    "Thai": "ดวงอาทิตย์ส่องแสงเหนือท่าเรือ " * 2,
    "Chinese": "太阳照在港口上，船一艘接一艘地回来。" * 6,
    "code": "def f(x):\n        if x:\n                return x\n" * 5,
    "table": "| name      |      12 |            3.5 |\n|-----------|---------|----------------|\n"
    * 3,
    "digits": "1 2 3 4 5 6 7 8 9 " * 8,
    "no spaces": "0123456789abcdef" * 6,
}
ROOM, LITTLE = 2048, 128
SHORT = {"num_predict": 2, "temperature": 0}


def test_texts_of_all_kinds(at):
    needed = {
        name: generate(at.shallow, text, num_ctx=ROOM, **SHORT) for name, text in TEXTS.items()
    }
    assert {one.truncated for one in needed.values()} == {False}
    assert len({one.prompt_tokens > LITTLE for one in needed.values()}) == 2, "both are tried"
    found = {
        name: generate(at.shallow, text, num_ctx=LITTLE, **SHORT) for name, text in TEXTS.items()
    }
    assert {name: one.truncated for name, one in found.items()} == {
        name: one.prompt_tokens >= LITTLE for name, one in needed.items()
    }


def chat(*texts: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]


@pytest.mark.parametrize("system", [[], [{"role": "system", "content": "Be brief."}]])
def test_a_conversation_that_loses_a_message_is_told_from_one_that_just_fits(at, system):
    def ask(messages, num_ctx):
        return generate(at.shallow, [*system, *messages], num_ctx=num_ctx, **SHORT)

    whole = chat(ENGLISH * 3, "I see.", ENGLISH * 5, "Indeed.", "What comes in?")
    needed = ask(whole, ROOM)
    assert needed.truncated is False
    fits = needed.prompt_tokens + 1
    assert ask(whole, fits).truncated is False, "it just fits"
    cut = ask(whole, fits - 40)
    assert cut.truncated is True
    assert cut.prompt_tokens < fits - 40
    assert results.flags(cut)[0] == "prompt truncated"
    # Of the last message itself a part is lost.
    assert ask(chat("Hi", "Hello", ENGLISH * 12), LITTLE).truncated is True


def test_a_grid_of_answers_without_timing_knows_too(at):
    long = [TEXTS["English"], chat("Hi", "Hello", TEXTS["English"])]
    frame = slmlab.compare(
        at.shallow, [*long, "Hi"], num_ctx=LITTLE, timing=False, quiet=True, **SHORT
    )
    assert frame["truncated"].tolist() == [True, True, False]
    assert slmlab.results.summary(frame)["truncated"].tolist() == [2]


@pytest.mark.parametrize("messages", [False, True])
def test_a_server_that_may_be_forbidden_to_cut_is_asked_so(here, messages):
    """As a newer Ollama would be, which is told from an older one by its version."""

    def ask(text):
        options = {"num_ctx": LITTLE, "temperature": 0}
        prompt = chat(text, "I see.", "What comes in?") if messages else text
        first = generate(here.shallow, prompt, **options, num_predict=1)
        tokens, server = first.prompt_tokens, (Session(), here.url, "0.33.1", here.shallow)
        truncated = from_second_request(*server, prompt, tokens, options, False, timeout=60)
        assert truncated is first.truncated
        return truncated

    assert ask(ENGLISH * 12) is True
    assert ask(ENGLISH) is False
