"""What a model can do, by what its file says."""

from __future__ import annotations

import pytest

from slmlab.engines.embedded import capabilities, gguf_header
from tests.support import gguf_files

TOOLS = "{% if tools %}<tools>{{ tools }}</tools>{% endif %}{{ messages }}"


@pytest.mark.parametrize(
    ("metadata", "insert", "expected"),
    [
        ({}, False, ["completion"]),
        ({}, True, ["completion", "insert"]),
        ({"tokenizer.chat_template": "{{ messages }}"}, False, ["completion"]),
        ({"tokenizer.chat_template": TOOLS}, True, ["completion", "tools", "insert"]),
        (
            {"tokenizer.chat_template": "<think>{{ thoughts }}</think>{{ messages }}"},
            False,
            ["completion", "thinking"],
        ),
        (
            {"tokenizer.chat_template": "{{ m.content.split('</think>')[-1] }}"},
            False,
            ["completion", "thinking"],
        ),
        ({"general.architecture": "gpt-oss"}, False, ["completion", "thinking"]),
        ({"general.architecture": "bert", "bert.pooling_type": 1}, False, ["embedding"]),
        ({"general.architecture": "qwen3", "qwen3.pooling_type": 3}, True, ["embedding"]),
        ({"general.architecture": "nomic-bert"}, False, ["embedding"]),
    ],
)
def test_capabilities(metadata, insert, expected):
    known = {"general.architecture": "llama"} | metadata
    assert capabilities.of(known, insert) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"], True),
        (["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"], True),
        (["<|fim_prefix|>", "<|fim_suffix|>"], False),
        (["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>s"], False),
        (["<|fim_prefix|>", "<fim_suffix>", "<|fim_middle|>"], False),
        ([], False),
    ],
)
def test_gaps_can_be_filled_where_the_vocabulary_has_all_three_words(tmp_path, words, expected):
    file = gguf_files.write(tmp_path / "m.gguf", words=words)
    assert gguf_header.read_header(file).fill_in_middle is expected
