"""Pairs of answers."""

from __future__ import annotations

from slmlab.evaluation.pairs import blind_pairs
from slmlab.run import results
from tests.support.records import record


def test_pairs_are_shuffled_and_blind_to_order():
    rows = [record(model=name, text=name) for name in "abc" for _ in range(20)]
    ids = [{"prompt_id": index % 20, "repeat": 0} for index in range(60)]
    pairs = blind_pairs(results.to_frame(rows, ids))
    assert len(pairs) == 20 * 3
    first = [one["model"] < two["model"] for one, two in pairs]
    assert 15 < sum(first) < 45
    assert [one["prompt_id"] for one, _ in pairs] != sorted(one["prompt_id"] for one, _ in pairs)
