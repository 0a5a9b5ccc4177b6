"""Code that a model wrote and that wants out, run as this user, as another, and on poorer kernels.

Each attack passes if it succeeds.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from slmlab.evaluation import code_runner
from tests.support.file_server import FileServer
from tests.support.processes import wait_for

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="only here can code be confined",
)

NOBODY = 65534
ROOT = Path(__file__).parents[2]
LANDLOCK = [(444, None)]
SECCOMP = [({"x86_64": 157, "aarch64": 167}.get(platform.machine(), 0), 22)]

ATTACKS = {
    "connects": "import socket; socket.create_connection(('127.0.0.1', {port}), 5)",
    "connects to a Unix socket": ("import socket; socket.socket(socket.AF_UNIX).connect({unix!r})"),
    "connects to an abstract socket": (
        "import socket; socket.socket(socket.AF_UNIX).connect('\\0' + {abstract!r})"
    ),
    "sends to a Unix socket": (
        "import socket\n"
        "one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "one.sendto(b'x', {unix!r})"
    ),
    "opens a socket of the kernel": "import socket; socket.socket(socket.AF_NETLINK)",
    "writes elsewhere": "open({outside!r} + '/new', 'w').write('x')",
    "writes over a file": "open({victim!r}, 'a').write('x')",
    "cuts a file": "import os; os.truncate({victim!r}, 0)",
    "cuts a file on opening": "import os; os.open({victim!r}, os.O_RDONLY | os.O_TRUNC)",
    "deletes": "import os; os.remove({victim!r})",
    "moves": "import os; os.rename({victim!r}, {victim!r} + '2')",
    "makes a folder": "import os; os.mkdir({outside!r} + '/folder')",
    "changes rights": "import os; os.chmod({victim!r}, 0)",
    "changes times": "import os; os.utime({victim!r}, (0, 0))",
    "links": "import os; os.symlink({victim!r}, 'link'); open('link', 'w')",
    "leaves a process": (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(60)\n"
        "    os._exit(0)"
    ),
    "starts a program": "import os; os.posix_spawn('/bin/true', ['true'], {{}})",
    "becomes a program": "import os; os.execv('/bin/true', ['true'])",
    "starts a process past Python": (
        "import ctypes\npid = ctypes.CDLL(None).fork()\nassert pid >= 0"
    ),
    "signals its parent": "import os; os.kill(os.getppid(), 0)",
    "reads its parent's environment": (
        "import os; assert b'A_SECRET' in open(f'/proc/{{os.getppid()}}/environ', 'rb').read()"
    ),
    "has an environment": "import os; assert set(os.environ) - {{'PATH', 'LC_CTYPE'}}",
    "fills the disk": ("for n in range(20): open(f'{{n}}', 'wb').write(bytes(2**20))"),
    "fills the disk with names": "for n in range(2000): open(f'{{n}}', 'wb')",
    "writes a large file": "open('big', 'wb').write(bytes(2**24))",
    "digs": "import os\nfor n in range(2000): os.mkdir('a'); os.chdir('a')",
    "raises its limits": (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2**40, 2**40))"
    ),
    "makes a name space": "import ctypes; assert ctypes.CDLL(None).unshare(0x10000000) == 0",
    "leaves shared memory": (
        "import ctypes; assert ctypes.CDLL(None).shmget(77, 4096, 0o1600) >= 0"
    ),
    "uses io_uring": ("import ctypes; assert ctypes.CDLL(None).syscall(425, 8, bytes(256)) >= 0"),
}
HARMLESS = {
    "computes": "assert sum(range(10)) == 45",
    "waits": "import asyncio\nasync def one(): return 1\nassert asyncio.run(one()) == 1",
    "reads": "import json; assert open(json.__file__).read()",
}
WRITES = {
    "writes": "open('a', 'w').write('x'); assert open('a').read() == 'x'",
    "tidies up": (
        "import os, tempfile\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    open(os.path.join(folder, 'a'), 'w').write('x')\n"
        "os.mkdir('b'); os.rename('b', 'c'); os.rmdir('c')"
    ),
}


@pytest.fixture(scope="module")
def aims() -> Iterator[dict[str, object]]:
    """Targets that any user may reach: files, sockets, a server."""
    outside = tempfile.mkdtemp(prefix="outside-")
    os.chmod(outside, 0o777)
    victim = Path(outside, "victim")
    victim.write_text("mine")
    victim.chmod(0o666)
    abstract = f"slmlab-test-{os.getpid()}"
    with (
        FileServer() as files,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as unnamed,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
    ):
        unix.bind(f"{outside}/socket")
        unnamed.bind("\0" + abstract)
        datagrams.bind(f"{outside}/datagrams")
        for one in (unix, unnamed):
            one.listen()
        for name in ("socket", "datagrams"):
            os.chmod(f"{outside}/{name}", 0o777)
        yield {
            "port": int(files.url.split(":")[2].split("/")[0]),
            "unix": f"{outside}/socket",
            "abstract": abstract,
            "outside": outside,
            "victim": str(victim),
        }
    shutil.rmtree(outside)


def outcome(
    codes: dict[str, str], aims: dict[str, object], refuse: object = (), user: int | None = None
) -> dict[str, str]:
    """The outcome of each program."""
    python = sys.executable if user is None else python_for_all()
    done = subprocess.run(
        [python, str(ROOT / "tests/support/attacks.py")],
        input=json.dumps(
            {"codes": {k: v.format(**aims) for k, v in codes.items()}, "refuse": refuse}
        ),
        capture_output=True,
        text=True,
        timeout=300,
        env={"A_SECRET": "x", "TMPDIR": tempfile.gettempdir()},
        cwd="/",
        **({} if user is None else {"user": user, "group": user, "extra_groups": []}),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def python_for_all() -> str:
    """A Python that another user may run; the tests' own may lie in root's home."""
    for python in (sys.executable, "/usr/bin/python3"):
        ask = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 10))"]
        try:
            if not subprocess.run(ask, user=NOBODY, group=NOBODY, extra_groups=[]).returncode:
                return python
        except OSError:
            continue
    if os.environ.get("CI"):
        pytest.fail("CI must have a Python that every user may run")
    pytest.skip("no Python here that another user may run")


def unharmed(aims: dict[str, object]) -> bool:
    names = sorted(one.name for one in Path(str(aims["outside"])).iterdir())
    victim = Path(str(aims["victim"]))
    return names == ["datagrams", "socket", "victim"] and victim.read_text() == "mine"


@pytest.mark.parametrize("user", [None, NOBODY])
def test_what_wants_out_stays_in(aims, user):
    if user is not None and os.getuid():
        pytest.skip("only root can become another user")
    found = outcome(ATTACKS | HARMLESS | WRITES, aims, user=user)
    assert [name for name in ATTACKS if found[name] == "passed"] == []
    assert {found[name] for name in HARMLESS} == {"passed"}
    assert {found[name] for name in WRITES} == {"passed"}
    assert found["fills the disk"].startswith("wrote more than")
    assert found["connects"].startswith("PermissionError")
    assert unharmed(aims)


@pytest.mark.parametrize("user", [None, NOBODY])
def test_where_the_kernel_cannot_confine_writing_nothing_is_written(aims, user):
    if user is not None and os.getuid():
        pytest.skip("only root can become another user")
    attacks = {one: code for one, code in ATTACKS.items() if "environment" not in one}
    found = outcome(attacks | HARMLESS | WRITES, aims, LANDLOCK, user)
    assert [name for name in attacks if found[name] == "passed"] == []
    assert {found[name] for name in HARMLESS} == {"passed"}
    assert {found[name].partition(":")[0] for name in WRITES} == {"NoWriting"}
    assert unharmed(aims)


def test_where_nothing_can_be_confined_nothing_runs(aims):
    found = outcome({"writes elsewhere": ATTACKS["writes elsewhere"]}, aims, SECCOMP)
    assert found["writes elsewhere"].startswith("Unconfined: This system cannot confine code")
    assert unharmed(aims)


def test_a_kernel_that_is_killed_leaves_no_code_running(tmp_path):
    script = (
        "from slmlab.evaluation import code_runner\n"
        "code_runner.run_tests('import time; time.sleep(600)', '', seconds=600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) as parent:
        family = psutil.Process(parent.pid)
        wait_for(lambda: [one for one in family.children() if confined(one.pid)])
        (child,) = family.children()
        parent.kill()
    child.wait(30)


def confined(pid: int) -> bool:
    return "Seccomp:\t2" in Path(f"/proc/{pid}/status").read_text()


def test_deep_folders_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code_runner.run_tests("import os\nfor n in range(900): os.mkdir('a'); os.chdir('a')", "")
    assert [*tmp_path.iterdir()] == []
