"""Speculative decoding: a small model drafts for a larger one, against the larger one alone.

    python benchmarks/speculative.py MODEL DRAFT [--tokens 60] [--repeats 3] [--draft-max 3]

MODEL and DRAFT are GGUF files with one vocabulary. Both sides run in this process, called directly,
in turn and in changing order; each row is the median of the ratios of the pairs. Without a second
model, llama.cpp can also draft what stood in the prompt before (``ngram``), the third side.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import xllamacpp

TASKS = {
    "code": "Write a Python class Stack with push, pop, peek, is_empty and size, with docstrings.",
    "prose": "Tell the story of a lighthouse keeper in one paragraph.",
    "code given back with a change": (
        "Rename the variable x to total in this function and give it back:\n\n"
        "def add(numbers):\n    x = 0\n    for number in numbers:\n        x += number\n"
        "    if x > 100:\n        x = 100\n    return x\n"
    ),
}
Types = xllamacpp.common_speculative_type


def server(model: str, draft: str | None, most: int, ngram: bool) -> xllamacpp.Server:
    """A model in this process, with something that drafts for it, or without."""
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx, params.n_parallel, params.cache_ram_mib, params.verbosity = 2048, 1, 0, -1
    params.fit_params = False
    if draft:
        params.speculative.types = [Types.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
        params.speculative.draft.mparams.path = draft
        params.speculative.draft.n_max = most
        params.speculative.draft.p_min = 0.6
    elif ngram:
        params.speculative.types = [Types.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
    return xllamacpp.Server(params)


def measured(side: xllamacpp.Server, task: str, tokens: int) -> tuple[float, float, dict[str, Any]]:
    """Tokens per second, tokens per second of processor time, and llama.cpp's counters."""
    answer: dict[str, Any] = {}
    body = {
        "prompt": f"<|im_start|>user\n{task}<|im_end|>\n<|im_start|>assistant\n",
        "n_predict": tokens,
        "temperature": 0,
        "cache_prompt": False,
    }
    before = time.process_time()
    side.handle_completions(body, answer.update)
    timings = answer["timings"]
    busy = time.process_time() - before
    return timings["predicted_per_second"], timings["predicted_n"] / busy, timings


def main() -> None:
    """Measure each kind of text with and without drafts and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("draft")
    parser.add_argument("--tokens", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--draft-max", type=int, default=3)
    args = parser.parse_args()
    alone = server(args.model, None, 0, False)
    sides = {
        "drafts of the smaller model": server(args.model, args.draft, args.draft_max, False),
        "drafts from the text so far": server(args.model, None, 0, True),
    }
    print("| text | with | speed ÷ alone (range) | per processor second ÷ alone | drafts kept |")
    print("|---|---|---|---|---|")
    for name, task in TASKS.items():
        for label, side in sides.items():
            speed, work, kept = [], [], {}
            for repeat in range(args.repeats):
                pair = [measured(one, task, args.tokens) for one in _turned((side, alone), repeat)]
                with_, without = _turned(pair, repeat)
                speed.append(with_[0] / without[0])
                work.append(with_[1] / without[1])
                kept = with_[2]
            drafted = kept.get("draft_n", 0)
            share = f"{kept.get('draft_n_accepted', 0)} of {drafted}" if drafted else "none made"
            print(
                f"| {name} | {label} | {statistics.median(speed):.2f} ({min(speed):.2f} to "
                f"{max(speed):.2f}) | {statistics.median(work):.2f} | {share} |",
                flush=True,
            )


def _turned(pair: Any, repeat: int) -> Any:
    """The pair, in the other order every second time."""
    return pair if repeat % 2 == 0 else pair[::-1]


if __name__ == "__main__":
    main()
