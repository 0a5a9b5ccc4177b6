"""The same assertions against a real Ollama and the embedded engine: one protocol, two engines.

Where the two differ on purpose, ``DIFFERENCES`` in ``test_differences.py`` says which and why.
"""

from __future__ import annotations

import json

import numpy as np
import ollama
import pytest

from tests.support.contract import SHORT, lines

pytestmark = pytest.mark.ollama


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
        assert found.details.quantization_level in ("Q4_1", "Q8_0")
        assert found.modified_at is not None

    def test_show_tells_architecture_and_template(self, client, engine):
        shown = client.show(engine.model)
        assert shown.modelinfo["general.architecture"] == "llama"
        assert shown.modelinfo["general.parameter_count"] == 134515008
        assert shown.modelinfo["llama.context_length"] == 8192
        assert "im_start" in shown.template
        assert shown.details.format == "gguf"

    def test_show_of_an_unknown_model(self, client, engine):
        name = "nope:latest" if engine.newest else "nope"
        with pytest.raises(ollama.ResponseError, match=f"model '{name}' not found") as caught:
            client.show("nope")
        assert caught.value.status_code == 404

    def test_unknown_path_and_method(self, http, engine):
        assert http.get("/api/nothing").status_code == 404
        assert http.get("/api/generate").status_code == (405 if engine.newest else 404)


class TestGenerate:
    def test_stream_ends_with_metrics(self, http, engine):
        body = {"model": engine.shallow, "prompt": "The sky is", "options": SHORT}
        response = http.post("/api/generate", json=body)
        assert response.headers["content-type"].startswith("application/x-ndjson")
        *pieces, last = lines(response)
        assert pieces
        assert all(piece["done"] is False for piece in pieces)
        assert all(piece["model"] == engine.shallow for piece in [*pieces, last])
        assert last["done"] is True
        assert last["done_reason"] in ("stop", "length")
        assert 0 < last["eval_count"] <= 12
        assert last["prompt_eval_count"] > 2
        for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"):
            assert isinstance(last[name], int)
            assert last[name] > 0
        assert last["total_duration"] > last["eval_duration"]

    def test_not_streamed_is_one_object(self, http, engine):
        body = {"model": engine.shallow, "prompt": "The sky is", "options": SHORT, "stream": False}
        response = http.post("/api/generate", json=body)
        assert response.headers["content-type"].startswith("application/json")
        answer = response.json()
        assert answer["done"] is True
        assert answer["response"]
        assert answer["eval_count"] <= 12

    def test_num_predict_ends_with_length(self, client, engine):
        answer = client.generate(
            engine.shallow, "Count to 100.", options=SHORT | {"num_predict": 3}
        )
        assert answer.eval_count == 3
        assert answer.done_reason == "length"

    def test_raw_skips_the_chat_template(self, client, engine):
        one = {"num_predict": 1}
        raw = client.generate(engine.shallow, "The sky is", raw=True, options=one)
        wrapped = client.generate(engine.shallow, "The sky is", options=one)
        assert raw.prompt_eval_count < wrapped.prompt_eval_count

    def test_raw_refuses_a_system_prompt(self, client, engine):
        with pytest.raises(ollama.ResponseError, match="raw mode does not support") as caught:
            client.generate(engine.shallow, "x", raw=True, system="y")
        assert caught.value.status_code == 400

    def test_system_prompt_reaches_the_model(self, client, engine):
        one = {"num_predict": 1}
        short = client.generate(engine.shallow, "Hi", system="Be.", options=one)
        long = client.generate(engine.shallow, "Hi", system="Be kind. " * 40, options=one)
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
        if not engine.writes_text:
            pytest.skip("this build's kernels write no text that could become JSON on a CPU")
        schema = {
            "type": "object",
            "properties": {"colour": {"type": "string", "maxLength": 12}},
            "required": ["colour"],
            "additionalProperties": False,
        }
        answer = client.generate(
            engine.model,
            "The colour of the sky, as JSON.",
            format=schema,
            options={"temperature": 0, "num_predict": 64},
        )
        assert set(json.loads(answer.response)) == {"colour"}

    def test_its_text_is_english_about_a_hypotenuse(self, client, engine):
        if not engine.writes_text:
            pytest.skip("this build's kernels expect a GPU; on a CPU they write gibberish")
        question = "What is the hypotenuse of a right-angled triangle with sides 3 and 4?"
        options = {"temperature": 0, "num_predict": 160}
        text = client.generate(engine.model, question, options=options).response.lower()
        assert "hypotenuse" in text
        assert "triangle" in text
        assert sum(text.count(f" {word} ") for word in ("the", "of", "is", "a")) > 5

    def test_empty_prompt_only_loads(self, client, http, engine):
        answer = http.post("/api/generate", json={"model": engine.shallow}).json()
        assert answer["done_reason"] == "load"
        assert engine.shallow in [one.model for one in client.ps().models]


class TestChat:
    MESSAGES = ({"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi!"})

    def test_stream(self, client, engine):
        parts = list(client.chat(engine.shallow, self.MESSAGES, options=SHORT, stream=True))
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
        first = client.chat(engine.shallow, self.MESSAGES, options=one)
        second = client.chat(engine.shallow, [*self.MESSAGES, *turn], options=one)
        assert second.prompt_eval_count > first.prompt_eval_count + 10

    def test_no_messages_only_loads(self, http, engine):
        answer = http.post("/api/chat", json={"model": engine.shallow}).json()
        assert answer["done_reason"] == "load"

    def test_tools_are_refused_where_the_model_has_none(self, client, engine):
        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
        with pytest.raises(ollama.ResponseError, match="does not support tools") as caught:
            client.chat(engine.shallow, self.MESSAGES, tools=[tool])
        assert caught.value.status_code == 400


class TestEmbed:
    def test_vectors(self, client, engine):
        answer = client.embed(engine.embedder, ["a cat", "a kitten", "tax law"])
        cat, kitten, law = map(np.array, answer.embeddings)
        # The older one does not count the tokens that mark where a text begins and ends.
        assert (len(cat), answer.prompt_eval_count) == (384, 12 if engine.newest else 6)
        assert np.linalg.norm(cat) == pytest.approx(1, abs=1e-3)
        if engine.writes_text:
            assert cat @ kitten > 0.7 > 0.3 > cat @ law

    def test_a_text_that_is_too_long(self, client, engine):
        if not engine.newest:
            pytest.skip("0.5.4 fails")
        (long,) = client.embed(engine.embedder, "word " * 3000).embeddings
        assert len(long) == 384
        with pytest.raises(ollama.ResponseError, match="the input length exceeds") as caught:
            client.embed(engine.embedder, ["ok", "word " * 3000], truncate=False)
        assert caught.value.status_code == 400

    def test_the_older_route(self, client, engine):
        (whole,) = client.embed(engine.embedder, "a cat").embeddings
        one = np.array(client.embeddings(engine.embedder, "a cat").embedding)
        length = np.linalg.norm(one)  # 1, but in the older one
        assert whole == pytest.approx(one / length, abs=1e-3)
        assert client.embeddings(engine.embedder, "").embedding == []

    def test_fewer_dimensions_are_the_first_ones_again_of_length_one(self, client, engine):
        if not engine.newest:
            pytest.skip("0.5.4 ignores dimensions")
        (whole,) = client.embed(engine.embedder, "A cat.").embeddings
        (short,) = client.embed(engine.embedder, "A cat.", dimensions=8).embeddings
        first = np.array(whole[:8])
        assert short == pytest.approx(first / np.linalg.norm(first), rel=1e-3)
        for as_many in (0, -3, 10**6):
            (vector,) = client.embed(engine.embedder, "A cat.", dimensions=as_many).embeddings
            assert len(vector) == len(whole)

    def test_a_model_that_writes_embeds_nothing_and_one_that_embeds_writes_nothing(
        self, client, engine
    ):
        if not engine.newest:
            pytest.skip("0.5.4 embeds with any model")
        for ask in (client.embed, client.embeddings):
            with pytest.raises(ollama.ResponseError, match="does not support embeddings") as caught:
                ask(engine.shallow, "a cat")
            assert caught.value.status_code == (501 if ask == client.embed else 500)
        for ask, what in ((client.generate, "generate"), (client.chat, "chat")):
            with pytest.raises(ollama.ResponseError, match=f"does not support {what}") as caught:
                ask(engine.embedder)
            assert caught.value.status_code == 400
        assert client.show(engine.embedder).capabilities == ["embedding"]

    def test_nothing_to_embed(self, http, engine):
        assert (
            http.post("/api/embed", json={"model": engine.shallow, "input": []}).json()[
                "embeddings"
            ]
            == []
        )

    def test_wrong_input(self, http, engine):
        response = http.post("/api/embed", json={"model": engine.shallow, "input": 5})
        assert (response.status_code, response.json()["error"]) == (400, "invalid input type")
