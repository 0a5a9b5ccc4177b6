"""Configurations of promptfoo as evaluations; all of them were written for these tests."""

from __future__ import annotations

import pytest

from slmlab.errors import FileError
from slmlab.evaluation.promptfoo import is_promptfoo, suite_of_promptfoo
from slmlab.evaluation.yaml_lines import read_yaml

CONFIG = """\
description: Capitals
prompts:
  - 'What is the capital of {{country}}?'
  - id: file://second.txt
    label: brief
providers:
  - id: ollama:chat:qwen2.5-coder:0.5b
    config: {temperature: 0, num_predict: 20, format: json}
  - openai:gpt-4o
defaultTest:
  vars: {manner: briefly}
  assert:
    - {type: not-icontains, value: sorry}
tests:
  - description: France
    vars: {country: France}
    assert:
      - {type: icontains, value: Paris}
      - {type: llm-rubric, value: is polite}
  - vars: {country: [Spain, Italy]}
    threshold: 0.5
    assert:
      - {type: contains-any, value: [Madrid, Rome], weight: 2}
      - {type: regex, value: '{{country}}'}
      - {type: latency, threshold: 500}
"""


@pytest.fixture
def read(tmp_path):
    (tmp_path / "second.txt").write_text("Say {{manner}}: capital of {{country}}?\n")

    def suite(text: str, models=None):
        path = tmp_path / "promptfooconfig.yaml"
        path.write_text(text)
        document = read_yaml(path)
        assert is_promptfoo(document.value)
        return suite_of_promptfoo(document, models)

    return suite


def test_a_whole_one(read):
    suite, notes = read(CONFIG)
    assert suite.models == ["qwen2.5-coder:0.5b"]
    assert suite.settings == {"temperature": 0, "num_predict": 20}
    assert [row["prompt"] for row in suite.prompts] == [
        "What is the capital of France?",
        "Say briefly: capital of France?",
        "What is the capital of Spain?",
        "Say briefly: capital of Spain?",
        "What is the capital of Italy?",
        "Say briefly: capital of Italy?",
    ]
    first, _, third, *_ = suite.prompts
    assert first["asserts"] == [
        {"type": "not-icontains", "value": "sorry"},
        {"type": "icontains", "value": "Paris"},
    ]
    assert (first["id"], first["task"], first["threshold"]) == ("France", "prompt 1", None)
    assert (third["id"], third["threshold"]) == ("test 2", 0.5)
    assert third["asserts"][1:] == [
        {"type": "contains-any", "weight": 2, "value": ["Madrid", "Rome"]},
        {"type": "regex", "value": "Spain"},
    ]
    assert suite.prompts[1]["task"] == "brief"
    assert notes == [
        "Left out of promptfooconfig.yaml: the provider's setting 'format'; the provider "
        "openai:gpt-4o, which is no model of Ollama; the assertion llm-rubric (2 times); the "
        "assertion latency (4 times)."
    ]


def test_tests_in_a_csv_file(read, tmp_path):
    (tmp_path / "tests.csv").write_text(
        "country,__expected,__expected2,__description,__threshold\n"
        "France,Paris,,first,\n"
        "Spain,icontains: Madrid,not-contains: Lisbon,,0.5\n"
        'Italy,"contains-all: Rome, Tiber",grade: is it polite,,\n'
    )
    suite, notes = read(
        "prompts: 'Capital of {{country}}?'\n"
        "providers: ollama:completion:a\ntests: file://tests.csv\n"
    )
    assert [row["asserts"] for row in suite.prompts] == [
        [{"type": "equals", "value": "Paris"}],
        [{"type": "icontains", "value": "Madrid"}, {"type": "not-contains", "value": "Lisbon"}],
        [{"type": "contains-all", "value": "Rome, Tiber"}],
    ]
    assert [row["threshold"] for row in suite.prompts] == [None, "0.5", None]
    assert suite.prompts[0]["id"] == "first"
    assert "the assertion grade" in notes[0]


def test_tests_in_another_yaml_file_and_a_conversation(read, tmp_path):
    (tmp_path / "more.yaml").write_text(
        "- vars: {x: no}\n  assert: [{type: equals, value: 'no'}]\n"
    )
    (tmp_path / "chat.json").write_text(
        '[{"role": "system", "content": "Be {{x}}."}, {"role": "user", "content": "Hi"}]'
    )
    suite, _ = read("prompts: [file://chat.json]\nproviders: [ollama:a]\ntests: more.yaml\n")
    assert suite.prompts[0]["prompt"][0] == {"role": "system", "content": "Be no."}


def test_several_prompts_in_one_text_file(read, tmp_path):
    (tmp_path / "many.txt").write_text("One {{x}}\n---\nTwo {{x}}\n")
    suite, _ = read(
        "prompts: file://many.txt\nproviders: [ollama:a]\n"
        "tests: [{vars: {x: 1}, assert: [{type: is-json}]}]\n"
    )
    assert [row["prompt"].strip() for row in suite.prompts] == ["One 1", "Two 1"]


def test_sets_of_assertions(read):
    suite, notes = read(
        "prompts: p {{x}}\nproviders: [ollama:a]\n"
        "tests:\n  - vars: {x: 1}\n    assert:\n"
        "      - type: assert-set\n        threshold: 0.5\n        assert:\n"
        "          - {type: contains, value: '{{x}}'}\n"
        "          - {type: javascript, value: 'true'}\n"
    )
    (found,) = suite.prompts[0]["asserts"]
    assert found["assert"] == [{"type": "contains", "value": "1"}]
    assert "the assertion javascript" in notes[0]


def test_models_of_ones_own(read):
    suite, notes = read(CONFIG, models="b")
    assert (suite.models, suite.settings) == (["b"], {})
    assert "openai" not in notes[0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "ollama:chat:qwen2.5-coder:0.5b",
            "openai:gpt-4",
            "line 6: no provider is a model of Ollama",
        ),
        (
            "  - openai:gpt-4o",
            "  - {id: 'ollama:a', config: {top_k: 3}}",
            "line 9: the providers have different settings",
        ),
        ("file://second.txt", "file://prompt.py", "line 4: prompt.py is a program"),
        ("file://second.txt", "file://gone.txt", "line 4: "),
        (
            "vars: {country: France}",
            "vars: {land: France}",
            "line 15: The template also needs country",
        ),
        ("{{country}}?'", "{% if x %}'", "is no variable"),
    ],
)
def test_mistakes_name_the_line(read, old, new, message):
    assert old in CONFIG
    with pytest.raises(FileError, match=r"promptfooconfig\.yaml, line ") as caught:
        read(CONFIG.replace(old, new))
    assert message in str(caught.value)


def test_nothing_that_can_be_checked(read):
    with pytest.raises(FileError, match="no test has an assertion that can be checked here"):
        read("prompts: p\nproviders: ollama:a\ntests: [{assert: [{type: similar, value: x}]}]\n")
