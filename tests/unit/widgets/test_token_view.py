"""Token probabilities below an answer in the playground."""

from __future__ import annotations

import slmlab

ROW = {
    "token": "Hello",
    "logprob": -0.1,
    "bytes": [72, 101, 108, 108, 111],
    "top_logprobs": [{"token": "Hello", "logprob": -0.1, "bytes": [72, 101, 108, 108, 111]}],
}


def test_they_are_asked_for_with_the_next_run_only(wire):
    wire.pieces, wire.logprobs = ["Hello"], {"Hello": [ROW]}
    page = slmlab.playground("a:1b", "Hi", host=wire.url)
    page.run()
    assert "logprobs" not in wire.sent("/api/generate")[-1]
    assert page.token_view.value == ""
    page.token_view.switch.value = True
    page.run()
    assert wire.sent("/api/generate")[-1]["top_logprobs"] == 5
    assert "slmlab-token" in page.token_view.value
    assert "perplexity 1.11" in page.static_html()
    page.go(-1)
    assert page.token_view.value == "", "that answer has none"


def test_a_server_that_has_none_says_so(wire):
    wire.facts["version"] = "0.5.4"
    page = slmlab.playground("a:1b", "Hi", host=wire.url)
    page.token_view.switch.value = True
    page.run()
    assert "does not report the probabilities of tokens" in page.output.value
    assert not wire.sent("/api/generate")
