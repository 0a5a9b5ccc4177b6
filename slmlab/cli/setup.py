"""The commands that set up a machine and run its servers: from ``doctor`` to ``stop``."""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import asdict

import slmlab
from slmlab import paths
from slmlab.cli.arguments import Command, port_number, with_engine, with_json
from slmlab.cli.models import run_comparison
from slmlab.errors import SlmlabError

# The first comparison's options: a base model, which does not know when to stop, is cut.
DEMO = {"num_predict": 320}


def add(command: Command) -> None:
    """Add the commands to the parser."""
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

    sub = command("serve", _serve, "run the embedded engine in the foreground")
    sub.add_argument(
        "--port", type=port_number, default=11434, help="TCP port on 127.0.0.1 (default 11434)"
    )
    sub.add_argument(
        "--open",
        action="store_true",
        help="let every user of this machine use, change and delete its models, without a key",
    )

    command("stop", _stop, "stop the servers that slmlab started")


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
        run_comparison(names, prompts.fill("step_by_step", question=prompts.HYPOTENUSE), 1, DEMO)


def _bundle(args: argparse.Namespace) -> None:
    from slmlab import bundle

    folder = bundle.make(args.folder, args.models, pythons=args.pythons, platforms=args.platforms)
    print(
        f"Copy this project's folder and {folder} to a machine without a network. There:\n"
        f"  bash colab_setup.sh --from {shlex.quote(folder.name)}"
    )


def _serve(args: argparse.Namespace) -> None:
    from slmlab.engines import launch
    from slmlab.engines.embedded.serve import serve

    try:
        launch.bindable(args.port)
    except OSError as error:
        raise SlmlabError(
            f"The engine cannot listen at 127.0.0.1:{args.port}: {error.strerror}. Name another "
            "port with --port."
        ) from error
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
