"""What a choice is worth in votes, and what the votes say."""

from __future__ import annotations

import pytest

from slmlab.evaluation import votes
from slmlab.widgets.voting import FEWEST_VOTES, Ballot, pairwise


@pytest.mark.parametrize(
    ("models", "best", "expected"),
    [
        ("abc", 0, [("a", "b", "a"), ("a", "c", "a")]),
        ("abc", 1, [("a", "b", "b"), ("b", "c", "a")]),
        ("abc", 2, [("a", "c", "b"), ("b", "c", "b")]),
        ("abc", None, [("a", "b", "tie"), ("a", "c", "tie"), ("b", "c", "tie")]),
        ("aba", 2, [("b", "a", "b")]),
        ("aa", 0, []),
    ],
)
def test_the_best_wins_against_each_other_model(models, best, expected):
    assert list(pairwise(models, best)) == expected


class TestBallot:
    def test_votes_are_kept_under_the_name_in_the_field(self, tmp_path):
        ballot = Ballot("Ada", tmp_path / "votes.jsonl")
        assert ballot.choose("Why?", ["a", "b", "c"], 1) == 2
        ballot.voter.value = ""
        ballot.cast([{"role": "user", "content": "Why?"}], "a", "b", "tie")
        cast = votes.read_votes(ballot.file)
        assert list(cast["voter"]) == ["Ada", "Ada", "anonymous"]
        assert list(cast["winner"]) == ["b", "a", "tie"]
        assert cast["prompt"][2] == "user: Why?"

    def test_intervals_are_shown_once_they_mean_something(self, tmp_path):
        ballot = Ballot(None, tmp_path / "votes.jsonl")
        assert ballot.ratings_html() == ""
        for number in range(FEWEST_VOTES):
            ballot.cast("Why?", "<b>one</b>", "two", "a" if number % 3 else "b")
            few = number < FEWEST_VOTES - 1
            if number in (0, FEWEST_VOTES - 2, FEWEST_VOTES - 1):
                html = ballot.ratings_html()
                assert ("too few votes" in html) == few
                assert "&lt;b&gt;one" in html
        assert "<b>" not in html
        assert f"Votes in votes.jsonl: {FEWEST_VOTES}" in html

    def test_a_broken_file_is_a_sentence(self, tmp_path):
        ballot = Ballot(None, tmp_path / "votes.jsonl")
        ballot.file.write_text("no vote\n")
        assert "line 1 is not a vote" in ballot.ratings_html()
