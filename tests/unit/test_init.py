"""The package itself: its verbs, and what importing it costs."""

from __future__ import annotations

import os
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

    def test_a_finished_evaluation_needs_neither_client_nor_scipy(self):
        code = (
            "import sys, slmlab; slmlab.start, slmlab.evaluate; "
            "slmlab.statistics.interval([0, 1]); slmlab.statistics.interval([0, 0.5, 0.8]); "
            "print(sorted({'ollama', 'scipy', 'langchain_core', 'rich'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout == "[]\n", done.stderr

    def test_every_verb_is_there(self):
        assert slmlab.__all__ == sorted(slmlab.__all__)
        for name in slmlab.__all__:
            assert getattr(slmlab, name).__doc__, name
        with pytest.raises(AttributeError, match="nope"):
            _ = slmlab.nope

    @pytest.mark.parametrize("eager", ["", "1"])
    def test_each_name_works_in_a_fresh_process_with_nothing_imported_before(self, eager):
        code = (
            "import slmlab; slmlab.plots.quality_speed; slmlab.models.catalog.table; "
            "slmlab.scorers.SCORERS; assert slmlab.prompts.fill('plain', question='x') == 'x'; "
            "[getattr(slmlab, name) for name in slmlab.__all__]"
        )
        env = {**os.environ, "EAGER_IMPORT": eager}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr

    def test_the_stub_is_sorted_and_says_what_there_is(self):
        stub = Path(slmlab.__file__).with_suffix(".pyi").read_text()
        imported = [line for line in stub.splitlines() if line.startswith("from ")]
        assert len(imported) == len(set(imported)) == len(slmlab.__all__)
        assert {line.split(" as ")[1] for line in imported} == set(slmlab.__all__)
        assert all(name in dir(slmlab) for name in slmlab.__all__)

    def test_no_module_takes_the_place_of_a_verb(self):
        modules = {path.stem for path in Path(slmlab.__file__).parent.glob("*.py")}
        verbs = {name for name in slmlab.__all__ if callable(getattr(slmlab, name))}
        assert not modules & verbs
