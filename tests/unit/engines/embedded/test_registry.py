"""The client of registries, and what is looked at while a model's file comes."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import httpx
import pytest

from slmlab.engines.embedded import architectures, blob_downloads, gguf_header, registry
from slmlab.engines.embedded.engine import Engine
from slmlab.engines.embedded.model_store import ModelStore
from slmlab.engines.embedded.registry import Registry, RegistryError
from slmlab.engines.embedded.registry_manifest import Layer
from slmlab.engines.model_names import read_name
from tests.support import gguf_files
from tests.support.processes import free_port

CONTENT = bytes(range(256)) * 2000
SIZE = len(CONTENT)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
BLOB = f"/v2/library/x/blobs/{DIGEST}"
MANIFEST = "/v2/library/x/manifests/latest"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(registry, "FIRST_PAUSE", 0.001)


def read(files, start=0, size=SIZE):
    """The bytes of the blob, from ``start`` on."""

    async def all_of_it():
        name = read_name(f"{files.address}/library/x")
        async with Registry(name, insecure=True) as opened:
            return b"".join([block async for block in opened.blob(DIGEST, size, start)])

    return asyncio.run(all_of_it())


class TestBlobs:
    def test_from_the_beginning_and_from_within(self, files):
        files.files[BLOB] = CONTENT
        assert read(files) == CONTENT
        assert read(files, 1000) == CONTENT[1000:]
        assert read(files, len(CONTENT)) == b""

    def test_cut_again_and_again(self, files):
        files.files[BLOB] = CONTENT
        files.cut[BLOB] = [100_000, 0, 200_000, 1]
        assert read(files) == CONTENT

    def test_one_that_says_nothing_any_more(self, files, monkeypatch):
        monkeypatch.setattr(registry, "TIMEOUT", httpx.Timeout(0.2))
        files.files[BLOB] = CONTENT
        files.stall[BLOB] = [100_000]
        assert read(files) == CONTENT

    def test_tries_end(self, files):
        files.files[BLOB] = CONTENT
        files.cut[BLOB] = [10] * 9
        with pytest.raises(RegistryError, match="closes the connection again and again"):
            read(files)
        assert len(files.seen) == registry.TRIES

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_busy_for_long(self, files, status):
        files.status[BLOB] = status
        with pytest.raises(RegistryError, match=rf"is busy \(status {status}\); try again later"):
            read(files)
        assert len(files.seen) == registry.TRIES

    def test_one_that_does_not_know_range(self, files):
        files.files[BLOB] = CONTENT
        files.ignore_range = True
        assert read(files, 70_000) == CONTENT[70_000:]

    @pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1])
    @pytest.mark.parametrize("start", [0, 1000])
    def test_another_size_than_the_manifests(self, files, size, start):
        files.files[BLOB] = CONTENT
        with pytest.raises(RegistryError, match=rf"has {size} bytes according to its manifest"):
            read(files, start, size)

    def test_a_small_text_that_is_none(self, files):
        async def ask():
            async with Registry(read_name(f"{files.address}/library/x"), insecure=True) as opened:
                await opened.text(DIGEST, 10**9)

        with pytest.raises(RegistryError, match="too many for a text"):
            asyncio.run(ask())


def manifest(files):
    async def ask():
        async with Registry(read_name(f"{files.address}/library/x"), insecure=True) as opened:
            return await opened.manifest()

    return asyncio.run(ask())


class TestAnswers:
    def test_what_the_registry_says_is_passed_on(self, files):
        files.status[MANIFEST] = 400
        files.bodies[MANIFEST] = b'{"error": "The tag is a sharded GGUF.\\n Use another."}'
        with pytest.raises(RegistryError, match=r"400: The tag is a sharded GGUF\. Use another\."):
            manifest(files)

    def test_the_errors_of_container_registries_too(self, files):
        files.status[MANIFEST] = 405
        files.bodies[MANIFEST] = b'{"errors": [{"code": "X", "message": "not here"}]}'
        with pytest.raises(RegistryError, match="status 405: not here"):
            manifest(files)

    def test_a_manifest_that_never_ends(self, files, monkeypatch):
        monkeypatch.setattr(registry, "MOST_BYTES", 1000)
        files.files[MANIFEST] = b"[" * 100_000
        with pytest.raises(RegistryError, match="sends over 1000 bytes"):
            manifest(files)

    @pytest.mark.parametrize(
        "challenge", ["", "Basic realm=x", "Bearer", "Bearer realm", 'Bearer realm="http://a:b/"']
    )
    def test_who_wants_an_account(self, files, challenge):
        files.status[MANIFEST] = 401
        files.headers[MANIFEST] = {"WWW-Authenticate": challenge}
        with pytest.raises(RegistryError, match=r"needs an account|no valid address"):
            manifest(files)

    def test_a_token_that_is_none(self, files):
        files.token = "a\nb"
        with pytest.raises(RegistryError, match="gives an invalid token"):
            manifest(files)

    def test_nobody_there(self):
        address = f"127.0.0.1:{free_port()}"

        async def ask():
            async with Registry(read_name(f"{address}/library/x"), insecure=True) as opened:
                await opened.manifest()

        with pytest.raises(RegistryError, match="cannot be reached"):
            asyncio.run(ask())

    def test_no_way_back_to_a_connection_without_encryption(self, files):
        async def ask():
            async with Registry(read_name("registry.example/library/x")) as opened:
                await opened._client.get(files.url)

        with pytest.raises(RegistryError, match=r"redirects to 127\.0\.0\.1, without TLS"):
            asyncio.run(ask())
        assert files.seen == []

    def test_a_proxy_that_cannot_be_used(self, monkeypatch):
        monkeypatch.setenv("ALL_PROXY", "nonsense://127.0.0.1:1")
        with pytest.raises(RegistryError, match="reached: the environment names a proxy"):
            Registry(read_name("registry.example/library/x"))
        Registry(read_name("127.0.0.1:5000/library/x"))

    @pytest.mark.parametrize(("text", "low", "high"), [("7", 7, 7), ("", 0, 0), ("soon", 0, 0)])
    def test_how_long_to_wait(self, text, low, high):
        answer = httpx.Response(429, headers={"Retry-After": text})
        assert low <= registry._retry_after(answer) <= high

    def test_how_long_to_wait_until(self):
        then = datetime.now(timezone.utc) + timedelta(seconds=30)
        answer = httpx.Response(429, headers={"Retry-After": format_datetime(then, usegmt=True)})
        assert 25 < registry._retry_after(answer) <= 31


class TestLook:
    """At the beginning of a file of which the rest is still to come."""

    @pytest.fixture
    def look(self, tmp_path):
        engine = Engine(ModelStore(tmp_path / "store"))
        file = gguf_files.write(tmp_path / "x.gguf")
        content = file.read_bytes()

        def at(part: bytes, size: int) -> float:
            file.write_bytes(part)
            layer = Layer(digest=DIGEST, size=size, mediaType="")
            return asyncio.run(blob_downloads._look(engine, layer, file))

        return at, content

    def test_more_is_waited_for_until_the_header_is_here(self, look):
        at, content = look
        assert at(content[:100], len(content)) == 400
        assert at(content[:1000], len(content)) == 4000
        assert at(content[: len(content) // 2], len(content)) == float("inf")

    def test_more_than_the_memory_of_this_machine(self, look):
        at, content = look
        with pytest.raises(gguf_header.GGUFError, match=r"requires more system memory \(9.* GiB\)"):
            at(content, 10**14)

    def test_a_header_that_never_ends_is_damaged(self, look):
        at, content = look
        with pytest.raises(gguf_header.GGUFError, match="damaged or cut short"):
            at(content[:1000], 1000)


def test_llama_cpp_is_asked_for_the_architectures_that_it_knows():
    names = ("llama", "qwen3", "gemma3", "whisper9")
    assert [asyncio.run(architectures.is_known(name)) for name in names] == [True] * 3 + [False]
