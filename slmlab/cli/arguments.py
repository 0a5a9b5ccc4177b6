"""Arguments that several commands take."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

# Makes a command's parser from its name, the function that runs it, and what it does.
Command = Callable[[str, Callable[[argparse.Namespace], object], str], argparse.ArgumentParser]


def with_json(sub: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    sub.add_argument("--json", action="store_true", help="print JSON for a program")


def with_engine(sub: argparse.ArgumentParser) -> None:
    """Add ``--engine``."""
    sub.add_argument(
        "--engine",
        choices=("auto", "ollama", "embedded"),
        default="auto",
        help="auto: Ollama where it is or can be installed, else the embedded engine",
    )


def with_options(sub: argparse.ArgumentParser) -> None:
    """Add a template and sampling options."""
    sub.add_argument(
        "--template", default="plain", help="a template's name, or a text with {question}"
    )
    sub.add_argument("--temperature", type=float, help="0 always takes the likeliest token")
    sub.add_argument("--seed", type=int, help="same seed, same answer (default 0)")
    sub.add_argument("--num-ctx", type=int, help="context length in tokens")
    sub.add_argument("--num-predict", type=int, help="at most this many tokens of answer")


def given_options(args: argparse.Namespace) -> dict[str, Any]:
    """The sampling options that were given."""
    names = ("temperature", "seed", "num_ctx", "num_predict")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def port_number(text: str) -> int:
    """A TCP port."""
    if text.isdecimal() and 0 < int(text) < 2**16:
        return int(text)
    raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text!r}")


def number_of_repeats(text: str) -> int:
    """How often each prompt runs; checked before a server starts."""
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"repeats are a whole number from 1 on, not {text!r}")
