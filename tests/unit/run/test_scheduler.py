"""The scheduler with jobs that need no server: order, lanes, lost servers, interrupts."""

from __future__ import annotations

import collections
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from slmlab.run.scheduler import NoServerLeft, Scheduler
from tests.support.scheduled_jobs import Cell, FakeJob, Heard, cells, run


class TestOrder:
    def test_one_lane_goes_through_the_cells_in_order_and_loads_each_model_once(self):
        job, todo = FakeJob(), cells("a", "b")
        heard = run(todo, job)
        assert job.calls == [
            ("load", "h", "a"),
            *(("run", "h", f"a{n}") for n in range(3)),
            ("load", "h", "b"),
            *(("run", "h", f"b{n}") for n in range(3)),
        ]
        assert heard.results == {name: f"{name} at h" for name in todo}

    def test_cells_that_share_a_load_run_together_wherever_they_stand(self):
        todo = cells("a", "b")
        job = FakeJob()
        run({name: todo[name] for name in ("a0", "b0", "a1", "b1", "a2", "b2")}, job)
        assert job.of("run") == ["a0", "a1", "a2", "b0", "b1", "b2"]
        assert job.of("load") == ["a", "b"]

    def test_what_is_heard_of_a_cell_comes_in_order(self):
        heard = run(cells("a", each=2), FakeJob())
        assert heard.events == [
            "loading a at h",
            "loaded a at h",
            "starting a0 at h",
            "finished a0 at h",
            "starting a1 at h",
            "finished a1 at h",
        ]

    def test_nothing_to_do(self):
        job = FakeJob()
        assert run({}, job).results == {}
        assert job.calls == []


class TestLanes:
    @pytest.mark.parametrize("width", [1, 2, 4])
    def test_a_server_gets_as_many_cells_at_once_as_it_takes(self, width):
        both = threading.Barrier(width)
        job = FakeJob(each=lambda host, cell: both.wait(5) and None)
        heard = run(cells("a", each=8), job, width=width)
        assert job.most == {"h": width}
        assert len(heard.results) == 8

    def test_a_model_is_loaded_only_when_nothing_runs(self):
        """That is asserted in the job; here it has something to run beside."""
        job = FakeJob(each=lambda host, cell: threading.Event().wait(0.001) and None)
        assert len(run(cells("a", "b", "c"), job, width=4).results) == 9
        assert job.of("load") == ["a", "b", "c"]

    def test_servers_take_different_models_first(self):
        # At the first and at the last cell of each, for one that is done helps the other.
        met = threading.Barrier(2)
        job = FakeJob(each=lambda host, cell: cell.name[1] in "03" and met.wait(30) and None)
        run(cells("a", "b", each=4), job, hosts=["h1", "h2"])
        assert sorted(job.of("load")[:2]) == ["a", "b"]
        assert job.of("run", "h1")[:4] == ["a0", "a1", "a2", "a3"]
        assert job.of("run", "h2")[:4] == ["b0", "b1", "b2", "b3"]

    def test_servers_share_the_cells_of_one_model(self):
        met = threading.Barrier(2)
        job = FakeJob(each=lambda host, cell: met.wait(5) and None)
        heard = run(cells("a", each=6), job, hosts=["h1", "h2"])
        assert job.of("load") == ["a", "a"]
        assert len(job.of("run", "h1")) == len(job.of("run", "h2")) == 3
        assert list(heard.results) != [] and set(heard.results) == set(cells("a", each=6))

    def test_a_server_that_is_done_helps_with_what_is_left(self):
        slow = threading.Event()

        def each(host, cell):
            if cell.name == "a0":
                slow.wait(5)  # h1 is held up until h2 has done all the rest
            elif cell.name == "a3":
                slow.set()

        job = FakeJob(each=each)
        run(cells("a", "b", each=4), job, hosts=["h1", "h2"])
        assert job.of("run", "h2") == ["b0", "b1", "b2", "b3", "a1", "a2", "a3"]


class TestLostServers:
    def test_a_cell_is_tried_again_when_its_server_is_back(self):
        lost = iter([True, True, False])
        job = FakeJob(each=lambda host, cell: cell.name == "a1" and next(lost))
        heard = run(cells("a"), job)
        assert job.of("run") == ["a0", "a1", "a1", "a1", "a2"]
        assert len(job.of("wait")) == 2
        assert job.of("load") == ["a"]
        assert list(heard.results) == ["a0", "a1", "a2"]

    def test_after_the_last_attempt_the_failure_is_the_result(self):
        job = FakeJob(each=lambda host, cell: cell.name == "a1")
        heard = run(cells("a"), job, attempts=3)
        assert job.of("run") == ["a0", "a1", "a1", "a1", "a2"]
        assert list(heard.results) == ["a0", "a1", "a2"], "the grid goes on"

    def test_the_only_server_is_gone_for_good(self):
        job = FakeJob(each=lambda host, cell: cell.name == "a1", back=lambda host: False)
        heard = Heard()
        with pytest.raises(NoServerLeft):
            run(cells("a"), job, heard)
        assert heard.results == {"a0": "a0 at h"}
        assert job.of("run") == ["a0", "a1"], "nothing is sent to a server that is gone"

    def test_the_other_server_does_the_rest(self):
        job = FakeJob(each=lambda host, cell: host == "h1", back=lambda host: False)
        heard = run(cells("a", "b"), job, hosts=["h1", "h2"])
        assert set(heard.results.values()) == {f"{name} at h2" for name in cells("a", "b")}
        assert len(job.of("run", "h1")) == 1

    def test_cells_of_a_server_that_waits_are_not_taken_from_it(self):
        met = threading.Barrier(2)
        lost = iter([True])

        def each(host, cell):
            if cell.name in ("a0", "b0"):
                first = next(lost, False) if host == "h1" else False
                return first or (host == "h2" and met.wait(5) and False)
            return None

        # h2 cannot go on before h1 is back, and has then to leave h1 its cell.
        job = FakeJob(each=each, back=lambda host: bool(met.wait(5)) or True)
        run(cells("a", "b", each=1), job, hosts=["h1", "h2"])
        assert job.of("run", "h1") == ["a0", "a0"]
        assert job.of("run", "h2") == ["b0"]

    def test_all_that_ran_at_once_is_tried_again(self):
        all_run = threading.Barrier(3)
        tries: collections.Counter = collections.Counter()

        def each(host, cell):
            tries[cell.name] += 1
            if tries[cell.name] == 1 and cell.name in ("a0", "a1", "a2"):
                all_run.wait(5)
                return True
            return False

        job = FakeJob(each=each)
        heard = run(cells("a", each=5), job, width=3)
        assert len(heard.results) == 5
        assert tries == {"a0": 2, "a1": 2, "a2": 2, "a3": 1, "a4": 1}
        assert 1 <= len(job.of("wait")) <= 3

    def test_a_cell_that_is_lost_after_its_server_was_given_up_goes_to_another(self):
        h1_is_full, h1_is_given_up = threading.Event(), threading.Event()
        at_h1: list[str] = []

        def each(host, cell):
            if host == "h1":
                at_h1.append(cell.name)
                if len(at_h1) == 2:  # is lost when its server was given up for the other
                    h1_is_full.set()
                    assert h1_is_given_up.wait(5)
                return h1_is_full.wait(5)
            assert h1_is_full.wait(5)
            if cell.name == at_h1[0]:
                h1_is_given_up.set()
            return False

        job = FakeJob(each=each, back=lambda host: False)
        heard = run(cells("a", each=6), job, hosts=["h1", "h2"], width=2)
        assert set(heard.results.values()) == {f"a{n} at h2" for n in range(6)}

    def test_a_server_lost_for_good_costs_a_cell_no_attempt(self):
        lost = iter([True, True, True, False])
        job = FakeJob(each=lambda host, cell: next(lost), back=lambda host: False)
        heard = run(cells("a", each=1), job, hosts=["h1", "h2", "h3", "h4"], attempts=2)
        assert len(job.of("run")) == 4
        assert heard.results == {"a0": f"a0 at {job.calls[-1][1]}"}


class TestStop:
    """What is heard of a finished cell can end the run."""

    @dataclass
    class Enough(Heard):
        name: str = "a1"

        def finished(self, host, name, result):
            super().finished(host, name, result)
            return name == self.name

    def test_nothing_more_is_started_and_what_is_finished_is_kept(self):
        job, heard = FakeJob(), self.Enough()
        run(cells("a", "b"), job, heard)
        assert job.of("run") == ["a0", "a1"]
        assert [*heard.results] == ["a0", "a1"]

    def test_what_runs_beside_it_is_cancelled(self):
        cancelled, runs = threading.Event(), threading.Semaphore(0)

        def each(host, cell):
            if cell.name == "a1":
                assert runs.acquire(timeout=30)
                return False
            runs.release()
            assert cancelled.wait(30)
            return True  # as a request whose connection is shut down

        job, heard = FakeJob(each=each), self.Enough()
        run(cells("a", each=9), job, heard, width=2, cancel=cancelled.set)
        assert job.of("run") == ["a0", "a1"]
        assert set(heard.results) == {"a1"}, "half an answer is none"


class TestInterrupts:
    def test_in_the_job(self):
        def each(host, cell):
            if cell.name == "a1":
                raise KeyboardInterrupt

        heard = Heard()
        with pytest.raises(KeyboardInterrupt):
            run(cells("a"), FakeJob(each=each), heard)
        assert heard.results == {"a0": "a0 at h"}

    def test_in_what_the_caller_does(self):
        def each(name):
            if name == "a1":
                raise KeyboardInterrupt

        job, heard = FakeJob(), Heard(each=each)
        with pytest.raises(KeyboardInterrupt):
            run(cells("a"), job, heard)
        assert job.of("run") == ["a0"]
        assert heard.results == {"a0": "a0 at h"}

    def interrupted_at_the_fourth(self, each, **more) -> tuple[FakeJob, Heard]:
        """Three cells of three run when the fourth is started, which interrupts."""
        started = threading.Semaphore(0)

        def run_one(host, cell):
            started.release()
            return each(host, cell)

        def start(name):
            if name == "b0":
                for _ in range(3):
                    assert started.acquire(timeout=5)
                raise KeyboardInterrupt

        job, heard = FakeJob(each=run_one), Heard(each=start)
        todo = cells("a") | {"b0": Cell("b0", "a"), "b1": Cell("b1", "a")}
        with pytest.raises(KeyboardInterrupt):
            run(todo, job, heard, width=4, **more)
        return job, heard

    def test_it_ends_what_runs_and_keeps_what_is_finished_meanwhile(self):
        over = threading.Event()

        def each(host, cell):
            assert over.wait(5)
            return cell.name != "a1"  # the others were cut by the cancelling: a lost server

        job, heard = self.interrupted_at_the_fourth(each, cancel=over.set)
        assert heard.results == {"a1": "a1 at h"}
        assert set(job.of("run")) == {"a0", "a1", "a2"}, "nothing is tried again"
        assert job.of("wait") == []

    def test_what_was_cut_is_no_result_even_in_its_last_attempt(self):
        over = threading.Event()
        _, heard = self.interrupted_at_the_fourth(
            lambda host, cell: over.wait(5), cancel=over.set, attempts=1
        )
        assert heard.results == {}

    def test_without_a_way_to_cancel_nobody_waits_for_what_runs(self):
        over = threading.Event()
        timer = threading.Timer(0.05, over.set)
        timer.start()
        _, heard = self.interrupted_at_the_fourth(lambda host, cell: not over.wait(5))
        timer.join()
        assert heard.results == {}

    def test_what_waits_in_the_executor_is_never_run(self):
        """An executor of the caller's may have fewer threads than the lanes have room."""
        runs, over = threading.Event(), threading.Event()

        def each(host, cell):
            runs.set()
            return over.wait(5)

        def start(name):
            if name == "a2":
                assert runs.wait(5)
                raise KeyboardInterrupt

        job = FakeJob(each=each)
        scheduler = Scheduler(job, Heard(each=start), ["h"], width=3, cancel=over.set)
        with ThreadPoolExecutor(1) as executor, pytest.raises(KeyboardInterrupt):
            scheduler.run(cells("a"), executor)
        assert job.of("run") == ["a0"]

    def test_a_result_that_cannot_be_kept_stops_the_rest(self):
        class Full(Heard):
            def finished(self, host, name, result):
                super().finished(host, name, result)
                if name == "a1":
                    raise OSError("no space left")

        job, heard = FakeJob(), Full()
        with pytest.raises(OSError, match="no space left"):
            run(cells("a", each=5), job, heard)
        assert job.of("run") == ["a0", "a1"]
        assert list(heard.results) == ["a0", "a1"]

    @pytest.mark.parametrize("width", [1, 3])
    def test_an_error_of_the_job_itself_reaches_the_caller(self, width):
        def each(host, cell):
            raise LookupError(cell.name)

        with pytest.raises(LookupError, match="a"):
            run(cells("a"), FakeJob(each=each), width=width)


def test_ten_thousand_cells_take_little_time_of_their_own():
    heard = run(cells("a", "b", each=5000), FakeJob())
    assert len(heard.results) == 10_000
