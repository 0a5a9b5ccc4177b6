"""What goes over the wire for one prompt, and what is made of the answer."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from slmlab.engines.client import Session
from slmlab.engines.embedded import CACHE_PROMPT
from slmlab.errors import GenerationError
from slmlab.run.generate import generate_on
from slmlab.run.options import DEFAULT_OPTIONS, EXTRA_OPTIONS, full_options
from slmlab.run.record import Generation
from slmlab.run.send import Clock
from slmlab.run.target import resolve_target

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
# The prompt, the route that takes it, and whether it goes through LangChain.
WAYS = [
    pytest.param("Hi", "/api/generate", True, id="text, through LangChain"),
    pytest.param("Hi", "/api/generate", False, id="text, through Ollama's client"),
    pytest.param(CHAT, "/api/chat", True, id="chat, through LangChain"),
    pytest.param(CHAT, "/api/chat", False, id="chat, through Ollama's client"),
]
# A value for each option that is not its default.
OTHER = {
    "min_p": 0.1,
    "stop": ["END"],
    "num_thread": 1,
    "num_gpu": 0,
    "num_batch": 64,
    "num_keep": 8,
    **{name: value + 1 for name, value in DEFAULT_OPTIONS.items()},
}


def run(wire, prompt, langchain, options=None, **more) -> Generation:
    options = full_options(options or {})
    target = resolve_target("a:1b", options["num_ctx"], wire.url)
    return generate_on(target, prompt, options, langchain=langchain, session=Session(), **more)


@pytest.mark.parametrize(("prompt", "route", "langchain"), WAYS)
class TestEachWay:
    def test_every_option_goes_along_as_it_was_given(self, wire, prompt, route, langchain):
        assert OTHER.keys() == {*DEFAULT_OPTIONS, *EXTRA_OPTIONS}
        run(wire, prompt, langchain, OTHER)
        (body,) = wire.sent(route)
        assert body["options"] == OTHER
        assert body["model"] == "a:1b"
        assert body["stream"] is True
        assert body.get("prompt", prompt) == prompt
        assert [
            {key: one[key] for key in ("role", "content")} for one in body.get("messages", [])
        ] == (CHAT if prompt is CHAT else [])

    def test_what_is_not_given_is_sent_as_its_default(self, wire, prompt, route, langchain):
        run(wire, prompt, langchain)
        assert wire.sent(route)[0]["options"] == DEFAULT_OPTIONS

    def test_thinking_is_off_unless_it_is_wanted(self, wire, prompt, route, langchain):
        wire.thinking = "Let me see."
        assert run(wire, prompt, langchain).thinking == ""
        assert wire.sent(route)[0]["think"] is False

    def test_thinking_is_kept_apart_from_the_answer(self, wire, prompt, route, langchain):
        wire.thinking = "Let me see."
        record = run(wire, prompt, langchain, think=True)
        assert wire.sent(route)[0]["think"] is True
        assert (record.text, record.thinking, record.think) == ("Hello there.", "Let me see.", True)

    def test_the_servers_counters_are_in_the_record(self, wire, prompt, route, langchain):
        wire.load_ns, wire.pieces = [5 * 10**8], ["One", ",", " two", ",", " three"]
        record = run(wire, prompt, langchain)
        assert (record.prompt_tokens, record.prompt_s) == (7, 0.1)
        assert (record.tokens, record.generation_s, record.tokens_per_s) == (5, 1.0, 5.0)
        assert (record.load_s, record.stop_reason, record.engine) == (0.5, "stop", "ollama")
        assert (record.ttft_s is None) is not langchain
        assert record.cached_tokens is None

    def test_what_came_from_the_servers_cache_is_in_the_record(
        self, wire, prompt, route, langchain
    ):
        wire.counters = {"prompt_eval_cached_count": 2}
        record = run(wire, prompt, langchain)
        assert (record.prompt_tokens, record.cached_tokens) == (7, 2)
        assert replace(record, prompt_fresh=True).prompt_tokens_per_s == 50

    def test_an_error_of_the_server_is_a_sentence_in_a_record(self, wire, prompt, route, langchain):
        wire.errors[route] = [(500, "model requires more system memory (9 GiB)")]
        with pytest.raises(GenerationError, match="does not fit into this machine's memory") as why:
            run(wire, prompt, langchain)
        assert why.value.record.error == str(why.value)
        assert why.value.record.text == ""
        assert not why.value.lost

    def test_a_gpu_whose_memory_is_full_is_told(self, wire, prompt, route, langchain):
        """What Ollama 0.34.4 answered for a model of 24 MB, with 408 MiB free on an H100."""
        said = (
            "llama-server process has terminated: ggml_backend_cuda_device_get_memory: "
            "cudaMemGetInfo failed (out of memory), returning 0/0\nCUDA error\n"
            "CUDA error: out of memory"
        )
        wire.errors[route] = [(500, said)]
        with pytest.raises(GenerationError, match="free of the GPU's memory: llama-server") as why:
            run(wire, prompt, langchain)
        assert "unload all models" in str(why.value)
        assert "\n" not in str(why.value)

    def test_an_error_in_json_is_read(self, wire, prompt, route, langchain):
        """As Ollama passes on what its llama-server says."""
        said = "request (900 tokens) exceeds the available context size (512 tokens)"
        error = json.dumps({"error": {"code": 400, "message": said, "n_ctx": 512}})
        for status in (400, 200):
            wire.errors[route] = [(status, error)]
            with pytest.raises(GenerationError) as why:
                run(wire, prompt, langchain)
            message = "The prompt does not fit into a:1b's context (num_ctx=…): "
            assert str(why.value) == f"{message}{said}."

    def test_a_model_that_went_away_is_worth_another_try(self, wire, prompt, route, langchain):
        wire.errors[route] = [(500, "model runner has unexpectedly stopped")]
        with pytest.raises(GenerationError) as why:
            run(wire, prompt, langchain)
        assert why.value.lost


@pytest.mark.parametrize(("prompt", "route", "langchain"), WAYS)
@pytest.mark.parametrize("engine", ["embedded", "ollama"])
class TestWholePrompts:
    """The embedded engine is asked to use no prompt cache; Ollama would not understand."""

    def header(self, wire, engine, prompt, langchain, **more) -> tuple[str | None, bool | None]:
        options = full_options({})
        target = replace(resolve_target("a:1b", options["num_ctx"], wire.url), engine=engine)
        record = generate_on(
            target, prompt, options, langchain=langchain, session=Session(), **more
        )
        return wire.headers[-1].get(CACHE_PROMPT), record.prompt_fresh

    def test_texts_are_read_anew_and_conversations_not(
        self, wire, prompt, route, langchain, engine
    ):
        anew = engine == "embedded" and isinstance(prompt, str)
        wanted = ("false", True) if anew else (None, None)
        assert self.header(wire, engine, prompt, langchain) == wanted

    def test_unless_it_is_said(self, wire, prompt, route, langchain, engine):
        anew = ("false", True) if engine == "embedded" else (None, None)
        for whole, wanted in ((True, anew), (False, (None, None))):
            assert self.header(wire, engine, prompt, langchain, whole_prompt=whole) == wanted


class TestClock:
    def test_it_has_the_first_and_the_last_piece_and_all_text(self):
        heard = []
        clock = Clock(heard.append)
        clock.start()
        for piece in ("", "a", "", "b"):
            clock.add(piece)
        assert heard == ["a", "b"]
        assert clock.text == "ab"
        assert 0 <= clock.first <= clock.last

    def test_half_a_character_can_be_stored(self):
        clock = Clock(None)
        clock.add("a\ud83d")
        assert clock.text.encode()

    @pytest.mark.parametrize(("prompt", "route", "langchain"), WAYS)
    def test_what_the_reader_raises_is_the_readers_own(self, wire, prompt, route, langchain):
        def refuse(text: str) -> None:
            raise LookupError(text)

        with pytest.raises(LookupError):
            run(wire, prompt, langchain, on_text=refuse)
