"""What ``compare()`` costs and gains, as ratios measured in one run.

    python benchmarks/grids.py [--promptfoo PATH]

1. The tutorial's way (a loop, prompt by prompt over the models, ``chain.invoke``) against
   ``compare(timing=False)``, on the same server.
2. The same grid with promptfoo (``npm install promptfoo``; PATH is its program), and the processor
   time that each of the two clients uses.
3. A finished grid run again, against its first run.
4. A grid of answers of one token, one at a time, against bare HTTP requests for the same.
5. Planning, resuming, building the table and scoring it, at 100 to 100,000 stored cells.

It needs the embedded engine's models and uses a server of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import psutil

import slmlab
from slmlab import models
from slmlab.engines import server
from slmlab.engines.embedded.pypi_models import PYPI_MODELS
from slmlab.run import grid, prompts
from slmlab.run.options import full_options
from slmlab.run.servers import on_engines
from slmlab.run.store import RecordStore, key

NAMES = [model.name for model in PYPI_MODELS]
PARALLEL = 8
OPTIONS = {"temperature": 0.0, "num_predict": 64}
QUESTIONS = [f"What is {n} plus {n + 4}? Then tell a fact about that number." for n in range(3, 19)]
GRID = [prompts.fill("step_by_step", question=one) for one in QUESTIONS]


def main() -> None:
    """Run all and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--promptfoo", help="promptfoo's program; without it row 2 is left out")
    args = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        os.environ["OLLAMA_HOST"] = f"127.0.0.1:{probe.getsockname()[1]}"
    os.environ["OLLAMA_NUM_PARALLEL"] = str(PARALLEL)
    slmlab.start("embedded", quiet=True)
    slmlab.ready(NAMES, quiet=True)
    machine = slmlab.machine()
    print(
        f"{date.today()}, {machine.cpu}, {machine.cores} cores, Python "
        f"{platform.python_version()}, OLLAMA_NUM_PARALLEL={PARALLEL}\n"
    )
    print("| measured | slmlab | baseline | ratio (range) | goal |\n|---|---|---|---|---|")
    tutorial(args.repeats)
    if args.promptfoo:
        promptfoo(args.promptfoo, args.repeats)
    overhead()
    stored_cells()
    slmlab.stop()


def row(name: str, ours: str, theirs: str, ratios: list[float], goal: str, digits: int = 2) -> None:
    """Print one row of the table."""
    spread = f" ({min(ratios):.{digits}f} to {max(ratios):.{digits}f})" if len(ratios) > 1 else ""
    print(
        f"| {name} | {ours} | {theirs} | {statistics.median(ratios):.{digits}f}{spread} | {goal} |"
    )


def both_resident() -> None:
    """Both models in memory, so that no side pays for loading the second one."""
    for name in NAMES:
        models.load(name, 4096)


def timed(work: Callable) -> tuple[float, object]:
    """The seconds that the work took, and what it returned."""
    started = time.perf_counter()
    given = work()
    return time.perf_counter() - started, given


def server_cpu() -> float:
    """Processor seconds that the server and its model processes have used so far."""
    port = server.host().rsplit(":", 1)[1]
    total = 0.0
    for one in psutil.process_iter(["cmdline"]):
        if (one.info["cmdline"] or [])[-2:] == ["--port", port]:
            for process in [one, *one.children(recursive=True)]:
                times = process.cpu_times()
                total += times.user + times.system
    return total


def tutorial(repeats: int) -> None:
    """The tutorial's loop against compare(), and the same grid once more."""
    chains = {name: prompts.chain(name, **OPTIONS, seed=0, num_ctx=4096) for name in NAMES}

    def loop() -> dict[tuple[str, str], str]:
        replies = {}
        for text in GRID:
            for name in NAMES:
                replies[name, text] = chains[name].invoke({"question": text})
        return replies

    ours, theirs, again, equal, cpu = [], [], [], [], []
    with tempfile.TemporaryDirectory() as store:
        for number in range(repeats):
            both_resident()
            seconds, replies = timed(loop)
            theirs.append(seconds)
            before = (server_cpu(), time.process_time())

            def grid_once(folder: str = f"{store}/{number}") -> object:
                return slmlab.compare(
                    NAMES, GRID, timing=False, store=folder, quiet=True, **OPTIONS
                )

            seconds, frame = timed(grid_once)
            ours.append(seconds)
            # The processor time of model processes that were unloaded meanwhile is gone with them.
            cpu.append((server_cpu() - before[0], time.process_time() - before[1]))
            equal.append(
                {
                    name: sum(replies[name, one.prompt] == one.text for one in runs.itertuples())
                    for name, runs in frame.groupby("model", sort=False)
                }
            )
            again.append(timed(grid_once)[0])
    row(
        f"2 models × {len(GRID)} prompts × 64 tokens: the tutorial's loop / compare()",
        f"{statistics.median(ours):.1f} s",
        f"{statistics.median(theirs):.1f} s",
        [b / a for a, b in zip(ours, theirs, strict=True)],
        "≥ 1.5",
    )
    row(
        "the same grid, finished, run again / first run",
        f"{statistics.median(again):.3f} s",
        f"{statistics.median(ours):.1f} s",
        [a / b for a, b in zip(again, ours, strict=True)],
        "< 0.01",
        4,
    )
    print(f"\nSame answers of {len(GRID)}, run by run: {equal}")
    seconds, cores = statistics.median(ours), slmlab.machine().cores
    engine = statistics.median(one[0] for one in cpu) / seconds / cores
    client = statistics.median(one[1] for one in cpu) / seconds / cores
    print(
        f"Where compare()'s {seconds:.1f} s go: of the {cores} cores the engine uses {engine:.0%} "
        f"and our own process {client:.0%}.\n"
    )


def children_cpu(command: list[str], env: dict[str, str], folder: str) -> tuple[float, float, str]:
    """Wall seconds and processor seconds of a command with its children, and its output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, **env}, cwd=folder, capture_output=True, text=True
    )
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, used, done.stdout + done.stderr


def promptfoo(program: str, repeats: int) -> None:
    """The same grids with promptfoo and with slmlab, each as a whole program."""
    ours, theirs = _programs(program, repeats, GRID, OPTIONS)
    row(
        f"the same grid as a program: compare() / promptfoo, {PARALLEL} at once",
        f"{_median(ours, 0):.1f} s",
        f"{_median(theirs, 0):.1f} s",
        [a[0] / b[0] for a, b in zip(ours, theirs, strict=True)],
        "≤ 1",
    )
    # What both need to start is much more than what a cell costs them; so two sizes.
    texts = [f"What is {n} plus {n + 4}?" for n in range(120)]
    short = {**OPTIONS, "num_predict": 1}
    ours, theirs = _programs(program, repeats, texts[:1], short)
    row(
        "processor time of the program for a grid of 2 answers of one token",
        f"{_median(ours, 1):.1f} s",
        f"{_median(theirs, 1):.1f} s",
        [a[1] / b[1] for a, b in zip(ours, theirs, strict=True)],
        "none: less is better",
    )
    more, further = len(NAMES) * (len(texts) - 1), []
    for few, many in zip((ours, theirs), _programs(program, repeats, texts, short), strict=True):
        further.append([1000 * (b[1] - a[1]) / more for a, b in zip(few, many, strict=True)])
    row(
        f"processor time of the program for each further one of {more}",
        *(f"{statistics.median(times):.1f} ms" for times in further),
        [a / b for a, b in zip(*further, strict=True)],
        "< 0.5",
    )


def _median(runs: list[tuple[float, float]], which: int) -> float:
    return statistics.median(run[which] for run in runs)


def _programs(
    program: str, repeats: int, texts: list[str], options: dict
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Wall and processor seconds of our program and of promptfoo's, run by run."""
    providers = [
        {"id": f"ollama:completion:{name}", "config": {**options, "seed": 0, "num_ctx": 4096}}
        for name in NAMES
    ]
    config = {
        "prompts": ["{{question}}"],
        "providers": providers,
        "tests": [{"vars": {"question": text}} for text in texts],
    }
    ours_code = (
        "import json, sys, slmlab; names, texts, options = json.load(open('grid.json'));"
        "f = slmlab.compare(names, texts, timing=False, store=sys.argv[1], quiet=True, **options);"
        "assert f['error'].isna().all()"
    )
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "promptfooconfig.json").write_text(json.dumps(config))
        Path(folder, "grid.json").write_text(json.dumps([NAMES, texts, options]))
        quiet = {
            "PROMPTFOO_DISABLE_TELEMETRY": "1",
            "PROMPTFOO_DISABLE_UPDATE": "1",
            "PROMPTFOO_CONFIG_DIR": folder,
            "OLLAMA_BASE_URL": server.host(),
            "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
            "PROMPTFOO_DISABLE_SHARING": "1",
        }
        command = [
            program,
            "eval",
            "-c",
            "promptfooconfig.json",
            "--no-cache",
            "--no-progress-bar",
            "--no-table",
            "-j",
            str(PARALLEL),
            "-o",
            "out.json",
        ]
        for number in range(repeats):
            both_resident()
            *used, output = children_cpu(command, quiet, folder)
            found = json.loads(Path(folder, "out.json").read_text())["results"]["stats"]
            assert found["errors"] == 0, output[-2000:]
            theirs.append(tuple(used))
            both_resident()
            *used, output = children_cpu(
                [sys.executable, "-c", ours_code, f"{folder}/{number}"], {}, folder
            )
            assert not output, output
            ours.append(tuple(used))
    return ours, theirs


def overhead(cells: int = 100) -> None:
    """One token, one at a time: what each cell costs beyond the bare request."""
    name = NAMES[1]  # the one that reads a prompt faster
    texts = [f"{n}" for n in range(cells)]
    options = full_options({"temperature": 0, "num_predict": 1})
    host, _, port = server.host().removeprefix("http://").partition(":")

    def bare() -> tuple[float, float]:
        times = []
        used = time.process_time()
        with contextlib.closing(http.client.HTTPConnection(host, int(port))) as client:
            for text in texts:
                started = time.perf_counter()
                body = {"model": name, "prompt": text, "options": options}
                client.request("POST", "/api/generate", json.dumps(body))
                client.getresponse().read()
                times.append(time.perf_counter() - started)
        return 1000 * statistics.median(times), 1000 * (time.process_time() - used) / cells

    def compared(store: str) -> tuple[float, float]:
        starts: list[float] = []
        used = time.process_time()
        slmlab.compare(
            name,
            texts,
            store=store,
            quiet=True,
            temperature=0,
            num_predict=1,
            on_cell=lambda _: starts.append(time.perf_counter()),
        )
        took = 1000 * statistics.median(b - a for a, b in itertools.pairwise(starts))
        return took, 1000 * (time.process_time() - used) / cells

    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as store:
        for number in range(9):
            ours.append(compared(f"{store}/{number}"))
            theirs.append(bare())
    for place, what in enumerate(("of wall time", "of our processor time")):
        mine, other = ([pair[place] for pair in side] for side in (ours, theirs))
        row(
            f"milliseconds {what} for each cell beyond a bare HTTP request, answers of one token",
            f"{statistics.median(mine):.1f} ms",
            f"{statistics.median(other):.1f} ms",
            [one - two for one, two in zip(mine, other, strict=True)],
            "< 5",
        )


def stored_cells() -> None:
    """Planning, resuming and the table at growing numbers of cells that the store already has."""
    record = slmlab.generate(NAMES[0], GRID[0], **OPTIONS)
    print("\n| stored cells | plan, resume, table and scores | growth of memory |\n|---|---|---|")
    for cells in (100, 1_000, 10_000, 100_000):
        texts = [f"{GRID[0]} ({n})" for n in range(cells // 2)]
        with tempfile.TemporaryDirectory() as store:
            planned, targets, _ = on_engines(
                grid.plan(NAMES, texts, **OPTIONS), [server.host()], logprobs=0
            )
            records = RecordStore(Path(store))
            for cell in planned:
                found = replace(record, model=cell.model, prompt=cell.prompt)
                target = targets[server.host(), cell.model]
                records.add(key(target, cell.prompt, cell.options, False), found)
            code = (
                "import json, resource, sys, time, slmlab, pandas;"
                "names, texts, options = json.load(sys.stdin);"
                "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024;"
                "slmlab.compare(names, texts[:1], store=sys.argv[1], quiet=True, **options);"
                "before, started = peak(), time.perf_counter();"
                "f = slmlab.compare(names, texts, store=sys.argv[1], quiet=True, **options);"
                "assert len(f) == 2 * len(texts);"
                "slmlab.statistics.paired(slmlab.score(f, lambda text, row: len(text) > 9));"
                "print(time.perf_counter() - started, peak() - before)"
            )
            done = subprocess.run(
                [sys.executable, "-c", code, store],
                input=json.dumps([NAMES, texts, OPTIONS]),
                capture_output=True,
                text=True,
                check=True,
            )
            seconds, megabytes = map(float, done.stdout.split())
            print(f"| {cells:,} | {seconds:.3f} s | {megabytes:.0f} MB |")


if __name__ == "__main__":
    main()
