"""The embedded engine against Ollama: the same files, the same requests, the same machine.

    python benchmarks/engines.py --ollama FOLDER [--models NAME …] [--repeats 5] [--tokens 100]

FOLDER has Ollama's ``bin/ollama``. Both servers are started here, with models in folders of their
own, and are asked in turn, in changing order. Prompts go to the models as they are (``raw``), so
that both read the same tokens. Each row is the median of the ratios of the pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import httpx

import slmlab
from slmlab import paths
from slmlab.engines.embedded.model_store import ModelStore
from slmlab.engines.find import wait_until_ready

AT_ONCE = 8
STORY = "Here is the story of a lighthouse keeper, told at length. Once upon a time,"
# What prompts have in common in a comparison: instructions with examples.
BEGINNING = (
    "You answer questions on nature in one sentence, for children of ten years. "
    + " ".join(
        f"Example {n}: the question is why the sky has colour {n}, and the answer is short."
        for n in range(1, 13)
    )
)
QUESTIONS = ["Why is snow cold?", "Why do cats purr?", "Why is the sea salty?", "Why do bees hum?"]


def main() -> None:
    """Measure every model on both engines and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ollama", required=True, metavar="FOLDER")
    parser.add_argument(
        "--models", nargs="+", default=["smollm2:135m-instruct-q4_1", "qwen2.5-coder:0.5b"]
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=100)
    args = parser.parse_args()
    os.environ["OLLAMA_NUM_PARALLEL"] = str(AT_ONCE)
    os.environ["OLLAMA_HOST"] = f"127.0.0.1:{free_port()}"
    ours = slmlab.start("embedded", quiet=True).host
    try:
        slmlab.ready(args.models, quiet=True)
        with ollama(Path(args.ollama)) as theirs:
            machine = slmlab.machine()
            version = httpx.get(f"{theirs}/api/version", trust_env=False).json()["version"]
            print(
                f"{date.today()}, {machine.cpu}, {machine.cores} cores, load "
                f"{os.getloadavg()[0]:.1f}, Python {platform.python_version()}, Ollama {version}\n"
            )
            print("| measured | embedded | Ollama | embedded ÷ Ollama (range) | goal |")
            print("|---|---|---|---|---|")
            for model in args.models:
                give(theirs, model)
                measure((ours, theirs), model, args.repeats, args.tokens)
    finally:
        slmlab.stop()


def free_port() -> int:
    """A free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def ollama(folder: Path) -> Iterator[str]:
    """An Ollama server, at first without models; gives its address, and ends the server."""
    host = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory() as home, open(os.devnull, "w") as nowhere:
        env = os.environ | {"HOME": home, "OLLAMA_MODELS": home, "OLLAMA_HOST": host}
        server = subprocess.Popen(
            [folder / "bin" / "ollama", "serve"], env=env, stdout=nowhere, stderr=nowhere
        )
        try:
            assert wait_until_ready(f"http://{host}", lambda: server.poll() is None)
            yield f"http://{host}"
        finally:
            server.terminate()
            server.wait()


def give(host: str, name: str) -> None:
    """Give the server the file that the embedded engine has under this name."""
    store = ModelStore(paths.embedded_models())
    model = store.get(name)
    assert model, name
    digest = model.blob.replace("sha256-", "sha256:")
    digest = digest if digest.startswith("sha256:") else f"sha256:{digest}"
    with httpx.Client(base_url=host, timeout=600, trust_env=False) as client:
        with store.blob(model.blob).open("rb") as file:
            client.post(f"/api/blobs/{digest}", content=file).raise_for_status()
        body = {"model": name, "files": {"model.gguf": digest}, "stream": False}
        client.post("/api/create", json=body).raise_for_status()


def ask(
    host: str, model: str, prompt: str, tokens: int, **more: object
) -> tuple[float, float, int]:
    """Seconds from the request to the first piece and to the last, and the tokens in all."""
    options = {"temperature": 0, "seed": 1, "num_predict": tokens, "num_ctx": 2048}
    body = {"model": model, "prompt": prompt, "raw": True, "options": options, **more}
    url, times, piece = f"{host}/api/generate", [], {}
    started = time.perf_counter()
    with httpx.stream("POST", url, json=body, timeout=600, trust_env=False) as answer:
        for line in answer.iter_lines():
            piece = json.loads(line)
            assert "error" not in piece, piece
            if not piece["done"]:
                times.append(time.perf_counter() - started)
    return times[0], times[-1], piece["eval_count"]


def tokens_per_s(host: str, model: str, tokens: int) -> float:
    """Tokens per second of one answer, after its first token."""
    first, last, count = ask(host, model, STORY, tokens)
    return (count - 1) / (last - first)


def first_tokens(host: str, model: str, asked: int) -> float:
    """Median time to first token for prompts whose beginning is in the prompt cache."""
    texts = [f"{BEGINNING} Question {asked}: {one} Answer:" for one in QUESTIONS]
    return statistics.median(ask(host, model, text, 2)[0] for text in texts)


def at_once(host: str, model: str, tokens: int) -> float:
    """Tokens per second of several simultaneous answers together."""
    started = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        texts = [f"Story {n}. {STORY}" for n in range(AT_ONCE)]
        answers = list(threads.map(lambda text: ask(host, model, text, tokens), texts))
    return sum(count for _, _, count in answers) / (time.perf_counter() - started)


def cold(host: str, model: str) -> float:
    """Time to first token of a model that has to be loaded; its file is in the page cache."""
    ask(host, model, "A", 1, keep_alive=0)
    time.sleep(0.5)
    return ask(host, model, "A", 1)[0]


def measure(hosts: tuple[str, str], model: str, repeats: int, tokens: int) -> None:
    """Print the rows of one model; the other models are not in memory."""
    counter = iter(range(1000))
    rows: list[tuple[str, str, str, Callable[[str], float]]] = [
        ("one answer", "tokens/s", "≥ 1", lambda host: tokens_per_s(host, model, tokens)),
        (
            "first token after a beginning that was read before",
            "s",
            "≤ 1",
            lambda host: first_tokens(host, model, next(counter)),
        ),
        (f"{AT_ONCE} at once", "tokens/s", "≥ 1", lambda host: at_once(host, model, tokens // 2)),
        ("from disk to the first token", "s", "< 0.6", lambda host: cold(host, model)),
    ]
    for name, unit, goal, work in rows:
        found: dict[str, list[float]] = {host: [] for host in hosts}
        for number in range(-1, repeats):
            for host in hosts if number % 2 else hosts[::-1]:
                value = work(host)
                if number >= 0:  # before that, both got warm
                    found[host].append(value)
        ours, theirs = found.values()
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        cells = [
            f"{model}: {name}",
            f"{statistics.median(ours):.3g} {unit}",
            f"{statistics.median(theirs):.3g} {unit}",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            goal,
        ]
        print(f"| {' | '.join(cells)} |", flush=True)
    for host in hosts:
        ask(host, model, "A", 1, keep_alive=0)


if __name__ == "__main__":
    main()
