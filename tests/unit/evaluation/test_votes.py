"""Files of votes."""

from __future__ import annotations

import json

import pytest

from slmlab.errors import ResultsError
from slmlab.evaluation import votes


class TestVotes:
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
            (json.dumps({n: "x" for n in votes.COLUMNS}), "the winner is 'x'"),
            (json.dumps({n: "a" for n in votes.COLUMNS}), "both models are the same"),
        ],
        ids=["torn", "list", "wrong type", "deep", "winner", "one model"],
    )
    def test_a_bad_file_is_named_with_its_line(self, tmp_path, line, why):
        path = tmp_path / "votes.jsonl"
        path.write_text("\n" + line + "\n")
        with pytest.raises(ResultsError, match=rf"votes\.jsonl, line 2 is not a vote: .*{why}"):
            votes.read_votes(path)

    def test_what_is_no_vote_is_not_written(self, tmp_path):
        path = tmp_path / "votes.jsonl"
        with pytest.raises(ResultsError, match="winner is 'c'"):
            votes.add_vote(path, voter="x", prompt="p", model_a="a", model_b="b", winner="c")
        assert not path.exists()
        with pytest.raises(ResultsError, match="cannot be written"):
            votes.add_vote(tmp_path, voter="x", prompt="p", model_a="a", model_b="b", winner="a")
