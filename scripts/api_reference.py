"""The pages of the API reference: the public names of slmlab, by what a reader looks for.

``public()`` finds the functions and classes; Sphinx takes the text from their docstrings.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, is_typeddict

import slmlab

INTRODUCTION = """\
In the examples an engine runs, ``names`` is what ``slmlab.ready()`` gave, and ``frame`` is a scored
comparison::

    slmlab.start()
    names = slmlab.ready()
    prompts = slmlab.tasks.load(["sentiment", "arithmetic"], items=3)
    frame = slmlab.score(slmlab.compare(names, prompts, repeats=2))
"""


@dataclass(frozen=True)
class Area:
    """One page: functions of slmlab itself, whole submodules, classes that they take or return."""

    page: str
    title: str
    functions: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


AREAS = (
    Area(
        "verbs",
        "Ask and compare",
        (
            "ask",
            "generate",
            "compare",
            "chain",
            "show_answers",
            "tokens",
            "show_tokens",
            "report",
            "bench",
        ),
        ("slmlab.prompts",),
        (
            "slmlab.run.record.Generation",
            "slmlab.run.options.Options",
            "slmlab.run.speeds.Bench",
            "slmlab.run.speeds.Speed",
            "slmlab.run.speeds.Timing",
        ),
    ),
    Area(
        "engines",
        "Engines and machines",
        ("start", "status", "stop", "doctor", "machine"),
        ("slmlab.server",),
        ("slmlab.hardware.Machine",),
    ),
    Area(
        "models",
        "Models",
        ("ready", "pull", "add", "remove", "will_it_fit"),
        ("slmlab.models", "slmlab.catalog"),
        ("slmlab.models.fit.Fit",),
    ),
    Area("results", "Results", (), ("slmlab.results",)),
    Area(
        "tasks",
        "Tasks, scorers and votes",
        ("score", "evaluate", "compare_runs", "decide"),
        ("slmlab.tasks", "slmlab.scorers", "slmlab.likelihood", "slmlab.votes", "slmlab.exports"),
        (
            "slmlab.evaluation.perplexities.Perplexity",
            "slmlab.evaluation.perplexities.Divergence",
            "slmlab.evaluation.evaluate.Evaluation",
            "slmlab.evaluation.runs.Changes",
            "slmlab.evaluation.sequential.Decision",
        ),
    ),
    Area("statistics", "Statistics", (), ("slmlab.statistics", "slmlab.repeats")),
    Area("plots", "Figures", (), ("slmlab.plots",)),
    Area(
        "widgets",
        "Widgets",
        ("side_by_side", "playground", "arena", "leaderboard", "catalog_explorer"),
        (),
        (
            "slmlab.widgets.side_by_side.SideBySide",
            "slmlab.widgets.playground.Playground",
            "slmlab.widgets.arena.Arena",
            "slmlab.widgets.leaderboard.Leaderboard",
            "slmlab.widgets.catalog_explorer.CatalogExplorer",
        ),
    ),
    Area(
        "course",
        "The course",
        ("check",),
        ("slmlab.weights", "slmlab.distillation", "slmlab.finetuning"),
    ),
    Area("errors", "Errors", (), ("slmlab.errors",)),
)

# Public to slmlab's own modules, of no use to others.
HELPERS = (
    "slmlab.errors.did_you_mean",
    "slmlab.models.errors_as_sentences",
    "slmlab.server.to_dict",
)


def resolve(path: str) -> Any:
    """The object at a dotted path, parts of which may be imported lazily."""
    value: Any = slmlab
    for number, part in enumerate(path.split(".")[1:], 2):
        try:
            value = getattr(value, part)
        except AttributeError:
            value = importlib.import_module(".".join(path.split(".")[:number]))
    return value


def public(area: Area) -> Iterator[tuple[str, Any]]:
    """The path and the object of each function and class on a page."""
    for name in area.functions:
        yield f"slmlab.{name}", getattr(slmlab, name)
    for path in area.modules:
        module = resolve(path)
        named = getattr(module, "__all__", None)
        for name, value in vars(module).items():
            described = inspect.isfunction(value) or inspect.isclass(value)
            ours = value.__module__ == module.__name__ if described and named is None else described
            # What stands among slmlab's own functions is described there.
            double = getattr(slmlab, name, None) is value
            hidden = name[0] == "_" or f"{path}.{name}" in HELPERS
            if ours and not double and not hidden and (named is None or name in named):
                yield f"{path}.{name}", value
    for path in area.classes:
        yield path, resolve(path)


def page(area: Area) -> str:
    """A page's source, in reStructuredText."""
    parts = [f"{area.title}\n{'=' * len(area.title)}"]
    section = ""
    for path, value in public(area):
        of = path.rpartition(".")[0]
        if inspect.isclass(value) and path in area.classes:
            of = "Classes"
        if of not in (section, "slmlab"):
            section = of
            title = f"``{of}``" if of.startswith("slmlab") else of
            parts.append(f"{title}\n{'-' * len(title)}")
            if of.startswith("slmlab"):
                parts.append(inspect.cleandoc(resolve(of).__doc__ or ""))
        if inspect.isclass(value):
            fields = "\n   :undoc-members:" if is_typeddict(value) else ""
            parts.append(f".. autoclass:: {path}\n   :members:{fields}")
        else:
            parts.append(f".. autofunction:: {path}")
    return "\n\n".join(parts) + "\n"


def index() -> str:
    """The source of the reference's first page."""
    title = "API reference"
    pages = "\n".join(f"   {area.page}" for area in AREAS)
    return f"{title}\n{'=' * len(title)}\n\n{INTRODUCTION}\n.. toctree::\n\n{pages}\n"
