"""Options: complete, checked, and hinted where a name is wrong."""

import typing

import pytest

from slmlab import hardware
from slmlab.engines.embedded import llama_cpp
from slmlab.errors import PromptError
from slmlab.run import grid, options
from slmlab.run.options import full_options, parameters_of
from slmlab.widgets import option_fields


def hint(name: str, *parameters: str) -> str:
    with pytest.raises(PromptError, match=f"There is no option '{name}'") as caught:
        full_options({name: 1}, parameters=parameters)
    return str(caught.value).partition("Did you mean '")[2].partition("'")[0]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("temprature", "temperature"),
        ("numctx", "num_ctx"),
        ("max_tokens", "num_predict"),
        ("max_new_tokens", "num_predict"),
        ("n_predict", "num_predict"),
        ("n_ctx", "num_ctx"),
        ("context_length", "num_ctx"),
        ("max_context", "num_ctx"),
        ("temp", "temperature"),
        ("MAX_TOKENS", "num_predict"),
    ],
)
def test_a_wrong_name_finds_the_option(typed, meant):
    assert hint(typed) == meant


def test_a_wrong_name_finds_what_the_called_function_takes():
    comparing = ("models", "prompts", "repeats", "hosts", "timing", "quiet")
    asking = ("model", "prompt", "host")
    for typed in ("repeat", "n", "runs"):
        assert hint(typed, *comparing) == "repeats"
        assert hint(typed, *asking) == ""
    assert hint("timeing", *comparing) == "timing"
    assert hint("names", *comparing) == "models"
    assert hint("names", *asking) == "model"
    assert hint("question", *comparing) == "prompts"
    assert hint("text", *asking) == "prompt"
    assert hint("hosts", *asking) == "host"
    assert hint("host", *comparing) == "hosts"


def test_parameters_of_a_function_are_without_its_options():
    def function(model, *more, host=None, **options): ...

    assert parameters_of(function) == ["model", "more", "host"]


def test_every_option_has_a_type_and_other_names_are_no_options():
    known = {*options.ALL_OPTIONS}
    assert set(typing.get_type_hints(options.Options)) == known
    assert set(typing.get_type_hints(grid.GridOptions)) == known
    assert not known & {name for names in options.OTHER_NAMES.values() for name in names}


def test_both_engines_take_what_is_sent_and_have_the_same_defaults():
    ours = {"seed", "num_ctx", "num_predict"}
    theirs = llama_cpp.DEFAULT_OPTIONS
    for name in options.DEFAULT_OPTIONS.keys() - ours:
        assert options.DEFAULT_OPTIONS[name] == theirs[name], name
    taken = llama_cpp.INTEGERS | llama_cpp.FLOATS | {"stop"}
    known = {*options.DEFAULT_OPTIONS, *options.EXTRA_OPTIONS}
    assert known <= taken
    # All but what belongs to a computer with several GPUs.
    assert taken - known == {"main_gpu"}
    # Each in the same type.
    for name in options.DEFAULT_OPTIONS:
        kind = float if name in llama_cpp.FLOATS else int
        assert type(options.DEFAULT_OPTIONS[name]) is kind, name


def test_what_langchain_drops_is_known():
    from ollama import Options

    every = {*options.DEFAULT_OPTIONS, *options.EXTRA_OPTIONS}
    assert every - options.DROPPED_BY_LANGCHAIN == every & set(Options.model_fields)


def test_min_p_is_a_number():
    assert full_options({"min_p": 0})["min_p"] == 0.0
    assert "min_p" not in full_options({})


def test_what_ollama_refuses_is_refused_before():
    with pytest.raises(PromptError, match="typical_p cannot be set: Ollama refuses"):
        full_options({"typical_p": 0.9})


def test_where_images_go_is_said():
    with pytest.raises(PromptError, match="in a column `images` of the table of prompts"):
        full_options({"images": "cat.png"}, parameters=["prompts"])


def test_widgets_change_only_what_is_an_option():
    assert set(option_fields.FIELDS) <= set(options.DEFAULT_OPTIONS)


class TestTokens:
    @pytest.fixture(autouse=True)
    def eight(self, monkeypatch):
        monkeypatch.setenv("SLMLAB_TOKENS", "8")
        hardware._say_once.cache_clear()

    @pytest.mark.parametrize(("given", "sent"), [(None, 8), (100, 8), (5, 5), (-1, 8), (-2, 8)])
    def test_the_environment_caps_answers(self, given, sent):
        assert full_options({"num_predict": given})["num_predict"] == sent

    def test_and_says_so_once(self, capsys):
        full_options({})
        full_options({})
        note = "SLMLAB_TOKENS=8: answers end after 8 tokens at the latest.\n"
        assert capsys.readouterr().err == note


def test_options_are_complete_and_checked():
    completed = full_options({"temperature": 0, "seed": None})
    assert completed == options.DEFAULT_OPTIONS | {"temperature": 0}
    with pytest.raises(PromptError, match="Did you mean 'num_ctx'"):
        full_options({"numctx": 1})
