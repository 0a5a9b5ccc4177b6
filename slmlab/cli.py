"""The command line: ``python -m slmlab``."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import slmlab
from slmlab import cli_evaluation, paths
from slmlab.errors import FileError, SlmlabError
from slmlab.terminal import Printable, printable

if TYPE_CHECKING:
    import pandas as pd


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

# The first comparison's options: a base model, which does not know when to stop, is cut.
DEMO = {"num_predict": 320}


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

    def with_json(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--json", action="store_true", help="print JSON for a program")

    def with_engine(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--engine",
            choices=("auto", "ollama", "embedded"),
            default="auto",
            help="auto: Ollama where it is or can be installed, else the embedded engine",
        )

    def with_options(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--template", default="plain", help="a template's name, or a text with {question}"
        )
        sub.add_argument("--temperature", type=float, help="0 always takes the likeliest token")
        sub.add_argument("--seed", type=int, help="same seed, same answer (default 0)")
        sub.add_argument("--num-ctx", type=int, help="context length in tokens")
        sub.add_argument("--num-predict", type=int, help="at most this many tokens of answer")

    sub = command("doctor", _doctor, "say what this machine is and what is missing")
    with_json(sub)

    sub = command("setup", _setup, "get an engine and models that fit, then run the demo")
    with_engine(sub)
    sub.add_argument(
        "--models", nargs="+", metavar="MODEL", help="models to get (default: those that fit)"
    )
    sub.add_argument("--ollama-version", metavar="X.Y.Z", help="install this Ollama release")
    sub.add_argument("--no-demo", action="store_true", help="do not run the first comparison")
    sub.add_argument(
        "--from",
        dest="bundle",
        metavar="FOLDER",
        help="take models from a bundle, and nothing from a network",
    )

    sub = command("bundle", _bundle, "gather all that a machine without a network needs")
    sub.add_argument("folder", metavar="FOLDER")
    sub.add_argument("--models", nargs="+", metavar="MODEL", help="default: those that fit here")
    sub.add_argument(
        "--pythons", nargs="+", default=[], metavar="X.Y", help="as 3.11 3.12 (default: this one)"
    )
    sub.add_argument(
        "--platforms",
        nargs="+",
        default=[],
        metavar="NAME",
        help="Linux-x86_64, Linux-aarch64, Darwin-arm64, Windows-AMD64 (default: this one)",
    )

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
    sub.add_argument("--repeats", type=_repeats, default=1, help="runs of each (default 1)")
    sub.add_argument("--report", metavar="FILE.html", help="also write a page with all of it")
    with_options(sub)
    with_json(sub)

    cli_evaluation.add(command)

    sub = command("serve", _serve, "run the embedded engine in the foreground")
    sub.add_argument(
        "--port", type=_port, default=11434, help="TCP port on 127.0.0.1 (default 11434)"
    )
    sub.add_argument(
        "--open",
        action="store_true",
        help="let every user of this machine use, change and delete its models, without a key",
    )

    command("stop", _stop, "stop the servers that slmlab started")
    return parser


def _port(text: str) -> int:
    if text.isdecimal() and 0 < int(text) < 2**16:
        return int(text)
    raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text!r}")


def _repeats(text: str) -> int:
    """Checked before a server starts and models come from the network."""
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"repeats are a whole number from 1 on, not {text!r}")


def _doctor(args: argparse.Namespace) -> int:
    report = slmlab.doctor()
    print(json.dumps([asdict(check) for check in report], indent=2) if args.json else report)
    return int(any(check.level == "FAIL" for check in report))


def _setup(args: argparse.Namespace) -> None:
    from slmlab import models

    print(slmlab.machine(), end="\n\n")
    if args.bundle:
        from slmlab import bundle

        bundled = bundle.take_models(args.bundle)
        slmlab.start("embedded")
        names = slmlab.ready(args.models or bundled)
    else:
        slmlab.start(args.engine, version=args.ollama_version)
        names = slmlab.ready(args.models)
    print(f"Models: {', '.join(names)}")
    for name in names:
        if "chat" not in models.capabilities(name):
            print(f"{name} is a base model: it continues a text, and answers nothing.")
    if not args.no_demo:
        from slmlab.run import prompts

        print(f"\nThe first comparison. {prompts.HYPOTENUSE}\n")
        _run_comparison(names, prompts.fill("step_by_step", question=prompts.HYPOTENUSE), 1, DEMO)


def _bundle(args: argparse.Namespace) -> None:
    from slmlab import bundle

    folder = bundle.make(args.folder, args.models, pythons=args.pythons, platforms=args.platforms)
    print(
        f"Copy this project's folder and {folder} to a machine without a network. There:\n"
        f"  bash colab_setup.sh --from {shlex.quote(folder.name)}"
    )


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
        else "No model is here yet: slmlab pull MODEL"
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
        record = slmlab.generate(args.model, prompt, **_options(args))
        print(json.dumps(record.to_dict() | {"tokens_per_s": record.tokens_per_s}, indent=2))
    else:
        slmlab.ask(args.model, args.question, template=args.template, **_options(args))


def _compare(args: argparse.Namespace) -> None:
    from slmlab import models
    from slmlab.run import prompts

    slmlab.start(args.engine, quiet=args.json)
    names = args.models or models.writers() or slmlab.ready(quiet=args.json)
    prompt = prompts.fill(args.template, question=args.question)
    if args.json:
        frame = slmlab.compare(
            names, prompt, repeats=args.repeats, fresh=True, quiet=True, **_options(args)
        )
        print(frame.to_json(orient="records", indent=2))
    else:
        frame = _run_comparison(names, prompt, args.repeats, _options(args))
    if args.report:
        path = slmlab.report(frame, args.report)
        print(f"Report: {path}", file=sys.stderr)


def _run_comparison(
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


def _serve(args: argparse.Namespace) -> None:
    from slmlab.engines.embedded.serve import serve

    try:
        paths.make(paths.embedded_models())
    except OSError as error:
        raise SlmlabError(
            f"The engine cannot keep models in {paths.embedded_models()}: {error.strerror}. Set "
            "SLMLAB_HOME to a folder of your own."
        ) from error
    if args.open:
        print(
            "Open: every user of this machine can use, change and delete the models of this "
            "engine, without a key.",
            flush=True,
        )
    try:
        serve(args.port, to_all=args.open)
    except ImportError as error:
        raise SlmlabError(
            f"The embedded engine needs the package {error.name}: pip install {error.name}"
        ) from error


def _stop(_: argparse.Namespace) -> None:
    stopped = slmlab.stop()
    print(f"Stopped {', '.join(stopped)}." if stopped else "slmlab started no server here.")


def _options(args: argparse.Namespace) -> dict[str, Any]:
    names = ("temperature", "seed", "num_ctx", "num_predict")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}
