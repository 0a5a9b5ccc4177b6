"""Read YAML without surprises, and remember the line of each value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from slmlab.errors import FileError

# A file of a few hundred bytes can name one list again and again until memory is full.
MOST_VALUES = 200_000
DEEPEST = 50
Place = tuple["str | int", ...]

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<fraction>\.[0-9]+)?(?P<power>[eE][-+]?[0-9]+)?")
_CONSTANTS = {"": None, "~": None, "null": None, "true": True, "false": False}
_TAG = "tag:yaml.org,2002:"


@dataclass
class Document:
    """The values of a YAML or JSON file, and where they are.

    Attributes:
        path: the file; None if the values came from a program.
        value: its content: dicts, lists, texts, numbers, true, false and None.
        lines: the line of each value, by its keys and positions from the top: ``("tests", 0)``.
    """

    path: Path | None
    value: Any = None
    lines: dict[Place, int] = field(default_factory=dict)

    def line(self, place: Place) -> int | None:
        """The line of the value there, or of what it is in; None for the document as a whole."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines[place] if place else None

    def error(self, place: Place, message: str) -> FileError:
        """The error that names the file and that line."""
        if self.path is None:
            return FileError(f"The evaluation cannot run: {message}")
        return FileError(
            f"{self.path}, line {self.line(place) or self.lines.get((), 1)}: {message}"
        )


def read_yaml(path: str | Path) -> Document:
    """Read a YAML file; JSON is YAML too.

    Only the words ``true``, ``false`` and ``null`` and numbers in JSON's form have another type
    than text: ``no``, ``2026-01-01``, ``1:30`` and ``00501`` stay as they are written, as in the
    core of YAML 1.2 (https://yaml.org/spec/1.2.2/#chapter-10-recommended-schemas).

    Raises:
        FileError: it cannot be read, is not YAML, has a key twice, or its anchors expand to more
            than ``MOST_VALUES`` values.
    """
    path = Path(path).expanduser()
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if text.lstrip().startswith(("{", "[")):
            text = text.expandtabs(2)  # JSON may be indented by tabs
        node = yaml.compose(text, yaml.BaseLoader)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise FileError(f"{path}, line {line}, is not in UTF-8.") from error
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}.") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        why = f"{error.context} {error.problem}" if error.context else f"{error.problem}"
        if "'\\t'" in why:
            why = "a tab where only spaces can indent"
        raise FileError(f"{path}, line {line}, is not YAML: {why}.") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise FileError(f"{path} is not YAML: {error}.") from error
    document = Document(path)
    document.value = _value(node, (), document)
    return document


def _value(node: yaml.Node | None, place: Place, document: Document) -> Any:
    if node is None:
        return None
    document.lines[place] = node.start_mark.line + 1
    if len(document.lines) > MOST_VALUES or len(place) > DEEPEST:
        raise document.error(place, "its anchors (&, *) expand to too much; write it out.")
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
        return [_value(one, (*place, n), document) for n, one in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
        return dict(_pairs(node, place, document))
    if isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}str":
        return node.value if node.style else _plain(node.value)
    raise document.error(place, f"the type {node.tag.replace(_TAG, '!!')} is not supported.")


def _pairs(node: yaml.MappingNode, place: Place, document: Document) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    for name, value in node.value:
        beside: Place = (*place, name.value if isinstance(name, yaml.ScalarNode) else "")
        line = document.lines[beside] = name.start_mark.line + 1
        if not isinstance(name, yaml.ScalarNode):
            raise document.error(beside, "a key is a word, not a list or an object.")
        if name.value == "<<" and not name.style:
            raise document.error(beside, "merging (<<) is not supported; write it out.")
        if name.value in seen:
            raise document.error(beside, f"the key {name.value!r} is here twice.")
        seen.add(name.value)
        yield name.value, _value(value, beside, document)
        document.lines[beside] = line  # a mistake in a value is looked for beside its key


def _plain(text: str) -> Any:
    """The value of a scalar without quotes."""
    if text.lower() in _CONSTANTS and text in (text.lower(), text.upper(), text.capitalize()):
        return _CONSTANTS[text.lower()]
    if found := _NUMBER.fullmatch(text):
        return float(text) if found["fraction"] or found["power"] else int(text)
    return text
