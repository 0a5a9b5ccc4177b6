"""Chat templates in Go's language, against what Ollama's own template package makes of them."""

from __future__ import annotations

import json

import jinja2
import pytest

from slmlab.engines.embedded import go_templates
from tests.support.paths import ROOT

# Made by Ollama's template package: conversations, and what each template makes of each of them.
KNOWN = json.loads((ROOT / "tests/corpus/go_templates.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("known", KNOWN["templates"], ids=lambda known: known["name"])
def test_the_translation_writes_what_ollama_writes(known):
    jinja = go_templates.as_jinja(known["template"])
    assert jinja is not None
    template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(jinja)
    made = [template.render(messages=messages) for messages in KNOWN["conversations"]]
    assert made == known["rendered"]


@pytest.mark.parametrize(
    "template",
    [
        "{{ if .First }}x{{ end }}{{ .Prompt }}",
        "{{ .Prompt }}{{ if .Response }}{{ .Response }}{{ end }}",
        "{{ .Response }}{{ .Response }}",
        "{{ if .System }}{{ .Prompt }}",
        "{{ .Prompt }}{{ end }}",
        "{{ else }}{{ .Prompt }}",
        '{{ printf "%s" .Prompt }}',
        "{{ .Prompt }}{{ .Suffix }}",
        "{{ range .Messages }}{{ range .ToolCalls }}x{{ end }}{{ end }}",
        "{{ range .Messages }}{{ .Content }}",
        "{{ range $i, $m := .Messages }}{{ if eq $i 1 }}x{{ end }}{{ end }}",
        "{{ if .Tools }}x{{ end }}{{ range .Messages }}{{ .Content }}{{ end }}",
        '{{ range .Messages }}{{ if eq .Role "a" }}{{ continue }}x{{ end }}{{ end }}',
        "{{ range .Messages }}{{ continue }}{{ end }}",
        "{{ if .System }}{{ continue }}{{ end }}{{ .Prompt }}",
        "{{ $x := .Content }}{{ range .Messages }}{{ $x }}{{ end }}",
        "{{ range .Messages }}{{ $x }}{{ end }}",
        "{{ range $i, $_ := .Messages }}{{ if $i }}x{{ end }}{{ end }}",
        "{{ range .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}{{ end }}",
        "{% set x = 1 %}{{ .Prompt }}",
        "}} {{ .Prompt }}",
    ],
)
def test_what_is_not_translated(template):
    assert go_templates.as_jinja(template) is None
    assert not go_templates.is_plain(template)


@pytest.mark.parametrize(
    "template", ["", " \n", "{{ .Prompt }}", "{{- .Prompt -}}\n", "{{.Prompt}}"]
)
def test_templates_that_format_nothing(template):
    assert go_templates.is_plain(template)
