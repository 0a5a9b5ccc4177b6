"""Files of votes."""

from __future__ import annotations

import json

import pytest

from slmlab.errors import ResultsError
from slmlab.evaluation import votes
from slmlab.evaluation.vote_reader import VoteReader

VOTE = {name: "x" for name in votes.TEXTS} | {"model_a": "a", "model_b": "b", "winner": "a"}


class TestVotes:
    def test_a_comment_and_tags_go_with_a_vote_and_older_files_have_none(self, tmp_path):
        path = tmp_path / "votes.jsonl"
        path.write_text(json.dumps(VOTE) + "\n")
        given = {"voter": "A", "prompt": "p", "model_a": "a", "model_b": "b"}
        votes.add_vote(path, winner="both bad", comment="Neither ends.", tags=["maths"], **given)
        found = votes.read_votes(path)
        assert list(found["winner"]) == ["a", "both bad"]
        assert list(found["comment"]) == ["", "Neither ends."]
        assert list(found["tags"]) == [[], ["maths"]]

    def test_a_line_that_is_being_written_is_no_vote_yet_and_spoils_none(self, tmp_path):
        path = tmp_path / "votes.jsonl"
        votes.add_vote(path, voter="Ö", prompt="é", model_a="a", model_b="b", winner="a")
        whole = path.read_bytes()
        for end in range(len(whole), 2 * len(whole)):
            other = whole.replace(b'"id": "', b'"id": "2')
            path.write_bytes((whole + other)[:end])
            assert len(votes.read_votes(path)) == (2 if end >= len(whole + other) - 1 else 1)
        path.write_bytes(whole + b'{"id": "')
        votes.add_vote(path, voter="x", prompt="p", model_a="a", model_b="b", winner="b")
        reader = VoteReader(tmp_path)
        reader.update()
        assert list(reader.frame["winner"]) == ["a", "b"]
        assert reader.problems == ["votes.jsonl, line 2 is not a vote: it is not JSON."]

    def test_files_of_several_students_are_merged(self, tmp_path):
        ours, theirs = tmp_path / "ours.jsonl", tmp_path / "theirs.jsonl"
        fields = {"prompt": "x\ny", "model_a": "a", "model_b": "b"}
        votes.add_vote(ours, voter="Ö", winner="a", **fields)
        votes.add_vote(theirs, voter="M", winner="tie", **fields)
        theirs.write_bytes(theirs.read_bytes() + ours.read_bytes())
        merged = votes.read_votes(ours, theirs)
        assert sorted(merged["voter"]) == ["M", "Ö"], "each vote once"
        assert votes.ratings(merged)["votes"].tolist() == [2, 2]

    @pytest.mark.parametrize(
        ("line", "why"),
        [
            ("{", "not JSON"),
            ("[]", "not an object"),
            ('{"id": 1}', "no text 'id'"),
            ("[" * 100_000, "not JSON"),
            (json.dumps({n: "x" for n in votes.TEXTS}), "the winner is 'x'"),
            (json.dumps({n: "a" for n in votes.TEXTS}), "both models are the same"),
            (json.dumps(VOTE | {"tags": "maths"}), "its tags are not a list"),
            (json.dumps(VOTE | {"comment": None}), "its comment is not a text"),
        ],
        ids=["torn", "list", "wrong type", "deep", "winner", "one model", "tags", "comment"],
    )
    def test_a_bad_file_is_named_with_its_line(self, tmp_path, line, why):
        path = tmp_path / "votes.jsonl"
        path.write_text("\n" + line + "\n")
        with pytest.raises(ResultsError, match=rf"votes\.jsonl, line 2 is not a vote: .*{why}"):
            votes.read_votes(path)

    def test_agreement_is_the_share_of_equal_winners(self):
        found = votes.agreement(["a", "b", "tie", "a"], ["a", "b", "b", "b"])
        assert (found.value, found.n) == (0.5, 4)

    def test_what_is_no_vote_is_not_written(self, tmp_path):
        path = tmp_path / "votes.jsonl"
        with pytest.raises(ResultsError, match="winner is 'c'"):
            votes.add_vote(path, voter="x", prompt="p", model_a="a", model_b="b", winner="c")
        assert not path.exists()
        with pytest.raises(ResultsError, match="cannot be written"):
            votes.add_vote(tmp_path, voter="x", prompt="p", model_a="a", model_b="b", winner="a")
