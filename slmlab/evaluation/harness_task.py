"""One task of lm-evaluation-harness: its file with those it includes, its templates, its errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.errors import FileError, Unscorable
from slmlab.evaluation import patterns
from slmlab.evaluation.yaml_lines import Document, read_yaml

if TYPE_CHECKING:
    from jinja2 import Environment


class Task:
    """One task: its file, and how its templates are filled in."""

    def __init__(self, path: Path) -> None:
        self.document = read_yaml(path)
        if not isinstance(self.document.value, dict):
            raise self.document.error((), "it is no task: `task`, `dataset_path`, `doc_to_text`, …")
        self.values, self._documents = _included(self.document, path)
        self.environment = _environment()
        self.notes: list[str] = []

    def error(self, key: str, message: str, *inside: str | int) -> FileError:
        """The error that names the file and the line of a key, or of a place inside its value."""
        return self._documents.get(key, self.document).error((key, *inside), message)

    def check_pattern(self, pattern: object, key: str, *inside: str | int) -> None:
        """Refuse a text that is no regular expression."""
        try:
            patterns.check(str(pattern))
        except Unscorable as error:
            raise self.error(key, str(error), *inside) from error

    def part(self, key: str) -> dict[str, Any]:
        """A value that is an object; an empty one where there is none."""
        given = self.values.get(key)
        if given is not None and not isinstance(given, dict):
            raise self.error(key, f"{key} is an object with keys; got {given!r:.80}.")
        return given or {}

    def parts(self, key: str, given: Any) -> list[dict[str, Any]]:
        """A list of objects in the value of a key; an empty one where there is none."""
        objects = given or []
        if not isinstance(objects, list) or not all(isinstance(one, dict) for one in objects):
            raise self.error(key, f"{key} takes a list of objects with keys; got {given!r:.80}.")
        return objects

    def leave_out(self, name: str, *place: str | int) -> None:
        """Note something that is not read, with its line."""
        document = self._documents.get(str(place[0]), self.document)
        line = document.line(place)
        file = "" if document is self.document or not document.path else f" of {document.path.name}"
        self.notes.append(name + (f" (line {line}{file})" if line else ""))

    def filled(self, key: str, doc: Mapping[str, Any]) -> Any:
        """A template, or the column that it names, for one row."""
        given = self.values.get(key)
        if not isinstance(given, str):
            return given
        if given in doc:
            return doc[given]
        import jinja2

        try:
            return self.environment.from_string(given).render(**doc)
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise self.error(
                key, f"{key} cannot be filled in: {str(error).rstrip('.')}."
            ) from error


def _environment() -> Environment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    made = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    made.filters["regex_replace"] = lambda text, pattern, by: patterns.sub(
        str(pattern), str(by), str(text), literal=False
    )
    return made


def _included(
    document: Document, path: Path, depth: int = 0
) -> tuple[dict[str, Any], dict[str, Document]]:
    """The task's values over those of the file that it includes, and the file of each."""
    values, documents = dict(document.value), dict.fromkeys(document.value, document)
    if "include" not in values:
        return values, documents
    included = path.parent / str(values["include"])
    other = read_yaml(included)
    if depth > 5 or not isinstance(other.value, dict):
        raise document.error(("include",), f"{values['include']} is no task, or includes itself.")
    base, sources = _included(other, included, depth + 1)
    return base | values, sources | documents
