"""Both engines over their protocol, by httpx and by Ollama's own client."""

from __future__ import annotations

import httpx
import ollama
import pytest

from tests.support.engines import Engine


@pytest.fixture
def http(engine: Engine):
    with httpx.Client(base_url=engine.url, timeout=120, trust_env=False, verify=False) as client:
        yield client


@pytest.fixture
def client(engine: Engine):
    with ollama.Client(engine.url, timeout=120, trust_env=False, verify=False) as client:
        yield client
