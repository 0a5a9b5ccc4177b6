"""One generation, without a server."""

from __future__ import annotations

import pytest

from slmlab.errors import ServerError
from slmlab.run.generate import generate
from tests.support.processes import free_port


def test_no_server_is_a_sentence(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
    with pytest.raises(ServerError, match=r"slmlab\.start\(\)"):
        generate("x", "y")
