"""How often small models call the right tool, in 20 tasks with one right call each.

    python benchmarks/tools.py MODEL [MODEL …] [--host URL]

A call counts if the server returns it as one (``tool_calls``), with the right name and
arguments. Models that were not taught the format of their template often write the same JSON into
the answer's text, where no client looks for it; such calls are counted separately.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from typing import Any

import ollama

import slmlab


def tool(name: str, description: str, **arguments: str) -> dict[str, Any]:
    """A tool whose arguments (name and type) are all required."""
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": {key: {"type": kind} for key, kind in arguments.items()},
                "required": list(arguments),
            },
        },
    }


TOOLS = [
    tool("get_weather", "The weather in a city", city="string"),
    tool("add", "The sum of two numbers", a="number", b="number"),
    tool("translate", "A word in another language", word="string", language="string"),
    tool("set_timer", "Set a timer", minutes="number"),
]
CITIES = ["Paris", "Oslo", "Lima", "Cairo", "Tokyo"]
SUMS = [(17, 25), (3, 98), (120, 44), (7, 6), (1000, 1)]
WORDS = [
    ("house", "French"),
    ("dog", "Spanish"),
    ("bread", "Italian"),
    ("water", "German"),
    ("moon", "Polish"),
]
MINUTES = [5, 12, 30, 1, 90]
TASKS: list[tuple[str, str, dict[str, Any]]] = [
    *((f"What is the weather in {city}?", "get_weather", {"city": city}) for city in CITIES),
    *((f"What is {a} plus {b}?", "add", {"a": a, "b": b}) for a, b in SUMS),
    *(
        (f'What is "{word}" in {language}?', "translate", {"word": word, "language": language})
        for word, language in WORDS
    ),
    *((f"Wake me in {one} minutes.", "set_timer", {"minutes": one}) for one in MINUTES),
]


def in_text(text: str) -> tuple[str, Any] | None:
    """The name and arguments of the first call that stands as JSON in a text."""
    for found in re.finditer(r"\{", text):
        try:
            value, _ = json.JSONDecoder().raw_decode(text[found.start() :])
        except ValueError:
            continue
        if "name" in value and "arguments" in value:
            return value["name"], value["arguments"]
    return None


def outcome(client: ollama.Client, model: str, task: tuple[str, str, dict[str, Any]]) -> str:
    """What a model makes of one task."""
    prompt, *wanted = task
    answer = client.chat(
        model,
        [{"role": "user", "content": prompt}],
        tools=TOOLS,
        options={"temperature": 0, "seed": 1, "num_predict": 80, "num_ctx": 2048},
    ).message
    if answer.tool_calls:
        calls = [[one.function.name, dict(one.function.arguments)] for one in answer.tool_calls]
        return "right call" if calls == [wanted] else "wrong call"
    if call := in_text(answer.content or ""):
        return "right JSON in the text" if list(call) == wanted else "wrong JSON in the text"
    return "no call"


def main() -> None:
    """Put all tasks to each model and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--host", help="a running server (default: slmlab's own)")
    args = parser.parse_args()
    client = ollama.Client(args.host or slmlab.start("embedded", quiet=True).host, trust_env=False)
    kinds = ["right call", "wrong call", "right JSON in the text", "wrong JSON in the text"]
    print(f"| model | {' | '.join(kinds)} | no call |\n|{'---|' * 6}")
    for model in args.models:
        try:
            counts = Counter(outcome(client, model, task) for task in TASKS)
        except ollama.ResponseError as error:
            print(f"| {model} | {error.error} |")
            continue
        print(f"| {model} | {' | '.join(str(counts[kind]) for kind in [*kinds, 'no call'])} |")


if __name__ == "__main__":
    main()
