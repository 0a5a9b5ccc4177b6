"""The commands for models: list and get them, ask one, compare several."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import slmlab
from slmlab.cli.arguments import (
    Command,
    given_options,
    number_of_repeats,
    with_engine,
    with_json,
    with_options,
)
from slmlab.terminal import Printable, printable

if TYPE_CHECKING:
    import pandas as pd


def add(command: Command) -> None:
    """Add the commands to the parser."""
    sub = command("models", _models, "list the models on this machine")
    with_json(sub)

    sub = command("fit", _fit, "say which models fit into this machine's memory, and how fast")
    sub.add_argument("models", nargs="*", metavar="MODEL", help="default: those of the catalogue")
    sub.add_argument("--num-ctx", type=int, default=4096, help="context length (default 4096)")
    sub.add_argument("--measure", action="store_true", help="let installed models write a little")

    sub = command("pull", _pull, "download models")
    with_engine(sub)
    sub.add_argument("models", nargs="+", metavar="MODEL")

    sub = command("ask", _ask, "put one question to one model")
    with_engine(sub)
    sub.add_argument("model")
    sub.add_argument("question")
    with_options(sub)
    with_json(sub)

    sub = command("compare", _compare, "put one question to several models and measure them")
    with_engine(sub)
    sub.add_argument("question")
    sub.add_argument("--models", nargs="+", metavar="MODEL", help="default: every model here")
    sub.add_argument(
        "--repeats", type=number_of_repeats, default=1, help="runs of each (default 1)"
    )
    sub.add_argument("--report", metavar="FILE.html", help="also write a page with all of it")
    with_options(sub)
    with_json(sub)


def _models(args: argparse.Namespace) -> None:
    from slmlab import models

    slmlab.start(quiet=args.json)
    if args.json:
        print(json.dumps([asdict(one) for one in models.installed()], indent=2))
        return
    table = models.table()
    print(
        printable(table.to_string(index=False))
        if len(table)
        else "No model is here yet: python -m slmlab pull MODEL"
    )


def _fit(args: argparse.Namespace) -> None:
    from slmlab import catalog
    from slmlab.models import speed

    slmlab.start(quiet=True)
    if not args.models:
        table = catalog.on_this_machine(args.num_ctx).sort_values("memory")
        table["memory"] /= 1e9
        columns = ["name", "ollama_tag", "memory", "fits", "tokens_per_s", "here"]
        shown = table[columns].astype({"memory": float, "tokens_per_s": float}).round(1)
        shown = shown.fillna({"ollama_tag": "-", "here": "-"})
        shown = shown.rename(columns={"memory": "memory (GB)", "tokens_per_s": "tokens/s"})
        print(shown.to_string(index=False, na_rep="-"))
        return
    for name in args.models:
        fit = slmlab.will_it_fit(name, args.num_ctx)
        print(printable(str(fit)))
        sentence = "on a GPU, no speed is predicted"
        if fit.place == "memory":
            sentence = f"predicted {speed.predicted(fit.weights):.0f} tokens/s"
        if args.measure:
            story = "Tell a long story about a lighthouse."
            record = slmlab.generate(name, story, num_predict=64, num_ctx=args.num_ctx)
            measured = record.tokens_per_s
            sentence += f", measured {measured:.0f}" if measured else "; too few tokens to measure"
        print(f"  {sentence}")
    if args.measure:
        print("By depth, threads and requests at once, with spread: python -m slmlab bench MODEL")


def _pull(args: argparse.Namespace) -> None:
    slmlab.start(args.engine, quiet=True)
    slmlab.pull(args.models)


def _ask(args: argparse.Namespace) -> None:
    from slmlab.run import prompts

    slmlab.start(args.engine, quiet=args.json)
    if args.json:
        prompt = prompts.fill(args.template, question=args.question)
        record = slmlab.generate(args.model, prompt, **given_options(args))
        print(json.dumps(record.to_dict() | {"tokens_per_s": record.tokens_per_s}, indent=2))
    else:
        slmlab.ask(args.model, args.question, template=args.template, **given_options(args))


def _compare(args: argparse.Namespace) -> None:
    from slmlab import models
    from slmlab.run import prompts, store

    if args.report:
        # Before the answers: nobody shall wait for them and then not get the page.
        store.check_place(args.report)
    slmlab.start(args.engine, quiet=args.json)
    names = args.models or models.writers() or slmlab.ready(quiet=args.json)
    prompt = prompts.fill(args.template, question=args.question)
    if args.json:
        frame = slmlab.compare(
            names, prompt, repeats=args.repeats, fresh=True, quiet=True, **given_options(args)
        )
        print(frame.to_json(orient="records", indent=2))
    else:
        frame = run_comparison(names, prompt, args.repeats, given_options(args))
    if args.report:
        path = slmlab.report(frame, args.report)
        print(f"Report: {path}", file=sys.stderr)


def run_comparison(
    names: list[str], prompt: str, repeats: int, options: dict[str, Any]
) -> pd.DataFrame:
    """Stream every answer to the terminal, then print the table."""
    from slmlab.run import results

    shown = Printable()
    frame = slmlab.compare(
        names,
        prompt,
        repeats=repeats,
        fresh=True,
        on_cell=lambda cell: print(f"── {cell.model} " + "─" * max(2, 60 - len(cell.model))),
        on_text=lambda text: print(shown(text), end="", flush=True),
        on_record=lambda record: print(f"\n[{printable(str(record))}]\n"),
        **options,
    )
    print(printable(results.table(frame).to_string(index=False)))
    return frame
