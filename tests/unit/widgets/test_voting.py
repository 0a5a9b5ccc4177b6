"""What a choice is worth in votes, and what the votes say."""

from __future__ import annotations

import pytest

from slmlab.errors import ResultsError
from slmlab.evaluation import votes
from slmlab.widgets.ratings_table import FEWEST_VOTES
from slmlab.widgets.voting import Ballot, pairwise


@pytest.mark.parametrize(
    ("models", "best", "expected"),
    [
        ("abc", 0, [("a", "b", "a"), ("a", "c", "a")]),
        ("abc", 1, [("a", "b", "b"), ("b", "c", "a")]),
        ("abc", 2, [("a", "c", "b"), ("b", "c", "b")]),
        ("abc", "tie", [("a", "b", "tie"), ("a", "c", "tie"), ("b", "c", "tie")]),
        ("ab", "both bad", [("a", "b", "both bad")]),
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
        ballot.cast("Why?", "a", "b", "a")
        ballot.file.write_text("no vote\n" + ballot.file.read_text())
        html = ballot.ratings_html()
        assert "line 1 is not a vote" in html
        assert "Votes in votes.jsonl: 1" in html, "the others still count"

    def test_a_comment_is_for_one_vote_and_tags_stay(self, tmp_path):
        ballot = Ballot("Ada", tmp_path / "votes.jsonl")
        ballot.comment.value, ballot.tags.value = " No proof. ", "maths, , short,maths"
        ballot.cast("Why?", "a", "b", "both bad")
        ballot.cast("Why?", "a", "b", "tie")
        cast = ballot.frame
        assert list(cast["comment"]) == ["No proof.", ""]
        assert list(cast["tags"]) == [["maths", "short"]] * 2
        html = ballot.ratings_html()
        assert "<summary>Ratings by tag</summary>" in html
        assert "“Both bad” counts as a tie does" in html


class TestAFolderForAClass:
    def test_each_ballot_writes_a_file_of_its_own_and_reads_all(self, tmp_path):
        folder = tmp_path / "class"
        ballots = [Ballot(name, folder) for name in ("Ada", "Bo")]
        assert not folder.exists(), "nothing is made before the first vote"
        for ballot in ballots:
            ballot.cast("Why?", "a", "b", "a")
        assert len([*folder.iterdir()]) == 2
        assert [sorted(one.frame["voter"]) for one in ballots] == [["Ada", "Bo"]] * 2
        assert "of 2 voters" in ballots[0].ratings_html()
        copy = folder / "a copy that the drive made (1).jsonl"
        copy.write_bytes(ballots[0].file.read_bytes())
        (folder / "notes.txt").write_text("not a vote")
        assert "Votes in class: 2," in ballots[1].ratings_html()

    def test_a_drive_that_is_not_mounted_is_no_folder_here(self, tmp_path):
        with pytest.raises(ResultsError, match="mount the drive"):
            Ballot("Ada", tmp_path / "drive/MyDrive/class")
        assert not (tmp_path / "drive").exists()
