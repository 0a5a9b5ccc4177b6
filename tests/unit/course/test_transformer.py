"""What a model in numpy says of texts that are short or not in a list."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmlab import hardware
from slmlab.course import transformer
from slmlab.course.transformer import forward
from slmlab.errors import SlmlabError
from tests.support.properties import MANY


class Words:
    """A tokenizer with a number for each of three words."""

    def encode(self, text):
        self.ids = [["a", "b", "c"].index(word) for word in text.split()]
        return self


@pytest.fixture(autouse=True)
def three_words(monkeypatch):
    monkeypatch.setattr(transformer, "_kept_tokenizer", lambda _: Words())
    monkeypatch.setattr(transformer, "forward", lambda _, ids, cache=None: np.zeros((len(ids), 3)))


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


@pytest.fixture(scope="module")
def exact(tiny):
    """The tiny transformer in 64 bits, so that rounding explains nothing."""
    return replace(tiny, tensors={n: one.astype(np.float64) for n, one in tiny.tensors.items()})


@MANY
@given(pieces=st.lists(st.lists(st.integers(0, 255), min_size=1, max_size=9), min_size=1))
def test_a_cache_changes_nothing_but_what_has_to_be_read(exact, pieces):
    """Whatever pieces a text is read in, each token's logits are those of the whole text."""
    cache = {}
    found = np.concatenate([forward(exact, piece, cache) for piece in pieces])
    whole = forward(exact, [token for piece in pieces for token in piece])
    assert np.allclose(found, whole, rtol=1e-6, atol=1e-6)
    assert {len(keys) for keys, _ in cache.values()} == {len(whole)}
    assert len(cache) == exact.layers


def test_what_the_cache_holds_counts(exact):
    cache = {}
    forward(exact, [1, 2, 3], cache)
    cache[0] = cache[0][0], cache[0][1][::-1]
    assert not np.allclose(forward(exact, [4], cache), forward(exact, [1, 2, 3, 4])[-1])
