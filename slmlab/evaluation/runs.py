"""Two runs of a comparison: what got better, what got worse, and what is worded differently."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.errors import SlmlabError
from slmlab.evaluation.scorers.reading import answer, as_scores, as_text, is_blank
from slmlab.evaluation.statistics import SIGNIFICANT, sign_tests
from slmlab.facts import facts_html
from slmlab.run import results
from slmlab.run.comparison import as_first_asked
from slmlab.run.frames import key_of, need, without_system
from slmlab.run.options import ALL_OPTIONS, DEFAULT_OPTIONS
from slmlab.run.tables import records
from slmlab.run.tools import written

if TYPE_CHECKING:
    import pandas as pd

SETTINGS = ("think", *(name for name in ALL_OPTIONS if name != "seed"))
# What may differ between two runs, and then explain why their answers do.
CONDITIONS = ("engine", "engine_version", "digest", "template", "system", *SETTINGS)
# In what the answers of one model to one prompt may differ within a run.
AXES = ("template", "system", "quantization", *SETTINGS)
# What a table has a column of only if it was given.
OPTIONAL = {*("template", "system"), *ALL_OPTIONS} - {*DEFAULT_OPTIONS}
LONGEST_SHOWN = 100  # characters of a setting in a note
CHANGES = ("better", "worse", "other words", "same", "no score")
_Row = Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class Changes:
    """What changed from one run of a comparison to another.

    Attributes:
        cases: one row for each prompt that both runs have (and each model, template, …):
            ``model``, ``task`` and ``id`` where the prompts have them, ``prompt``, ``before`` and
            ``after`` (the answers of one repeat: the first that changed as the prompt did),
            ``score_before`` and ``score_after`` (means over repeats; NaN without scores),
            ``repeats`` (the larger number of the two runs) and ``change``: ``better``, ``worse``,
            ``other words`` (with the same score), ``same``, ``no score`` (in one of the runs).
        summary: one row for each model: the number of prompts of each ``change``, and the sign test
            of ``slmlab.statistics.sign_tests``, in which ``a`` is the later run; without scores
            only the counts.
        notes: what else differs between the runs, and which prompts only one of them has.
        runs: of each run its file, where it has one, its number of answers, and when they came.
    """

    cases: pd.DataFrame
    summary: pd.DataFrame
    notes: Sequence[str]
    runs: tuple[str, str]

    @property
    def regressions(self) -> list[str]:
        """The models that did worse by more than chance explains (sign test, 5 %, corrected)."""
        return self._surely(-1)

    @property
    def improvements(self) -> list[str]:
        """The models that did better by more than chance explains."""
        return self._surely(1)

    def _surely(self, sign: int) -> list[str]:
        if "p_adjusted" not in self.summary:
            return []
        sure = self.summary["p_adjusted"] < SIGNIFICANT
        return list(self.summary["model"][sure & (self.summary["difference"] * sign > 0)])

    def lines(self) -> list[tuple[str, str]]:
        """For each model what changed, and how sure that is."""
        lines = []
        for row in self.summary.to_dict("records"):
            counts = ", ".join(f"{row[name]} {name}" for name in CHANGES if row[name])
            test = row.get("sentence")  # of the sign test; none without scores
            lines.append(
                (row["model"], f"{counts}. {test}" if isinstance(test, str) else f"{counts}.")
            )
        return lines

    def __str__(self) -> str:
        """A line for each model, then the notes."""
        return "\n".join([*(f"{name}: {text}" for name, text in self.lines()), *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        notes = [("note", note) for note in self.notes]
        return facts_html("From one run to the next", [*self.lines(), *notes])


def compare_runs(
    before: pd.DataFrame | str | Path,
    after: pd.DataFrame | str | Path,
    *,
    score: str = "score",
) -> Changes:
    """What changed from one run of a comparison to another, prompt by prompt.

    A prompt is the same in both if it has the same ``task`` and ``id``, where both tables have a
    column ``id``; else if it was sent with the same text, a system prompt apart. So give your
    prompts ids if you compare templates or rewrite questions. Models are paired by name; if each
    run has one model, these two are compared, whatever their names.

    Args:
        before: the earlier run: what ``slmlab.compare`` and ``slmlab.score`` returned, or its file
            (``slmlab.results.to_json``, ``to_csv``).
        after: the later one.
        score: the column of scores; without it only the words are compared.

    Raises:
        SlmlabError: one of them is not a comparison, they have no prompt in common, an id stands
            for several prompts, or a score is no number.

    Examples:
        >>> slmlab.results.to_json(frame, "monday.json")
        >>> changes = slmlab.compare_runs("monday.json", frame)
        >>> changes.regressions
        []
        >>> slmlab.report(changes, "changes.html").name
        'changes.html'
    """
    import pandas as pd

    first, second = _read(before), _read(after)
    if score != "score" and score not in first:
        need(second, score)
    old, new = _Run(first, second), _Run(second, first)
    shared = [key for key in old.cases if key in new.cases]
    if not shared:
        raise SlmlabError(
            f"The two runs have no {'model' if not old.models & new.models else 'prompt'} in "
            f"common: {old.about()}; {new.about()}. If the prompts were rewritten, a column `id` "
            "in both tables says which belong together."
        )
    rows = [_case(old.cases[key], new.cases[key], score) for key in shared]
    notes = [
        *_scored_once(first, second, score),
        *_conditions(first, second),
        *_missing(old, new, len(shared)),
    ]
    cases = pd.DataFrame(rows)
    runs = _about(before, first), _about(after, second)
    return Changes(cases, _summary(cases), notes, runs)


def _read(run: pd.DataFrame | str | Path) -> pd.DataFrame:
    frame = results.read(run) if isinstance(run, (str, Path)) else run
    need(frame, "model", "prompt", "text", "error", "repeat")
    # Which answers were cut and asked for again differs from run to run; it is no setting.
    return as_first_asked(frame)


def _about(run: pd.DataFrame | str | Path, frame: pd.DataFrame) -> str:
    parts = [Path(run).name] if isinstance(run, (str, Path)) else []
    parts.append(f"{len(frame)} answer{'s' * (len(frame) != 1)}")
    started = [str(time) for time in frame.get("started", ()) if not is_blank(time)]
    times = sorted(time.replace("T", " ").removesuffix("+00:00") for time in started)
    if times:
        parts.append(" to ".join(dict.fromkeys((times[0], times[-1]))) + " (UTC)")
    return ", ".join(parts)


class _Run:
    """The rows of one run by case: by model, prompt and what else varies within the run."""

    def __init__(self, frame: pd.DataFrame, other: pd.DataFrame) -> None:
        single = frame["model"].nunique() == 1 == other["model"].nunique()
        axes = [name for name in AXES if _varies(frame, name) or _varies(other, name)]
        with_ids = "id" in frame and "id" in other
        self.models = {""} if single else set(frame["model"])
        self.names = sorted(set(frame["model"]))
        self.cases: dict[str, list[dict[str, Any]]] = {}
        for row in records(frame):
            by_id = with_ids and not is_blank(row["id"])
            # A file may have made a text of a number.
            prompt = {"id": as_text(row["id"])} if by_id else {"prompt": without_system(row)}
            settings = [row.get(name) for name in axes]
            key = key_of(["" if single else row["model"], row.get("task"), prompt, *settings])
            same = self.cases.setdefault(key, [])
            if same and by_id and key_of(without_system(same[0])) != key_of(without_system(row)):
                raise SlmlabError(
                    f"The id {row['id']!r} stands for several prompts, so it does not tell which "
                    "belong together. Give each prompt an id of its own, or each set of prompts "
                    "its name in a column `task`."
                )
            same.append(row)

    def about(self) -> str:
        """Its size and models in a few words."""
        count = len(self.cases)
        return f"{count} prompt{'s' * (count != 1)} of {', '.join(self.names)}"


def _varies(frame: pd.DataFrame, name: str) -> bool:
    return name in frame and len({key_of(value) for value in frame[name]}) > 1


def _case(old: Sequence[_Row], new: Sequence[_Row], score: str) -> dict[str, Any]:
    """A prompt's row in ``Changes.cases``, from its repeats in both runs."""
    before, after = _mean(old, score), _mean(new, score)
    pairs = _pairs(old, new)
    if score in old[0] and score in new[0] and math.isnan(before + after):
        change = "no score"
    elif abs(after - before) > 1e-9:  # never of NaN
        change = "better" if after > before else "worse"
    else:
        same = all(_words(earlier) == _words(later) for earlier, later in pairs)
        change = "same" if same else "other words"
    earlier, later = _shown_pair(pairs, change, score) if pairs else (old[0], new[0])
    return {
        "model": later["model"],
        **{name: later[name] for name in ("task", "id") if name in later},
        "prompt": later["prompt"],
        "before": _answer_text(earlier),
        "after": _answer_text(later),
        "score_before": before,
        "score_after": after,
        "repeats": max(len(old), len(new)),
        "change": change,
    }


def _answer_text(row: Mapping[str, Any]) -> str:
    """A row's error, or its answer with the calls of tools below it."""
    calls = written(row.get("tool_calls"))
    return str(row["error"] or "\n".join(filter(None, (row["text"], calls))))


def _mean(rows: Sequence[Mapping[str, Any]], score: str) -> float:
    scores = as_scores((row.get(score) for row in rows), f"The column {score!r}")
    known = [one for one in scores if not math.isnan(one)]
    return sum(known) / len(known) if known else math.nan


def _pairs(old: Sequence[_Row], new: Sequence[_Row]) -> list[tuple[_Row, _Row]]:
    """The rows of the repeats that both runs have.

    Repeats are told by their seeds, if the runs share some: a table of stored records may not know
    how many repeats failed before one.
    """
    seeds = [{row.get("seed") for row in rows} - {None} for rows in (old, new)]
    by = "seed" if seeds[0] & seeds[1] else "repeat"
    before, after = ({row[by]: row for row in rows} for rows in (old, new))
    return [(before[one], after[one]) for one in before if one in after]


def _words(row: _Row) -> tuple[object, str]:
    """What was answered, thoughts apart."""
    return row["error"], answer(_answer_text(row)).strip()


def _shown_pair(pairs: Sequence[tuple[_Row, _Row]], change: str, score: str) -> tuple[_Row, _Row]:
    """The first repeat that changed as the prompt did: the first of all may be as it was before."""

    def unlike(pair: tuple[_Row, _Row]) -> tuple[bool, bool]:
        gap = _mean(pair[1:], score) - _mean(pair[:1], score)
        as_prompt = {"better": gap > 0, "worse": gap < 0}.get(change, True)
        return not as_prompt, _words(pair[0]) == _words(pair[1])

    return min(pairs, key=unlike)


def _summary(cases: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    rows: list[dict[str, Any]] = []
    tests = []
    for model, mine in cases.groupby("model", sort=False):
        counts = mine["change"].value_counts()
        rows.append({"model": model, **{name: int(counts.get(name, 0)) for name in CHANGES}})
        scored = mine.dropna(subset=["score_before", "score_after"])
        if len(scored):
            after, before = scored["score_after"].tolist(), scored["score_before"].tolist()
            tests.append((model, ("the later run", "the earlier run", after, before)))
    table = pd.DataFrame(rows)
    if not tests:
        return table
    tested = sign_tests(pair for _, pair in tests).drop(columns="same")
    return table.merge(tested.assign(model=[model for model, _ in tests]), "left", on="model")


def _scored_once(before: pd.DataFrame, after: pd.DataFrame, score: str) -> list[str]:
    scored = [score in frame and frame[score].notna().any() for frame in (before, after)]
    if scored[0] == scored[1]:
        return []
    which = "earlier" if scored[0] else "later"
    return [
        f"Only the {which} run has scores ({score!r}), so only the words are compared. Score the "
        "other one too: slmlab.score(…)."
    ]


def _conditions(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    """What was the same within each run, and differs between them."""
    differences = []
    for name in CONDITIONS:
        tables = sum(name in frame for frame in (before, after))
        if name == "digest" or tables < (1 if name in OPTIONAL else 2):
            continue
        old, new = (
            {key_of(value) for value in frame[name]} if name in frame else {key_of(None)}
            for frame in (before, after)
        )
        if len(old) == len(new) == 1 and old != new:
            differences.append(f"{name} {_shown(old.pop())}, later {_shown(new.pop())}")
    for model in dict.fromkeys(before["model"]):
        old, new = (set(run["digest"][run["model"] == model]) for run in (before, after))
        if new and old != new:
            differences.append(f"{model} has another digest, so it is another file")
    return [f"Not only time has passed: {'; '.join(differences)}."] if differences else []


def _shown(key: str) -> str:
    """A setting from its key, in any script and not too long."""
    value = json.loads(key)
    text = "none" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]} …"


def _missing(old: _Run, new: _Run, shared: int) -> list[str]:
    notes = []
    for count, which in ((len(old.cases), "earlier"), (len(new.cases), "later")):
        if count > shared:
            notes.append(
                f"{count - shared} of {count} prompts, counted for each model and setting, are "
                f"only in the {which} run."
            )
    return notes
