"""Widgets without a server."""

from __future__ import annotations

import slmlab
from tests.support.processes import free_port


class TestServersThatGo:
    def test_without_server_or_models_it_says_what_to_do(self, monkeypatch, tmp_path):
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
        for show in (slmlab.playground, slmlab.side_by_side):
            assert "slmlab.start()" in show().said.value
        assert "two models" in str(slmlab.arena())
        assert "Llama 3.2" in str(slmlab.catalog_explorer())
