"""llama.cpp's threads sleep while they wait for each other when told to, and spin again."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from slmlab.engines.embedded.model_store import ModelStore
from tests.support.engines import ALL_THREADS, SMOL

# How often threads went to sleep for an answer: while they spin, sleep, and spin again.
COUNT = """
import json, resource, sys, time, xllamacpp
from slmlab.engines.embedded.waiting_threads import WaitingThreads

params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.fit_params = sys.argv[1], 512, False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
server, threads, counts = xllamacpp.Server(params), WaitingThreads(), []
for sleep in (False, True, False):
    threads.sleep(sleep)
    time.sleep(0.1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    server.handle_completions({"prompt": "Say A.", "n_predict": 16, "ignore_eos": True}, print)
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before)
print(json.dumps(counts))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs GNU's OpenMP")
def test_they_sleep_when_told_and_spin_again(models_home):
    store = ModelStore(models_home / "models")
    path = store.blob(store.get(SMOL).blob)
    done = subprocess.run(
        [sys.executable, "-c", COUNT, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | ALL_THREADS,
    )
    spin, sleep, spin_again = json.loads(done.stdout.splitlines()[-1])
    assert sleep > 3 * max(spin, spin_again)
