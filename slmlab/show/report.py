"""A comparison as one self-contained HTML file, which opens offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.errors import ResultsError
from slmlab.evaluation import statistics
from slmlab.evaluation.runs import Changes
from slmlab.run import results
from slmlab.run.comparison import as_first_asked
from slmlab.run.frames import COMPARED, need, prompt_keys
from slmlab.run.options import DEFAULT_OPTIONS
from slmlab.run.store import machine_id, write
from slmlab.show import report_figures, sanitize
from slmlab.show.recipe import recipe
from slmlab.show.report_answers import prompts_of
from slmlab.show.report_changes import changes_page
from slmlab.show.report_lead import is_scored, lead, sentences
from slmlab.show.report_page import page
from slmlab.show.variants import SETTINGS, as_models, compared, differing, names

if TYPE_CHECKING:
    import pandas as pd


SPEED_COLUMNS = {
    "tokens_per_s": "tokens/s",
    "tokens_per_s_min": "lowest",
    "tokens_per_s_max": "highest",
    "ttft_s": "first token (s)",
    "ttft_s_min": "shortest",
    "ttft_s_max": "longest",
    "truncated": "prompts truncated",
    "cut": "answers cut",
    "on_cpu": "on the CPU",
}
# The columns that a report needs; every comparison has them.
NEEDED = sorted(
    COMPARED
    - {"logprobs", "tool_calls", "ignored", "options", "prompt_fresh", "prompt_tokens_per_s"}
)


def report(
    frame: pd.DataFrame | Changes,
    path: str | Path = "comparison.html",
    title: str | None = None,
) -> Path:
    """Write a comparison, or what changed between two, as one HTML file; returns its path.

    It begins with what was found: which model did better and how sure that is, if the table has a
    column ``score`` (see ``slmlab.score``), and at what speed. Then come all answers side by side,
    with their differences marked, to be searched, filtered and sorted, and at last tables, figures,
    what ran where, and a program to repeat it. A model with several settings counts as several. It
    loads nothing from elsewhere, and what models write is shown as text, never as live HTML.

    Of two runs (``slmlab.compare_runs``) it shows which answers got worse, got better or
    are worded differently, before and after beside each other, with the words marked that differ.

    Args:
        frame: what ``slmlab.compare`` returned, scored or not, or ``slmlab.compare_runs``.
        path: where to write; its folder must exist.
        title: the page's title.

    Raises:
        ResultsError: there is nothing to report, or the file cannot be written.

    Examples:
        >>> slmlab.report(frame, "comparison.html").name
        'comparison.html'
    """
    if isinstance(frame, Changes):
        return write(path, changes_page(frame, title or "From one run to the next"))
    need(frame, *NEEDED)
    if frame.empty:
        raise ResultsError("There is nothing to report: the comparison has no rows.")
    return write(path, _page(frame, title or "Comparison of models"))


def _page(frame: pd.DataFrame, title: str) -> str:
    again = recipe(frame)
    if "stop" in frame:
        # Rows cannot be grouped by lists.
        frame = frame.assign(stop=frame["stop"].map(str))
    # An answer that was cut and asked for again, with more tokens, is no other setting.
    first = as_first_asked(frame)
    keys = prompt_keys(first)
    axes = compared(first, keys)
    named = frame.assign(variant=names(first, keys))
    by_variant = as_models(named, keys)
    return page(
        "report.html",
        title=title,
        cells=len(frame),
        models=list(dict.fromkeys(frame["model"])),
        prompts=len(set(keys)),
        axes=f", varying {', '.join(axes)}" if axes else "",
        first=frame["started"].min().replace("+00:00", ""),
        last=frame["started"].max().replace("+00:00", ""),
        warnings=results.warnings(frame),
        where=_where(frame),
        tables=_tables(frame, axes),
        every=_every_run(frame),
        lead=lead(by_variant),
        sentences=sentences(frame, by_variant) if is_scored(frame) else [],
        pictures=report_figures.pictures(by_variant),
        variants=list(dict.fromkeys(named["variant"])),
        questions=prompts_of(named, keys),
        flags=sorted({flag for row in frame["flags"] for flag in row.split(", ") if flag}),
        recipe=sanitize.harmless(again),
    )


def _where(frame: pd.DataFrame) -> list[tuple[str, str]]:
    engines = frame[["engine", "engine_version"]].drop_duplicates().itertuples(index=False)
    models = frame[["model", "digest"]].drop_duplicates().itertuples(index=False)
    not_same = differing(frame)
    same = {
        n: frame[n].iloc[0]
        for n in SETTINGS
        # An option that one of the servers does not take is not the same for all.
        if n in frame and n not in not_same and not (n in DEFAULT_OPTIONS and frame[n].isna().any())
    }
    facts = [
        ("Machine that wrote this report", machine_id()),
        ("Servers", ", ".join(sorted(set(frame["host"])))),
        ("Engine", "; ".join(f"{engine} {version}" for engine, version in engines)),
        ("Models (digest)", "; ".join(f"{name} ({digest[:12]})" for name, digest in models)),
        ("The same for all", ", ".join(f"{name} {value}" for name, value in same.items())),
        ("Seeds", ", ".join(map(str, sorted(set(frame["seed"]))))),
        (
            "Timing",
            "one request at a time"
            if (frame["in_flight"] == 1).all()
            else "several requests at once, so times cannot be compared",
        ),
    ]
    joules = frame["energy_j"].dropna()
    if len(joules):
        facts.append(
            ("Energy", f"{joules.sum():,.0f} J for {len(joules)} answers (the whole machine)")
        )
    return facts


def _tables(frame: pd.DataFrame, axes: list[str]) -> list[dict[str, Any]]:
    by = ["variant"] if "variant" in frame else ["model", *axes]
    speed = results.summary(frame, by).drop(columns=["model_load_s"])
    flags = ["failed", "truncated", "cut", "cold", "on_cpu", "not_alone"]
    speed = speed.drop(columns=[name for name in flags if not speed[name].any()])
    found = [
        _table(
            "Speed and flags",
            speed.rename(columns=SPEED_COLUMNS),
            "Medians with the smallest and largest value, over runs that finished, were warm and "
            "ran alone; then how many runs carry a flag.",
        )
    ]
    if is_scored(frame):
        for title, groups in (("Scores", by), ("Scores by task", [*by, "task"])):
            if groups[-1] in frame:
                scores = statistics.means(frame, by=groups)
                found.append(_table(title, scores, "Means over prompts with 95 % intervals."))
    return found


def _every_run(frame: pd.DataFrame) -> dict[str, Any]:
    every = results.table(frame).drop(columns="engine")
    wanted = ("score", "task", "prompt_id", "repeat", *differing(frame), "variant")
    extra = {name: frame[name] for name in dict.fromkeys(wanted) if name in frame}
    return _table("Every run", every.assign(**extra), "")


def _table(title: str, frame: pd.DataFrame, lead: str) -> dict[str, Any]:
    rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    columns = [str(name).replace("_", " ") for name in frame.columns]
    return {"title": title, "lead": lead, "columns": columns, "rows": rows}


def _cell(value: Any) -> Any:
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return float(f"{value:.3g}") if abs(value) < 1000 else round(value)
    return sanitize.harmless(value) if isinstance(value, str) else value
