"""Models that are made of files and of other models, with a recording server for llama.cpp."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from slmlab.engines.embedded.loader import Loader, LoadError, LoadSettings, NoMemory
from tests.support import gguf_files

BEGINNING = [
    {"role": "user", "content": "I am Ada."},
    {"role": "assistant", "content": "Hello, Ada!"},
]
WHOLE = "<system>Be kind.<user>I am Ada.<assistant>Hello, Ada!<user>Hi"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return gguf_files.write(tmp_path / "own.gguf", template="{{ messages }}")


async def upload(client, file: Path) -> str:
    digest = f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert (await client.post(f"/api/blobs/{digest}", content=file.read_bytes())).status_code == 201
    return digest


async def create(client, file: Path, **more):
    body = {"model": "own", "files": {"own.gguf": await upload(client, file)}, "stream": False}
    return await client.post("/api/create", json=body | more)


class TestMessages:
    @pytest.mark.parametrize(
        ("route", "asked"),
        [
            ("generate", {"prompt": "Hi"}),
            ("chat", {"messages": [{"role": "user", "content": "Hi"}]}),
        ],
    )
    def test_a_model_begins_with_them(self, engine_run, llama, file, route, asked):
        async def work(client, _):
            await create(client, file, system="Be kind.", messages=BEGINNING)
            await client.post(f"/api/{route}", json={"model": "own", "stream": False, **asked})

        engine_run(work)
        assert llama.sent("/completion")[0]["prompt"] == WHOLE

    def test_they_are_shown_inherited_and_replaced(self, engine_run, file):
        other = [{"role": "user", "content": "Hi."}]

        async def work(client, _):
            await create(client, file, messages=BEGINNING)
            await client.post("/api/create", json={"model": "child", "from": "own"})
            await client.post(
                "/api/create", json={"model": "other", "from": "own", "messages": other}
            )
            names = ("own", "child", "other", "chat")
            shown = [(await client.post("/api/show", json={"model": one})).json() for one in names]
            return [one.get("messages") for one in shown]

        assert engine_run(work) == [BEGINNING, BEGINNING, other, None]

    def test_they_make_another_model(self, engine_run, file):
        async def work(client, engine):
            await create(client, file)
            plain = engine.store.get("own").digest
            await create(client, file, messages=BEGINNING)
            return plain, engine.store.get("own").digest

        plain, with_messages = engine_run(work)
        assert plain != with_messages

    def test_pictures_in_them_are_refused(self, engine_run, file):
        picture = [{"role": "user", "content": "See.", "images": ["AAAA"]}]
        answer = engine_run(lambda client, _: create(client, file, messages=picture))
        assert (answer.status_code, answer.json()["error"]) == (
            400,
            "a model cannot begin with images; send them with each request",
        )


class TestTrial:
    """A new file is loaded once."""

    def refusing(self, monkeypatch, *errors: Exception) -> list[LoadSettings]:
        tried: list[LoadSettings] = []

        async def load(loader, model, path, settings):
            tried.append(settings)
            raise errors[len(tried) - 1]

        monkeypatch.setattr(Loader, "load", load)
        return tried

    def test_what_is_refused_leaves_nothing(self, engine_run, file, monkeypatch):
        tried = self.refusing(monkeypatch, LoadError("no text: x"))

        async def work(client, engine):
            before = sorted(engine.store.blobs.iterdir())
            answer = await create(client, file)
            return answer, before == sorted(engine.store.blobs.iterdir()), engine.store.get("own")

        answer, as_before, model = engine_run(work)
        assert (answer.status_code, answer.json()["error"]) == (400, "no text: x")
        assert as_before
        assert model is None
        assert len(tried) == 1

    def test_what_there_is_no_memory_for_now_is_taken(self, engine_run, file, monkeypatch):
        self.refusing(monkeypatch, NoMemory("too large"))
        assert engine_run(lambda client, _: create(client, file)).status_code == 200

    def test_a_model_of_another_name_keeps_the_file(self, engine_run, file, monkeypatch):
        async def work(client, engine):
            await create(client, file, model="first")
            self.refusing(monkeypatch, LoadError("x"))
            assert (await create(client, file)).status_code == 400
            return engine.store.blob(engine.store.get("first").blob).exists()

        assert engine_run(work)

    def test_a_changed_model_is_not_tried_again(self, engine_run, llama, file):
        async def work(client, _):
            await create(client, file)
            await client.post("/api/create", json={"model": "child", "from": "own"})

        engine_run(work)
        assert [name for name, _ in llama.loads] == ["own:latest"]
