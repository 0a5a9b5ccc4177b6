"""The time to first token in a conversation as its history grows: turn 10 against turn 1.

    python benchmarks/conversation.py [MODEL] [--host URL] [--turns 10]

A server with a prompt cache needs no longer for the tenth turn than for the first. Each
answer goes into the next prompt unchanged. For comparison the same conversation runs again with
the prompt cache switched off, which only the embedded engine can do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import httpx

import slmlab

QUESTIONS = [
    "Tell me something about the sea, in two sentences.",
    "And about the mountains, in two sentences?",
    "Which of them is colder, and why?",
    "What do people eat there?",
    "Name an animal that lives there.",
    "How do children learn about it at school?",
    "What would you pack for a day there?",
    "Which month is best for a visit?",
    "What should one be careful about?",
    "Sum it all up in one sentence.",
]


def conversation(host: str, model: str, turns: int, cache: bool) -> list[tuple[float, int]]:
    """For each turn the seconds to the first token, and the tokens of its prompt."""
    messages, rows = [{"role": "system", "content": "You are a helpful, brief teacher."}], []
    options = {"temperature": 0, "seed": 1, "num_predict": 60, "num_ctx": 4096}
    with httpx.Client(base_url=host, timeout=600, trust_env=False) as client:
        for number in range(turns):
            messages.append({"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]})
            body = {"model": model, "messages": messages, "options": options}
            body["options"] = options | ({} if cache else {"cache_prompt": False})
            started, first, text = time.perf_counter(), None, ""
            with client.stream("POST", "/api/chat", json=body) as response:
                for line in response.iter_lines():
                    piece = json.loads(line)
                    if first is None and piece["message"]["content"]:
                        first = time.perf_counter() - started
                    text += piece["message"]["content"]
            rows.append((first or 0.0, piece["prompt_eval_count"]))
            messages.append({"role": "assistant", "content": text})
    return rows


def main() -> None:
    """Run the conversation with and without the cache and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="smollm2:135m-instruct-q4_1")
    parser.add_argument("--host", help="a running server (default: slmlab's own)")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    host = args.host or slmlab.start("embedded", quiet=True).host
    for cache in (True, False):
        ratios = []
        for repeat in range(args.repeats):
            # The cache knows nothing of an earlier repeat.
            httpx.post(
                f"{host}/api/generate",
                json={"model": args.model, "keep_alive": 0},
                timeout=60,
                trust_env=False,
            )
            warm = {"model": args.model, "prompt": "Hi", "options": {"num_predict": 1}}
            warm["options"] |= {"num_ctx": 4096}
            httpx.post(f"{host}/api/generate", json=warm, timeout=600, trust_env=False)
            rows = conversation(host, args.model, args.turns, cache)
            ratios.append(rows[-1][0] / rows[0][0])
            shown = ", ".join(f"{seconds:.2f} s ({tokens})" for seconds, tokens in rows)
            print(f"cache {'on' if cache else 'off'}, repeat {repeat + 1}: {shown}", flush=True)
        print(
            f"cache {'on' if cache else 'off'}: turn {args.turns} / turn 1 = "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
