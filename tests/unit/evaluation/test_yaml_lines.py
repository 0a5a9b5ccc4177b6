"""YAML without surprises: types, lines, and files that want to do harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmlab.errors import FileError
from slmlab.evaluation.yaml_lines import Document, read_yaml


@pytest.fixture
def document(tmp_path: Path):
    def read(text: str) -> Document:
        path = tmp_path / "check.yaml"
        path.write_text(text)
        return read_yaml(path)

    return read


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("off", "off"),
        ("00501", "00501"),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        (".5", ".5"),
        ("NaN", "NaN"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("true", True),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ("", None),
        ("null", None),
        ("~", None),
        ("12", 12),
        ("-3", -3),
        ("0.7", 0.7),
        ("1e-3", 0.001),
        ("[1, {a: b}]", [1, {"a": "b"}]),
        ("|\n  two\n  lines", "two\nlines\n"),
    ],
)
def test_only_what_looks_like_json_has_another_type_than_text(document, written, value):
    found = document(f"key: {written}\n").value["key"]
    assert found == value
    assert type(found) is type(value)


def test_lines(document):
    found = document("a: 1\nb:\n  - x\n  - c: 2\n    d:\n      - 3\n")
    where = {
        place: found.lines[place] for place in [("a",), ("b",), ("b", 1, "d"), ("b", 1, "d", 0)]
    }
    assert list(where.values()) == [1, 2, 5, 6]
    assert str(found.error(("b", 1, "unknown"), "no.")).endswith("check.yaml, line 4: no.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n\tb: 2\n", "line 2, is not YAML: a tab where only spaces can indent"),
        ("a: [1,\n", "line 2, is not YAML: while parsing a flow node"),
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is here twice"),
        (
            "a: !!python/object/apply:os.system [ls]\n",
            "line 1: the type !!python/object/apply:os.system",
        ),
        ("a: !!binary aGk=\n", "line 1: the type !!binary is not supported"),
        ("? [1]\n: 2\n", "line 1: a key is a word"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "line 3: merging"),
        ("a: *nobody\n", "line 1, is not YAML: found undefined alias 'nobody'"),
        ("a: &a [*a]\n", "line 1: its anchors"),
        ("a: " + "[" * 60 + "]" * 60, "line 1: its anchors"),
        ("---\na: 1\n---\nb: 2\n", "line 3, is not YAML: expected a single document"),
    ],
)
def test_mistakes_name_their_line(document, text, message):
    with pytest.raises(FileError, match=r"check\.yaml, ") as caught:
        document(text)
    assert message in str(caught.value)


def test_anchors_that_explode(document):
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    with pytest.raises(FileError, match="expand to too much"):
        document(bomb)


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(FileError, match="cannot be read: No such file"):
        read_yaml(tmp_path / "missing.yaml")
    (tmp_path / "odd.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(FileError, match="line 1, is not in UTF-8"):
        read_yaml(tmp_path / "odd.yaml")
    (tmp_path / "nul.yaml").write_bytes(b"a: b\x07c\n")
    with pytest.raises(FileError, match="is not YAML"):
        read_yaml(tmp_path / "nul.yaml")
    with pytest.raises(FileError):
        read_yaml(tmp_path)


def test_json_is_yaml(tmp_path):
    path = tmp_path / "check.json"
    path.write_text('{\n\t"models": ["a"],\n\t"items": 3\n}')
    assert read_yaml(path).value == {"models": ["a"], "items": 3}
