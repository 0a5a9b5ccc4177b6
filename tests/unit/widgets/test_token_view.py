"""Token probabilities below the answers of the playground and side by side."""

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


def test_a_model_beside_itself_gets_no_vote_and_is_told_so(wire, tmp_path):
    votes = tmp_path / "votes.jsonl"
    lab = slmlab.side_by_side(["a:1b"] * 2, "Greet me.", votes=votes, host=wire.url)
    lab.run()
    lab.vote("B")
    assert "No vote is saved, for all answers are by one model" in lab.message_text
    assert lab.turns[-1].best == 1
    assert not votes.exists()


def test_side_by_side_marks_where_two_answers_part(wire, tmp_path):
    other = ROW | {"token": "Hi", "bytes": [72, 105]}
    wire.pieces, wire.logprobs = ["Hello"], {"Hello": [ROW]}
    votes = tmp_path / "votes.jsonl"
    lab = slmlab.side_by_side(["a:1b", "b:1b"], "Greet me.", votes=votes, host=wire.url)
    lab.token_view.switch.value = lab.buttons.blind.value = True
    lab.run()
    assert [one["top_logprobs"] for one in wire.sent("/api/generate")[-2:]] == [5, 5]
    assert lab.token_view.value == "", "tokens would tell the models apart before the vote"
    lab.vote("A")
    first, second = lab.turns[-1].names
    assert f"B: {second} wrote the same." in lab.token_view.value
    assert f"A: {first}" in lab.token_view.value
    lab.turns[-1].answers[1].record.logprobs[:] = [other]
    lab.token_view.draw({})
    lab.draw()
    assert f"B: {second} parts from the first answer at its token 1, “Hi”" in lab.token_view.value
    assert "slmlab-parts" in lab.static_html()
