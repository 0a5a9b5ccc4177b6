"""The commands that evaluate and measure: ``eval``, ``compare-runs`` and ``bench``."""

from __future__ import annotations

import argparse
import json
import sys

import slmlab
from slmlab.cli.arguments import Command, with_json
from slmlab.terminal import printable

MISSED = 1


def add(command: Command) -> None:
    """Add the commands to the parser."""
    sub = command("eval", _eval, "run the evaluation in a file, and check its thresholds")
    sub.add_argument("file", metavar="FILE.yaml", nargs="?", help="promptfoo's files too")
    sub.add_argument("--models", nargs="+", metavar="MODEL", help="in place of the file's models")
    sub.add_argument(
        "--at-least", type=float, metavar="SHARE", help="what the total score has to reach"
    )
    sub.add_argument("--out", metavar="FOLDER", help="write report, answers and JUnit XML there")
    sub.add_argument("--fresh", action="store_true", help="ask again what was answered before")
    sub.add_argument("--run-code", action="store_true", help="run tests that the file brings along")
    with_json(sub)
    sub.add_argument("--schema", action="store_true", help="print the JSON schema for editors")

    sub = command("compare-runs", _compare_runs, "say what changed from one run to another")
    sub.add_argument("before", metavar="BEFORE.json")
    sub.add_argument("after", metavar="AFTER.json")
    sub.add_argument("--score", default="score", help="the column of scores (default score)")
    sub.add_argument("--report", metavar="FILE.html", help="also write a page with the answers")
    sub.add_argument(
        "--fail-on-regression",
        action="store_true",
        help="exit with 1 if a model did worse by more than chance explains",
    )

    sub = command("bench", _bench, "measure how fast a model reads and writes on this machine")
    sub.add_argument("model", metavar="MODEL")
    sub.add_argument(
        "-d", "--depth", type=int, nargs="+", default=[0], metavar="N", help="tokens read before"
    )
    sub.add_argument("-t", "--threads", type=int, nargs="+", metavar="N", help="of the processor")
    sub.add_argument(
        "--at-once", type=int, nargs="+", default=[1], metavar="N", help="requests at once"
    )
    sub.add_argument(
        "-p", "--prompt-tokens", type=int, default=512, help="tokens to read (default 512)"
    )
    sub.add_argument("-n", "--tokens", type=int, default=64, help="tokens to write (default 64)")
    sub.add_argument("-r", "--repeats", type=int, default=5, help="runs of each (default 5)")
    sub.add_argument(
        "--students",
        type=float,
        nargs="?",
        const=10.0,
        metavar="SPEED",
        help="find how many requests at once get so many tokens/s each (10)",
    )
    sub.add_argument(
        "-o", "--output", choices=("table", "jsonl"), default="table", help="jsonl: llama-bench's"
    )


def _eval(args: argparse.Namespace) -> int:
    if args.schema:
        from slmlab.evaluation.suite import Suite

        print(json.dumps(Suite.model_json_schema(), indent=2))
        return 0
    if args.file is None:
        raise slmlab.errors.FileError("Name a file: python -m slmlab eval FILE.yaml")
    slmlab.start(quiet=True)
    evaluation = slmlab.evaluate(
        args.file,
        models=args.models,
        at_least=args.at_least,
        run_code=args.run_code,
        fresh=args.fresh,
        quiet=args.json,
    )
    print(json.dumps(evaluation.to_dict(), indent=2) if args.json else printable(str(evaluation)))
    if args.out:
        folder = evaluation.save(args.out)
        slmlab.report(evaluation.frame, folder / "report.html", evaluation.name)
        print(f"Written to {folder}", file=sys.stderr)
    return 0 if evaluation.passed else MISSED


def _compare_runs(args: argparse.Namespace) -> int:
    changes = slmlab.compare_runs(args.before, args.after, score=args.score)
    print(printable(str(changes)))
    if args.report:
        print(f"Report: {slmlab.report(changes, args.report)}", file=sys.stderr)
    return MISSED if args.fail_on_regression and changes.regressions else 0


def _bench(args: argparse.Namespace) -> None:
    slmlab.start(quiet=True)
    result = slmlab.bench(
        args.model,
        depth=args.depth,
        threads=args.threads,
        at_once=args.at_once,
        prompt_tokens=args.prompt_tokens,
        tokens=args.tokens,
        repeats=args.repeats,
        students_at=args.students,
    )
    if args.output == "table":
        print(printable(str(result)))
        return
    print(result.jsonl(), end="")
    if any(one.at_once > 1 for one in result.speeds):
        print("llama-bench has no rows for several requests at once: left out.", file=sys.stderr)
