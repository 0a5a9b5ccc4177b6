"""One generation, without a server."""

from __future__ import annotations

import pytest

from slmlab.errors import ServerError
from slmlab.run.generate import generate
from slmlab.run.target import resolve_target
from tests.support.processes import free_port


def test_no_server_is_a_sentence(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
    with pytest.raises(ServerError, match=r"slmlab\.start\(\)"):
        generate("x", "y")


LONG = [
    {"role": "user", "content": "The sun shines. " * 300},
    {"role": "assistant", "content": "I see."},
    {"role": "user", "content": "Does it?"},
]


class TestTruncation:
    """Requests to an Ollama that does not report truncation, and its answers."""

    def test_nothing_where_the_count_says_that_the_prompt_is_whole(self, wire):
        for prompt in ("Солнце светит. " * 400, LONG[1:]):
            assert generate("a:1b", prompt, host=wire.url).truncated is False
        assert len(wire.sent("/api/generate")) == len(wire.sent("/api/chat")) == 1

    @pytest.mark.parametrize("fits", [True, False])
    def test_a_newer_one_is_asked_not_to_cut(self, wire, fits):
        def refuse(_):
            wire.errors["/api/chat"] = [] if fits else [(400, "exceeds the context length")]

        record = generate("a:1b", LONG, host=wire.url, on_text=refuse, num_predict=50)
        assert record.truncated is not fits
        first, again = wire.sent("/api/chat")
        assert "truncate" not in first
        assert again["truncate"] is False
        assert again["options"] == {**first["options"], "num_predict": 1}
        assert [one["content"] for one in again["messages"]] == [one["content"] for one in LONG]

    def test_a_text_that_is_as_long_as_one_that_was_cut(self, wire):
        """With room for 10 tokens and 4 kept, a text is cut to 7, which is what the server says."""
        record = generate("a:1b", "x", host=wire.url, num_ctx=10)
        assert record.truncated is False
        assert wire.sent("/api/generate")[1]["truncate"] is False

    def test_an_older_one_is_sent_the_rest_of_the_conversation(self, wire):
        wire.facts["version"] = "0.5.4"
        system = {"role": "system", "content": "Be brief."}
        record = generate("a:1b", [system, *LONG], host=wire.url)
        assert record.truncated is True, "as many tokens with and without the oldest message"
        _, again = wire.sent("/api/chat")
        assert [one["role"] for one in again["messages"]] == ["system", "assistant", "user"]
        assert "truncate" not in again

    def test_where_it_does_not_answer_nobody_knows(self, wire):
        def refuse(_):
            wire.errors["/api/chat"] = [(500, "no")]

        record = generate("a:1b", LONG, host=wire.url, on_text=refuse)
        assert record.truncated is None
        assert record.error is None


def test_an_older_server_gives_more_context_than_a_model_was_trained_with(wire):
    wire.facts["version"] = "0.5.4"
    wire.info = {"general.architecture": "llama", "llama.context_length": 5}
    assert generate("a:1b", "x", host=wire.url).truncated is False, "it read 7 tokens"
    assert generate("a:1b", "x", host=wire.url, num_ctx=7).truncated is True


def test_more_context_than_a_model_can_have_is_what_it_can_have(wire):
    wire.info = {"general.architecture": "llama", "llama.context_length": 2048}
    wire.loaded = {"a:1b": 2048}
    assert not resolve_target("a:1b", 4096, wire.url).cold
    assert resolve_target("a:1b", 4096, wire.url).num_ctx == 2048
    assert resolve_target("a:1b", 1024, wire.url).cold
