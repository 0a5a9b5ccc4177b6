"""How surprised a model is by texts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from slmlab import hardware
from slmlab.course import text_losses
from slmlab.errors import SlmlabError


class Words:
    """A tokenizer with a number for each of three words."""

    def encode(self, text):
        self.ids = [["a", "b", "c"].index(word) for word in text.split()]
        return self


@pytest.fixture(autouse=True)
def three_words(monkeypatch):
    monkeypatch.setattr(text_losses, "_kept_tokenizer", lambda _: Words())
    monkeypatch.setattr(text_losses, "forward", lambda _, ids, cache=None: np.zeros((len(ids), 3)))


def test_a_single_text_is_as_good_as_a_list():
    assert text_losses.perplexity(None, "a b c") == pytest.approx(3)
    assert text_losses.perplexity(None, ["a b c", "a"]) == pytest.approx(3)


def test_losses_are_text_by_text():
    two, one = text_losses.losses(None, ["a b c", "a"])
    assert math.exp(two) == pytest.approx(3)
    assert math.isnan(one), "nothing comes before a text's only token"


@pytest.mark.parametrize("texts", ["a", [], ["a", "b"]])
def test_without_two_tokens_there_is_no_perplexity(texts):
    with pytest.raises(SlmlabError, match="at least two tokens"):
        text_losses.perplexity(None, texts)


def test_what_is_not_read_is_said(monkeypatch, capsys):
    monkeypatch.setenv("SLMLAB_TOKENS", "2")
    hardware._say_once.cache_clear()
    text_losses.perplexity(None, "a b c")
    assert "at most 2 tokens of each text" in capsys.readouterr().err
