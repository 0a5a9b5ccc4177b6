"""The same assertions against a real Ollama and the embedded engine: one protocol, two engines.

Where the two differ on purpose, ``DIFFERENCES`` says which and why, and a test holds it.
"""

from __future__ import annotations

import concurrent.futures
import json
import time

import httpx
import ollama
import pytest
from conftest import GEMMA, SMOL, Engine, wait_for
from langchain_core.prompts import ChatPromptTemplate
from langchain_ollama import ChatOllama, OllamaLLM

pytestmark = [pytest.mark.slow, pytest.mark.ollama]

DIFFERENCES = {
    "version has an engine": "a record must say which engine made it; clients ignore the field",
    "error texts of JSON that does not parse": "Go's and pydantic's words; both 400 and a sentence",
    "an unknown model in embed": "0.5.4 adds 'try pulling it first', today's Ollama does not",
    "context in the answer": "deprecated by Ollama since 2024; nothing here reads it",
    "create from a Modelfile": "only in servers before 0.5.5; today's form takes `files` or `from`",
    "Go templates": "chat templates come from the GGUF file, in Jinja; a template is refused (400)",
    "tools and images": "refused with 400, as Ollama does for models that cannot",
    "prompt cache": "never used, so that prompt time is honest and a repeat gives the same answer",
    "end of context": "the answer stops with 'length'; Ollama may drop its beginning and go on",
    "formats other than json or a schema": "400 before the stream, where Ollama's 200 breaks off",
    "logprobs": "0.5.4 has none; today's Ollama has the shape that the embedded engine gives",
    "shift false": "0.5.4 ignores it; today's Ollama refuses a prompt that is too long, as we do",
}


@pytest.fixture
def http(engine: Engine):
    with httpx.Client(base_url=engine.url, timeout=120, trust_env=False) as client:
        yield client


@pytest.fixture
def client(engine: Engine) -> ollama.Client:
    return ollama.Client(engine.url, timeout=120, trust_env=False)


def lines(response: httpx.Response) -> list[dict]:
    return [json.loads(line) for line in response.text.splitlines()]


SHORT = {"num_predict": 12, "temperature": 0, "seed": 1}


class TestReading:
    def test_root_says_ollama_is_running(self, http):
        assert http.get("/").text == "Ollama is running"
        assert http.head("/").status_code == 200

    def test_version_is_a_text(self, http, engine):
        facts = http.get("/api/version").json()
        assert facts["version"]
        assert facts.get("engine", "ollama") == engine.kind

    def test_tags_list_the_model(self, client, engine):
        found = {one.model: one for one in client.list().models}[engine.model]
        assert found.size > 90e6
        assert len(found.digest) == 64
        assert found.details.family == "llama"
        assert found.details.parameter_size == "134.52M"
        assert found.details.quantization_level == "Q4_1"
        assert found.modified_at is not None

    def test_show_tells_architecture_and_template(self, client, engine):
        shown = client.show(engine.model)
        assert shown.modelinfo["general.architecture"] == "llama"
        assert shown.modelinfo["general.parameter_count"] == 134515008
        assert shown.modelinfo["llama.context_length"] == 8192
        assert "im_start" in shown.template
        assert shown.details.format == "gguf"

    def test_show_of_an_unknown_model(self, client):
        with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as caught:
            client.show("nope")
        assert caught.value.status_code == 404

    def test_unknown_path_and_method(self, http):
        assert http.get("/api/nothing").status_code == 404
        assert http.get("/api/generate").status_code == 404


class TestGenerate:
    def test_stream_ends_with_metrics(self, http, engine):
        body = {"model": engine.model, "prompt": "The sky is", "options": SHORT}
        response = http.post("/api/generate", json=body)
        assert response.headers["content-type"].startswith("application/x-ndjson")
        *pieces, last = lines(response)
        assert pieces
        assert all(piece["done"] is False for piece in pieces)
        assert all(piece["model"] == engine.model for piece in [*pieces, last])
        assert last["done"] is True
        assert last["done_reason"] in ("stop", "length")
        assert 0 < last["eval_count"] <= 12
        assert last["prompt_eval_count"] > 2
        for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"):
            assert isinstance(last[name], int)
            assert last[name] > 0
        assert last["total_duration"] > last["eval_duration"]

    def test_not_streamed_is_one_object(self, http, engine):
        body = {"model": engine.model, "prompt": "The sky is", "options": SHORT, "stream": False}
        response = http.post("/api/generate", json=body)
        assert response.headers["content-type"].startswith("application/json")
        answer = response.json()
        assert answer["done"] is True
        assert answer["response"]
        assert answer["eval_count"] <= 12

    def test_num_predict_ends_with_length(self, client, engine):
        answer = client.generate(engine.model, "Count to 100.", options=SHORT | {"num_predict": 3})
        assert answer.eval_count == 3
        assert answer.done_reason == "length"

    def test_raw_skips_the_chat_template(self, client, engine):
        one = {"num_predict": 1}
        raw = client.generate(engine.model, "The sky is", raw=True, options=one)
        wrapped = client.generate(engine.model, "The sky is", options=one)
        assert raw.prompt_eval_count < wrapped.prompt_eval_count

    def test_raw_refuses_a_system_prompt(self, client, engine):
        with pytest.raises(ollama.ResponseError, match="raw mode does not support") as caught:
            client.generate(engine.model, "x", raw=True, system="y")
        assert caught.value.status_code == 400

    def test_system_prompt_reaches_the_model(self, client, engine):
        one = {"num_predict": 1}
        short = client.generate(engine.model, "Hi", system="Be.", options=one)
        long = client.generate(engine.model, "Hi", system="Be kind. " * 40, options=one)
        assert long.prompt_eval_count > short.prompt_eval_count + 60

    def test_same_seed_same_text_other_seed_other_text(self, client, engine):
        hot = {"temperature": 1.5, "num_predict": 16, "top_k": 0, "top_p": 1.0}

        def text(seed: int) -> str:
            return client.generate(engine.model, "Once", options=hot | {"seed": seed}).response

        text(7)  # Ollama's first run evaluates the whole prompt, later ones use its cache
        assert text(7) == text(7)
        assert len({text(seed) for seed in range(4)}) > 1

    def test_stop_word_is_cut_off(self, client, engine):
        # Whatever a model writes, its second piece can serve as a stop word.
        options = SHORT | {"num_predict": 8}
        pieces = [
            p.response for p in client.generate(engine.model, "A", options=options, stream=True)
        ]
        word = next(piece for piece in pieces[1:] if piece.strip())
        stopped = client.generate(engine.model, "A", options=options | {"stop": [word]})
        assert word not in stopped.response
        assert stopped.done_reason == "stop"

    def test_format_json_gives_json(self, client, engine):
        if engine.kind == "ollama":
            pytest.skip("0.5.4's kernels write no text that could become JSON on a CPU")
        schema = {
            "type": "object",
            "properties": {"colour": {"type": "string", "maxLength": 12}},
            "required": ["colour"],
        }
        answer = client.generate(
            engine.model,
            "The colour of the sky, as JSON.",
            format=schema,
            options={"temperature": 0, "num_predict": 64},
        )
        assert set(json.loads(answer.response)) == {"colour"}

    def test_empty_prompt_only_loads(self, client, http, engine):
        answer = http.post("/api/generate", json={"model": engine.model}).json()
        assert answer["done_reason"] == "load"
        assert engine.model in [one.model for one in client.ps().models]


class TestChat:
    MESSAGES = ({"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi!"})

    def test_stream(self, client, engine):
        parts = list(client.chat(engine.model, self.MESSAGES, options=SHORT, stream=True))
        assert parts[-1].done
        assert parts[-1].eval_count <= 12
        assert all(part.message.role == "assistant" for part in parts)
        assert "".join(part.message.content for part in parts)

    def test_history_makes_the_prompt_longer(self, client, engine):
        one = {"num_predict": 1}
        turn = [
            {"role": "assistant", "content": "Hello there, how are you?"},
            {"role": "user", "content": "Fine."},
        ]
        first = client.chat(engine.model, self.MESSAGES, options=one)
        second = client.chat(engine.model, [*self.MESSAGES, *turn], options=one)
        assert second.prompt_eval_count > first.prompt_eval_count + 10

    def test_no_messages_only_loads(self, http, engine):
        answer = http.post("/api/chat", json={"model": engine.model}).json()
        assert answer["done_reason"] == "load"

    def test_tools_are_refused_where_the_model_has_none(self, client, engine):
        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
        with pytest.raises(ollama.ResponseError, match="does not support tools") as caught:
            client.chat(engine.model, self.MESSAGES, tools=[tool])
        assert caught.value.status_code == 400


class TestEmbed:
    def test_vectors(self, client, engine):
        answer = client.embed(engine.model, ["a cat", "a kitten", "tax law"])
        assert [len(vector) for vector in answer.embeddings] == [576] * 3
        if engine.kind == "embedded":
            for vector in answer.embeddings:
                assert sum(x * x for x in vector) == pytest.approx(1, abs=1e-3)
            assert answer.prompt_eval_count > 5

    def test_nothing_to_embed(self, http, engine):
        assert (
            http.post("/api/embed", json={"model": engine.model, "input": []}).json()["embeddings"]
            == []
        )

    def test_wrong_input(self, http, engine):
        response = http.post("/api/embed", json={"model": engine.model, "input": 5})
        assert (response.status_code, response.json()["error"]) == (400, "invalid input type")


MODEL = "the engine's model"


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("generate", None, 400, "missing request body"),
        ("generate", b"{", 400, None),
        ("generate", b"[]", 400, None),
        ("generate", {"model": 5}, 400, None),
        ("generate", {"model": MODEL, "prompt": ["x"]}, 400, None),
        ("generate", {"model": MODEL, "prompt": "x", "options": []}, 400, None),
        ("generate", {"model": MODEL, "prompt": "x", "stream": "yes"}, 400, None),
        ("generate", {"prompt": "x"}, 404, "model '' not found"),
        ("generate", {"model": "nope", "prompt": "x"}, 404, "model 'nope' not found"),
        ("generate", {"model": "../../x", "prompt": "x"}, 404, "model '../../x' not found"),
        (
            "generate",
            {"model": MODEL, "prompt": "x", "options": {"temperature": "hot"}},
            500,
            'option "temperature" must be of type float32',
        ),
        (
            "generate",
            {"model": MODEL, "prompt": "x", "options": {"seed": "one"}},
            500,
            'option "seed" must be of type integer',
        ),
        (
            "generate",
            {"model": MODEL, "prompt": "x", "options": {"stop": "word"}},
            500,
            'option "stop" must be of type array',
        ),
        (
            "generate",
            {"model": MODEL, "prompt": "x", "keep_alive": "soon"},
            400,
            'time: invalid duration "soon"',
        ),
        ("chat", {"messages": []}, 400, "model is required"),
        ("chat", {"model": MODEL, "messages": "hi"}, 400, None),
        ("chat", {"model": "nope", "messages": [{"role": "user", "content": "x"}]}, 404, None),
        ("show", {}, 400, "model is required"),
        ("pull", {}, 400, "invalid model name"),
        ("copy", {"source": "nope", "destination": "y"}, 404, 'model "nope" not found'),
        ("copy", {"source": MODEL, "destination": "a b"}, 400, 'destination "a b" is invalid'),
    ],
)
def test_wrong_requests(http, engine, path, body, status, error):
    if isinstance(body, dict):
        body = json.dumps(body).replace(MODEL, engine.model).encode()
    response = http.post(f"/api/{path}", content=body)
    assert response.status_code == status, response.text
    said = response.json()["error"]
    assert said == error if error else said


@pytest.mark.parametrize("extra", [{"bogus": 1}, {"num_ctx": None, "seed": None}])
def test_options_that_are_unknown_or_null_are_ignored(client, engine, extra):
    answer = client.generate(engine.model, "x", options=extra | {"num_predict": 2})
    assert answer.eval_count == 2


@pytest.mark.parametrize("name", ["Host", "Origin"])
def test_pages_of_other_sites_are_refused(http, name):
    value = "evil.example" if name == "Host" else "http://evil.example"
    assert http.get("/api/tags", headers={name: value}).status_code == 403
    assert http.get("/api/tags", headers={"Host": "localhost:11434"}).status_code == 200


class TestKeepAlive:
    def loaded(self, client) -> list[str]:
        return [one.model for one in client.ps().models]

    def test_zero_unloads_at_once(self, client, http, engine):
        client.generate(engine.model, "x", options={"num_predict": 1})
        assert engine.model in self.loaded(client)
        answer = http.post("/api/generate", json={"model": engine.model, "keep_alive": 0}).json()
        assert answer["done_reason"] == "unload"
        wait_for(lambda: engine.model not in self.loaded(client), 10, "the model to go")

    def test_a_second_is_kept(self, client, engine):
        client.generate(engine.model, "x", options={"num_predict": 1}, keep_alive="1s")
        wait_for(lambda: engine.model not in self.loaded(client), 10, "the model to expire")

    def test_ps_tells_size_and_end(self, client, engine):
        client.generate(engine.model, "x", options={"num_predict": 1}, keep_alive=60)
        (found,) = [one for one in client.ps().models if one.model == engine.model]
        assert found.size > 90e6
        assert found.size_vram == 0
        assert 30 < found.expires_at.timestamp() - time.time() < 70


class TestStorage:
    def test_copy_and_delete(self, client, engine):
        client.copy(engine.model, "copied:x")
        assert "copied:x" in [one.model for one in client.list().models]
        assert client.generate("copied:x", "x", options={"num_predict": 1}).eval_count == 1
        client.delete("copied:x")
        assert "copied:x" not in [one.model for one in client.list().models]
        assert engine.model in [one.model for one in client.list().models]

    def test_delete_of_an_unknown_model(self, client):
        with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as caught:
            client.delete("nope")
        assert caught.value.status_code == 404

    def test_blob_with_another_digest_is_refused(self, http):
        digest = "sha256:" + "a" * 64
        assert http.head(f"/api/blobs/{digest}").status_code == 404
        response = http.post(f"/api/blobs/{digest}", content=b"hello")
        assert response.status_code == 400
        assert "digest mismatch" in response.json()["error"]
        assert http.head(f"/api/blobs/{digest}").status_code == 404
        assert http.head("/api/blobs/sha256:aa").status_code == 400

    def test_pull_of_an_unknown_model_fails_in_the_stream(self, http):
        response = http.post("/api/pull", json={"model": "no-such-model"})
        assert response.status_code == 200
        first, last = lines(response)
        assert first == {"status": "pulling manifest"}
        assert last["error"].startswith("pull model manifest: ")
        response = http.post("/api/pull", json={"model": "no-such-model", "stream": False})
        assert response.status_code == 500


class TestClients:
    def test_a_client_that_hangs_up_stops_the_work(self, http, engine):
        body = {
            "model": engine.model,
            "prompt": "Tell a very long story.",
            "options": {"num_predict": 4000, "num_ctx": 4096, "temperature": 1},
        }
        with http.stream("POST", "/api/generate", json=body) as response:
            next(response.iter_lines())
        # With four places and eight of these gone, a ninth client would wait for minutes.
        for _ in range(8):
            with http.stream("POST", "/api/generate", json=body) as response:
                next(response.iter_lines())
        started = time.monotonic()
        http.post(
            "/api/generate",
            json={"model": engine.model, "prompt": "x", "options": {"num_predict": 1}},
        ).raise_for_status()
        assert time.monotonic() - started < 15

    def test_parallel_requests_all_get_their_own_answer(self, client, engine):
        def run(number: int) -> tuple[int, int]:
            options = {"num_predict": number, "temperature": 0.5, "seed": number}
            answer = client.generate(engine.model, f"Number {number}:", raw=True, options=options)
            return number, answer.eval_count

        client.generate(engine.model, "", raw=False)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for number, count in pool.map(run, range(3, 15)):
                assert 0 < count <= number

    def test_langchain_llm(self, engine):
        template = "Question: {question}\n\nAnswer: Let's think step by step."
        llm = OllamaLLM(
            model=engine.model,
            base_url=engine.url,
            num_predict=8,
            temperature=0,
            client_kwargs={"trust_env": False},
        )
        runnable = ChatPromptTemplate.from_template(template) | llm
        assert runnable.invoke({"question": "What is 2 + 2?"})
        assert len(list(runnable.stream({"question": "What is 2 + 2?"}))) > 1

    def test_langchain_chat(self, engine):
        chat = ChatOllama(
            model=engine.model,
            base_url=engine.url,
            num_predict=8,
            temperature=0,
            client_kwargs={"trust_env": False},
        )
        answer = chat.invoke("Say hello.")
        assert answer.content
        assert answer.usage_metadata["output_tokens"] <= 8
        assert answer.response_metadata["done_reason"] in ("stop", "length")


class TestDifferences:
    """What only the embedded engine does, or does otherwise; see ``DIFFERENCES``."""

    @pytest.fixture
    def engine(self, embedded: Engine) -> Engine:
        return embedded

    def test_its_text_is_english_about_a_hypotenuse(self, client):
        question = "What is the hypotenuse of a right-angled triangle with sides 3 and 4?"
        answer = client.generate(SMOL, question, options={"temperature": 0, "num_predict": 160})
        text = answer.response.lower()
        assert "hypotenuse" in text
        assert "triangle" in text
        assert sum(text.count(f" {word} ") for word in ("the", "of", "is", "a")) > 5

    def test_its_text_equals_llama_cpp_called_directly(self, client, http, smol_gguf):
        import xllamacpp

        body = {"model": SMOL, "prompt": "What is a hypotenuse?", "_debug_render_only": True}
        (rendered,) = lines(http.post("/api/generate", json=body))
        params = xllamacpp.CommonParams()
        params.model.path = str(smol_gguf)
        params.n_ctx, params.verbosity, params.cache_ram_mib = 4096, -1, 0
        direct: dict = {}
        options = {
            "temperature": 0,
            "seed": 3,
            "top_k": 40,
            "top_p": 0.9,
            "min_p": 0.0,
            "repeat_penalty": 1.0,
            "cache_prompt": False,
            "n_predict": 60,
            "prompt": rendered["_debug_info"]["rendered_template"],
        }
        server = xllamacpp.Server(params)
        server.handle_completions(options, direct.update)
        answer = client.generate(
            SMOL, "What is a hypotenuse?", options={"temperature": 0, "seed": 3, "num_predict": 60}
        )
        assert answer.response == direct["choices"][0]["text"]

    def test_first_and_repeated_answers_are_equal(self, client):
        options = {"temperature": 0.8, "seed": 5, "num_predict": 30}
        client.generate(SMOL, "", keep_alive=0)
        texts = {client.generate(SMOL, "Tell me a story.", options=options).response for _ in "123"}
        assert len(texts) == 1

    def test_prompt_time_does_not_shrink_on_a_repeat(self, client):
        prompt = "one two three " * 60
        runs = [client.generate(SMOL, prompt, options={"num_predict": 1}) for _ in "12"]
        assert runs[1].prompt_eval_duration > runs[0].prompt_eval_duration / 3

    def test_a_base_model_gets_no_template(self, client):
        one = {"num_predict": 1}
        wrapped = client.generate(GEMMA, "Once upon a time", options=one)
        raw = client.generate(GEMMA, "Once upon a time", raw=True, options=one)
        assert wrapped.prompt_eval_count == raw.prompt_eval_count

    def test_a_long_prompt_is_cut_as_ollama_cuts_it(self, client, http):
        prompt, options = "word " * 2000, {"num_ctx": 512, "num_predict": 1}
        answer = client.generate(SMOL, prompt, options=options)
        # num_keep 4: 512 - (512 - 4) // 2, see contextShiftPromptLimit in Ollama
        assert answer.prompt_eval_count == 258
        body = {"model": SMOL, "prompt": prompt, "options": options, "shift": False}
        response = http.post("/api/generate", json=body)
        assert response.status_code == 400
        assert response.json()["error"].startswith("the prompt is longer than the context length")

    def test_a_long_chat_loses_its_oldest_messages_first(self, client, http):
        history = [{"role": "user", "content": f"old {i} " * 60} for i in range(10)]
        messages = [
            {"role": "system", "content": "SYS"},
            *history,
            {"role": "user", "content": "NEW"},
        ]
        body = {
            "model": SMOL,
            "messages": messages,
            "options": {"num_ctx": 512},
            "_debug_render_only": True,
        }
        (rendered,) = lines(http.post("/api/chat", json=body))
        text = rendered["_debug_info"]["rendered_template"]
        assert "SYS" in text
        assert "NEW" in text
        assert "old 0" not in text

    def test_the_end_of_the_context_ends_the_answer(self, client):
        options = {"num_ctx": 256, "num_predict": -1, "temperature": 1, "seed": 1}
        answer = client.generate(GEMMA, "Once upon a time", raw=True, options=options)
        assert answer.prompt_eval_count + answer.eval_count <= 257

    def test_logprobs(self, client):
        answer = client.generate(
            SMOL,
            "The sky is",
            raw=True,
            logprobs=True,
            top_logprobs=3,
            options={"num_predict": 4, "temperature": 0},
        )
        assert len(answer.logprobs) == 4
        for row in answer.logprobs:
            assert row.logprob <= 0
            assert len(row.top_logprobs) == 3
            assert row.top_logprobs[0].token == row.token

    def test_create_from_a_file_and_from_a_model(self, client, http, smol_gguf):
        digest = client.create_blob(str(smol_gguf))
        client.create("made:file", files={"a.gguf": digest})
        client.create(
            "made:pirate", from_="made:file", system="You are a pirate.", parameters={"seed": 4}
        )
        shown = http.post("/api/show", json={"model": "made:pirate"}).json()
        assert shown["system"] == "You are a pirate."
        digests = {one.model: one.digest for one in client.list().models}
        assert digests["made:file"] == digests[SMOL]
        assert digests["made:pirate"] != digests[SMOL]
        client.delete("made:file")
        assert client.generate("made:pirate", "Hi", options={"num_predict": 2}).eval_count == 2
        client.delete("made:pirate")

    def test_a_file_that_is_no_model_is_refused(self, client, tmp_path):
        junk = tmp_path / "junk.gguf"
        junk.write_bytes(b"GGUF" + b"\xff" * 100)
        digest = client.create_blob(str(junk))
        with pytest.raises(ollama.ResponseError, match="GGUF"):
            client.create("junk", files={"junk.gguf": digest})

    def test_what_it_cannot_do_it_refuses_with_a_reason(self, http):
        for path, more in (
            ("generate", {"prompt": "x", "template": "{{ .Prompt }}"}),
            ("generate", {"prompt": "x", "images": ["aaaa"]}),
            ("generate", {"prompt": "x", "suffix": "y"}),
            ("generate", {"prompt": "x", "format": "xml"}),
            ("generate", {"prompt": "x", "think": True}),
            ("create", {"from": SMOL, "template": "x"}),
        ):
            response = http.post(f"/api/{path}", json={"model": SMOL, **more})
            assert response.status_code == 400, (path, more)
            assert len(response.json()["error"]) > 20

    def test_a_killed_runner_is_an_error_and_the_next_request_works(self, client, http):
        import psutil

        client.generate(SMOL, "x", options={"num_predict": 1})
        body = {"model": SMOL, "prompt": "A long story.", "options": {"num_predict": 2000}}
        with http.stream("POST", "/api/generate", json=body) as response:
            rows = response.iter_lines()
            next(rows)
            for process in psutil.process_iter(["cmdline"]):
                if "slmlab.engines.embedded.worker" in (process.info["cmdline"] or []):
                    process.kill()
            *_, last = rows
        assert "unexpectedly stopped" in json.loads(last)["error"]
        assert client.generate(SMOL, "x", options={"num_predict": 1}).eval_count == 1

    def test_the_least_recently_used_model_goes(self, client):
        names = [f"copy:{i}" for i in range(4)]
        for number, name in enumerate(names):
            client.create(name, from_=SMOL, parameters={"seed": number + 100})
            client.generate(name, "x", options={"num_predict": 1, "num_ctx": 256})
        loaded = {one.model for one in client.ps().models}
        assert loaded == set(names[1:])
        for name in names:
            client.delete(name)
        assert not {one.model for one in client.ps().models} & set(names)
