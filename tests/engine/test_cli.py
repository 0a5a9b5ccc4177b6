"""The command line as a person or a program uses it, with models."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

from tests.support.cli import call, run
from tests.support.engines import BASE, MINILM, MODELS, SHALLOW, SMOL


class TestWithModels:
    def test_the_main_job(self, lab_with_models):
        """``setup`` asks every model the tutorial's question and ends with one table."""
        done = run("setup", "--engine", "embedded", SLMLAB_TOKENS="16")
        assert done.returncode == 0, done.stderr
        table = done.stdout[done.stdout.index("first token (s)") - 60 :]
        for model in MODELS:
            assert model in table
        for column in ("model", "engine", "tokens/s", "tokens", "seconds", "flags"):
            assert column in table
        assert "hypotenuse" in done.stdout
        assert run("stop").stdout.startswith("Stopped http://127.0.0.1:")

    def test_ask_and_models_and_compare(self, lab_with_models):
        answered = run("ask", SHALLOW, "Say hi.", "--num-predict", "5", "--engine", "embedded")
        assert answered.returncode == 0, answered.stderr
        assert "tokens/s" in answered.stdout
        record = json.loads(call("ask", SHALLOW, "Say hi.", "--num-predict", "5", "--json").stdout)
        assert (record["model"], record["tokens"]) == (SHALLOW, 5)
        names = [row["name"] for row in json.loads(call("models", "--json").stdout)]
        assert set(names) == {*MODELS, MINILM, SHALLOW, BASE}
        assert SHALLOW in call("models").stdout
        rows = json.loads(
            call(
                "compare",
                "Hi",
                "--models",
                SHALLOW,
                "--repeats",
                "2",
                "--num-predict",
                "3",
                "--json",
            ).stdout
        )
        assert [row["seed"] for row in rows] == [0, 1]
        fit = call("fit", SHALLOW, "--measure").stdout
        assert f"{SHALLOW} fits: it needs " in fit
        assert re.search(r"\n  predicted \d+ tokens/s, measured \d+\n", fit)
        assert SMOL in call("fit").stdout
        unknown = run("ask", "smollm", "Hi")
        assert unknown.returncode == 1
        assert unknown.stderr.startswith("slmlab: There is no model 'smollm'")
        assert "Traceback" not in unknown.stderr
        assert call("stop").returncode == 0

    def test_an_interrupted_comparison_is_exit_code_130(self, lab_with_models):
        """And it says what is kept of it."""
        command = [sys.executable, "-u", "-m", "slmlab", "compare", "Tell a long story."]
        options = ["--engine", "embedded", "--models", SMOL, "--num-predict", "4000"]
        process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            for line in process.stdout:
                if line.startswith("── "):
                    break
            process.stdout.read(5)  # the answer has begun
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()
        assert process.returncode == 130
        assert "0 of 1 cells are finished and saved in" in errors
        assert "Traceback" not in errors
        assert run("stop").returncode == 0

    def test_a_terminal_without_unicode(self, lab_with_models):
        done = run(
            "ask",
            SHALLOW,
            "é ☃",
            "--num-predict",
            "5",
            "--engine",
            "embedded",
            PYTHONIOENCODING="ascii",
        )
        assert done.returncode == 0, done.stderr
