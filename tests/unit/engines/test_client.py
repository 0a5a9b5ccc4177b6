"""The HTTP client, where no server of ours answers."""

from __future__ import annotations

import socket
import threading
import time

import pytest

import slmlab
from slmlab import models
from slmlab.engines.client import ask_version
from slmlab.errors import ServerError
from tests.support.processes import free_port


def test_a_hung_server_is_a_sentence_and_not_a_hang(lab):
    """A program that accepts and never answers."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        accepted = threading.Thread(target=lambda: silent.accept(), daemon=True)
        accepted.start()
        started = time.monotonic()
        assert ask_version(address, timeout=1) is None
        assert time.monotonic() - started < 5


def test_without_a_server_there_is_a_sentence(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
    with pytest.raises(ServerError, match=r"No server answers at .* slmlab\.start\(\)"):
        models.installed()
    with pytest.raises(ServerError, match=r"slmlab\.start\(\)"):
        slmlab.ready()
