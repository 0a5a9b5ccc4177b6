"""Addresses of servers."""

from __future__ import annotations

import pytest

import slmlab
from slmlab.engines import server, supervisor
from slmlab.engines.address import configured_host
from slmlab.errors import ServerError


class TestHost:
    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("", None),
            ("127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("gpu-server", "http://gpu-server:11434"),
            ("http://gpu-server", "http://gpu-server:80"),
            ("https://gpu.example/ollama/", "https://gpu.example:443/ollama"),
            ('"127.0.0.1:5000"', "http://127.0.0.1:5000"),
            ("[::1]:5000", "http://[::1]:5000"),
            (":5000", "http://127.0.0.1:5000"),
        ],
    )
    def test_ollama_host_is_read_as_ollama_reads_it(self, monkeypatch, text, address):
        monkeypatch.setenv("OLLAMA_HOST", text)
        assert configured_host() == address

    @pytest.mark.parametrize("text", ["127.0.0.1:port", "ftp://x", "127.0.0.1:99999"])
    def test_nonsense_is_named(self, monkeypatch, text):
        monkeypatch.setenv("OLLAMA_HOST", text)
        with pytest.raises(ServerError, match="not an address"):
            server.host()

    def test_a_remote_server_that_is_silent_is_never_replaced(self, lab, monkeypatch):
        monkeypatch.setenv("OLLAMA_HOST", "http://slmlab.invalid:11434")
        with pytest.raises(
            ServerError, match=r"No server answers at OLLAMA_HOST=.*slmlab\.invalid"
        ):
            slmlab.start(quiet=True)
        assert not list(supervisor.states())

    def test_an_unknown_engine(self, lab):
        with pytest.raises(ServerError, match="There is no engine 'olama'"):
            slmlab.start("olama", quiet=True)
