"""Errors as students see them."""

from __future__ import annotations

import pickle

import pytest

from slmlab.errors import GenerationError, Interrupted, SlmlabError, did_you_mean


def test_an_error_shows_as_one_sentence_in_a_notebook():
    assert SlmlabError("Do this.")._render_traceback_() == ["SlmlabError: Do this."]


def test_a_failed_generation_pickles_with_its_record():
    again = pickle.loads(pickle.dumps(GenerationError("It failed.", {"text": "so far"}, True)))
    assert (str(again), again.record, again.lost) == ("It failed.", {"text": "so far"}, True)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("smolm2:135m", "smollm2:135m-instruct-q4_1"),
        ("smolm2", "smollm2:135m-instruct-q4_1"),
        ("smolm2:latest", "smollm2:135m-instruct-q4_1"),
        ("all-minlm", "all-minilm:latest"),
        ("gema3", "gemma3:270m-pt-q4_K_M"),
        ("qwen2.5-coder:0.6b", "qwen2.5-coder:0.5b"),
        ("llama3.2:1b", None),
    ],
)
def test_a_misspelt_model_is_found_however_long_its_tag(name, meant):
    known = [
        "smollm2:135m-instruct-q4_1",
        "gemma3:270m-pt-q4_K_M",
        "qwen2.5-coder:0.5b",
        "qwen2.5-coder:1.5b",
        "all-minilm:latest",
    ]
    assert did_you_mean(name, known) == (f" Did you mean {meant!r}?" if meant else "")


class TestInterrupted:
    def test_it_is_an_interrupt_and_no_exception(self):
        """So that a reader's own ``except Exception`` does not swallow Ctrl-C."""
        assert issubclass(Interrupted, KeyboardInterrupt)
        assert not issubclass(Interrupted, Exception)

    def test_it_pickles_with_its_rows(self):
        again = pickle.loads(pickle.dumps(Interrupted("Stopped.", [1, 2])))
        assert (str(again), again.frame) == ("Stopped.", [1, 2])

    def test_a_notebook_shows_one_sentence(self, capsys):
        from IPython.core.interactiveshell import InteractiveShell

        shell = InteractiveShell()
        shell.run_cell(
            "from slmlab.errors import Interrupted\n"
            "try:\n    raise KeyboardInterrupt\n"
            "except KeyboardInterrupt as error:\n"
            "    raise Interrupted('Stopped. 2 of 4.') from error"
        )
        assert capsys.readouterr().out == "Interrupted: Stopped. 2 of 4.\n"
