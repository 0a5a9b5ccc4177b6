"""The contract, continued: wrong requests, what stays loaded, what is stored, many clients."""

from __future__ import annotations

import concurrent.futures
import json
import time

import ollama
import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_ollama import ChatOllama, OllamaLLM

from tests.support.contract import lines
from tests.support.processes import wait_for

pytestmark = pytest.mark.ollama


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
        body = json.dumps(body).replace(MODEL, engine.shallow).encode()
    if path == "generate" and engine.newest and "'../../x'" in (error or ""):
        status, error = 400, "invalid model name"
    response = http.post(f"/api/{path}", content=body)
    assert response.status_code == status, response.text
    message = response.json()["error"]
    assert message == error if error else message


def test_an_option_that_there_is_no_more(http, engine):
    if engine.kind == "ollama" and not engine.since(0, 34, 1):
        pytest.skip("this Ollama still takes typical_p")
    body = {"model": engine.shallow, "prompt": "x", "options": {"typical_p": 0.5}}
    response = http.post("/api/generate", json=body)
    assert response.status_code == 400
    assert response.json()["error"] == "typical_p is no longer supported"


@pytest.mark.parametrize("extra", [{"bogus": 1}, {"num_ctx": None, "seed": None}])
def test_options_that_are_unknown_or_null_are_ignored(client, engine, extra):
    answer = client.generate(engine.shallow, "x", options=extra | {"num_predict": 2})
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
        client.generate(engine.shallow, "x", options={"num_predict": 1})
        assert engine.shallow in self.loaded(client)
        answer = http.post("/api/generate", json={"model": engine.shallow, "keep_alive": 0}).json()
        assert answer["done_reason"] == "unload"
        wait_for(lambda: engine.shallow not in self.loaded(client), 60, "the model to go")

    @pytest.mark.parametrize("route", ["generate", "chat"])
    def test_zero_unloads_one_that_only_embeds_too(self, client, http, engine, route):
        client.embed(engine.embedder, "x")
        assert engine.embedder in self.loaded(client)
        body = {"model": engine.embedder, "keep_alive": 0, "stream": False}
        answer = http.post(f"/api/{route}", json=body).json()
        assert answer["done_reason"] == "unload"
        wait_for(lambda: engine.embedder not in self.loaded(client), 60, "the model to go")
        refused = http.post(f"/api/{route}", json={"model": engine.embedder})
        assert refused.status_code == 400
        assert refused.json()["error"] == f'"{engine.embedder}" does not support {route}'

    def test_a_second_is_kept(self, client, engine):
        client.generate(engine.shallow, "x", options={"num_predict": 1}, keep_alive="1s")
        wait_for(lambda: engine.shallow not in self.loaded(client), 60, "the model to expire")

    def test_ps_tells_size_and_end(self, client, engine):
        client.generate(engine.model, "x", options={"num_predict": 1}, keep_alive=60)
        (found,) = [one for one in client.ps().models if one.model == engine.model]
        assert found.size > 90e6
        assert found.size_vram == 0
        assert 30 < found.expires_at.timestamp() - time.time() < 70


class TestStorage:
    def test_copy_and_delete(self, client, engine):
        client.copy(engine.shallow, "copied:x")
        assert "copied:x" in [one.model for one in client.list().models]
        assert client.generate("copied:x", "x", options={"num_predict": 1}).eval_count == 1
        client.generate("copied:x", keep_alive=0)  # else Ollama lists the file by this name
        client.delete("copied:x")
        assert "copied:x" not in [one.model for one in client.list().models]
        assert engine.shallow in [one.model for one in client.list().models]

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
        assert time.monotonic() - started < 60

    def test_parallel_requests_all_get_their_own_answer(self, client, engine):
        def run(number: int) -> tuple[int, int]:
            options = {"num_predict": number, "temperature": 0.5, "seed": number}
            answer = client.generate(engine.shallow, f"Number {number}:", raw=True, options=options)
            return number, answer.eval_count

        client.generate(engine.shallow, "", raw=False)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for number, count in pool.map(run, range(3, 15)):
                assert 0 < count <= number

    def test_langchain_llm(self, engine):
        template = "Question: {question}\n\nAnswer: Let's think step by step."
        llm = OllamaLLM(
            model=engine.shallow,
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
            model=engine.shallow,
            base_url=engine.url,
            num_predict=8,
            temperature=0,
            client_kwargs={"trust_env": False},
        )
        answer = chat.invoke("Say hello.")
        assert answer.content
        assert answer.usage_metadata["output_tokens"] <= 8
        assert answer.response_metadata["done_reason"] in ("stop", "length")
