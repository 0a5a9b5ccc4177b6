"""The probabilities of tokens, from real servers."""

from __future__ import annotations

import pytest

import slmlab
from slmlab.errors import PromptError

ASKED = {"temperature": 0, "num_predict": 12}


def test_a_greedy_answer_is_made_of_the_likeliest_tokens(engine):
    if not engine.newest:
        with pytest.raises(PromptError, match="does not report the probabilities"):
            slmlab.generate(engine.model, "Count to five.", host=engine.url, logprobs=3)
        return
    for prompt in ("Count to five.", [{"role": "user", "content": "Count to five."}]):
        found = slmlab.generate(engine.model, prompt, host=engine.url, logprobs=3, **ASKED)
        table = slmlab.tokens(found)
        assert "".join(table["token"]).strip() == found.text.strip()
        assert 0 < len(table) <= found.tokens
        assert (table["rank"] == 1).all()
        assert table["alternatives"].map(len).eq(3).all()
        assert table["rest"].between(0, 1).all()
