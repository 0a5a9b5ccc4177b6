"""What a comparison hands to an executor, which may be in other processes."""

from __future__ import annotations

import pickle

from slmlab.run.generate import Target
from slmlab.run.grid import plan
from slmlab.run.job import GenerationJob, Loaded
from slmlab.run.scheduler import Attempt
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
