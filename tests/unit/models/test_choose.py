"""Which models a notebook gets: those that fit, those that are here, none that a lesson made."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from slmlab import hardware
from slmlab.devices import GPU
from slmlab.errors import ModelError, ServerError
from slmlab.models import choose
from tests.support.recording_server import RecordingServer

GB = 10**9
T4 = GPU("T4", "NVIDIA", 15 * GB, 14 * GB)
SIZES = {"gemma3:1b": 815_000_000, "qwen3:0.6b": 523_000_000, "llama3.2": 2 * GB}


@pytest.fixture
def machine(monkeypatch):
    """A machine with 3.5 GB of memory and room on its disk, and a library that says its sizes.

    It writes as many tokens per second as its ``bandwidth`` holds models.

    What is pulled is installed at once; ``pulled`` has the names.
    """
    here = SimpleNamespace(
        memory=3_500_000_000,
        disk=100 * GB,
        sizes=dict(SIZES),
        pulled=[],
        bandwidth=12 * GB,
        network=None,
        gpu=None,
    )

    def machine_now():
        return replace(
            this, free_memory=here.memory, gpus=(here.gpu,) if here.gpu is not None else ()
        )

    this = hardware.machine()
    monkeypatch.setattr(hardware, "machine", machine_now)
    monkeypatch.setattr(hardware, "memory", lambda: (here.memory, here.memory))
    monkeypatch.setattr(choose.speed, "predicted", lambda size: here.bandwidth / size)
    monkeypatch.setattr(choose.speed, "measure", lambda model, host: None)
    monkeypatch.setattr(
        choose.speed, "minutes", lambda size: here.network and size / here.network / 60
    )
    monkeypatch.setattr(choose.shutil, "disk_usage", lambda _: SimpleNamespace(free=here.disk))
    monkeypatch.setattr(choose, "download_size", lambda name: here.sizes.get(name))

    def pull(names, *, host, quiet):
        here.pulled += names
        here.server.models += tuple(n if ":" in n else f"{n}:latest" for n in names)

    monkeypatch.setattr(choose, "pull", pull)
    return here


def ready(machine, server, models=None, **more) -> list[str]:
    machine.server = server
    return choose.ready(models, host=server.url, **more)


class TestOnOllama:
    def test_two_small_ones_and_what_they_cost_is_said_before(self, machine, capsys):
        machine.network = 10_000_000
        with RecordingServer() as server:
            names = ready(machine, server)
        assert names == machine.pulled == ["gemma3:1b", "qwen3:0.6b"]
        expected = (
            "To be downloaded: gemma3:1b (0.81 GB), qwen3:0.6b (0.52 GB); "
            "1.34 GB in all, about 2 min.\n"
        )
        assert capsys.readouterr().out == expected

    def test_none_of_over_a_gigabyte_unless_it_is_named(self, machine):
        machine.sizes["gemma3:1b"] = GB
        with RecordingServer() as server:
            assert ready(machine, server) == ["qwen3:0.6b"]
            assert ready(machine, server, "llama3.2") == ["llama3.2:latest"]

    def test_those_that_fit_into_memory(self, machine, capsys):
        machine.memory = 900_000_000
        with RecordingServer() as server:
            assert ready(machine, server) == ["qwen3:0.6b"]
        assert "gemma3:1b (777 MiB) does not fit into 858 MiB of memory" in capsys.readouterr().out

    def test_those_that_write_eight_tokens_a_second(self, machine, capsys):
        machine.bandwidth = 5 * GB
        with RecordingServer() as server:
            assert ready(machine, server) == ["qwen3:0.6b"]
        assert "gemma3:1b would write about 6 tokens/s here" in capsys.readouterr().out
        machine.gpu, machine.pulled = T4, []
        with RecordingServer() as server:
            assert len(ready(machine, server)) == 2

    def test_what_does_not_fit_on_a_gpu_may_fit_into_main_memory(self, machine):
        machine.gpu = replace(T4, free_memory=0)
        with RecordingServer() as server:
            assert len(ready(machine, server)) == 2
        machine.gpu, machine.memory, machine.pulled = T4, 0, []
        with RecordingServer() as server:
            assert len(ready(machine, server)) == 2

    def test_those_that_fit_on_the_disk_together(self, machine, capsys):
        machine.disk = GB
        with RecordingServer() as server:
            assert ready(machine, server) == ["gemma3:1b"]
        assert "qwen3:0.6b (499 MiB) does not fit on the disk" in capsys.readouterr().out

    def test_what_is_here_is_taken_whatever_its_size(self, machine):
        with RecordingServer("phi3.5:latest") as server:
            assert "phi3.5:latest" in ready(machine, server)
        assert "phi3.5" not in machine.pulled

    def test_what_the_user_added_counts_and_what_a_lesson_made_does_not(self, machine):
        machine.sizes = {}
        with RecordingServer("own:latest", "slmlab/brief:latest") as server:
            assert ready(machine, server) == ["own:latest"]
            assert ready(machine, server, "slmlab/brief") == ["slmlab/brief:latest"]

    def test_without_any_there_is_a_sentence(self, machine):
        machine.sizes = {}
        with RecordingServer() as server, pytest.raises(ModelError, match="There is no model here"):
            ready(machine, server)

    def test_without_a_network_only_what_is_here_is_named(self, machine, capsys, monkeypatch):
        def pull(names, *, host, quiet):
            raise ModelError("Ollama's library cannot be reached.")

        monkeypatch.setattr(choose, "pull", pull)
        with RecordingServer("own:latest", "qwen3:0.6b") as server:
            assert sorted(ready(machine, server)) == ["own:latest", "qwen3:0.6b"]
            with pytest.raises(ModelError, match="cannot be reached"):
                ready(machine, server, "gemma3:1b")
        assert "Going on with the models that are here." in capsys.readouterr().out

    def test_quiet_is_quiet(self, machine, capsys):
        with RecordingServer() as server:
            ready(machine, server, quiet=True)
        assert capsys.readouterr().out == ""


class TestOnTheEmbeddedEngine:
    @pytest.mark.parametrize(
        ("lacking", "why"),
        [
            ({"memory": 150_000_000}, "does not fit into 143 MiB of memory"),
            ({"bandwidth": 3 * GB}, "qwen2.5-coder:0.5b would write about 6 tokens/s here"),
        ],
    )
    def test_a_gpu_is_of_no_use(self, machine, capsys, lacking, why):
        machine.gpu = T4
        vars(machine).update(lacking)
        with RecordingServer(engine="embedded") as server:
            names = ready(machine, server)
        assert "smollm2:135m-instruct-q4_1" in names
        assert "qwen2.5-coder:0.5b" not in names
        assert why in capsys.readouterr().out

    def test_those_of_the_package_index_that_write_and_are_small(self, machine):
        with RecordingServer("own:latest", engine="embedded") as server:
            names = ready(machine, server)
        assert names == [*machine.pulled, "own:latest"]
        assert machine.pulled[0] == "smollm2:135m-instruct-q4_1"
        assert machine.pulled[-1] == "qwen2.5-coder:0.5b"

    @pytest.mark.parametrize(("bandwidth", "offered"), [(12 * GB, True), (8 * GB, False)])
    def test_a_larger_one_is_offered_where_it_is_quick_enough(
        self, machine, capsys, bandwidth, offered
    ):
        machine.bandwidth = bandwidth
        with RecordingServer(engine="embedded") as server:
            ready(machine, server)
        line = "(1.1 GB): slmlab.ready('qwen2.5-coder:1.5b')"
        assert (line in capsys.readouterr().out) is offered


class TestByName:
    def test_only_what_is_missing_is_pulled(self, machine):
        with RecordingServer("a:latest") as server:
            assert ready(machine, server, ["a", "b:1b", "a:latest"]) == ["a:latest", "b:1b"]
        assert machine.pulled == ["b:1b"]

    def test_what_is_no_name_is_said(self, machine):
        with RecordingServer() as server, pytest.raises(ModelError, match="got 5"):
            ready(machine, server, [5])


def test_no_server_is_a_sentence():
    with RecordingServer() as gone:
        pass
    with pytest.raises(ServerError, match=r"No server answers at .* slmlab\.start\(\)"):
        choose.ready(host=gone.url)
