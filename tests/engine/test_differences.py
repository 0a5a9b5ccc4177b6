"""What only the embedded engine does, or does otherwise than Ollama."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx
import ollama
import pytest

import slmlab
from tests.support import gguf_files
from tests.support.contract import lines
from tests.support.engines import MINILM, SHALLOW, SMOL, Engine
from tests.support.other_user import ask_as_other, needs_root

T = TypeVar("T")

# What differs on purpose, and why. A test holds each, by its name in ``differs``.
DIFFERENCES = {
    "version has an engine": "a record must say which engine made it; clients ignore the field",
    "error texts of JSON that does not parse": "Go's and pydantic's words; both 400 and a sentence",
    "the name of a model without tools or insert": "as lists have it; Ollama puts its registry's "
    "address before it, also where the model came from elsewhere",
    "a message without a role": "400; Ollama takes it for one of role '', which no template knows",
    "context in the answer": "deprecated by Ollama since 2024; nothing here reads it",
    "create from a Modelfile": "only in servers before 0.5.5; today's form takes `files` or `from`",
    "Go templates": "the file's own Jinja template counts, a registry's only where it has none, "
    "translated or refused; one in a request is refused (400)",
    "images": "a model that sees none refuses them in one sentence; Ollama hands them to "
    "llama.cpp, whose JSON is then in its sentence, with 400 or 500",
    "prompt cache": "the option `cache_prompt`: false has the whole prompt read; Ollama ignores it",
    "end of context": "the answer stops with 'length'; Ollama may drop its beginning and go on",
    "formats other than json or a schema": "400; Ollama answers 500, and 0.5.4 breaks off its 200",
    "logprobs": "0.5.4 has none; today's Ollama has the shape that the embedded engine gives",
    "likelihood": "a route of its own, /slmlab/likelihood: how probable given texts are",
    "x-prompt-truncated": "a header: whether the prompt was cut, which Ollama only logs",
    "BERT's vocabulary": "split as BERT's makers do; llama.cpp, and so Ollama, errs in some",
    "files without a model": "create and pull load a file once; llama.cpp's reason refuses it",
    "a manifest that lies about sizes": "refused: disk and memory were checked by what it says",
    "shift false": "0.5.4 ignores it; today's Ollama refuses a prompt that is too long, as we do",
    "push": "refused in a sentence (501); Ollama sends a model to a registry",
    "fields of OpenAI's API": "those that change an answer and that it lacks are refused by name; "
    "max_completion_tokens and tool_choice count; Ollama ignores all of them",
    "a response that was cut": "`incomplete`, as OpenAI has it; Ollama calls it `completed`",
    "unknown routes of OpenAI's API": "an error as its clients read it; Ollama's is plain text",
    "a system message alone": "where the template drops it, it is the user's turn; Ollama drops it",
    "other users": "401 for who did not start the engine and has not its key; Ollama answers all",
}
# As Gemma's: the system message goes to the user's first turn, and nowhere without one.
WITHOUT_SYSTEM = """\
{%- set system = namespace(text='') %}
{%- for message in messages %}
{%- if message['role'] == 'system' %}{%- set system.text = message['content'] + ' ' %}
{%- else %}<{{ message['role'] }}>{{ system.text }}{%- set system.text = '' %}
{{- message['content'] }}{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}<assistant>{%- endif %}"""
HELD: set[str] = set()


def differs(*names: str) -> Callable[[T], T]:
    """Names the entries of ``DIFFERENCES`` that a test or a class of tests covers."""
    HELD.update(names)
    return lambda test: test


class TestDifferences:
    """What only the embedded engine does, or does otherwise; see ``DIFFERENCES``."""

    @pytest.fixture
    def engine(self, embedded: Engine) -> Engine:
        return embedded

    @differs("likelihood")
    def test_it_tells_how_probable_given_texts_are(self, http):
        body = {"model": SMOL, "prompt": "Paris is in", "continuations": [" France", " Italy"]}
        told = lines(http.post("/slmlab/likelihood", json=body | {"top": 2}))
        (france,), (italy,) = (one["tokens"] for one in told)
        assert (france["token"], italy["token"]) == (" France", " Italy")
        assert france["logprob"] > italy["logprob"]
        assert [len(one["top"]) for one in (france, italy)] == [2, 2]
        for wrong in ({"continuations": []}, {"continuations": [""]}, {"top": -1}):
            refused = http.post("/slmlab/likelihood", json=body | wrong)
            assert refused.status_code == 400
            assert "must be" in refused.json()["error"]
        assert http.post("/slmlab/likelihood", json=body | {"model": MINILM}).status_code == 400
        assert http.get("/slmlab/likelihood").status_code == 405

    @differs("BERT's vocabulary")
    def test_vectors_are_those_of_the_makers(self, client):
        """The first 24 of 384 numbers, as sentence-transformers 2.2.2 computed them on a CPU."""
        known = json.loads(Path(__file__).with_name("minilm_vectors.json").read_text("utf-8"))
        vectors = client.embed(MINILM, [*known]).embeddings
        for vector, (text, numbers) in zip(vectors, known.items(), strict=True):
            assert vector[:24] == pytest.approx(numbers, abs=0.002), text

    @differs("files without a model")
    def test_create_tries_a_file(self, client, tmp_path):
        file = gguf_files.write(tmp_path / "own.gguf", architecture="llama9")
        digest = client.create_blob(file)
        with pytest.raises(ollama.ResponseError, match="unknown model architecture") as raised:
            client.create("own", files={"own.gguf": digest}, stream=False)
        assert raised.value.status_code == 400

    @differs("prompt cache")
    def test_without_the_cache_first_and_repeated_answers_are_equal(self, client):
        options = {"temperature": 0.8, "seed": 5, "num_predict": 30, "cache_prompt": False}
        client.generate(SMOL, "", keep_alive=0)
        texts = {client.generate(SMOL, "Tell me a story.", options=options).response for _ in "123"}
        assert len(texts) == 1

    @pytest.mark.alone
    @differs("prompt cache")
    def test_without_the_cache_prompt_time_does_not_shrink_on_a_repeat(self, client):
        prompt, options = "one two three " * 60, {"num_predict": 1, "cache_prompt": False}
        runs = [client.generate(SMOL, prompt, options=options) for _ in "12"]
        assert runs[1].prompt_eval_duration > runs[0].prompt_eval_duration / 3

    @differs("x-prompt-truncated")
    @pytest.mark.parametrize("stream", [True, False])
    def test_a_header_says_whether_the_prompt_was_cut(self, http, stream):
        options = {"num_ctx": 256, "num_predict": 1}
        for words, truncated in ((1000, "true"), (10, "false")):
            body = {
                "model": SHALLOW,
                "prompt": "word " * words,
                "options": options,
                "stream": stream,
            }
            assert http.post("/api/generate", json=body).headers["x-prompt-truncated"] == truncated

    @differs("shift false")
    def test_a_long_prompt_is_cut_as_ollama_cuts_it(self, client, http):
        prompt, options = "word " * 2000, {"num_ctx": 512, "num_predict": 1}
        answer = client.generate(SHALLOW, prompt, options=options)
        # num_keep 4: 512 - (512 - 4) // 2, see contextShiftPromptLimit in Ollama
        assert answer.prompt_eval_count == 258
        body = {"model": SHALLOW, "prompt": prompt, "options": options, "shift": False}
        response = http.post("/api/generate", json=body)
        assert response.status_code == 400
        assert response.json()["error"].startswith("the prompt is longer than the context length")

    @differs("end of context")
    def test_the_end_of_the_context_ends_the_answer(self, client):
        options = {"num_ctx": 256, "num_predict": -1, "temperature": 1, "seed": 1}
        answer = client.generate(SHALLOW, "Once upon a time", raw=True, options=options)
        assert answer.prompt_eval_count + answer.eval_count <= 257

    @differs("logprobs")
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

    @differs("Go templates", "images", "formats other than json or a schema")
    def test_what_it_cannot_do_it_refuses_with_a_reason(self, http):
        for path, more in (
            ("generate", {"prompt": "x", "template": "{{ .Prompt }}"}),
            ("generate", {"prompt": "x", "images": ["aaaa"]}),
            ("generate", {"prompt": "x", "suffix": "y"}),
            ("generate", {"prompt": "x", "format": "xml"}),
            ("generate", {"prompt": "x", "think": True}),
            ("create", {"from": SHALLOW, "template": "x"}),
        ):
            response = http.post(f"/api/{path}", json={"model": SHALLOW, **more})
            assert response.status_code == 400, (path, more)
            assert len(response.json()["error"]) > 20

    @differs("push")
    def test_push(self, client):
        with pytest.raises(ollama.ResponseError, match="does not push models") as raised:
            client.push(SHALLOW)
        assert raised.value.status_code == 501

    @differs("a system message alone")
    def test_a_system_message_alone_is_read(self, client, here, tmp_path):
        slmlab.add("gentle", gguf_files.write(tmp_path / "gentle.gguf", template=WITHOUT_SYSTEM))
        try:
            read = []
            for role in ("system", "user"):
                message = {"role": role, "content": "Answer in French."}
                answer = client.chat("gentle", [message, message], options={"num_predict": 1})
                read.append(answer.prompt_eval_count)
            assert read[0] == read[1] > 2 * len("AnswerinFrench.")
        finally:
            client.delete("gentle")

    @needs_root
    @differs("other users")
    def test_other_users_are_refused(self, engine):
        ((status, _),) = ask_as_other(engine.url, [("GET", "/api/version", None)], {})
        assert status == 401


class TestBothSides:
    """Requests that both accept and answer differently."""

    def post(self, engine: Engine, path: str, **body: object) -> httpx.Response:
        return httpx.post(
            f"{engine.url}/api/{path}", json=body, timeout=120, trust_env=False, verify=False
        )

    @differs("version has an engine")
    def test_version(self, embedded, real):
        ours, theirs = (
            httpx.get(f"{one.url}/api/version", verify=False).json() for one in (embedded, real)
        )
        assert ours["engine"] == "embedded"
        numbers = re.sub(r"^v|-.*", "", ours["version"]).split(".")  # as Open WebUI reads it
        assert len([int(one) for one in numbers]) == 3
        assert "engine" not in theirs

    @differs("a manifest that lies about sizes")
    def test_a_manifest_that_lies(self, embedded, real, files, tmp_path):
        files.add_model("x", gguf_files.write(tmp_path / "x.gguf"))
        files.change_manifest("x", lambda one: one["layers"][0].update(size=7))
        ask = {"model": f"{files.address}/library/x", "insecure": True}
        ours, theirs = (lines(self.post(one, "pull", **ask))[-1] for one in (embedded, real))
        assert "bytes according to its manifest" in ours["error"]
        assert theirs == {"status": "success"}
        gone = httpx.request(
            "DELETE", f"{real.url}/api/delete", json={"model": ask["model"]}, verify=False
        )
        assert gone.status_code == 200

    @differs("error texts of JSON that does not parse")
    def test_no_json(self, embedded, real):
        errors = []
        for one in (embedded, real):
            answer = httpx.post(
                f"{one.url}/api/generate", content=b"{", trust_env=False, verify=False
            )
            assert answer.status_code == 400
            errors.append(answer.json()["error"])
        assert len(set(errors)) == 2
        assert all(errors)

    @differs("the name of a model without tools or insert")
    def test_the_name_of_a_model_without_tools(self, embedded, real):
        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
        for one in (embedded, real):
            ask = {"messages": [{"role": "user", "content": "x"}], "tools": [tool]}
            said = self.post(one, "chat", model=one.model, **ask).json()["error"]
            where = "" if one.kind == "embedded" else "registry.ollama.ai/library/"
            assert said == f"{where}{one.model} does not support tools"

    @differs("a message without a role")
    def test_a_message_without_a_role(self, embedded, real):
        for one in (embedded, real):
            ask = {"messages": [{"content": "x"}], "options": {"num_predict": 1}, "stream": False}
            answer = self.post(one, "chat", model=one.model, **ask)
            assert answer.status_code == (400 if one.kind == "embedded" else 200)

    @differs("context in the answer")
    def test_context(self, embedded, real):
        one = {"prompt": "x", "stream": False, "options": {"num_predict": 1}}
        answers = [self.post(e, "generate", model=e.model, **one).json() for e in (embedded, real)]
        assert "context" not in answers[0]
        assert real.since(0, 6) or answers[1]["context"]

    @differs("create from a Modelfile")
    def test_a_modelfile(self, embedded, real):
        for one in (embedded, real):
            text = f"FROM {one.model}"
            made = self.post(one, "create", model="mine:x", modelfile=text, stream=False)
            if one.since(0, 5, 5) or one.kind == "embedded":
                assert made.status_code == 400, made.text
            else:
                assert made.json() == {"status": "success"}
                delete = {"model": "mine:x"}
                httpx.request(
                    "DELETE", f"{one.url}/api/delete", json=delete, trust_env=False, verify=False
                )

    @differs("logprobs", "shift false")
    def test_what_0_5_4_ignores(self, real):
        if real.since(0, 12):
            pytest.skip("today's Ollama has both")
        more = {"prompt": "word " * 2000, "logprobs": True, "shift": False, "stream": False}
        options = {"num_ctx": 512, "num_predict": 1}
        answer = self.post(real, "generate", model=real.model, options=options, **more)
        assert answer.status_code == 200
        assert "logprobs" not in answer.json()

    @differs("fields of OpenAI's API")
    @pytest.mark.parametrize(
        ("path", "field", "value"),
        [
            ("chat/completions", "n", 2),
            ("chat/completions", "logit_bias", {"5": 1.0}),
            ("chat/completions", "response_format", {"type": "xml"}),
            ("chat/completions", "tool_choice", "required"),
            ("completions", "echo", True),
            ("completions", "best_of", 3),
        ],
    )
    def test_fields_of_openais_api(self, embedded, real, path, field, value):
        ask = {"messages": [{"role": "user", "content": "x"}], "prompt": "x", "max_tokens": 1}
        for one in (embedded, real):
            body = {"model": one.model, field: value} | ask
            answer = httpx.post(
                f"{one.url}/v1/{path}", json=body, timeout=120, trust_env=False, verify=False
            )
            if one.kind == "embedded":
                assert answer.status_code == 400
                assert field in answer.json()["error"]["message"]
            else:
                assert answer.status_code == 200

    @differs("a response that was cut")
    def test_a_response_that_was_cut(self, embedded, real):
        for one in (embedded, real):
            if one.kind == "ollama" and not one.since(0, 30):
                continue
            body = {"model": one.model, "input": "Hi", "max_output_tokens": 2}
            answer = httpx.post(
                f"{one.url}/v1/responses", json=body, timeout=120, trust_env=False, verify=False
            )
            wanted = "incomplete" if one.kind == "embedded" else "completed"
            assert answer.json()["status"] == wanted

    @differs("unknown routes of OpenAI's API")
    def test_unknown_routes_of_openais_api(self, embedded, real):
        for one in (embedded, real):
            answer = httpx.post(
                f"{one.url}/v1/images/generations", json={}, trust_env=False, verify=False
            )
            assert answer.status_code == 404
            if one.kind == "embedded":
                message = answer.json()["error"]["message"]
                assert message.startswith("no route POST /v1/images/generations; of OpenAI's API")
            else:
                assert answer.text == "404 page not found"
        answer = httpx.get(f"{embedded.url}/v1/chat/completions", trust_env=False, verify=False)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert "has no method GET" in answer.json()["error"]["message"]


def test_each_difference_is_held_by_a_test():
    assert set(DIFFERENCES) == HELD
