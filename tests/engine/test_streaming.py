"""Answers as they stream, without a widget."""

from __future__ import annotations

import time

import pytest

import slmlab
from slmlab.errors import PromptError, SlmlabError
from slmlab.run import results, streaming
from tests.support.engines import BASE, SHALLOW, SMOL
from tests.support.processes import wait_for
from tests.support.records import record


class TestAnswers:
    """``slmlab.run.streaming``, without a widget."""

    def test_turn_by_turn_or_at_once_is_in_the_record(self, embedded):
        for at_once, width in ((False, 1), (True, 2)):
            two = [
                streaming.Answer(name, "Name a colour.", embedded.url, {"num_predict": 8})
                for name in (SHALLOW, BASE)
            ]
            done = streaming.finish(streaming.Answers(two, at_once))
            assert [one.state for one in done] == ["done", "done"]
            assert [one.record.in_flight for one in done] == [width, width]
            assert [one.text for one in done] == [one.record.text for one in done]
            assert not any(one.record.cold for one in done)

    def test_stop_ends_a_long_prompt_too(self, embedded):
        """No callback runs before the first token, so the connection has to be closed."""
        prompt = "word " * 20_000
        one = streaming.Answer(BASE, prompt, embedded.url, {"num_ctx": 32768, "num_predict": 5})
        both = streaming.Answers([one, streaming.Answer(SMOL, "Hi", embedded.url)])
        both.start()
        wait_for(lambda: one.state == "reading", 60, "the prompt to be read")
        time.sleep(0.3)
        started = time.monotonic()
        both.stop()
        assert not both.running
        assert both.wait(20)
        assert time.monotonic() - started < 20, "20,000 words take minutes"
        assert one.record.stop_reason == "stopped"
        assert results.flags(one.record) == ["stopped"]
        assert both.answers[1].record is None, "what never started leaves no record"

    def test_kept_answers_keep_no_connections(self, embedded):
        kept = []
        for at_once in (False, True):
            two = [
                streaming.Answer(SHALLOW, "Hi", embedded.url, {"num_predict": 2}) for _ in range(2)
            ]
            kept.append(streaming.Answers(two, at_once))
            streaming.finish(kept[-1])
        assert len([socket for one in kept for socket in one._session._streams]) > 0
        assert all(
            stream.get_extra_info("socket").fileno() == -1
            for one in kept
            for stream in one._session._streams
        )

    def test_a_failure_is_that_answers_own(self, embedded):
        two = [
            streaming.Answer("nosuch:1b", "Hi", embedded.url),
            streaming.Answer(SHALLOW, "Hi", embedded.url, {"num_predict": 3}),
        ]
        streaming.finish(streaming.Answers(two))
        assert [one.state for one in two] == ["failed", "done"]
        assert "nosuch:1b" in two[0].error

    def test_bad_input_is_told_before_anything_starts(self, embedded):
        with pytest.raises(PromptError, match="empty"):
            streaming.Answers([streaming.Answer(SHALLOW, " ", embedded.url)])
        with pytest.raises(PromptError, match="Did you mean 'temperature'"):
            streaming.Answers([streaming.Answer(SHALLOW, "a", embedded.url, {"temprature": 1})])
        with pytest.raises(PromptError, match="Two to six"):
            slmlab.side_by_side([SHALLOW])
        with pytest.raises(SlmlabError, match="two models to vote on"):
            slmlab.arena(answers=results.to_frame([record()], [{"prompt_id": 0, "repeat": 0}]))
