"""What it costs to show five answers at once, each at 100 tokens/s.

    python benchmarks/widgets.py

No machine with two cores writes five times 100 tokens/s, so a small server writes numbers at that
rate in Ollama's protocol and forwards everything else to the embedded engine. JupyterLab in
headless Chromium shows it, once in ``slmlab.side_by_side()`` and once in the plain way: five
``ipywidgets.HTML``, each given its text again for every token. Measured in the browser: messages
from the kernel, and for every token the time from its sending until the browser paints it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil

import slmlab
from slmlab.engines import server
from slmlab.engines.embedded.pypi_models import PYPI_MODELS

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.support import browser
from tests.support.processes import free_port

COLUMNS, RATE, TOKENS = 5, 100, 1500
OURS = """
import slmlab
name = {model!r}
lab = slmlab.side_by_side([name] * {columns}, "Count.", num_predict={tokens}, host={host!r})
lab.buttons.at_once.value = True
lab
"""
PLAIN = """
import threading, ipywidgets, ollama
from IPython.display import display
boxes = [ipywidgets.HTML() for _ in range({columns})]
def work(box):
    text = ""
    for part in ollama.Client({host!r}).generate({model!r}, "Count.", stream=True):
        text += part.response
        box.value = "<div class='slmlab-answer'>" + text + "</div>"
def run(_):
    for box in boxes:
        threading.Thread(target=work, args=[box]).start()
button = ipywidgets.Button(description="Run")
button.on_click(run)
panel = ipywidgets.VBox([button, *boxes])
panel.add_class("slmlab")
display(panel)
"""
WATCH = r"""() => {
    window.seen = [];
    const look = () => {
        const now = performance.timeOrigin + performance.now();
        for (const box of document.querySelectorAll('.slmlab-answer')) {
            const last = box.textContent.slice(-60).match(/([a-e])(\d+)\s*(writing .*)?\s*$/);
            if (last) window.seen.push([last[1], Number(last[2]), now]);
        }
        if (!window.enough) requestAnimationFrame(look);
    };
    window.enough = false;
    requestAnimationFrame(look);
}"""


class Counter(BaseHTTPRequestHandler):
    """Answers a request to generate with numbers, and forwards all others to the engine."""

    protocol_version = "HTTP/1.1"
    engine = ""
    sent: dict[str, list[float]] = {}  # noqa: RUF012
    lock = threading.Lock()

    def log_message(self, *_: object) -> None:
        """Write no log."""

    def do_GET(self) -> None:
        """Forward a request to the engine."""
        self._hand_on(b"")

    def do_POST(self) -> None:
        """Answer with numbers, or forward a request to the engine."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/generate" and json.loads(body).get("prompt"):
            self._count(json.loads(body)["model"])
        else:
            self._hand_on(body)

    def _hand_on(self, body: bytes) -> None:
        answer = httpx.request(
            self.command, self.engine + self.path, content=body, timeout=120, trust_env=False
        )
        self.send_response(answer.status_code)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def _count(self, model: str) -> None:
        with self.lock:
            letter = "abcde"[len(self.sent)]
            times = self.sent[letter] = []
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        started = time.perf_counter()
        part = {"model": model, "created_at": "2026-01-01T00:00:00Z", "done": False}
        for n in range(TOKENS):
            time.sleep(max(0.0, started + n / RATE - time.perf_counter()))
            times.append(time.time())
            self.wfile.write(json.dumps(part | {"response": f"{letter}{n} "}).encode() + b"\n")
            self.wfile.flush()
        nanoseconds = int((time.perf_counter() - started) * 1e9)
        end = {
            "response": "",
            "done": True,
            "done_reason": "stop",
            "total_duration": nanoseconds,
            "load_duration": 0,
            "prompt_eval_count": 2,
            "prompt_eval_duration": 1,
            "eval_count": TOKENS,
            "eval_duration": nanoseconds,
        }
        self.wfile.write(json.dumps(part | end).encode() + b"\n")


@contextlib.contextmanager
def counting(engine: str) -> Iterator[str]:
    """The address of a server that writes numbers."""
    Counter.engine = engine
    with ThreadingHTTPServer(("127.0.0.1", 0), Counter) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def main() -> None:
    """Run both and print Markdown."""
    os.environ["OLLAMA_HOST"] = f"127.0.0.1:{free_port()}"
    slmlab.start("embedded", quiet=True)
    slmlab.ready([PYPI_MODELS[0].name], quiet=True)
    machine = slmlab.machine()
    print(f"{date.today()}, {machine.cpu}, {machine.cores} cores, {COLUMNS} x {RATE} tokens/s\n")
    print("| shown by | messages/s | token to screen, median | 95 % | kernel | browser's page |")
    print("|---|---|---|---|---|---|")
    with (
        tempfile.TemporaryDirectory() as folder,
        counting(server.host()) as host,
        browser.chromium() as chromium,
        browser.front("lab", Path(sys.executable), Path(folder), free_port(), chromium) as front,
    ):
        given = {"model": PYPI_MODELS[0].name, "host": host, "columns": COLUMNS, "tokens": TOKENS}
        for name, cell in (("`slmlab.side_by_side()`", OURS), ("a message for each token", PLAIN)):
            print(measure(name, front, cell.format(**given)))
    slmlab.stop()


def measure(name: str, front: browser.Front, cell: str) -> str:
    """One row of the table."""
    Counter.sent.clear()
    page = front.open(cell)
    page.wait_for_selector(".slmlab button:has-text('Run')", timeout=60_000)
    tools = page.context.new_cdp_session(page)
    messages = []
    tools.on("Network.webSocketFrameReceived", lambda _: messages.append(time.time()))
    tools.send("Network.enable")
    tools.send("Performance.enable")
    kernel = next(
        one
        for one in psutil.process_iter(["cmdline"])
        if "ipykernel_launcher" in " ".join(one.info["cmdline"] or [])
        and one.cwd() == str(front.folder)
    )
    page.evaluate(WATCH)
    page.locator(".slmlab button:has-text('Run')").first.click()
    page.wait_for_selector(".slmlab-answer:has-text('a1 ')")
    used, busy, started = sum(kernel.cpu_times()[:2]), _busy(tools), time.time()
    page.wait_for_timeout(1000 * (TOKENS / RATE - 3))
    seconds = time.time() - started
    kernel_share = (sum(kernel.cpu_times()[:2]) - used) / seconds
    page_share = (_busy(tools) - busy) / seconds
    ended = time.time()
    page.evaluate("window.enough = true")
    delays = []
    for letter, times in Counter.sent.items():
        seen = [(n, at / 1000) for one, n, at in page.evaluate("window.seen") if one == letter]
        shown = iter(sorted(seen, key=lambda pair: pair[1]))
        last, at = -1, 0.0
        for n, sent in enumerate(times):
            if sent > ended - 1:
                break
            # What was never painted while it counted was late by at least the rest of the time.
            while last < n:
                last, at = next(shown, (n, ended))
            delays.append(at - sent)
    page.wait_for_timeout(5000)
    number = sum(started <= at <= ended for at in messages) / seconds
    high = statistics.quantiles(delays, n=20)[-1]
    return (
        f"| {name} | {number:.0f} | {1000 * statistics.median(delays):.0f} ms "
        f"| {1000 * high:.0f} ms | {kernel_share:.0%} | {page_share:.0%} |"
    )


def _busy(tools: object) -> float:
    """Seconds for which the page's main thread has worked."""
    found = tools.send("Performance.getMetrics")["metrics"]
    return next(one["value"] for one in found if re.fullmatch("TaskDuration", one["name"]))


if __name__ == "__main__":
    main()
