"""The package itself: its verbs, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import slmlab


class TestImport:
    def test_it_imports_nothing_heavy(self):
        code = (
            "import sys, slmlab; "
            "heavy = {'langchain_core', 'langchain_ollama', 'pandas', 'matplotlib', 'ipywidgets', "
            "'ollama', 'httpx', 'psutil'}; "
            "print(sorted(heavy & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout == "[]\n", done.stderr

    def test_every_verb_is_there(self):
        assert slmlab.__all__ == sorted(slmlab.__all__)
        for name in slmlab.__all__:
            assert getattr(slmlab, name).__doc__, name
        with pytest.raises(AttributeError, match="nope"):
            _ = slmlab.nope

    def test_no_module_takes_the_place_of_a_verb(self):
        modules = {path.stem for path in Path(slmlab.__file__).parent.glob("*.py")}
        verbs = {name for name in slmlab.__all__ if callable(getattr(slmlab, name))}
        assert not modules & verbs
