"""What a model can do, by what servers of any age tell."""

from __future__ import annotations

import pytest

from slmlab.models import abilities

CHAT = "{{ .System }}{{ .Prompt }}"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"capabilities": ["completion"], "template": "{{ .Prompt }}"}, ("completion",)),
        ({"capabilities": ["completion"], "template": CHAT}, ("completion", "chat")),
        (
            {
                "capabilities": ["tools", "completion"],
                "template": "{{ .Prompt }}",
                "modelinfo": {"tokenizer.chat_template": "x"},
            },
            ("completion", "chat", "tools"),
        ),
        ({"capabilities": ["embedding"], "template": CHAT}, ("embedding",)),
        (
            {"template": CHAT, "modelinfo": {"general.architecture": "llama"}},
            ("completion", "chat"),
        ),
        (
            {"modelinfo": {"general.architecture": "bert", "bert.pooling_type": 1}},
            ("embedding",),
        ),
    ],
)
def test_capabilities(facts, expected):
    assert abilities.read(facts) == expected
