"""Files that are not usable models are refused, with the reason, when they are added."""

from __future__ import annotations

import hashlib

import httpx
import pytest

import slmlab
from slmlab import models, paths
from slmlab.engines.client import client
from slmlab.errors import ModelError
from tests.support import gguf_files

# What the header tells; nothing is sent.
BY_HEADER = {
    "a shard": ({"facts": {"split.no": 0, "split.count": 2}}, "one of the 2 parts"),
    "a projector": ({"architecture": "clip", "tokenizer": ""}, "a projector .mmproj."),
    "an adapter": ({"facts": {"general.type": "adapter"}, "tokenizer": ""}, "a LoRA adapter"),
    "a vocabulary": ({"tensors": False}, "no weights"),
    "no tokenizer": ({"tokenizer": ""}, "no tokenizer"),
}
# What only llama.cpp knows.
BY_LLAMA_CPP = {
    "an architecture": ({"architecture": "llama9"}, "unknown model architecture: 'llama9'"),
    "a tokenizer": ({"tokenizer": "puzzle"}, "unknown tokenizer: 'puzzle'"),
    "no sizes": ({"sizes": False}, r"key not found in model: llama\.context_length"),
    "a template cut short": ({"template": "{{ m.content "}, "its chat template cannot be used: "),
    "a template with a filter": ({"template": "{{ messages|mix }}"}, "filter 'mix'"),
}


def blobs() -> list[str]:
    return sorted(one.name for one in (paths.home() / "models/blobs").glob("*"))


class TestUnusable:
    @pytest.fixture
    def host(self, lab) -> str:
        return slmlab.start("embedded", quiet=True).host

    def test_each_is_refused_with_its_reason(self, host, tmp_path):
        """In one test, since its server takes a while to start."""
        file = tmp_path / "own.gguf"
        slmlab.add("own", gguf_files.write(file))
        models.load("own", 256)
        have = blobs()
        for name, (spoiled, reason) in (BY_HEADER | BY_LLAMA_CPP).items():
            gguf_files.write(file, **spoiled)
            with pytest.raises(ModelError, match=reason) as raised:
                slmlab.add("own", file)
            message = str(raised.value)
            assert message.startswith(str(file) if name in BY_HEADER else "own: "), name
            assert "input params" not in message
            assert "no model 'own'" not in message
        # The model that had the name before is still there, and nothing else is.
        assert [one.name for one in models.installed(host=host)] == ["own:latest"]
        assert blobs() == have
        models.load("own", 256)

    def test_the_server_refuses_them_from_other_clients_too(self, host, tmp_path):
        for spoiled, reason in BY_HEADER.values():
            file = gguf_files.write(tmp_path / "own.gguf", **spoiled)
            digest = client(host).create_blob(file)
            with pytest.raises(Exception, match=reason) as raised:
                client(host).create("own", files={"own.gguf": digest}, stream=False)
            assert raised.value.status_code == 400
        assert blobs() == []

    def test_a_model_that_got_worse_on_disk_says_why_it_cannot_be_loaded(self, host, tmp_path):
        file = gguf_files.write(tmp_path / "own.gguf")
        slmlab.add("own", file)
        name = f"sha256-{hashlib.sha256(file.read_bytes()).hexdigest()}"
        gguf_files.write(paths.home() / "models/blobs" / name, architecture="llama9")
        with pytest.raises(ModelError, match="unable to load model: unknown model architecture"):
            models.load("own", 512)


class TestMessages:
    """A conversation that a model begins with."""

    BEGINNING = (
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Hello, Ada!"},
    )

    @pytest.fixture
    def mine(self, at):
        if at.kind == "ollama" and not at.since(0, 5, 5):
            pytest.skip("0.5.4 is older than creating from a model; today's Ollama has it")
        c = client(at.url)
        c.create(
            "mine", from_=at.shallow, system="Be kind.", messages=list(self.BEGINNING), stream=False
        )
        yield "mine"
        c.delete("mine")

    def test_they_come_before_what_is_asked(self, at, mine):
        c, question = client(at.url), {"role": "user", "content": "Who am I?"}
        options = {"num_predict": 1, "temperature": 0}
        system = {"role": "system", "content": "Be kind."}
        whole = c.chat(at.shallow, [system, *self.BEGINNING, question], options=options)
        for count in (
            c.chat(mine, [question], options=options).prompt_eval_count,
            c.generate(mine, question["content"], options=options).prompt_eval_count,
        ):
            assert count == whole.prompt_eval_count
        alone = c.chat(at.shallow, [system, question], options=options)
        assert alone.prompt_eval_count < whole.prompt_eval_count

    def test_they_are_shown_inherited_and_replaced(self, at, mine):
        c = client(at.url)
        assert self.messages(at, mine) == list(self.BEGINNING)
        other = [{"role": "user", "content": "Hi."}]
        for messages, expected in ((None, list(self.BEGINNING)), (other, other)):
            c.create("child", from_=mine, messages=messages, stream=False)
            assert self.messages(at, "child") == expected
            c.delete("child")

    @staticmethod
    def messages(at, name: str) -> list[dict[str, str]]:
        answer = httpx.post(
            f"{at.url}/api/show", json={"model": name}, trust_env=False, verify=False
        ).json()
        return answer["messages"]
