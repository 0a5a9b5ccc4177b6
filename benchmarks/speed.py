"""What the layers between you and llama.cpp cost, as ratios measured in one run.

    python benchmarks/speed.py [--repeats 9] [--tokens 200]

Each comparison runs its two sides in turn, so that whatever else the machine does hits both, and
reports the median ratio of the pairs with its range. It needs the embedded engine's
models and uses a server of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import slmlab
from slmlab import paths
from slmlab.engines import server
from slmlab.engines.embedded.pypi_models import PYPI_MODELS
from slmlab.run.generate import generate
from slmlab.run.options import full_options

MODEL = PYPI_MODELS[0]
PROMPT = "Tell a long story about a lighthouse keeper."


def main() -> None:
    """Run all comparisons and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=200)
    args = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        os.environ["OLLAMA_HOST"] = f"127.0.0.1:{probe.getsockname()[1]}"
    slmlab.start("embedded", quiet=True)
    slmlab.ready([MODEL.name])
    gguf = paths.embedded_models() / "blobs" / f"sha256-{MODEL.sha256}"
    rows = [
        *engine_against_llama_cpp(gguf, args.repeats, args.tokens, slmlab.machine().cores),
        *engine_against_llama_cpp(gguf, args.repeats, args.tokens // 2, 1),
        *two_models_at_once(args.repeats, args.tokens),
        *generate_against_http(args.repeats, args.tokens),
    ]
    slmlab.stop()
    rows += [*cold_start(gguf, 5), *import_time(9)]
    machine = slmlab.machine()
    python = platform.python_version()
    print(f"{date.today()}, {machine.cpu}, {machine.cores} cores, Python {python}\n")
    print("| measured | slmlab | baseline | ratio (range of pairs) | goal |\n|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def pairs(name: str, goal: str, unit: str, ours: list[float], theirs: list[float]) -> list[str]:
    """One row of the table: medians, and the median of the ratios of the pairs."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}, n = {len(ours)}"
    return [
        name,
        f"{statistics.median(ours):.3g} {unit}",
        f"{statistics.median(theirs):.3g} {unit}",
        f"{statistics.median(ratios):.3f} ({spread})",
        goal,
    ]


def in_turns(repeats: int, one: Callable[[], None], other: Callable[[], None]) -> None:
    """Run both sides of each pair, in alternating order."""
    for number in range(repeats):
        for side in (one, other) if number % 2 else (other, one):
            side()


def stream(connection: http.client.HTTPConnection, body: dict) -> tuple[float, float]:
    """Time to first token and tokens per second after it, of one bare HTTP request."""
    started, times = time.perf_counter(), []
    connection.request("POST", "/api/generate", json.dumps(body))
    response = connection.getresponse()
    while line := response.readline():
        if b'"done":false' in line:
            times.append(time.perf_counter())
    return times[0] - started, (len(times) - 1) / (times[-1] - times[0])


def connect() -> http.client.HTTPConnection:
    """A bare connection to the server."""
    return http.client.HTTPConnection(server.host().removeprefix("http://"), timeout=300)


def request(tokens: int) -> dict:
    """The same request for every side."""
    options = full_options({"temperature": 0, "num_predict": tokens})
    options["cache_prompt"] = False  # as generate() asks, so that each reads the whole prompt
    return {"model": MODEL.name, "prompt": PROMPT, "options": options}


def engine_against_llama_cpp(
    gguf: Path, repeats: int, tokens: int, threads: int
) -> list[list[str]]:
    """The embedded engine over HTTP against xllamacpp called in this process."""
    import xllamacpp

    body = request(tokens)
    body["options"]["num_thread"] = threads
    with contextlib.closing(connect()) as client:
        shown = {**request(1), "_debug_render_only": True, "stream": False}
        client.request("POST", "/api/generate", json.dumps(shown))
        rendered = json.load(client.getresponse())["_debug_info"]["rendered_template"]
        params = xllamacpp.CommonParams()
        params.model.path = str(gguf)
        params.n_parallel, params.n_ctx, params.verbosity = 4, 4 * 4096, -1
        params.cache_ram_mib = 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        direct_server = xllamacpp.Server(params)

        def direct() -> float:
            times: list[float] = []
            direct_server.handle_completions(
                {
                    "prompt": rendered,
                    "n_predict": tokens,
                    "temperature": 0,
                    "stream": True,
                    "cache_prompt": False,
                    "top_k": 40,
                    "top_p": 0.9,
                    "min_p": 0.0,
                },
                lambda _: times.append(time.perf_counter()),
            )
            return (len(times) - 2) / (times[-2] - times[0])

        ours, theirs = [], []
        stream(client, body), direct()
        in_turns(
            repeats,
            lambda: ours.append(stream(client, body)[1]),
            lambda: theirs.append(direct()),
        )
    name = f"embedded engine against xllamacpp, {threads} threads"
    return [pairs(name, "≥ 0.96", "tokens/s", ours, theirs)]


def two_models_at_once(repeats: int, tokens: int) -> list[list[str]]:
    """Tokens per second of two models that write at once, together, against one alone."""
    twin = f"{MODEL.name.partition(':')[0]}:twin"
    together, alone = [], []

    def one(name: str) -> float:
        with contextlib.closing(connect()) as client:
            return stream(client, request(tokens) | {"model": name})[1]

    with contextlib.closing(connect()) as client, ThreadPoolExecutor(2) as threads:
        # Another system prompt makes it another model, with a process of its own.
        body = {"model": twin, "from": MODEL.name, "system": "You are a twin.", "stream": False}
        client.request("POST", "/api/create", json.dumps(body))
        client.getresponse().read()
        one(twin), one(MODEL.name)
        in_turns(
            repeats,
            lambda: together.append(sum(threads.map(one, (twin, MODEL.name)))),
            lambda: alone.append(one(MODEL.name)),
        )
        client.request("DELETE", "/api/delete", json.dumps({"model": twin}))
        client.getresponse().read()
    name = "two models at once, both together, against one alone"
    return [pairs(name, "≥ 0.75", "tokens/s", together, alone)]


def generate_against_http(repeats: int, tokens: int) -> list[list[str]]:
    """``generate()`` against a bare HTTP stream, both to the same embedded server."""
    our_first, our_speed, first, speed = [], [], [], []
    options = {"temperature": 0, "num_predict": tokens}
    with contextlib.closing(connect()) as client:
        generate(MODEL.name, PROMPT, **options)

        def ours() -> None:
            record = generate(MODEL.name, PROMPT, **options)
            our_first.append(record.ttft_s)
            our_speed.append((record.tokens - 1) / (record.wall_s - record.ttft_s))

        def bare() -> None:
            ttft, rate = stream(client, request(tokens))
            first.append(ttft)
            speed.append(rate)

        in_turns(repeats, ours, bare)
    return [
        pairs("generate() against bare HTTP, speed", "≥ 0.98", "tokens/s", our_speed, speed),
        # Turned round, so that 1 is equal and more is better, as in the other rows.
        pairs("bare HTTP against generate(), first token", "≥ 0.98", "s", first, our_first),
    ]


DIRECT_START = """
import sys, time, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.verbosity = sys.argv[1], 4096, -1
server = xllamacpp.Server(params)
first = []
server.handle_completions({"prompt": sys.argv[2], "n_predict": 1, "stream": True},
                          lambda _: first or first.append(time.time()))
print(first[0])
"""


def cold_start(gguf: Path, repeats: int) -> list[list[str]]:
    """From the start of a process to the first token, the model's loading included."""
    ours, theirs = [], []
    for _ in range(repeats):
        started = time.time()
        slmlab.start("embedded", quiet=True)
        with contextlib.closing(connect()) as client:
            ours.append(time.time() - started + stream(client, request(2))[0])
        slmlab.stop()
        started = time.time()
        done = subprocess.run(
            [sys.executable, "-c", DIRECT_START, str(gguf), PROMPT],
            capture_output=True,
            text=True,
            check=True,
        )
        theirs.append(float(done.stdout.split()[-1]) - started)
    return [pairs("process start to first token", "≤ 2", "s", ours, theirs)]


def import_time(repeats: int) -> list[list[str]]:
    """``import slmlab`` against a Python that imports nothing."""
    ours, theirs = [], []
    for _ in range(repeats):
        for code, times in (("import slmlab", ours), ("pass", theirs)):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times.append(time.perf_counter() - started)
    row = pairs("python -c 'import slmlab' against 'pass'", "", "s", ours, theirs)
    extra = statistics.median(a - b for a, b in zip(ours, theirs, strict=True))
    row[-1] = f"< 0.15 s more; measured {extra:.3f} s more"
    return [row]


if __name__ == "__main__":
    main()
