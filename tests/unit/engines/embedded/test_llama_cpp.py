"""Ollama's words in, llama.cpp's out, and back; no model runs here."""

from __future__ import annotations

import jsonschema
import pytest

from slmlab.engines.embedded import llama_cpp
from slmlab.engines.embedded.responses import ApiError
from slmlab.run.options import DEFAULT_OPTIONS, EXTRA_OPTIONS

MESSAGES = [{"role": "user", "content": "Hi"}]
# Each sampling option with a value that is not its default, and as llama.cpp is to get it.
SAMPLING = {
    "temperature": 0.3,
    "top_k": 7,
    "top_p": 0.6,
    "min_p": 0.2,
    "repeat_last_n": 9,
    "repeat_penalty": 1.3,
    "presence_penalty": 0.4,
    "frequency_penalty": 0.5,
    "seed": 11,
    "num_predict": 13,
    "num_keep": 6,
    "stop": ["END"],
    "cache_prompt": False,
}
IN_LLAMA_CPP = {
    {"num_predict": "n_predict", "num_keep": "n_keep"}.get(name, name): value
    for name, value in SAMPLING.items()
}


class TestSampling:
    def test_the_table_has_every_option(self):
        assert SAMPLING.keys() == llama_cpp.DEFAULT_OPTIONS.keys()
        loading = {"num_ctx", "num_thread", "num_gpu", "num_batch"}
        assert {*DEFAULT_OPTIONS, *EXTRA_OPTIONS} - loading <= SAMPLING.keys()

    def test_no_value_in_the_table_is_the_default(self):
        assert all(llama_cpp.DEFAULT_OPTIONS[name] != value for name, value in SAMPLING.items())

    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize(
        ("route", "more"), [("generate", {"prompt": "Hi"}), ("chat", {"messages": MESSAGES})]
    )
    def test_every_option_reaches_llama_cpp(self, engine_run, llama, route, more, stream):
        async def work(client, engine):
            body = {"model": "chat", "options": SAMPLING, "stream": stream} | more
            return await client.post(f"/api/{route}", json=body)

        assert engine_run(work).status_code == 200
        (body,) = llama.sent("/completion")
        assert {name: body[name] for name in IN_LLAMA_CPP} == IN_LLAMA_CPP
        assert body["stream"] is stream

    def test_what_is_left_out_is_ollamas_default(self, engine_run, llama):
        engine_run(lambda client, _: client.post("/api/generate", json=request()))
        (body,) = llama.sent("/completion")
        for name, value in llama_cpp.DEFAULT_OPTIONS.items():
            assert body[llama_cpp.LLAMA_NAMES.get(name, name)] == value

    def test_what_it_is_loaded_with(self, engine_run, llama):
        options = {"num_ctx": 512, "num_thread": 1}
        engine_run(lambda client, _: client.post("/api/generate", json=request(options=options)))
        ((name, settings),) = llama.loads
        assert (name, settings.num_ctx, settings.threads) == ("chat:latest", 512, 1)

    def test_no_more_context_than_the_model_was_trained_with(self, engine_run, llama):
        options = {"num_ctx": 100_000}
        engine_run(lambda client, _: client.post("/api/generate", json=request(options=options)))
        assert llama.loads[0][1].num_ctx == 8192

    def test_without_end_is_minus_one_whatever_was_below(self):
        options = llama_cpp.DEFAULT_OPTIONS | {"num_predict": -2}
        assert llama_cpp.sampling(options)["n_predict"] == -1

    def test_log_probabilities(self, engine_run, llama):
        async def work(client, engine):
            for more in ({}, {"logprobs": True}, {"logprobs": True, "top_logprobs": 4}):
                await client.post("/api/generate", json=request(**more))

        engine_run(work)
        assert [body.get("n_probs") for body in llama.sent("/completion")] == [None, 1, 4]


def request(**more) -> dict:
    return {"model": "chat", "prompt": "Hi", "stream": False} | more


class TestAnswers:
    def test_an_answer_in_one_piece(self, engine_run):
        answer = engine_run(lambda client, _: client.post("/api/generate", json=request())).json()
        assert (answer["response"], answer["done"], answer["done_reason"]) == (
            "one two three",
            True,
            "length",
        )
        assert (answer["prompt_eval_count"], answer["eval_count"]) == (5, 3)
        assert (answer["prompt_eval_duration"], answer["eval_duration"]) == (2_000_000, 4_000_000)
        assert answer["total_duration"] >= answer["load_duration"] > 0

    def test_a_stream_has_a_line_for_each_piece(self, engine_run):
        body = request(stream=True)
        text = engine_run(lambda client, _: client.post("/api/generate", json=body)).text
        assert [line.split('"response":')[1][:7] for line in text.splitlines()] == [
            '"one","',
            '" two",',
            '" three',
            '"","don',
        ]

    def test_the_chat_template_is_applied_to_the_whole_conversation(self, engine_run, llama):
        messages = [{"role": "system", "content": "Be brief."}, *MESSAGES]
        body = {"model": "chat", "messages": messages, "stream": False}
        engine_run(lambda client, _: client.post("/api/chat", json=body))
        assert llama.sent("/completion")[0]["prompt"] == "<system>Be brief.<user>Hi"

    @pytest.mark.parametrize("more", [{"model": "base"}, {"raw": True}])
    def test_a_base_model_or_a_raw_prompt_gets_the_text_as_it_is(self, engine_run, llama, more):
        engine_run(lambda client, _: client.post("/api/generate", json=request(**more)))
        assert llama.sent("/completion")[0]["prompt"] == "Hi"
        assert llama.sent("/apply-template") == []

    def test_a_prompt_that_is_too_long_keeps_its_beginning_and_its_end(self, engine_run, llama):
        long = "word " * 100
        body = request(raw=True, prompt=long, options={"num_ctx": 20, "num_keep": 4})
        engine_run(lambda client, _: client.post("/api/generate", json=body))
        assert llama.sent("/completion")[0]["prompt"] == [0, 1, 2, 3, *range(92, 100)]

    def test_a_conversation_that_is_too_long_loses_its_oldest_messages(self, engine_run, llama):
        messages = [
            {"role": "system", "content": "S"},
            *({"role": "user", "content": "word " * 15 + str(n)} for n in range(3)),
        ]
        body = {"model": "chat", "messages": messages, "options": {"num_ctx": 20}, "stream": False}
        engine_run(lambda client, _: client.post("/api/chat", json=body))
        assert llama.sent("/completion")[0]["prompt"] == f"<system>S<user>{'word ' * 15}2"

    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize(("words", "truncated"), [(100, "true"), (19, "false"), (20, "true")])
    def test_a_header_says_whether_anything_is_left_out(self, engine_run, words, truncated, stream):
        """The context must hold one more token, the first of the answer."""

        def header(route: str, **more) -> str:
            body = {"model": "chat", "options": {"num_ctx": 20}, "stream": stream} | more
            answer = engine_run(lambda client, _: client.post(f"/api/{route}", json=body))
            return answer.headers["x-prompt-truncated"]

        text = "word " * words
        assert header("generate", prompt=text, raw=True) == truncated
        assert header("chat", messages=[*MESSAGES, {"role": "user", "content": text}]) == truncated

    @pytest.mark.parametrize("field", ["truncate", "shift"])
    def test_what_must_not_be_cut_is_refused(self, engine_run, llama, field):
        body = request(prompt="word " * 100, options={"num_ctx": 20}) | {field: False}
        answer = engine_run(lambda client, _: client.post("/api/generate", json=body))
        assert (answer.status_code, answer.json()["error"]) == (400, llama_cpp.TOO_LONG)
        assert llama.sent("/completion") == []


class TestOptions:
    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("top_k", "7"),
            ("top_k", True),
            ("top_k", float("nan")),
            ("seed", 2**60),
            ("temperature", "hot"),
            ("stop", "END"),
            ("stop", [5]),
            ("cache_prompt", 1),
        ],
    )
    def test_a_wrong_type_is_named(self, option, value):
        with pytest.raises(ApiError, match=f'option "{option}" must be of type') as refused:
            llama_cpp.check_options({option: value})
        assert refused.value.status == 500

    def test_what_nobody_set_and_what_nobody_knows_is_left_out(self):
        given = {"top_k": None, "colour": "red", "seed": 5.0, "stop": ["", "x"]}
        assert llama_cpp.check_options(given) == {"seed": 5, "stop": ["x"]}


class TestGrammar:
    def test_what_holds_an_answer(self):
        schema = {"type": "object", "properties": {"a": {"type": "string"}}}
        assert llama_cpp.grammar(None) == llama_cpp.grammar("") == {}
        assert llama_cpp.grammar("json") == {"json_schema": {"type": "object"}}
        assert llama_cpp.grammar(schema) == {"json_schema": schema}
        assert llama_cpp.grammar(TREE) == {"json_schema": TREE}

    @pytest.mark.parametrize(
        "wanted",
        [
            "xml",
            5,
            {"maxItems": 10**9},
            {"properties": {"a": [{"minLength": 10**6}]}},
            {"pattern": "((a{1000}){1000})"},
            {"properties": {"a": {"$ref": "http://127.0.0.1/schema.json"}}},
            {"$ref": "file:///schema.json"},
        ],
    )
    def test_what_cannot_be_held_is_refused(self, wanted):
        with pytest.raises(ApiError, match="invalid format") as refused:
            llama_cpp.grammar(wanted)
        assert refused.value.status == 400


TREE = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/City"}, "next": {"$ref": "#"}},
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"City": {"enum": ["Oslo", "Rome"]}},
}


class TestTheSchemaOfACall:
    """A tool's schema stands in a larger one, in which its references still have to lead home."""

    def accepts(self, name: str, arguments: object) -> bool:
        tools = [
            {"function": {"name": "plain"}},
            {"function": {"name": "tree", "parameters": TREE}},
        ]
        schema = llama_cpp.grammar_of_a_call(tools)["json_schema"]
        call = {"name": name, "arguments": arguments}
        return jsonschema.Draft202012Validator(schema).is_valid(call)

    @pytest.mark.parametrize(
        ("name", "arguments", "expected"),
        [
            ("tree", {"city": "Oslo"}, True),
            ("tree", {"city": "Oslo", "next": {"city": "Rome"}}, True),
            ("tree", {"city": "Paris"}, False),
            ("tree", {"city": "Oslo", "next": {"city": "Paris"}}, False),
            ("plain", {"anything": 1}, True),
            ("other", {}, False),
        ],
    )
    def test_references(self, name, arguments, expected):
        assert self.accepts(name, arguments) is expected
