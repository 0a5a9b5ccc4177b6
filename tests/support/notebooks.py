"""Notebooks run in a world: a Python with its packages, a home with models, a server that stays."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import nbclient
import nbformat
import pytest
from nbclient.output_widget import OutputWidget

from slmlab.engines.embedded.model_store import ModelStore
from slmlab.models import speed
from tests.support.engines import GEMMA, QWEN, SMOL, give_models
from tests.support.paths import ROOT
from tests.support.processes import free_port, run

# Notes where each socket of a process is told to connect, and which names are looked up.
SPY = """
import os, sys
def note(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        to = arguments[1] if event != "socket.getaddrinfo" else arguments
        if isinstance(to, tuple):
            with open(os.environ["CONNECTIONS"], "a") as file:
                file.write(f"{event} {to[0]} {sys.argv}\\n")
sys.addaudithook(note)
"""
# Starts the server and uses it until a line comes. Where it is told to, it gives models' names to
# quicker files, made of the lessons' model: one that chats, one that completes texts with four of
# its layers and a sixth of its tokens. And it leaves a share of its neurons, and the most frequent
# of its tokens, to those who read that model's weights.
USER = """
import os, sys, slmlab
from slmlab import weights
from tests.support.cut_models import with_tokens, without_template

slmlab.start("embedded", quiet=True)
if sys.argv[1:]:
    file, chats, kept, completes, share, tokens = sys.argv[1:]
    model = weights.read()
    few = with_tokens(weights.drop_layers(model, range(4, model.layers)), 8192)
    slmlab.add(chats, weights.write(few if kept == "few" else model, file, "Q8_0"))
    slmlab.add(completes, weights.write(without_template(few), file, "Q8_0"))
    fewer = with_tokens(weights.keep_neurons(model, float(share)), int(tokens))
    os.replace(weights.write(fewer, f"{file}.part", "Q8_0"), weights.default_model_file())
print("up", flush=True)
input()
"""
KERNEL = "slmlab-tests"
LONGEST_CELL_S = 600  # a cell that takes longer hangs


class Outputs(OutputWidget):
    """The outputs in an Output widget, which are kept and not sent back to the kernel.

    By sending them, nbclient can miss that the kernel has answered (the socket tells that only
    once), and then notices when the time of the cell is over.
    """

    def sync_state(self) -> None:
        """Send nothing."""


@dataclass
class World:
    """Where notebooks run; ``executed`` holds those that did, with their outputs."""

    python: Path
    env: dict[str, str]
    folder: Path
    executed: dict[str, nbformat.NotebookNode]

    def run(self, path: Path) -> nbformat.NotebookNode:
        """The notebook with its outputs, run now if no test before has run it.

        Raises:
            nbclient.exceptions.CellExecutionError: a cell failed; the text has its traceback.
        """
        if path.name not in self.executed:
            book = nbformat.read(path, as_version=4)
            started = time.monotonic()
            execute(book, self.python, self.folder, self.env)
            print(f"\n    {path.name}: {time.monotonic() - started:.0f} s")
            nbformat.write(book, self.folder / path.name)
            self.executed[path.name] = book
        return self.executed[path.name]

    def connections(self) -> Counter[tuple[str, str]]:
        """How often processes of this world called which address: (event, host) → times."""
        lines = Path(self.env["CONNECTIONS"]).read_text().splitlines()
        return Counter((event, host) for event, host in (line.split(" ", 2)[:2] for line in lines))


@contextlib.contextmanager
def world(
    python: Path,
    folder: Path,
    models: Path,
    host: str | None = None,
    slow: bool = False,
    rough: bool = False,
    **more: str,
) -> Iterator[World]:
    """A world with a home of its own.

    Its server is the one at ``host``; else the embedded engine, which this Python starts and keeps.
    On a ``slow`` machine notebooks do without the largest model, which takes most of the time. The
    smallest has its weights in a format that llama.cpp computes in two thirds of the time, the
    other one is four of its layers with a sixth of its tokens, and Python reads it with a third of
    its neurons and of its tokens. In a ``rough`` world nothing that they compute has to be right:
    both models are those four layers, and Python reads a tenth of the neurons and a sixth of the
    tokens.
    """
    home, spy = folder / "home", folder / "spy"
    home.mkdir()
    spy.mkdir()
    (spy / "sitecustomize.py").write_text(SPY)
    give_models(models, home)
    if slow:
        ModelStore(home / "models").delete(QWEN)
        memory = {"bandwidth": 1e9, "share": 1.0}  # bytes per second, as if measured earlier
        (home / "speed.json").write_text(json.dumps({speed._machine(): memory}))
    env = {
        **os.environ,
        "SLMLAB_HOME": str(home),
        "OLLAMA_HOST": host or f"127.0.0.1:{free_port()}",
        # Python runs sitecustomize.py at the start of each process: the kernels', the server's.
        "PYTHONPATH": os.pathsep.join([str(spy), str(ROOT)]),
        "CONNECTIONS": str(spy / "connections"),
        # A little of each task set, and short answers, show that a notebook works; all steps run.
        "SLMLAB_ITEMS": "2",
        **more,
    }
    made = World(python, env, folder, {})
    if host:
        yield made
        return
    made_of = [SMOL, "all", GEMMA, "0.34", "16384"]
    if rough:
        made_of = [SMOL, "few", GEMMA, "0.1", "8192"]
    arguments = [str(folder / "quick.gguf"), *made_of] if slow else []
    command = [python, "-c", USER, *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    user = subprocess.Popen(command, env=env, **pipes)  # a server without users ends
    try:
        assert user.stdout.readline() == "up\n"
        yield made
    finally:
        run(python, "-m", "slmlab", "stop", env=env)
        user.communicate("\n", timeout=60)


def execute(
    book: nbformat.NotebookNode, python: Path, folder: Path, env: Mapping[str, str]
) -> None:
    """Run all cells in a kernel of this Python; their outputs are in the notebook then.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed; the text has its traceback.
    """
    spec = folder / "kernels" / KERNEL
    spec.mkdir(parents=True, exist_ok=True)
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Python 3"}))
    client = nbclient.NotebookClient(
        book,
        timeout=LONGEST_CELL_S,
        kernel_name=KERNEL,
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    )
    client.widget_registry = {"@jupyter-widgets/output": {"OutputModel": Outputs}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder))
        client.execute(env=dict(env))


def texts(cell: nbformat.NotebookNode) -> str:
    """All that a cell printed or showed as text."""
    parts = []
    for output in cell.get("outputs", []):
        parts.append(output.get("text", ""))
        parts.append(output.get("data", {}).get("text/plain", ""))
        parts.extend(output.get("traceback", []))
    return "".join(parts)


def exercises(book: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The cells in which students work."""
    return [cell for cell in book.cells if "exercise" in cell.metadata.get("tags", [])]
