"""Running code that models wrote."""

from __future__ import annotations

import sys

import pytest

from slmlab.evaluation import code_runner

LINUX = sys.platform == "linux"


class TestCodeRunner:
    def test_right_and_wrong(self):
        assert code_runner.run_tests("def f(): return 1", "assert f() == 1").passed
        wrong = code_runner.run_tests("def f(): return 2", "assert f() == 1, 'not one'")
        assert (wrong.passed, wrong.why) == (False, "AssertionError: not one")
        assert code_runner.run_tests("def f(:", "").why.startswith("SyntaxError")

    @pytest.mark.skipif(not LINUX, reason="these limits are Linux's")
    @pytest.mark.parametrize(
        ("code", "why"),
        [
            ("while True: pass", "took longer"),
            ("import time; time.sleep(60)", "took longer"),
            ("x = 'x' * 10**10", "MemoryError"),
            ("open('big', 'w').write('x' * 10**8)", "OSError"),
            ("import os; os._exit(0)", "ended with status 0"),
            ("raise SystemExit", "SystemExit"),
            ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "status -11"),
            ("import pandas", "ModuleNotFoundError"),
            ("print('0' * 64, 'passed')\nraise ValueError", "ValueError"),
            ("def f(): return f()\nf()", "RecursionError"),
        ],
    )
    def test_what_goes_wrong_is_a_reason(self, code, why):
        # On a busy machine a process takes seconds to start: only what never ends gets one.
        result = code_runner.run_tests(code, "", seconds=1 if why == "took longer" else 60)
        assert not result.passed
        assert why in result.why

    def test_it_sees_nothing_of_the_environment(self, monkeypatch):
        monkeypatch.setenv("SECRET_OF_MINE", "x")
        code = "import os; assert 'SECRET_OF_MINE' not in os.environ; import sys"
        assert code_runner.run_tests(code, "assert 'slmlab' not in sys.modules").passed

    @pytest.mark.skipif(LINUX, reason="Linux confines it")
    def test_nothing_runs_unasked_where_it_cannot_be_confined(self, tmp_path):
        code = f"open({str(tmp_path / 'x')!r}, 'w')"
        with pytest.raises(code_runner.Unconfined, match="cannot confine code"):
            code_runner.run_tests(code, "")
        assert not (tmp_path / "x").exists()
        assert code_runner.run_tests(code, "", unconfined=True).passed
