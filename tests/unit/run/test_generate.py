"""One generation, without a server."""

from __future__ import annotations

import pytest

from slmlab.errors import ServerError
from slmlab.run.generate import generate, was_truncated
from slmlab.run.options import full_options
from tests.support.processes import free_port


def test_a_prompt_counts_as_truncated_only_where_the_numbers_say_so():
    options = full_options({"num_ctx": 256})
    long = "The sun shines and the birds sing. " * 60
    assert was_truncated(long, 130, options)
    assert was_truncated(long, 256, options), "servers before 0.30"
    assert not was_truncated(long, 130, full_options({"num_ctx": 4096}))
    assert not was_truncated("short", 130, options)
    chat = [{"role": "user", "content": long}, {"role": "user", "content": "x"}]
    assert was_truncated(chat, 12, options), "the oldest message was dropped"
    assert not was_truncated("word " * 60, 62, options)
    # Few bytes a token: only that the number is the one of the cut tells it, 256 - (256 - 4) // 2.
    assert was_truncated("1 2 3 " * 80, 130, options)
    assert not was_truncated("1 2 3 " * 80, 140, options)


def test_no_server_is_a_sentence(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
    with pytest.raises(ServerError, match=r"slmlab\.start\(\)"):
        generate("x", "y")
