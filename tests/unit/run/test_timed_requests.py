"""Which repeats of a timed request count, and what of each, without a server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slmlab.engines.client import Session
from slmlab.run.target import Target
from slmlab.run.timed_requests import TimedRequests, _Answer
from tests.support.records import record

TARGET = Target("http://127.0.0.1:1", "m", "ollama", "1", "d", False, None)
DEPTH = 100
# 32 tokens that are timed, after the first one.
WRITTEN = record(tokens=33, generation_s=2.0, prompt_tokens=20, wall_s=3.0)
READ = record(tokens=1, prompt_tokens=150, cached_tokens=DEPTH, prompt_s=0.5)


@pytest.fixture
def requests(monkeypatch):
    """Timed requests, each repeat of which gets one of these lists of answers."""

    def of(*repeats):
        left = iter(repeats)
        monkeypatch.setattr(TimedRequests, "_send", lambda *_, **__: next(left))
        found = TimedRequests(TARGET, {}, None, len(repeats), Session(), lambda _: None)
        found.read_before = {(DEPTH, lane) for lane in range(4)}
        return found

    return of


def answer(one, first=1.0, last=2.0):
    return _Answer(one, 0.0, first, last)


def test_an_answer_that_ended_a_token_early_does_not_count(requests):
    early = replace(WRITTEN, tokens=32)
    found = requests([answer(early)], [answer(WRITTEN)]).decode(0, 1, 32)
    assert [one.rate for one in found.timings] == [16.0]
    assert "1 of 2 repeats left out: an answer ended before" in found.note


def test_requests_one_after_the_other_were_not_at_once(requests):
    queued = [answer(WRITTEN, 1.0, 2.0), answer(WRITTEN, 2.5, 3.5)]
    beside = [answer(WRITTEN, 1.0, 2.0), answer(WRITTEN, 1.5, 3.5)]
    found = requests(queued, beside).decode(0, 2, 32)
    assert len(found.repeats) == 1
    assert "1 of 2 repeats left out: requests were queued" in found.note


def test_energy_is_shared_by_the_tokens_of_all_requests_at_once(requests):
    """Each saw what the machine used meanwhile, so it is not added up."""
    both = [answer(replace(WRITTEN, energy_j=joules)) for joules in (60.0, 66.0)]
    assert requests(both).decode(0, 2, 32).joules == pytest.approx(66 / (2 * 33))


def test_only_what_was_read_after_the_depth_is_timed(requests):
    """And nothing, if one of the requests had to read its depth again."""
    forgot = replace(READ, cached_tokens=10)
    found = requests([answer(READ)], [answer(forgot)]).prefill(DEPTH, 1, 50)
    assert [(one.tokens, one.rate, one.depth) for one in found.timings] == [(50, 100.0, DEPTH)]
    assert "1 of 2 repeats left out: the engine did not keep" in found.note
    found = requests([answer(READ), answer(forgot)]).prefill(DEPTH, 2, 50)
    assert found.timings == []
