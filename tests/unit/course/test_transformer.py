"""A model in numpy reads a text in pieces, with a KV cache."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmlab.course.transformer import forward
from tests.support.properties import MANY


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
