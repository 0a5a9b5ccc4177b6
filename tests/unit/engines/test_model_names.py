"""Names of models, read as Ollama reads them."""

from __future__ import annotations

import pytest

from slmlab.engines.model_names import ModelName, NameNotValid, full_name, read_name


@pytest.mark.parametrize(
    ("text", "parts", "full"),
    [
        (
            "llama3.2",
            ("registry.ollama.ai", "library", "llama3.2", "latest", ""),
            "llama3.2:latest",
        ),
        (
            "hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M",
            ("hf.co", "bartowski", "Llama-3.2-1B-Instruct-GGUF", "Q4_K_M", ""),
            "hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M",
        ),
        (
            "127.0.0.1:5000/library/x",
            ("127.0.0.1:5000", "library", "x", "latest", ""),
            "127.0.0.1:5000/library/x:latest",
        ),
        (
            "http://mirror:5000/a/b:c",
            ("mirror:5000", "a", "b", "c", "http"),
            "mirror:5000/a/b:c",
        ),
        ("slmlab/x:1b", ("registry.ollama.ai", "slmlab", "x", "1b", ""), "slmlab/x:1b"),
        ("library/x", ("registry.ollama.ai", "library", "x", "latest", ""), "x:latest"),
    ],
)
def test_the_parts_of_a_name(text, parts, full):
    assert read_name(text) == ModelName(*parts)
    assert full_name(text) == full
    assert full_name(full) == full


@pytest.mark.parametrize(
    "text",
    [
        "../x",
        "a b",
        "",
        "/etc",
        "a/../b",
        "hf.co/../b",
        "a\0b",
        "x" * 300,
        "x" * 81,
        "a:b:c",
        "a/b/c/d",
        "x:",
        "x\n",
        "http://x",
        "ftp://a/b/c",
        "host:port/a/b",
        "user@host/a/b",
        "hf.co/a/b?x=1",
        None,
        7,
    ],
)
def test_names_that_are_no_names(text):
    with pytest.raises(NameNotValid, match="invalid model name"):
        read_name(text)
