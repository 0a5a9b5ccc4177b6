"""One measured generation on real models."""

from __future__ import annotations

import pickle
import time

import pytest

from slmlab.errors import GenerationError, ModelError, PromptError
from slmlab.run.generate import generate
from slmlab.run.options import DEFAULT_OPTIONS
from tests.support.processes import listener

SHORT = {"num_predict": 12, "temperature": 0}


class TestGenerate:
    def test_a_record_has_text_and_numbers(self, at):
        pieces: list[str] = []
        record = generate(at.shallow, "The sky is", on_text=pieces.append, **SHORT)
        assert record.text == "".join(pieces)
        assert record.error is None
        assert record.engine == at.kind
        assert record.host == at.url
        assert len(record.digest) == 64
        assert record.stop_reason in ("stop", "length")
        assert 0 < record.tokens <= 12
        assert record.prompt_tokens > 2
        assert 0 < record.ttft_s <= record.wall_s
        assert record.tokens_per_s == pytest.approx(record.tokens / record.generation_s)
        assert record.options == DEFAULT_OPTIONS | SHORT

    def test_messages_go_through_chat(self, at):
        record = generate(at.shallow, [{"role": "user", "content": "Hi"}], **SHORT)
        assert 0 < record.tokens <= 12
        assert record.text
        assert record.ttft_s > 0

    def test_cold_and_warm(self, at):
        from slmlab import models

        models.unload(at.shallow)
        assert generate(at.shallow, "x", num_predict=1).cold
        assert not generate(at.shallow, "x", num_predict=1).cold

    def test_a_record_pickles(self, at):
        record = generate(at.shallow, "x", num_predict=1)
        assert pickle.loads(pickle.dumps(record)) == record

    def test_a_server_without_a_sign_of_life_is_an_error_with_a_record(self, at):
        server_process = listener(at.url)
        generate(at.model, "x", num_predict=1)
        try:
            with pytest.raises(GenerationError, match="did not answer in time") as caught:
                generate(
                    at.model,
                    "Tell a long story.",
                    on_text=lambda _: server_process.suspend(),
                    num_predict=2000,
                    timeout=2,
                )
        finally:
            server_process.resume()
        record = caught.value.record
        assert record.text, "what came before the silence is kept"
        assert record.error == str(caught.value)
        assert pickle.loads(pickle.dumps(caught.value)).record == record

    def test_an_interrupt_ends_it_and_the_server_is_free_again(self, at):
        def interrupt(_: str) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            generate(at.model, "Tell a long story.", on_text=interrupt, num_predict=4000)
        started = time.monotonic()
        generate(at.model, "x", num_predict=1)
        assert time.monotonic() - started < 30, "4,000 tokens take longer"

    @pytest.mark.parametrize("prompt", ["Hi", [{"role": "user", "content": "Hi"}]])
    @pytest.mark.parametrize("kind", [ValueError, KeyError, NotImplementedError, ConnectionError])
    def test_an_error_of_the_callers_own_is_no_failed_generation(self, at, kind, prompt):
        mine = kind("mine")

        def on_text(_: str) -> None:
            raise mine

        with pytest.raises(kind) as caught:
            generate(at.shallow, prompt, on_text=on_text, **SHORT)
        assert caught.value is mine

    def test_what_the_user_typed_wrong_is_said_before_any_work(self, at):
        with pytest.raises(PromptError, match="prompt is empty"):
            generate(at.model, "  ")
        with pytest.raises(PromptError, match=r"'temprature'\. Did you mean 'temperature'"):
            generate(at.model, "x", temprature=1)
        with pytest.raises(PromptError, match="Each message is"):
            generate(at.model, [{"role": "robot", "content": "x"}])
        with pytest.raises(PromptError, match=r"half a character .* at position 1"):
            generate(at.model, "x\ud800")
        with pytest.raises(ModelError, match="no model 'nope'"):
            generate("nope", "x")
