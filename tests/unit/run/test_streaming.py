"""Answers on their way: their states, their order, and how they are stopped."""

from __future__ import annotations

import pytest

from slmlab.errors import PromptError
from slmlab.run import streaming
from slmlab.run.streaming import Answer, Answers
from tests.support.processes import wait_for
from tests.support.recording_server import RecordingServer


def answers(wire, *models: str, at_once: bool = False, **more) -> Answers:
    return Answers([Answer(name, "Hi", wire.url, **more) for name in models], at_once)


def test_answers_go_to_the_end(wire):
    both = streaming.finish(answers(wire, "a:1b", "b:1b"))
    for one in both:
        assert (one.state, one.error) == ("done", "")
        assert one.text == one.record.text == "Hello there."
        assert one.record.in_flight == 1


def test_a_model_is_loaded_before_its_clock_starts(wire):
    (one,) = streaming.finish(answers(wire, "a:1b", options={"num_ctx": 512, "num_thread": 1}))
    load, run = [body for path, body in wire.requests if path == "/api/generate"]
    assert (load["prompt"], load["options"]) == ("", {"num_ctx": 512, "num_thread": 1})
    assert run["prompt"] == "Hi"
    assert not one.record.cold


def test_one_that_is_loaded_is_not_loaded_again(wire):
    wire.loaded = {"a:1b": 4096}
    streaming.finish(answers(wire, "a:1b"))
    assert [body["prompt"] for path, body in wire.requests if path == "/api/generate"] == ["Hi"]


@pytest.mark.parametrize("think", [True, False])
def test_thinking_is_sent_and_kept_apart(wire, think):
    wire.thinking = "Let me see."
    (one,) = streaming.finish(answers(wire, "a:1b", think=think))
    assert [body["think"] for body in wire.sent("/api/generate")] == [think]
    assert one.text == "Hello there."
    assert one.record.thinking == ("Let me see." if think else "")


class TestStates:
    def test_each_state_is_seen_in_its_turn(self, wire):
        wire.may_start.clear()
        wire.may_go_on.clear()
        both = answers(wire, "a:1b", "b:1b")
        first, second = both.answers
        assert first.state == second.state == "waiting"
        both.start()
        wait_for(lambda: first.state == "reading", 10)
        wire.may_start.set()
        wait_for(lambda: first.state == "writing", 10)
        assert first.text == "Hello"
        assert second.state == "waiting"
        assert both.running
        wire.may_go_on.set()
        assert both.wait(10)
        assert first.state == second.state == "done"
        assert not both.running

    def test_at_once_all_are_under_way_and_their_records_say_so(self, wire):
        wire.may_go_on.clear()
        both = answers(wire, "a:1b", "b:1b", at_once=True)
        both.start()
        wait_for(lambda: all(one.state == "writing" for one in both.answers), 10)
        wire.may_go_on.set()
        assert both.wait(10)
        assert [one.record.in_flight for one in both.answers] == [2, 2]


class TestStop:
    def test_what_has_come_stays_and_what_never_started_leaves_no_record(self, wire):
        wire.may_go_on.clear()
        both = answers(wire, "a:1b", "b:1b")
        first, second = both.answers
        both.start()
        wait_for(lambda: first.state == "writing", 10)
        both.stop()
        assert not both.running
        assert both.wait(10)
        assert first.state == second.state == "stopped"
        assert (first.record.text, first.record.stop_reason) == ("Hello", "stopped")
        assert first.record.error is None and first.error == ""
        assert second.record is None
        assert len(wire.sent("/api/generate")) == 1

    def test_a_prompt_that_is_being_read_is_stopped_too(self, wire):
        wire.may_start.clear()
        one = answers(wire, "a:1b")
        one.start()
        wait_for(lambda: wire.sent("/api/generate"), 10)
        one.stop()
        assert one.wait(10), "nothing has come from the server, and nothing will"
        assert one.answers[0].record.text == ""

    def test_an_interrupt_stops_all(self, wire, monkeypatch):
        wire.may_go_on.clear()
        both = answers(wire, "a:1b", "b:1b")
        real_wait, waits = both.wait, []

        def wait(seconds: float) -> bool:
            waits.append(seconds)
            if len(waits) == 1:
                wait_for(lambda: both.answers[0].state == "writing", 10)
                raise KeyboardInterrupt
            return real_wait(seconds)

        monkeypatch.setattr(both, "wait", wait)
        assert [one.state for one in streaming.finish(both)] == ["stopped", "stopped"]
        assert waits == [0.2, streaming.STOPS_WITHIN]


class TestFailures:
    def test_a_failure_is_that_answers_own(self, wire):
        one, two = streaming.finish(answers(wire, "missing:1b", "b:1b"))
        assert (one.state, one.record, two.state) == ("failed", None, "done")
        assert "There is no model 'missing:1b'" in one.error

    def test_one_in_the_middle_keeps_its_record(self, wire):
        wire.errors["/api/generate"] = [(500, "unable to allocate 9 GiB")]
        (one,) = streaming.finish(answers(wire, "a:1b"))
        assert one.state == "failed"
        assert "does not fit into this machine's memory" in one.error
        assert one.record.error == one.error

    def test_one_beside_others_says_so_in_its_record(self, wire):
        wire.errors["/api/generate"] = [(500, "unable to allocate 9 GiB")]
        both = streaming.finish(answers(wire, "a:1b", "b:1b", at_once=True))
        assert sorted(one.state for one in both) == ["done", "failed"]
        assert [one.record.in_flight for one in both] == [2, 2]

    def test_a_server_that_is_away(self):
        with RecordingServer() as gone:
            pass
        (one,) = streaming.finish(answers(gone, "a:1b"))
        assert one.state == "failed"
        assert f"No server answers at {gone.url}" in one.error

    def test_an_error_that_nobody_foresaw_is_shown(self, wire, monkeypatch):
        def fail(*_: object, **__: object) -> None:
            raise ZeroDivisionError("x")

        monkeypatch.setattr(streaming, "generate_on", fail)
        (one,) = streaming.finish(answers(wire, "a:1b"))
        assert (one.state, one.error) == ("failed", "ZeroDivisionError('x')")


def test_what_is_wrong_is_said_before_anything_starts(wire):
    with pytest.raises(PromptError, match="empty"):
        Answers([Answer("a:1b", " ", wire.url)])
    with pytest.raises(PromptError, match="Did you mean 'temperature'"):
        Answers([Answer("a:1b", "Hi", wire.url, {"temprature": 1})])
    assert wire.requests == []
