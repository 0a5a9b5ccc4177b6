"""A class of thirty votes into one folder at the same time."""

from __future__ import annotations

import multiprocessing

from slmlab.evaluation import votes
from slmlab.evaluation.vote_reader import VoteReader
from tests.support.voters import vote_at_once

VOTERS, EACH = 30, 20


def test_no_vote_of_thirty_processes_is_lost_or_counted_twice(tmp_path):
    folder = tmp_path / "class"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.voters"])
    begin = context.Barrier(VOTERS + 1)
    voters = [
        context.Process(target=vote_at_once, args=(str(folder), f"voter {n}", EACH, begin))
        for n in range(VOTERS)
    ]
    for voter in voters:
        voter.start()
    # What the teacher's view does, as quickly as it can.
    reader, counts = VoteReader(folder), [0]
    begin.wait(60)
    while any(voter.is_alive() for voter in voters):
        reader.update()
        assert not reader.problems
        counts.append(len(reader.frame))
    for voter in voters:
        voter.join()
        assert voter.exitcode == 0
    reader.update()
    cast = votes.read_votes(folder)
    assert counts == sorted(counts), "none that was there is ever gone"
    assert len(reader.frame) == len(cast) == VOTERS * EACH
    assert cast["id"].is_unique
    assert (cast.groupby("voter").size() == EACH).all()
    assert len([*folder.iterdir()]) == VOTERS
    assert votes.ratings(cast, resamples=2)["votes"].tolist() == [VOTERS * EACH] * 2
