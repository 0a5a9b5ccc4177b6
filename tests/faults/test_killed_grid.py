"""A process that runs a grid is killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import time

import slmlab
from slmlab import models, paths
from tests.support.engines import SHALLOW
from tests.support.faults import times
from tests.support.processes import wait_for
from tests.support.records import same, stored


class TestKilled:
    """A process that runs a grid is killed at a random moment, over and over."""

    NAMES = (SHALLOW, "two-layers:again")
    CODE = (
        f"import slmlab; slmlab.compare({[*NAMES]}, "
        "[f'The number after {n} is' for n in range(12)], repeats=2, num_predict=6, quiet=True)"
    )

    def test_it_resumes_to_the_very_same_records(self, here, shallow_gguf):
        slmlab.add(self.NAMES[1], shallow_gguf)
        # Forked from a process that has the packages loaded: killed many times, loaded once.
        forks = multiprocessing.get_context("forkserver")
        forks.set_forkserver_preload(["langchain_ollama", "pandas", "slmlab.run.compare"])
        names = ("OLLAMA_HOST", "SLMLAB_HOME")
        code = f"import os; os.environ.update({ {name: os.environ[name] for name in names} })\n"
        kills, wanted, rng = 0, times(10, 40), random.Random(3)
        while kills < wanted:
            before = stored(paths.results())
            process = forks.Process(target=exec, args=(code + self.CODE, {}))
            process.start()
            # Killed once it has got somewhere, so that the end comes nearer each time.
            wait_for(
                lambda p=process, b=before: stored(paths.results()) > b or not p.is_alive(), 60
            )
            time.sleep(rng.random() * 0.25)
            if not process.is_alive():
                assert process.exitcode == 0
                # Finished: from the beginning, for more chances to break it.
                if stored(paths.results()) == 48:
                    paths.results().rename(paths.home() / f"finished-{kills}")
                continue
            process.kill()
            process.join()
            kills += 1
        subprocess.run([sys.executable, "-c", self.CODE], check=True)
        arguments = {"repeats": 2, "num_predict": 6, "quiet": True}
        prompts = [f"The number after {n} is" for n in range(12)]
        ran: list = []
        resumed = slmlab.compare(self.NAMES, prompts, on_cell=ran.append, **arguments)
        assert not ran
        undisturbed = slmlab.compare(self.NAMES, prompts, fresh=True, **arguments)
        models.remove(self.NAMES[1])
        assert len(resumed) == 48
        same(resumed, undisturbed)
