"""Many clients at once."""

from __future__ import annotations

import threading
import time
from collections import Counter

import httpx
import pytest

import slmlab
from tests.support.engines import SMOL
from tests.support.faults import note, times
from tests.support.processes import listener, tree_memory


@pytest.mark.alone
class TestLoad:
    """A class of thirty on one server."""

    def test_every_request_is_answered_or_refused(self, engine, capsys):
        seconds, clients = times(3, 300), 30
        process = listener(engine.url)
        ask = {
            "model": engine.shallow,  # quick, so that each gets many answers
            "prompt": "Count:",
            "stream": False,
            "options": {"num_predict": 8, "num_ctx": 512},
        }
        httpx.post(
            f"{engine.url}/api/generate", json=ask, timeout=60, trust_env=False, verify=False
        )
        before, until = tree_memory(process), time.monotonic() + seconds
        got: list[list[int]] = [[] for _ in range(clients)]
        waits: list[float] = []

        def ask_on(number: int) -> None:
            with httpx.Client(
                base_url=engine.url, timeout=120, trust_env=False, verify=False
            ) as client:
                while time.monotonic() < until:
                    started = time.monotonic()
                    answer = client.post("/api/generate", json=ask)
                    waits.append(time.monotonic() - started)
                    got[number].append(answer.status_code)
                    assert answer.status_code in (200, 503), answer.text
                    whole = answer.status_code == 200 and answer.json()["done"]
                    assert whole or "busy" in answer.json()["error"]

        threads = [threading.Thread(target=ask_on, args=(n,)) for n in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counts = [len(one) for one in got]
        statuses = Counter(status for one in got for status in one)
        note(
            engine=engine.kind,
            clients=clients,
            seconds=seconds,
            statuses=dict(statuses),
            answers_per_client=f"{min(counts)} to {max(counts)}",
            longest_wait_s=round(max(waits), 1),
            memory_mib=f"{before >> 20} before, {tree_memory(process) >> 20} after",
        )
        assert set(statuses) <= {200, 503}
        assert min(counts) >= 1
        # Nobody waits while others are served twice and thrice.
        assert max(counts) <= 2 * min(counts) + 2
        assert tree_memory(process) < before + 200 * 2**20

    def test_more_than_the_queue_holds_is_refused_at_once(self, lab_with_models, monkeypatch):
        monkeypatch.setenv("OLLAMA_MAX_QUEUE", "4")
        monkeypatch.setenv("OLLAMA_MAX_LOADED_MODELS", "1")
        host = slmlab.start("embedded", quiet=True).host
        # Long enough that none ends before the last one comes, however busy the machine is.
        ask = {
            "model": SMOL,
            "prompt": "Count:",
            "options": {"num_predict": 4000, "num_ctx": 4096, "temperature": 1},
        }
        statuses: Counter[int] = Counter()
        refused_all = threading.Event()

        def one() -> None:
            with (
                httpx.Client(base_url=host, timeout=300, trust_env=False, verify=False) as client,
                client.stream("POST", "/api/generate", json=ask) as answer,
            ):
                statuses[answer.status_code] += 1
                if statuses[503] >= 12:
                    refused_all.set()
                refused_all.wait(300)

        threads = [threading.Thread(target=one) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == {200: 8, 503: 12}
