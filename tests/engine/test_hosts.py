"""Grids of generations on several hosts."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import slmlab
from slmlab import models
from slmlab.engines.client import client
from slmlab.errors import ModelError
from tests.support.dask import dask_executor
from tests.support.engines import BASE, SHALLOW, SMOL, give_models
from tests.support.processes import free_port, serving
from tests.support.records import same

SHORT = {"num_predict": 8, "temperature": 0}


class TestHosts:
    @pytest.fixture
    def two(self, models_home, tmp_path):
        """Two servers with the same models."""
        with pytest.MonkeyPatch.context():
            ports = [free_port(), free_port()]
            urls = [f"http://127.0.0.1:{port}" for port in ports]
            homes = [tmp_path / f"host{port}" for port in ports]
            for home in homes:
                home.mkdir()
                give_models(models_home, home)
            command = [sys.executable, "-m", "slmlab", "serve", "--port"]
            first, second = (
                serving([*command, str(port)], url, home / "log", SLMLAB_HOME=str(home))
                for port, url, home in zip(ports, urls, homes, strict=True)
            )
            with first, second:
                yield urls

    def test_threads_and_dask_give_the_same_records(self, two):
        prompts = [f"The number after {n} is" for n in range(6)]
        # Two servers with two threads each on two cores spend their time on waiting for each other.
        arguments = {"fresh": True, "quiet": True, "num_predict": 6, "num_thread": 1}
        names = [SHALLOW, BASE]
        alone = slmlab.compare(names, prompts, hosts=two[0], **arguments)
        threads = slmlab.compare(names, prompts, hosts=two, **arguments)
        with dask_executor(2) as executor:
            dask = slmlab.compare(names, prompts, hosts=two, executor=executor, **arguments)
        assert set(threads["host"]) == set(dask["host"]) == set(two)
        assert set(alone["host"]) == {two[0]}
        same(alone, threads)
        same(alone, dask)
        assert set(alone["in_flight"]) == {1}
        assert set(dask["in_flight"]) == {2}  # they share this machine

    def test_those_that_share_a_machine_are_not_alone_and_go_on(self, two, tmp_path):
        """They slow each other down; what was measured so counts only for such a comparison."""
        prompts, asked = [f"The number after {n} is" for n in range(6)], []
        ways = {"store": tmp_path / "store", "quiet": True, "on_cell": asked.append, **SHORT}
        frame = slmlab.compare(SHALLOW, prompts, hosts=two, **ways)
        assert set(frame["in_flight"]) == {2}
        assert all("not alone" in flags for flags in frame["flags"])
        slmlab.compare(SHALLOW, prompts, hosts=two, **ways)
        assert len(asked) == 6
        many = slmlab.compare(SHALLOW, prompts, hosts=two, fresh=True, timing=False, **ways)
        assert set(many["in_flight"]) == {8}
        alone = slmlab.compare(SHALLOW, prompts, hosts=two[0], **ways)
        assert len(asked) == 18
        assert set(alone["in_flight"]) == {1}

    def test_any_executor_does(self, two):
        with ThreadPoolExecutor(3) as pool:
            frame = slmlab.compare(
                SHALLOW,
                ["One", "Two", "Three"],
                hosts=two,
                executor=pool,
                quiet=True,
                num_thread=1,
                **SHORT,
            )
        assert frame["error"].isna().all()

    def test_hosts_with_different_models_are_refused(self, two, here, smol_gguf):
        ran: list = []
        models.add("mine", str(smol_gguf), host=two[0])
        with pytest.raises(ModelError, match="no model 'mine'"):
            slmlab.compare("mine", "x", hosts=two, on_cell=ran.append)
        client(two[1]).create("mine", from_=SMOL, system="Be kind.", stream=False)
        with pytest.raises(ModelError, match="need the same models and versions"):
            slmlab.compare("mine", "x", hosts=two, on_cell=ran.append)
        assert not ran
