"""Read promptfoo's configuration files as evaluations, as far as no program or judge is needed."""

from __future__ import annotations

import collections
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from slmlab.errors import PromptError
from slmlab.evaluation.scorers.assertions import KINDS, NOT
from slmlab.evaluation.suite import Suite
from slmlab.evaluation.yaml_lines import Document, Place, read_yaml
from slmlab.run import prompts
from slmlab.run.files import content, ending
from slmlab.run.options import DEFAULT_OPTIONS, EXTRA_OPTIONS

PROVIDER = re.compile(r"ollama:(?:(?:chat|completion):)?(?!embeddings:)(?P<model>.+)")
READ = {"prompts", "providers", "targets", "tests", "defaultTest", "description", "evaluateOptions"}
# An assertion in a cell of a CSV file: contains-any(0.5): a, b
IN_A_CELL = re.compile(r"(?P<type>(?:not-)?[a-z-]+)(?:\([\d.]+\))?(?::(?P<value>.*))?", re.DOTALL)
SETS = ("assert-set",)


def is_promptfoo(value: Any) -> bool:
    """Whether the content of a file is a configuration of promptfoo."""
    return isinstance(value, dict) and bool({"providers", "targets", "tests"} & {*value})


def suite_of_promptfoo(
    document: Document, models: str | Sequence[str] | None = None
) -> tuple[Suite, list[str]]:
    """The evaluation in a configuration of promptfoo, and sentences on what of it is left out.

    ``models`` stand in place of its providers. Each test becomes a row for each prompt, which
    counts as right if its assertions hold. Models of Ollama run; assertions that need a program,
    another model or a price are left out.

    Raises:
        FileError: something in it cannot be read; the message names the line.
    """
    left = collections.Counter[str]()
    left.update(f"the key {name!r}" for name in document.value if name not in READ)
    if models is None:
        models, settings = _models(document, left)
    else:
        models, settings = [models] if isinstance(models, str) else list(models), {}
    templates = _templates(document)
    rows = []
    for number, test in enumerate(_tests(document)):
        place = ("tests", number)
        rows += [
            row
            for values in _combinations(test["vars"])
            for template in templates
            for row in _row(template, values, test, number, document, place, left)
        ]
    if not rows:
        raise document.error(("tests",), "no test has an assertion that can be checked here.")
    repeats = (document.value.get("evaluateOptions") or {}).get("repeat", 1)
    suite = Suite(models=models, prompts=rows, settings=settings, repeats=repeats)
    notes = [f"{what}" + (f" ({count} times)" if count > 1 else "") for what, count in left.items()]
    return suite, [f"Left out of {_name(document)}: {'; '.join(notes)}."] if notes else []


def _name(document: Document) -> str:
    return document.path.name if document.path else "it"


def _models(document: Document, left: collections.Counter[str]) -> tuple[list[str], dict[str, Any]]:
    """The models of Ollama among the providers, and the options that all of them have."""
    key = "providers" if "providers" in document.value else "targets"
    given = document.value.get(key) or []
    models: list[str] = []
    options: list[dict[str, Any]] = []
    for number, one in enumerate([given] if isinstance(given, (str, dict)) else given):
        if isinstance(one, dict) and "id" not in one and len(one) == 1:
            ((name, more),) = one.items()
            one = {"id": name, **(more or {})}
        provider = one if isinstance(one, str) else str((one or {}).get("id"))
        config = {} if isinstance(one, str) else one.get("config") or {}
        match = PROVIDER.fullmatch(provider)
        if match is None:
            left[f"the provider {provider}, which is no model of Ollama"] += 1
            continue
        known = {n: v for n, v in config.items() if n in DEFAULT_OPTIONS or n in EXTRA_OPTIONS}
        left.update(f"the provider's setting {name!r}" for name in config if name not in known)
        if options and known != options[0]:
            raise document.error(
                (key, number), "the providers have different settings; evaluate them one by one."
            )
        models.append(match["model"])
        options.append(known)
    if not models:
        raise document.error(
            (key,), "no provider is a model of Ollama, such as ollama:chat:gemma3."
        )
    return models, options[0]


def _templates(document: Document) -> list[tuple[str, Any]]:
    """The prompts with their labels: texts or conversations, with variables."""
    given = document.value.get("prompts") or []
    templates: list[tuple[str, Any]] = []
    for number, one in enumerate([given] if isinstance(given, (str, dict)) else given):
        place = ("prompts", number)
        label = one.get("label") if isinstance(one, dict) else None
        text = (one.get("raw") or one.get("id")) if isinstance(one, dict) else one
        if not isinstance(text, str):
            raise document.error(place, "a prompt is a text here, or `raw` with a text.")
        for part in _parts(text, document, place):
            templates.append((str(label or f"prompt {len(templates) + 1}"), _conversation(part)))
    if not templates:
        raise document.error(("prompts",), "there are no prompts.")
    return templates


def _parts(text: str, document: Document, place: Place) -> Sequence[str]:
    """The prompts in a text, which may name a file with several."""
    if not text.startswith("file://"):
        return [text]
    path = _path(text, document)
    if path.suffix not in (".txt", ".md", ".json"):
        raise document.error(place, f"{path.name} is a program or a kind of file not read here.")
    try:
        read = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise document.error(place, f"{path} cannot be read: {error}.") from error
    return [read] if path.suffix == ".json" else re.split(r"(?m)^---\s*\n", read.strip())


def _path(text: str, document: Document) -> Path:
    folder = document.path.parent if document.path else Path()
    return folder / text.removeprefix("file://")


def _conversation(text: str) -> Any:
    """The messages that a prompt in JSON is, or the text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    messages = isinstance(value, list) and all(isinstance(m, dict) and "role" in m for m in value)
    return value if messages else text


def _tests(document: Document) -> Iterator[dict[str, Any]]:
    """Each test with its ``vars``, ``assert`` and ``threshold``, and the defaults for all."""
    given = document.value.get("tests") or []
    if isinstance(given, str):
        given = list(_from_file(given, document))
    default = document.value.get("defaultTest") or {}
    if not isinstance(default, dict) or not isinstance(given, list):
        raise document.error(("tests",), "tests are a list, or the path of a file.")
    for number, one in enumerate(given):
        if not isinstance(one, dict):
            raise document.error(
                ("tests", number), f"a test is an object with `vars`; it is {one!r}."
            )
        yield {
            **default,
            **one,
            "vars": {**(default.get("vars") or {}), **(one.get("vars") or {})},
            "assert": [*(default.get("assert") or []), *(one.get("assert") or [])],
        }


def _from_file(text: str, document: Document) -> Iterator[Any]:
    path = _path(text, document)
    try:
        if not ending(path):
            yield from read_yaml(path).value or []
            return
        rows = content(path)
    except PromptError as error:
        raise document.error(("tests",), str(error)) from error
    for row in rows:
        named = {name: value for name, value in row.items() if not name.startswith("__")}
        if ending(path) not in (".csv", ".tsv", ".xlsx"):
            yield row
            continue
        expected = [value for name, value in row.items() if name.startswith("__expected")]
        yield {
            "vars": named,
            "assert": [_in_a_cell(value) for value in expected if value],
            "threshold": row.get("__threshold") or None,
            "description": row.get("__description"),
        }


def _in_a_cell(text: str) -> dict[str, Any]:
    """The assertion that a cell of a column ``__expected`` is; any other text has to be equal."""
    match = IN_A_CELL.fullmatch(text)
    if match is None or match["type"].removeprefix(NOT) not in (*KINDS, *NEEDS_MORE):
        return {"type": "equals", "value": text}
    value = match["value"]
    return {"type": match["type"]} | ({} if value is None else {"value": value.lstrip()})


# Of promptfoo's other assertions, those that a cell may hold.
NEEDS_MORE = (
    *("javascript", "fn", "eval", "python", "llm-rubric", "grade", "similar", "classifier"),
    *("cost", "latency", "levenshtein", "perplexity", "perplexity-score", "rouge-n", "factuality"),
    *("answer-relevance", "context-faithfulness", "context-recall", "context-relevance"),
)


def _combinations(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A variable that is a list stands for a test with each of its values, as in promptfoo."""
    several = [v if isinstance(v, list) else [v] for v in values.values()]
    for chosen in itertools.product(*several):
        yield dict(zip(values, chosen, strict=True))


def _row(
    template: tuple[str, Any],
    values: dict[str, Any],
    test: dict[str, Any],
    number: int,
    document: Document,
    place: Place,
    left: collections.Counter[str],
) -> Iterator[dict[str, Any]]:
    """The row of one test and one prompt; none if nothing of it can be checked."""
    label, text = template
    if "transform" in (test.get("options") or {}):
        left["tests that transform the answer"] += 1
        return
    asserts = [one for given in test["assert"] for one in _checkable(given, values, left)]
    if not asserts:
        left["tests without an assertion that can be checked here"] += 1
        return
    try:
        prompt = (
            _filled(text, values)
            if isinstance(text, str)
            else [{**one, "content": _filled(str(one.get("content")), values)} for one in text]
        )
    except PromptError as error:
        raise document.error(place, str(error)) from error
    yield {
        "prompt": prompt,
        "id": f"{test.get('description') or f'test {number + 1}'}",
        "task": label,
        "scorer": "asserts",
        "asserts": asserts,
        "threshold": test.get("threshold"),
    }


def _filled(text: str, values: Mapping[str, Any]) -> str:
    if not prompts.DOUBLED.search(text):
        if more := re.search(r"\{[{%].{0,40}", text):
            raise PromptError(f"{more[0]!r} is no variable, and only variables are filled in here.")
        return text
    needed = {name: value for name, value in values.items() if name in prompts.variables(text)}
    return prompts.fill(text, **{n: "" if v is None else v for n, v in needed.items()})


def _checkable(
    given: Any, values: Mapping[str, Any], left: collections.Counter[str]
) -> Iterator[dict[str, Any]]:
    """The assertion with its variables filled in, if it can be checked."""
    kind = str(given.get("type")) if isinstance(given, dict) else repr(given)
    name = kind.removeprefix(NOT)
    if not isinstance(given, dict) or name not in (*KINDS, *SETS) or "transform" in given:
        left[f"the assertion {kind}"] += 1
        return
    if name in SETS:
        within = [
            one for part in given.get("assert") or [] for one in _checkable(part, values, left)
        ]
        if within:
            yield {**given, "assert": within}
        return
    value = given.get("value")
    if isinstance(value, str) and value.startswith("file://"):
        left[f"the assertion {kind} with a file"] += 1
        return
    kept = {name: given[name] for name in ("type", "weight") if name in given}
    yield kept if value is None else {**kept, "value": _rendered(value, values)}


def _rendered(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        return prompts.DOUBLED.sub(lambda found: str(values.get(found[1], found[0])), value)
    return [_rendered(one, values) for one in value] if isinstance(value, list) else value
