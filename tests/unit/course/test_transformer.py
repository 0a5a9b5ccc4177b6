"""What a model in numpy says of texts that are short or not in a list."""

from __future__ import annotations

import math

import pytest

from slmlab import hardware
from slmlab.course import transformer
from slmlab.errors import SlmlabError


class Words:
    """A tokenizer with a number for each of three words."""

    def encode(self, text):
        self.ids = [["a", "b", "c"].index(word) for word in text.split()]
        return self


@pytest.fixture(autouse=True)
def three_words(monkeypatch):
    import numpy as np

    monkeypatch.setattr(transformer, "_kept_tokenizer", lambda _: Words())
    monkeypatch.setattr(transformer, "forward", lambda _, ids: np.zeros((len(ids), 3)))


def test_a_single_text_is_as_good_as_a_list():
    assert transformer.perplexity(None, "a b c") == pytest.approx(3)
    assert transformer.perplexity(None, ["a b c", "a"]) == pytest.approx(3)


def test_losses_are_text_by_text():
    two, one = transformer.losses(None, ["a b c", "a"])
    assert math.exp(two) == pytest.approx(3)
    assert math.isnan(one), "nothing comes before a text's only token"


@pytest.mark.parametrize("texts", ["a", [], ["a", "b"]])
def test_without_two_tokens_there_is_no_perplexity(texts):
    with pytest.raises(SlmlabError, match="at least two tokens"):
        transformer.perplexity(None, texts)


def test_what_is_not_read_is_said(monkeypatch, capsys):
    monkeypatch.setenv("SLMLAB_TOKENS", "2")
    hardware._say_once.cache_clear()
    transformer.perplexity(None, "a b c")
    assert "at most 2 tokens of each text" in capsys.readouterr().err
