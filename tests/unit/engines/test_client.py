"""The HTTP client, where no server of ours answers."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import slmlab
from slmlab import models
from slmlab.engines import ollama_install
from slmlab.engines.client import (
    Session,
    ask_version,
    client,
    client_kwargs,
)
from slmlab.engines.server_errors import errors_as_sentences
from slmlab.errors import InstallError, ModelError, ServerError
from tests.support.processes import free_port


def test_a_hung_server_is_a_sentence_and_not_a_hang(lab):
    """A program that accepts and never answers."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        # The system accepts connections to a socket that listens.
        started = time.monotonic()
        assert ask_version(address, timeout=1) is None
        assert time.monotonic() - started < 20


def test_without_a_server_there_is_a_sentence(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
    with pytest.raises(ServerError, match=r"No server answers at .* slmlab\.start\(\)"):
        models.installed()
    with pytest.raises(ServerError, match=r"slmlab\.start\(\)"):
        slmlab.ready()


def test_a_chat_model_that_is_asked_to_embed_has_a_sentence(wire):
    """Ollama's own names a setting of its llama-server, which nobody can reach."""
    wire.errors["/api/embed"] = [
        (501, "This server does not support embeddings. Start it with `--embeddings`")
    ]
    with (
        pytest.raises(ModelError, match=r"a:1b is a chat model, and .* embedding models only"),
        errors_as_sentences(wire.url, "a:1b"),
    ):
        client(wire.url).embed("a:1b", "A cat.")


def test_a_download_without_a_network_has_a_sentence(wire):
    wire.errors["/api/pull"] = [(500, "pull model manifest: dial tcp: lookup r: no such host")]
    with (
        pytest.raises(ModelError, match=r"a:1b was not downloaded: .* slmlab\.add\(…\)"),
        errors_as_sentences(wire.url, "a:1b"),
    ):
        client(wire.url).pull("a:1b")


class Silent:
    """Takes one connection and answers with the beginning of a stream, or not at all."""

    BEGINNING = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
        b'Transfer-Encoding: chunked\r\n\r\n1e\r\n{"response":"a","done":false}\n\r\n'
    )

    def __init__(self, streams: bool = False) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.streams = streams
        self.request = b""
        self.requested, self.hung_up = threading.Event(), threading.Event()

    def __enter__(self) -> Silent:
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closing does not wake a thread that waits in accept(). After any signal the system calls
        # that again with the same descriptor, which may be another server's by then.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)
        self.listener.close()
        assert not self.thread.is_alive()

    def serve(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return
        with connection:
            self.request = connection.recv(65536)
            if self.streams:
                connection.sendall(self.BEGINNING)
            self.requested.set()
            while connection.recv(65536):
                pass
            self.hung_up.set()


class TestSession:
    @pytest.mark.parametrize("streams", [False, True], ids=["one piece", "streamed"])
    def test_another_thread_ends_a_request_and_the_server_notices(self, streams):
        session, pieces = Session(), []

        def ask() -> None:
            client = session.client(server.url)
            if not streams:
                client.generate("m", "Why?", stream=False)
            for piece in client.generate("m", "Why?", stream=True):
                pieces.append(piece.response)

        with Silent(streams) as server, ThreadPoolExecutor(1) as pool:
            asking = pool.submit(ask)
            assert server.requested.wait(30)
            assert not server.hung_up.wait(0.1)
            session.cancel()
            with pytest.raises(httpx.TransportError):
                asking.result(30)
            assert server.hung_up.wait(30)
        assert pieces == ["a"] * streams

    def test_after_that_nothing_is_sent(self):
        session = Session()
        with Silent() as server:
            session.cancel()
            with pytest.raises(httpx.TransportError, match="cancelled"):
                session.client(server.url).generate("m", "Why?")
            assert not server.requested.wait(0.1)

    def test_other_sessions_go_on(self):
        one, other = Session(), Session()
        with Silent() as server, ThreadPoolExecutor(1) as pool:
            asking = pool.submit(other.client(server.url).generate, "m", "Why?")
            assert server.requested.wait(30)
            one.cancel()
            assert not server.hung_up.wait(0.1)
            assert not asking.done()
            other.cancel()

    def test_closed_it_keeps_no_connection_and_works_all_the_same(self, files):
        session = Session()
        with httpx.Client(**session.client_kwargs(files.url)) as http:
            assert http.get(f"{files.url}/nothing").status_code == 404
            (kept,) = [one.get_extra_info("socket") for one in session._streams]
            assert kept.fileno() != -1
            session.close()
            assert kept.fileno() == -1
            assert http.get(f"{files.url}/nothing").status_code == 404

    def test_one_client_is_kept_for_each_server(self):
        session = Session()
        kept = session.client("http://127.0.0.1:1")
        assert session.client("http://127.0.0.1:1") is kept
        assert session.client("http://127.0.0.1:2") is not kept
        assert Session().client("http://127.0.0.1:1") is not kept

    def test_a_proxy_is_used_elsewhere_and_never_on_loopback(self, monkeypatch):
        with Silent() as proxy, Silent() as server, ThreadPoolExecutor(2) as pool:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            session = Session()
            asking = [
                pool.submit(session.client(host).generate, "m", "Why?")
                for host in (server.url, "http://models.invalid:11434")
            ]
            assert server.requested.wait(30)
            assert proxy.requested.wait(30)
            assert server.request.startswith(b"POST /api/generate ")
            assert proxy.request.startswith(b"POST http://models.invalid:11434/api/generate ")
            # A request that goes through a proxy is ended like any other.
            session.cancel()
            for one in asking:
                with pytest.raises(httpx.TransportError):
                    one.result(30)
            assert proxy.hung_up.wait(30)


SOCKS = "socks5://127.0.0.1:9"


class TestSocksProxy:
    """Without the package that httpx needs for it."""

    @pytest.fixture(autouse=True)
    def proxy(self, monkeypatch):
        assert importlib.util.find_spec("socksio") is None
        monkeypatch.setenv("ALL_PROXY", SOCKS)

    def test_elsewhere_there_is_a_sentence_that_says_what_to_install(self):
        for call in (
            lambda: models.installed(host="gpu-server"),
            lambda: slmlab.generate("m", "Why?", host="gpu-server"),
            lambda: slmlab.chain("m", host="gpu-server"),
        ):
            with pytest.raises(ServerError, match=r"`pip install httpx\[socks\]`"):
                call()

    def test_on_this_machine_it_does_not_matter(self):
        with pytest.raises(ServerError, match="No server answers at"):
            models.installed(host=f"127.0.0.1:{free_port()}")

    @pytest.mark.parametrize("proxy", [SOCKS, "socks4://x:1", "http://[x"])
    def test_every_command_starts(self, proxy, lab):
        done = subprocess.run(
            [sys.executable, "-m", "slmlab", "doctor"],
            env=os.environ | {"ALL_PROXY": proxy},
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in done.stderr
        assert "Server: none at" in done.stdout

    def test_a_chain_is_made(self, lab):
        done = subprocess.run(
            [sys.executable, "-c", "import slmlab; slmlab.chain('m', host='127.0.0.1:1')"],
            env=os.environ | {"ALL_PROXY": "socks4://x:1", "OLLAMA_HOST": "127.0.0.1:99999"},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")

    def test_an_ollama_host_that_is_no_address_is_a_sentence(self, lab):
        done = subprocess.run(
            [sys.executable, "-m", "slmlab", "models"],
            env=os.environ | {"OLLAMA_HOST": "127.0.0.1:99999"},
            capture_output=True,
            text=True,
        )
        assert done.stderr.startswith("slmlab: OLLAMA_HOST='127.0.0.1:99999' is not an address")
        assert done.stderr.count("\n") == 1

    def test_ollama_cannot_be_downloaded_through_it(self, tmp_path):
        with pytest.raises(InstallError, match=r"`pip install httpx\[socks\]`"):
            ollama_install.install(folder=tmp_path)


def test_every_limit_is_finite():
    for host in ("http://127.0.0.1:11434", "http://gpu-server:11434"):
        for timeout in (0.5, 600.0):
            limits = client_kwargs(host, timeout)["timeout"].as_dict()
            assert max(limits.values()) == timeout
            assert limits["connect"] <= 5
