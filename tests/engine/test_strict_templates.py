"""Conversations that a model's chat template refuses: which message, and why."""

from __future__ import annotations

import httpx
import pytest

import slmlab
from slmlab.engines.client import client
from slmlab.errors import GenerationError
from tests.support import gguf_files

USER, ASSISTANT, SYSTEM = (
    {"role": role, "content": f"the {role}'s words"} for role in ("user", "assistant", "system")
)
# As Mistral's and Gemma's: one system message at the beginning, then user and assistant by turns.
BY_TURNS = """\
{%- set start = 1 if messages[0]['role'] == 'system' else 0 %}
{%- for message in messages[start:] %}
{%- if message['role'] != ('assistant' if loop.index0 % 2 else 'user') %}
{{- raise_exception("Roles must alternate\n'user'/'assistant'/…") }}
{%- endif %}
{%- endfor %}
{%- for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{%- endfor %}
{%- if add_generation_prompt %}<assistant>{%- endif %}"""
REFUSED = {
    "two of the user's in a row": ([USER, USER], 2, "user"),
    "two of the model's in a row": ([USER, ASSISTANT, ASSISTANT, USER], 3, "assistant"),
    "the model begins": ([ASSISTANT, USER], 1, "assistant"),
    "the system in the middle": ([USER, SYSTEM, USER], 2, "system"),
    "two systems": ([SYSTEM, SYSTEM, USER], 2, "system"),
    "late": ([SYSTEM, *[USER, ASSISTANT] * 20, USER, USER, ASSISTANT, USER], 43, "user"),
}


@pytest.fixture
def strict(here, tmp_path):
    slmlab.add("strict", gguf_files.write(tmp_path / "strict.gguf", template=BY_TURNS))
    yield here
    client(here.url).delete("strict")


def test_the_refused_message_is_named(strict):
    """In one test, since each of several would load the model again."""
    for name, (messages, number, role) in REFUSED.items():
        for stream in (False, True):
            body = {"model": "strict", "messages": messages, "stream": stream}
            answer = httpx.post(
                f"{strict.url}/api/chat", json=body, timeout=60, trust_env=False, verify=False
            )
            assert answer.status_code == 400, name
            assert answer.json().keys() == {"error"}, name
            said = answer.json()["error"]
            assert said.startswith(
                f"the model's chat template refuses message {number} ({role}): "
                "Roles must alternate 'user'/'assistant'/…; most templates take "
            ), (name, said)
            assert "\n" not in said
    with pytest.raises(GenerationError, match=r"^strict: .*refuses message 2 \(user\): Roles must"):
        slmlab.generate("strict", [USER, USER], num_predict=2)


def test_what_it_takes_is_answered(strict):
    for messages in ([USER], [SYSTEM, USER], [SYSTEM, USER, ASSISTANT, USER]):
        assert slmlab.generate("strict", messages, num_predict=2).error is None
