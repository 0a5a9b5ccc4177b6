"""A scorer that runs the Python code in an answer."""

from __future__ import annotations

import builtins
import re
import symtable
import warnings
from dataclasses import dataclass
from typing import Any

from slmlab.errors import TaskError, Unscorable
from slmlab.evaluation import code_runner
from slmlab.evaluation.scorers.fences import blocks
from slmlab.evaluation.scorers.reading import Row, answer, cell, parsed

PYTHON = ("", "python", "py", "ipython", "pycon")
_BEGINS = re.compile(
    r"(?:def|class|async\s+def|from\s+\S+\s+import|import)\s|@\w|[A-Za-z_]\w*\s*(?::[^=]+)?=[^=]"
)
_NO_SYNTAX = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)


@dataclass(frozen=True)
class _Source:
    """A piece of code, the names that it defines, and those that it needs from elsewhere."""

    text: str
    defines: frozenset[str]
    needs: frozenset[str]


def code(text: str, row: Row, *, unconfined: bool = False) -> bool:
    """The Python code in the answer passes ``tests``, run in a process that can only compute.

    The code is the last complete block that defines what the tests call, with the other blocks that
    it needs; blocks in other languages, output and examples are ignored. What keeps the code from
    doing harm is described in ``slmlab.evaluation.code_runner``; where that is missing, as on macOS
    and Windows, the code runs only with ``unconfined=True``.

    Raises:
        TaskError: this system cannot confine the code; nothing has run.

    Examples:
        >>> slmlab.scorers.code("def twice(x): return 2 * x", {"tests": "assert twice(2) == 4"})
        True
    """
    tests = tests_of(cell(row, "tests"))
    read = _read(tests)
    if read is None:
        raise Unscorable("`tests` is not valid Python.")
    program = _program(answer(text), read.needs)
    try:
        return code_runner.run_tests(program, tests, unconfined=unconfined).passed
    except code_runner.NoWriting as error:
        raise Unscorable(str(error)) from error
    except code_runner.Unconfined as error:
        raise TaskError(
            f"{error} Score on Linux, on Colab or in a container, or accept that by "
            "run_code=True (in a terminal --run-code)."
        ) from error


def tests_of(given: Any) -> str:
    """The source of tests, which may be a list of lines, also written as text."""
    return "\n".join(map(str, parsed(given, list) or [given]))


def _program(text: str, names: frozenset[str]) -> str:
    """The code in an answer that defines these names."""
    parts = [
        _prompts_removed(block.text) if block.language is not None else _code_in_prose(block.text)
        for block in blocks(text)
        if block.language is None or block.language in PYTHON
    ]
    sources = [_read(part) for part in parts]
    chosen: set[int] = set()
    wanted = set(names)
    known: set[str] = set()
    while wanted:
        name = wanted.pop()
        known.add(name)
        having = [i for i, source in enumerate(sources) if source and name in source.defines]
        if having and having[-1] not in chosen:
            chosen.add(having[-1])
            wanted |= sources[having[-1]].needs - known  # type: ignore[union-attr]
    if chosen:
        return "\n".join(parts[i] for i in sorted(chosen))
    fenced = [block.text for block in blocks(text) if block.language in PYTHON]
    return "\n".join(fenced) if fenced else text


def _read(text: str) -> _Source | None:
    """The names that a piece of code defines and needs; None if it is not valid Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, "<answer>", "exec", dont_inherit=True)
            top = symtable.symtable(text, "<answer>", "exec")
    except _NO_SYNTAX:
        return None
    defines = {
        one.get_name() for one in top.get_symbols() if one.is_assigned() or one.is_imported()
    }
    needs = {one.get_name() for one in top.get_symbols() if one.is_referenced()}
    scopes = list(top.get_children())
    while scopes:
        scope = scopes.pop()
        scopes += scope.get_children()
        outer = [one for one in scope.get_symbols() if one.is_global()]
        needs |= {one.get_name() for one in outer if one.is_referenced()}
        defines |= {one.get_name() for one in outer if one.is_assigned()}
    return _Source(text, frozenset(defines), frozenset(needs - defines - set(dir(builtins))))


def _prompts_removed(text: str) -> str:
    """The code of an interactive Python session, without prompts and output."""
    if not text.lstrip().startswith(">>>"):
        return text
    lines = (re.match(r"\s*(?:>>>|\.\.\.)(?: (.*)|$)", line) for line in text.splitlines())
    return "\n".join(line[1] or "" for line in lines if line)


def _code_in_prose(text: str) -> str:
    """The Python statements in a text outside fences; the whole text if it is valid Python."""
    if _read(text):
        return text
    chunks: list[list[str]] = []
    within = False
    for line in text.splitlines():
        begins = _BEGINS.match(line) is not None
        decorated = within and chunks[-1][-1].startswith("@")
        if begins and not decorated:
            chunks.append([line])
        elif within and (begins or not line.strip() or line[0] in " \t)]}"):
            chunks[-1].append(line)
        else:
            within = False
            continue
        within = True
    return "\n".join(code for chunk in chunks if _read(code := "\n".join(chunk)))
