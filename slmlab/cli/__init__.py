"""The command line: ``python -m slmlab``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import slmlab
from slmlab.cli import evaluation, models, setup
from slmlab.errors import FileError, SlmlabError
from slmlab.terminal import printable

EPILOG = """\
first steps:
  python -m slmlab setup                     get an engine and models, run the first comparison
  python -m slmlab ask MODEL "Why is ...?"   one question to one model
  python -m slmlab compare "Why is ...?"     one question to every model here, with numbers

exit codes: 0 done, 1 it could not be done (one sentence says why) or a threshold is missed,
            2 wrong usage or a mistake in a file of `eval`, 130 interrupted
"""

# The exit status that shells report for a program ended by a closed pipe (128 + SIGPIPE).
PIPE_CLOSED = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    # A model may write any character; a terminal that lacks it gets a placeholder, not a crash.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        try:
            args = _parser().parse_args(arguments)
            return int(args.run(args) or 0)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader closed the pipe, as `| head -1` does. Python must not flush the rest to it when
        # it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except KeyboardInterrupt as error:  # from a comparison, its text says what was kept
        print(f"\nslmlab: {printable(str(error)) or 'interrupted.'}", file=sys.stderr)
        return 130
    except SlmlabError as error:
        print(f"slmlab: {printable(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, FileError) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m slmlab",
        description="Run, compare and measure small language models on this machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"slmlab {slmlab.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(run=run)
        return sub

    for group in (setup, models, evaluation):
        group.add(command)
    return parser
