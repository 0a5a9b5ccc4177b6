"""A comparison as one self-contained HTML file, which opens offline."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

import slmlab
from slmlab.errors import ResultsError, SlmlabError
from slmlab.evaluation import statistics
from slmlab.run import results
from slmlab.run.frames import COMPARED, need, prompt_keys
from slmlab.run.options import DEFAULT_OPTIONS, EXTRA_OPTIONS
from slmlab.run.store import machine_id, write
from slmlab.show import plots, sanitize
from slmlab.show.answers import row_html
from slmlab.show.differences import marked
from slmlab.show.figure import CSS_COLOURS, shorten
from slmlab.show.markdown import COPY_SCRIPT, STYLE
from slmlab.show.recipe import recipe

if TYPE_CHECKING:
    import pandas as pd


FOLDER = Path(__file__).parent.parent / "data"
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
NEEDED = sorted(COMPARED - {"options", "prompt_fresh", "prompt_tokens_per_s"})
SETTINGS = ("think", *DEFAULT_OPTIONS, *EXTRA_OPTIONS)
AXES = ("template", "system", "quantization", *SETTINGS)


def report(
    frame: pd.DataFrame, path: str | Path = "comparison.html", title: str = "Comparison of models"
) -> Path:
    """Write a comparison as one HTML file; returns its path.

    It shows what ran where, sortable tables, plots, all answers side by side with their differences
    marked, and a program to repeat it. It loads nothing from elsewhere, and model output is shown
    as text, never as live HTML. If the table has a column ``score`` (see ``slmlab.score``), the
    report says which model did better and how sure that is.

    Args:
        frame: what ``slmlab.compare`` returned, scored or not.
        path: where to write; its folder must exist.
        title: the page's title.

    Raises:
        ResultsError: there is nothing to report, or the file cannot be written.

    Examples:
        >>> slmlab.report(frame, "comparison.html").name
        'comparison.html'
    """
    need(frame, *NEEDED)
    if frame.empty:
        raise ResultsError("There is nothing to report: the comparison has no rows.")
    return write(path, _page(frame, title))


def _page(frame: pd.DataFrame, title: str) -> str:
    import jinja2

    # Everything is escaped, except HTML that is already harmless and has the type Markup.
    environment = jinja2.Environment(autoescape=True)
    script = (FOLDER / "report.js").read_text()
    again = recipe(frame)
    if "stop" in frame:
        # Rows cannot be grouped by lists.
        frame = frame.assign(stop=frame["stop"].map(str))
    axes = [name for name in _varied(frame) if name != "seed"]
    return environment.from_string((FOLDER / "report.html").read_text()).render(
        title=title,
        version=slmlab.__version__,
        cells=len(frame),
        models=list(dict.fromkeys(frame["model"])),
        prompts=len(set(prompt_keys(frame))),
        axes=f", varying {', '.join(axes)}" if axes else "",
        first=frame["started"].min().replace("+00:00", ""),
        last=frame["started"].max().replace("+00:00", ""),
        warnings=results.warnings(frame),
        where=_where(frame),
        tables=_tables(frame),
        every=_every_run(frame),
        sentences=_sentences(frame),
        plots=_plots(frame),
        cases=_cases(frame, axes),
        recipe=sanitize.harmless(again),
        colours=CSS_COLOURS,
        text_style=STYLE,
        copy_hash=_csp_hash(COPY_SCRIPT),
        script=Markup(script),  # noqa: S704  our own file
        script_hash=_csp_hash(script),
    )


def _csp_hash(script: str) -> str:
    """By this the page's policy knows a script that may run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _varied(frame: pd.DataFrame) -> list[str]:
    """The settings that differ between rows."""
    return [
        name for name in AXES if name in frame and frame[name].astype(str).nunique(dropna=False) > 1
    ]


def _where(frame: pd.DataFrame) -> list[tuple[str, str]]:
    engines = frame[["engine", "engine_version"]].drop_duplicates().itertuples(index=False)
    models = frame[["model", "digest"]].drop_duplicates().itertuples(index=False)
    varied = _varied(frame)
    same = {name: frame[name].iloc[0] for name in SETTINGS if name in frame and name not in varied}
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


def _tables(frame: pd.DataFrame) -> list[dict[str, Any]]:
    by = ["model", *[name for name in _varied(frame) if name != "seed"]]
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
    if _scored(frame):
        for title, groups in (("Scores", by), ("Scores by task", [*by, "task"])):
            if groups[-1] in frame:
                scores = statistics.means(frame, by=groups)
                found.append(_table(title, scores, "Means over prompts with 95 % intervals."))
    return found


def _every_run(frame: pd.DataFrame) -> dict[str, Any]:
    every = results.table(frame).drop(columns="engine")
    wanted = ("score", "task", "prompt_id", "repeat", *_varied(frame))
    extra = {name: frame[name] for name in dict.fromkeys(wanted) if name in frame}
    return _table("Every run", every.assign(**extra), "")


def _scored(frame: pd.DataFrame) -> bool:
    return "score" in frame and bool(frame["score"].notna().any())


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


def _sentences(frame: pd.DataFrame) -> list[str]:
    if not _scored(frame):
        return []
    found = []
    for by in ("model", "template", "system"):
        if by in frame and frame[by].nunique(dropna=False) > 1:
            try:
                found += list(statistics.paired(frame, by=by)["sentence"])
            except SlmlabError as error:
                found.append(str(error))
    return found


def _plots(frame: pd.DataFrame) -> list[tuple[str, str]]:
    scored = _scored(frame)
    timed = results.comparable(frame)
    fast = bool(timed["tokens_per_s"].notna().any())
    wanted: list[tuple[bool, Callable[[pd.DataFrame], Any], str]] = [
        (len(timed) > 0, plots.speed, "Speed by model: tokens per second and time to first token"),
        (scored, plots.scores, "Mean score by model with intervals"),
        (scored and fast, plots.quality_speed, "Mean score against tokens per second"),
        (scored and "task" in frame, plots.heatmap, "Mean score by model and task"),
    ]
    return [(alt, _svg(draw(frame))) for holds, draw, alt in wanted if holds]


def _svg(figure: Any) -> str:
    out = io.BytesIO()
    figure.savefig(out, format="svg")
    return base64.b64encode(out.getvalue()).decode()


def _cases(frame: pd.DataFrame, axes: list[str]) -> list[dict[str, Any]]:
    """The answers to each prompt in each repeat, side by side."""
    return [
        _case(rows.to_dict("records"), axes)
        for _, rows in frame.groupby([prompt_keys(frame), frame["repeat"]], sort=False)
    ]


def _case(rows: list[dict[str, Any]], axes: list[str]) -> dict[str, Any]:
    first = next((row_html(row) for row in rows if not isinstance(row["error"], str)), Markup())
    names = [
        ", ".join([row["model"], *(f"{name}: {shorten(row[name])}" for name in axes)])
        for row in rows
    ]
    sent = {sanitize.prompt_text(row["prompt"]): None for row in rows}
    prompt = asked = next(iter(sent))
    if len(sent) > 1:
        # Templates, system prompts, or conversations, in which each model has its own history.
        last = rows[0]["prompt"]
        asked = sanitize.prompt_text(last if isinstance(last, str) else last[-1]["content"])
        prompt = "\n\n".join(
            f"{name}:\n{sanitize.prompt_text(row['prompt'])}"
            for name, row in zip(names, rows, strict=True)
        )
    task = rows[0].get("task")
    number = f"Prompt {rows[0]['prompt_id']}" + (f" of {task}" if isinstance(task, str) else "")
    return {
        "summary": f"{number}, run {rows[0]['repeat']}: {shorten(asked, 110)}",
        "prompt": prompt,
        "answers": [
            {
                "name": name,
                "flags": [flag for flag in row["flags"].split(", ") if flag],
                "html": marked(_answer_html(row), first),
                "numbers": _numbers(row),
            }
            for name, row in zip(names, rows, strict=True)
        ],
    }


def _answer_html(row: dict[str, Any]) -> Markup:
    if isinstance(row["error"], str):
        return Markup("<p>{}</p>").format(sanitize.harmless(row["error"]))
    return row_html(row)


def _numbers(row: dict[str, Any]) -> str:
    parts = [f"{row['tokens']} tokens, {row['wall_s']:.2f} s"]
    if row.get("score") is not None and row.get("score") == row.get("score"):
        parts.append(f"score {row['score']:.2f}")
    return ", ".join(parts)
