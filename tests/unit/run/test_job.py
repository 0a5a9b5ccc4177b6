"""What a comparison does on a server, and hands to executors in other processes."""

from __future__ import annotations

import pickle

import pytest

from slmlab.engines.client import Session
from slmlab.run import job as job_module
from slmlab.run.grid import Cell, plan
from slmlab.run.job import WARM_UP_PROMPT, WARM_UP_TOKENS, GenerationJob, Loaded
from slmlab.run.scheduler import Attempt
from slmlab.run.target import Target, resolve_target
from tests.support.records import record

HOST = "http://127.0.0.1:1"


def test_a_job_and_all_it_takes_and_gives_can_go_to_another_process():
    target = Target(HOST, "m", "ollama", "1", "d" * 64, False, None)
    job = GenerationJob({(HOST, "m"): target}, True, False, 600.0, in_flight=1, patience=60.0)
    (cell,) = plan("m", [[{"role": "user", "content": "Hi"}]], system="Be brief.")
    sent = (job.load, job.attempt, job.comes_back, HOST, cell, Loaded(target, 1.5))
    load, _, _, *there = pickle.loads(pickle.dumps(sent))
    assert load.__self__ == job
    assert there == [HOST, cell, Loaded(target, 1.5)]
    assert pickle.loads(pickle.dumps(Attempt(record(text="Ho"), True))).result.text == "Ho"


def test_a_server_that_stays_away_is_waited_for_as_long_as_was_said():
    job = GenerationJob({}, True, False, 600.0, in_flight=1, patience=0.2)
    assert not job.comes_back(HOST)


def a_job(wire, timing: bool = True, think: bool = False) -> tuple[GenerationJob, Cell]:
    """A job on the recording server, where ``b:1b`` is in memory, and a cell for ``a:1b``."""
    wire.loaded = {"b:1b": 4096}
    targets = {(wire.url, "a:1b"): resolve_target("a:1b", 4096, wire.url)}
    job = GenerationJob(targets, timing, think, 600.0, 1, patience=1.0, session=Session())
    (cell,) = plan("a:1b", "Hi", num_predict=50, num_thread=1)
    wire.requests.clear()
    return job, cell


class TestLoading:
    def test_a_model_is_timed_alone_in_memory(self, wire):
        job, cell = a_job(wire)
        loaded = job.load(wire.url, cell)
        assert wire.loaded == {"a:1b": 4096}
        assert loaded.seconds > 0
        assert not loaded.target.cold
        bodies = [body for path, body in wire.requests if path == "/api/generate"]
        unload, load = bodies[:2]
        assert (unload["model"], unload["keep_alive"]) == ("b:1b", 0)
        assert (load["model"], load["options"]) == ("a:1b", {"num_ctx": 4096, "num_thread": 1})

    def test_a_model_is_warmed_up_before_it_is_timed(self, wire):
        job, cell = a_job(wire)
        job.load(wire.url, cell)
        (warm_up,) = wire.sent("/api/generate")
        assert warm_up["prompt"] == WARM_UP_PROMPT
        assert warm_up["options"] == {**cell.options, "num_predict": WARM_UP_TOKENS}

    def test_where_times_do_not_count_other_models_stay(self, wire):
        job, cell = a_job(wire, timing=False)
        assert job.load(wire.url, cell).seconds is None
        assert wire.loaded == {"a:1b": 4096, "b:1b": 4096}
        assert wire.sent("/api/generate") == []

    def test_on_a_server_that_others_may_be_using_nothing_is_unloaded(self, wire, monkeypatch):
        monkeypatch.setattr(job_module, "is_local", lambda address: False)
        job, cell = a_job(wire)
        assert job.load(wire.url, cell).seconds is None
        assert wire.loaded == {"a:1b": 4096, "b:1b": 4096}
        assert not [body for _, body in wire.requests if body and body.get("keep_alive") == 0]

    def test_what_cannot_be_loaded_fails_in_its_cell_with_its_sentence(self, wire):
        job, cell = a_job(wire)
        wire.errors["/api/ps"] = [(500, "no")]
        loaded = job.load(wire.url, cell)
        assert loaded == Loaded(job.targets[wire.url, "a:1b"], None)
        wire.errors["/api/generate"] = [(500, "unable to allocate 9 GiB")]
        attempt = job.attempt(wire.url, cell, loaded)
        assert "does not fit into this machine's memory" in attempt.result.error
        assert not attempt.server_lost


class TestAttempt:
    @pytest.mark.parametrize("timing", [True, False])
    def test_each_answer_is_streamed_so_that_each_piece_is_a_sign_of_life(self, wire, timing):
        job, cell = a_job(wire, timing)
        attempt = job.attempt(wire.url, cell, Loaded(job.targets[wire.url, "a:1b"], None))
        assert attempt.result.text == "Hello there."
        (body,) = wire.sent("/api/generate")
        assert body["stream"] is True
        assert (attempt.result.ttft_s is not None) is timing
        assert body["options"] == cell.options

    @pytest.mark.parametrize("think", [True, False])
    def test_thinking_goes_along(self, wire, think):
        job, cell = a_job(wire, think=think)
        job.attempt(wire.url, cell, Loaded(job.targets[wire.url, "a:1b"], None))
        assert [body["think"] for body in wire.sent("/api/generate")] == [think]

    def test_a_server_that_went_away_is_reported_as_lost(self, wire):
        job, cell = a_job(wire)
        wire.errors["/api/generate"] = [(500, "llama runner process has terminated")]
        assert job.attempt(wire.url, cell, Loaded(job.targets[wire.url, "a:1b"], None)).server_lost
