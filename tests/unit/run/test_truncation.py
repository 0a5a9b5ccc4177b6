"""What Ollama's count of a prompt's tokens says of whether it was cut."""

from __future__ import annotations

import pytest

from slmlab.engines.client import Session
from slmlab.run.truncation import from_count, from_second_request, number
from tests.support.processes import free_port

OLD, NEW = "0.29.3", "0.33.1"
OPTIONS = {"seed": 3, "num_ctx": 512, "num_predict": 40}


@pytest.mark.parametrize(
    ("tokens", "version", "truncated"),
    [
        (4096, OLD, True),
        (4095, OLD, False),
        (2050, OLD, False),
        # 4096 - (4096 - 4) // 2, and one more where the tokenizer begins each text with a token.
        (2050, NEW, None),
        (2051, NEW, None),
        (2049, NEW, False),
        (2052, NEW, False),
        (4095, NEW, False),
        (700, NEW, False),
        (0, NEW, None),
    ],
)
def test_a_text_is_cut_to_one_number_of_tokens_only(tokens, version, truncated):
    """However many bytes went into each token, so the text itself does not matter."""
    for text in ("x", "Солнце светит. " * 400, " " * 9000):
        assert from_count(text, tokens, 4096, 4, version) is truncated


def test_how_many_tokens_are_kept_changes_that_number():
    assert from_count("x", 2060, 4096, 24, NEW) is None
    assert from_count("x", 2050, 4096, 24, NEW) is False
    assert from_count("x", 4095, 4096, -1, NEW) is None, "all that fits is kept"


def test_a_conversation_may_have_lost_a_message_where_that_would_not_fit_beside_the_rest():
    def chat(*sizes):
        return [{"role": "user", "content": "x" * size} for size in sizes]

    assert from_count(chat(2000, 500, 32), 480, 512, 4, OLD) is None, "2,532 bytes of history"
    assert from_count(chat(2000, 500, 32), 480, 4096, 4, NEW) is False
    assert from_count(chat(20, 3000), 480, 1024, 4, NEW) is False, "the last is never dropped"
    system = [{"role": "system", "content": "x" * 2000}]
    assert from_count([*system, *chat(20, 30)], 480, 1024, 4, NEW) is False, "nor is the system's"
    assert from_count(chat(3000, 20), 4096, 4096, 4, OLD) is True
    cyrillic = [{"role": "user", "content": "я" * 300}, *chat(20)]
    assert from_count(cyrillic, 480, 1024, 4, NEW) is None, (
        "a letter may be as many tokens as bytes"
    )


def test_nobody_knows_where_the_server_does_not_say():
    nowhere = f"http://127.0.0.1:{free_port()}"
    assert from_second_request(Session(), nowhere, NEW, "m", "x", 9, {}, False, 2) is None
    assert from_second_request(Session(), nowhere, OLD, "m", "x", 9, {}, False, 2) is None


@pytest.mark.parametrize(
    ("prompt", "path"), [("x", "/api/generate"), ([{"role": "user", "content": "x"}], "/api/chat")]
)
def test_a_newer_ollama_is_asked_for_one_token_and_not_to_cut(wire, prompt, path):
    assert (
        from_second_request(Session(), wire.url, NEW, "a:1b", prompt, 7, OPTIONS, False, 9) is False
    )
    wire.errors[path] = [
        (400, "the prompt is longer than the context length"),
        (400, "no"),
        (500, "context"),
    ]
    found = [
        from_second_request(Session(), wire.url, NEW, "a:1b", prompt, 9, OPTIONS, False, 9)
        for _ in range(3)
    ]
    assert found == [True, None, None]
    (at, body) = wire.requests[0]
    assert at == path
    assert (body["truncate"], body["stream"], body["think"]) == (False, False, False)
    assert body["options"] == OPTIONS | {"num_predict": 1}
    assert prompt in (body.get("prompt"), body.get("messages"))


def test_an_older_ollama_is_asked_without_the_oldest_message(wire):
    system, *rest = [
        {"role": role, "content": text}
        for role, text in (("system", "s"), ("user", "a"), ("user", "b"))
    ]
    args = Session(), wire.url, "0.12.9", "a:1b", [system, *rest]
    assert from_second_request(*args, -1, OPTIONS, False, 9) is False, (
        "the server reads another number of tokens"
    )
    (at, body) = wire.requests[0]
    assert at == "/api/chat"
    assert "truncate" not in body
    assert body["messages"] == [system, rest[1]]


@pytest.mark.parametrize(("read", "truncated"), [(7, False), (5, True), (9, None)])
def test_more_tokens_are_read_where_a_truncated_prompt_just_fits(wire, read, truncated):
    """llama.cpp rounds the context's length up: 300 tokens fit where Ollama cuts at 299."""
    assert (
        from_second_request(Session(), wire.url, NEW, "a:1b", "x", read, OPTIONS, False, 5)
        is truncated
    )


def test_versions_are_compared_by_their_numbers():
    assert number("0.30.1-rc2") == (0, 30, 1)
    assert number("0.9") < (0, 13) < number("v0.30.0")
