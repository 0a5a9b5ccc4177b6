"""Errors as students see them."""

from __future__ import annotations

from slmlab.errors import SlmlabError


def test_an_error_shows_as_one_sentence_in_a_notebook():
    assert SlmlabError("Do this.")._render_traceback_() == ["SlmlabError: Do this."]
