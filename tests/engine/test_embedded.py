"""The embedded engine's models: how they are made, run side by side, replaced and lost."""

from __future__ import annotations

import json

import ollama
import pytest

from tests.support.contract import lines
from tests.support.engines import GEMMA, SHALLOW, SMOL, Engine, runners


@pytest.fixture
def engine(embedded: Engine) -> Engine:
    return embedded


def test_its_text_equals_llama_cpp_called_directly(client, http, quick_gguf):
    import xllamacpp

    body = {"model": SMOL, "prompt": "What is a hypotenuse?", "_debug_render_only": True}
    (rendered,) = lines(http.post("/api/generate", json=body))
    params = xllamacpp.CommonParams()
    params.model.path = str(quick_gguf)
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


def test_a_base_model_gets_no_template(client):
    one = {"num_predict": 1}
    wrapped = client.generate(GEMMA, "Once upon a time", options=one)
    raw = client.generate(GEMMA, "Once upon a time", raw=True, options=one)
    assert wrapped.prompt_eval_count == raw.prompt_eval_count


def test_a_long_chat_loses_its_oldest_messages_first(client, http):
    history = [{"role": "user", "content": f"old {i} " * 60} for i in range(10)]
    messages = [
        {"role": "system", "content": "SYS"},
        *history,
        {"role": "user", "content": "NEW"},
    ]
    body = {
        "model": SHALLOW,
        "messages": messages,
        "options": {"num_ctx": 512},
        "_debug_render_only": True,
    }
    (rendered,) = lines(http.post("/api/chat", json=body))
    text = rendered["_debug_info"]["rendered_template"]
    assert "SYS" in text
    assert "NEW" in text
    assert "old 0" not in text


def test_create_from_a_file_and_from_a_model(client, http, quick_gguf):
    digest = client.create_blob(str(quick_gguf))
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


def test_a_file_that_is_no_model_is_refused(client, tmp_path):
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"GGUF" + b"\xff" * 100)
    digest = client.create_blob(str(junk))
    with pytest.raises(ollama.ResponseError, match="GGUF"):
        client.create("junk", files={"junk.gguf": digest})


def test_a_killed_runner_is_an_error_and_the_next_request_works(client, http, engine):
    client.generate(SMOL, "x", options={"num_predict": 1})
    body = {"model": SMOL, "prompt": "A long story.", "options": {"num_predict": 2000}}
    with http.stream("POST", "/api/generate", json=body) as response:
        rows = response.iter_lines()
        next(rows)
        killed = runners(engine.url)
        for process in killed:
            process.kill()
        assert killed
        *_, last = rows
    assert "unexpectedly stopped" in json.loads(last)["error"]
    assert client.generate(SMOL, "x", options={"num_predict": 1}).eval_count == 1


def test_the_least_recently_used_model_goes(client):
    names = [f"copy:{i}" for i in range(4)]
    for number, name in enumerate(names):
        client.create(name, from_=SHALLOW, parameters={"seed": number + 100})
        client.generate(name, "x", options={"num_predict": 1, "num_ctx": 256})
    loaded = {one.model for one in client.ps().models}
    assert loaded == set(names[1:])
    for name in names:
        client.delete(name)
    assert not {one.model for one in client.ps().models} & set(names)
