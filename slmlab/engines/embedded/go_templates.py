"""Ollama's chat templates, which are written in Go's template language, as Jinja templates.

Only what can be said exactly is translated: texts, ``.System``, ``.Prompt`` and ``.Response`` with
conditions on the first two; or one loop over ``.Messages`` with their ``.Role`` and ``.Content``,
with variables that hold a text, ``continue`` at the end of a branch, and the questions whether a
message is the last or has a number. So are all templates that Ollama has for files without one of
their own, but for Command R's, which is about tools. Any other is refused. What happens around the
template follows Ollama's ``template/template.go``.
"""

from __future__ import annotations

import functools
import json
import re

_ACTION = re.compile(r"\{\{(-\s)?\s*(.*?)\s*(\s-)?\}\}", re.DOTALL)
_IF = re.compile(r"(else )?if (.+)")
_ROLE = re.compile(r"\(?eq \.Role \"(\w+)\"\)?")
_NUMBERED = re.compile(r"and \(eq (\$\w+) (\d+)\) (\S+)")
_LOOP = re.compile(r"range ((?P<number>\$\w+), ?\$\w+ ?:= ?)?\.Messages")
_VARIABLE = re.compile(r"(\$\w+) ?:?= ?(?:\"\"|(\.\w+)|printf \"%s\\n\\n%s\" (\$\w+) (\.\w+))")
_LAST = re.compile(r"(\$\w+) ?:= ?eq \(len \(slice \$\.Messages (\$\w+)\)\) 1")
_TURN = {".System": "system", ".Prompt": "prompt", ".Response": "response"}
_ALL = {".System": "ns.system"}
_MESSAGE = {".Role": "role", ".Content": "content", "$.System": "ns.system"}
# What could end a text that is written into a Jinja template.
_UNSAFE = re.compile(r"[{%}]{2}|\{#|#\}|[^\S\n\t ]|[\x00-\x08\x0e-\x1f]")
# A template of these words formats nothing: the text is continued as it is.
_PLAIN = re.compile(r"\s*(\{\{-?\s*\.Prompt\s*-?\}\})?\s*")

# Ollama makes one message of neighbours with one role. A template without a loop over messages is
# used once for each turn of system prompt, prompt and response; the last ends with the response.
_TURNS = """\
{%- macro turn(system, prompt, response) -%}BEFORE{{ response }}AFTER{%- endmacro -%}
{%- set ns = namespace(system="", prompt="", response="", last="") -%}
{%- for message in messages -%}
{%- set text = message.content -%}
{%- if message.role == "system" -%}
{%- if ns.last == "system" -%}{%- set ns.system = ns.system + "\\n\\n" + text -%}
{%- else -%}
{%- if ns.prompt or ns.response -%}{{ turn(ns.system, ns.prompt, ns.response) }}
{%- set ns.prompt = "" -%}{%- set ns.response = "" -%}
{%- endif -%}
{%- set ns.system = text -%}
{%- endif -%}
{%- elif message.role == "user" -%}
{%- if ns.last == "user" -%}{%- set ns.prompt = ns.prompt + "\\n\\n" + text -%}
{%- else -%}
{%- if ns.response -%}{{ turn(ns.system, ns.prompt, ns.response) }}
{%- set ns.system = "" -%}{%- set ns.response = "" -%}
{%- endif -%}
{%- set ns.prompt = text -%}
{%- endif -%}
{%- elif message.role == "assistant" -%}
{%- if ns.last == "assistant" -%}{%- set ns.response = ns.response + "\\n\\n" + text -%}
{%- else -%}{%- set ns.response = text -%}
{%- endif -%}
{%- endif -%}
{%- set ns.last = message.role -%}
{%- endfor -%}
{%- set system = ns.system -%}{%- set prompt = ns.prompt -%}{%- set response = ns.response -%}
BEFORE{{ response }}"""
# In a loop, ``.System`` is what all messages of the system say.
_MESSAGES = """\
{%- set ns = namespace(content="", last="", system="", number=0, skip=falseVARIABLES) -%}
{%- for message in messages -%}
{%- if message.role == "system" -%}
{%- set ns.system = ns.system + ("\\n\\n" if ns.last else "") + message.content -%}
{%- set ns.last = "system" -%}
{%- endif -%}
{%- endfor -%}
{%- set ns.last = "" -%}
BEFORE
{%- for message in messages -%}
{%- set role = message.role -%}
{%- if ns.last == role and role != "tool" -%}
{%- set ns.content = ns.content + "\\n\\n" + message.content -%}
{%- else -%}{%- set ns.content = message.content -%}
{%- endif -%}
{%- set ns.last = role -%}
{%- if loop.last or role == "tool" or messages[loop.index0 + 1].role != role -%}
{%- set content = ns.content -%}
{%- set ns.skip = false -%}
INSIDE
{%- set ns.number = ns.number + 1 -%}
{%- endif -%}
{%- endfor -%}
AFTER"""


def is_plain(template: str) -> bool:
    """Whether a template formats nothing, as that of a base model."""
    return _PLAIN.fullmatch(template) is not None


@functools.lru_cache(maxsize=64)
def as_jinja(template: str) -> str | None:
    """The same template in Jinja; None where it says something that is not translated.

    Examples:
        >>> as_jinja("{{ .Prompt | printf }}") is None
        True
    """
    try:
        return _translated(template.replace("\r\n", "\n"))
    except _Untranslatable:
        return None


class _Untranslatable(Exception):
    """The template has what is not translated."""


def _translated(template: str) -> str:
    parts = _split(template)
    loops = [number for number, (kind, text) in enumerate(parts) if kind and _LOOP.fullmatch(text)]
    if not loops:
        # Whatever follows the response comes only after answers that are there already.
        places = [number for number, part in enumerate(parts) if part == (True, ".Response")]
        if len(places) > 1:
            raise _Untranslatable
        place = places[0] if places else len(parts)
        before, after = parts[:place], parts[place + 1 :]
        return _filled(_TURNS, BEFORE=_jinja(before, _TURN), AFTER=_jinja(after, _TURN))
    end = _end_of_block(parts, loops[0])
    variables = {
        found[1]: f"ns.own_{found[1][1:]}"
        for is_action, text in parts
        if is_action and (found := _VARIABLE.fullmatch(text))
    }
    inside = parts[loops[0] + 1 : end]
    names = _MESSAGE | variables
    found = _LOOP.fullmatch(parts[loops[0]][1])
    if found and found["number"]:
        names[found["number"]] = "ns.number"
    return _filled(
        _MESSAGES,
        VARIABLES="".join(f', {name[3:]}=""' for name in variables.values()),
        BEFORE=_jinja(parts[: loops[0]], _ALL | variables),
        INSIDE=_jinja(inside, names),
        AFTER=_jinja(parts[end + 1 :], _ALL | variables),
    )


def _filled(frame: str, **texts: str) -> str:
    return re.sub("|".join(texts), lambda found: texts[found[0]], frame)


def _split(template: str) -> list[tuple[bool, str]]:
    """The template's texts (False) and actions (True), spaces trimmed where they say so."""
    parts: list[tuple[bool, str]] = []
    at, trim = 0, False
    for action in _ACTION.finditer(template):
        text = template[at : action.start()]
        text = text.lstrip(" \t\r\n") if trim else text
        text = text.rstrip(" \t\r\n") if action[1] else text
        parts += [(False, text), (True, action[2])]
        at, trim = action.end(), bool(action[3])
    rest = template[at:]
    parts.append((False, rest.lstrip(" \t\r\n") if trim else rest))
    return [part for part in parts if part != (False, "")]


def _end_of_block(parts: list[tuple[bool, str]], start: int) -> int:
    depth = 0
    for number, (is_action, text) in enumerate(parts[start:], start):
        if is_action and text.startswith(("if ", "range ")):
            depth += 1
        if is_action and text == "end":
            depth -= 1
            if depth == 0:
                return number
    raise _Untranslatable


def _jinja(parts: list[tuple[bool, str]], names: dict[str, str]) -> str:
    """These parts in Jinja, where Go's fields and variables have these names."""
    names, written, depth, guards, skipping = dict(names), [], 0, 0, False
    for number, (is_action, text) in enumerate(parts):
        condition = _IF.fullmatch(text) if is_action else None
        if not is_action:
            if _UNSAFE.search(text):
                raise _Untranslatable
            written.append("{{ " + json.dumps(text, ensure_ascii=False) + " }}")
        elif text in names and text != ".Response":
            written.append("{{ " + names[text] + " }}")
        elif condition:
            if condition[1] and not depth:
                raise _Untranslatable
            test = _test(condition[2], names)
            written.append("{%- " + ("elif " if condition[1] else "if ") + test + " -%}")
            depth += not condition[1]
        elif text in ("else", "end") and depth:
            written.append("{%- else -%}" if text == "else" else "{%- endif -%}")
            depth -= text == "end"
            if skipping and not depth:  # what is left is for the messages that went on
                written.append("{%- if not ns.skip -%}")
                guards, skipping = guards + 1, False
        elif text == "continue" and depth == 1 and ".Role" in names:
            following = parts[number + 1][1] if parts[number + 1][0] else ""
            if not following.startswith(("else", "end")):
                raise _Untranslatable
            written.append("{%- set ns.skip = true -%}")
            skipping = True
        elif found := _LAST.fullmatch(text):
            if depth or names.get(found[2]) != "ns.number":
                raise _Untranslatable
            names[found[1]] = "loop.last"
        else:
            written.append(_assignment(text, names))
    if depth:
        raise _Untranslatable
    return "".join(written) + "{%- endif -%}" * guards


def _test(text: str, names: dict[str, str]) -> str:
    """A condition in Jinja."""
    if role := _ROLE.fullmatch(text):
        if ".Role" not in names:
            raise _Untranslatable
        return f'role == "{role[1]}"'
    if (both := _NUMBERED.fullmatch(text)) and names.get(both[1]) == "ns.number":
        return f"ns.number == {both[2]} and {_test(both[3], names)}"
    negated, name = text.startswith("not "), text.removeprefix("not ")
    if name == ".Response" or names.get(name) in (None, "ns.number", "role"):
        raise _Untranslatable
    return ("not " if negated else "") + names[name]


def _assignment(text: str, names: dict[str, str]) -> str:
    """What gives a variable its text, in Jinja."""
    found = _VARIABLE.fullmatch(text)
    if not found or not names.get(found[1], "").startswith("ns.own_"):
        raise _Untranslatable
    terms = [one for one in (found[2], found[3], found[4]) if one]
    if any(one not in names for one in terms):
        raise _Untranslatable
    value = ' + "\\n\\n" + '.join(names[one] for one in terms) or '""'
    return f"{{%- set {names[found[1]]} = {value} -%}}"
