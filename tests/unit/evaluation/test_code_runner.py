"""Running code that models wrote."""

from __future__ import annotations

import subprocess
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

    @pytest.mark.skipif(not LINUX, reason="namespaces are Linux's")
    def test_no_network_where_the_platform_can_deny_it(self, files):
        url = files.url.split("//")[1].rstrip("/")
        address, port = url.split("/")[0].split(":")
        connect = f"import socket; socket.create_connection(('{address}', {port}), 2)"
        result = code_runner.run_tests(connect, "", seconds=60)
        ways = ["unshare", "--user", "--net", "true"], ["unshare", "--net", "true"]
        possible = any(subprocess.run(way, capture_output=True).returncode == 0 for way in ways)
        assert result.network_denied == possible
        if not possible:
            pytest.skip("this machine lets nobody make a network namespace")
        assert not result.passed
        assert "OSError" in result.why or "Network is unreachable" in result.why

    def test_it_sees_nothing_of_the_environment(self, monkeypatch):
        monkeypatch.setenv("SECRET_OF_MINE", "x")
        code = "import os; assert 'SECRET_OF_MINE' not in os.environ; import sys"
        assert code_runner.run_tests(code, "assert 'slmlab' not in sys.modules").passed
