"""Run an evaluation: answer, score, and check the thresholds."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.errors import FileError, ResultsError, SlmlabError
from slmlab.evaluation import statistics, tasks
from slmlab.evaluation.promptfoo import is_promptfoo, suite_of_promptfoo
from slmlab.evaluation.scorers.table import check_prompts, score
from slmlab.evaluation.suite import TOTAL, Budget, Suite, Threshold, suite_of
from slmlab.evaluation.thresholds import Check, check, earlier_answers, junit
from slmlab.evaluation.yaml_lines import Document, read_yaml
from slmlab.facts import facts_html
from slmlab.run import results
from slmlab.run.compare import compare
from slmlab.run.files import ending
from slmlab.run.frames import key_of
from slmlab.run.grid import plan
from slmlab.run.record import Generation
from slmlab.run.servers import of_one_engine
from slmlab.run.store import write
from slmlab.run.tables import records

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        name: the file's name.
        frame: the answers with their scores: ``score`` is the total, ``score_NAME`` the score by
            the scorer that the file calls NAME.
        scores: the mean of each score of each model with its 95 % interval over prompts.
        checks: one for each threshold and model.
        notes: what else a reader has to know, in sentences.
        finished: whether there are all answers.
    """

    name: str
    frame: pd.DataFrame
    scores: pd.DataFrame
    checks: Sequence[Check]
    notes: Sequence[str]
    finished: bool

    @property
    def passed(self) -> bool:
        """Whether there are all answers, and every threshold holds."""
        return self.finished and all(one.passed for one in self.checks)

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        if not self.finished:
            return "It was stopped before there were all answers."
        missed = sum(not one.passed for one in self.checks)
        if missed:
            return f"{missed} of {len(self.checks)} thresholds are missed."
        return "All thresholds hold." if self.checks else "There are no thresholds."

    def __str__(self) -> str:
        """The scores, the checks, the notes and the verdict."""
        table = self.scores.round(3).to_string(index=False)
        return "\n".join([table, *map(str, self.checks), *self.notes, self.verdict])

    __repr__ = __str__

    def save(self, folder: str | Path) -> Path:
        """Write ``answers.json``, ``evaluation.json`` and ``junit.xml``; returns the folder.

        A later evaluation can name ``answers.json`` in ``not_worse_than``; ``slmlab.compare_runs``
        and ``slmlab.results.read`` take it too.

        Raises:
            ResultsError: the files cannot be written.
        """
        folder = Path(folder).expanduser()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResultsError(f"{folder} cannot be made: {error.strerror}.") from error
        results.to_json(self.frame, folder / "answers.json")
        write(folder / "evaluation.json", json.dumps(self.to_dict(), indent=2))
        write(folder / "junit.xml", junit(self.name, self.checks, self.verdict, self.finished))
        return folder

    def to_dict(self) -> dict[str, Any]:
        """The result without the answers, as plain data for JSON."""
        return {
            "name": self.name,
            "passed": self.passed,
            "verdict": self.verdict,
            "scores": records(self.scores),
            "checks": [asdict(one) for one in self.checks],
            "notes": [*self.notes],
        }

    def _repr_html_(self) -> str:
        rows = [(one.model, f"{one.wanted}; {one.found}") for one in self.checks]
        notes = [("note", note) for note in self.notes]
        return facts_html(f"{self.name}: {self.verdict}", [*rows, *notes])


def evaluate(
    suite: str | Path | Mapping[str, Any],
    *,
    models: str | Sequence[str] | None = None,
    at_least: float | None = None,
    run_code: bool = False,
    store: str | Path | None = None,
    fresh: bool = False,
    host: str | Sequence[str] | None = None,
    quiet: bool = False,
) -> Evaluation:
    """Answer, score and check what a file describes; the same file can run again and again.

    A threshold holds if the lower end of the 95 % interval reaches it, so that a good result on a
    few prompts does not pass by luck. Answers that ``num_predict`` cut are asked again with four
    times as many tokens. Everything in the file is checked before anything runs, and
    what was answered before, by the same models with the same settings, is not asked again.

    Args:
        suite: a YAML file (its keys are in docs/comparing.md), or the same as a dict; or a
            configuration of promptfoo, of which the models of Ollama and all assertions that need
            no program and no judge are used.
        models: these in place of the file's models.
        at_least: one more threshold: what the total score of each model has to reach.
        run_code: run tests that a file brings along (see ``slmlab.score``).
        store: the folder of the records, as in ``slmlab.compare``.
        fresh: ask everything again.
        host: the server, or several that share the work.
        quiet: show no progress.

    Raises:
        FileError: the file has a mistake; the message names its line.
        ModelError, ServerError: a model or a server is missing; nothing ran.

    Examples:
        >>> suite = {"models": names[0], "tasks": "sentiment", "items": 2}
        >>> found = slmlab.evaluate({**suite, "thresholds": [{"at_least": 0.9}]})
        >>> found.passed
        False
    """
    document = Document(None, dict(suite)) if isinstance(suite, Mapping) else read_yaml(suite)
    wanted, left = _read(document, models, at_least)
    prompts, count = _prompts(wanted, document, run_code)
    earlier = earlier_answers(wanted, document)
    budget = _Spending(wanted.budget)
    frame = compare(
        wanted.models,
        prompts,
        template=wanted.template,
        system=wanted.system,
        repeats=wanted.repeats,
        timing=False,
        think=wanted.think,
        ask_again=True,
        store=store,
        fresh=fresh,
        host=of_one_engine(host),
        quiet=quiet,
        on_record=budget.add,
        **wanted.settings,
    )
    answers = count * len(wanted.models) * wanted.repeats
    scored = _scored(frame, wanted, run_code)
    columns = {TOTAL: TOTAL, **{name: f"score_{name}" for name in wanted.scorers}}
    return Evaluation(
        name=document.path.stem if document.path else "evaluation",
        frame=scored,
        scores=_means(scored, columns),
        checks=[
            found
            for one in wanted.thresholds
            for found in check(scored, one, columns[one.score], wanted.models, earlier)
        ],
        notes=[*left, *_notes(scored, answers, budget)],
        finished=len(frame) == answers,
    )


def _read(
    document: Document, models: str | Sequence[str] | None, at_least: float | None
) -> tuple[Suite, list[str]]:
    """The evaluation in a file, with what the caller adds, and what of the file is left out."""
    extra: dict[str, Any] = {} if models is None else {"models": models}
    if is_promptfoo(document.value):
        suite, left = suite_of_promptfoo(document, extra.get("models"))
    else:
        if extra and isinstance(document.value, dict):
            document.value = {**document.value, **extra}
        suite, left = suite_of(document), []
    if at_least is not None:
        if not 0 <= at_least <= 1:
            raise FileError(f"at_least is a share from 0 to 1; got {at_least}.")
        threshold = Threshold(at_least=at_least)
        suite = suite.model_copy(update={"thresholds": [*suite.thresholds, threshold]})
    return suite, left


def _prompts(suite: Suite, document: Document, run_code: bool) -> tuple[Any, int]:
    """The prompts and their number, checked: they can be sent, and their answers scored."""
    import pandas as pd

    folder = document.path.parent if document.path else Path()
    key = "tasks" if suite.tasks else "prompts"
    try:
        prompts: Any = suite.prompts
        if suite.tasks:
            sets = [folder / Path(one).expanduser() if ending(one) else one for one in suite.tasks]
            prompts = tasks.load(
                sets,
                suite.items,
                seed=suite.draw_seed,
                split=suite.split,
                columns=suite.columns,
            )
        cells = plan(suite.models[0], prompts, template=suite.template, system=suite.system)
        table = pd.DataFrame([{"prompt": cell.prompt, **cell.columns} for cell in cells])
        for scorer in [one.function() for one in suite.scorers.values()] or [None]:
            if scorer == "code" and document.path:  # the file has named it, and not the reader
                check_prompts(table.assign(scorer=scorer), run_code=run_code)
            else:
                check_prompts(table, scorer, run_code=run_code)
    except SlmlabError as error:
        raise document.error((key,), str(error)) from error
    return prompts, len(table)


class _Spending:
    """Counts what the answers of an evaluation cost."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.tokens = 0
        self.begun = time.monotonic()

    def add(self, record: Generation) -> bool:
        """Count one answer; whether there is nothing left for another."""
        self.tokens += record.tokens
        over = self.budget.tokens is not None and self.tokens >= self.budget.tokens
        late = self.budget.seconds is not None and self.seconds >= self.budget.seconds
        return over or late

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.begun


def _scored(frame: pd.DataFrame, suite: Suite, run_code: bool) -> pd.DataFrame:
    """The answers with a column for each scorer, and their weighted mean as ``score``."""
    if not suite.scorers:
        return score(frame, run_code=run_code)
    total, weights = 0.0, 0.0
    for name, one in suite.scorers.items():
        column = f"score_{name}"
        frame = score(frame, one.function(), column=column, run_code=run_code)
        if one.weight:
            total, weights = total + one.weight * frame[column], weights + one.weight
    return frame.assign(**{TOTAL: total / weights})


def _means(frame: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd

    tables = [
        statistics.means(frame, column).assign(score=name) for name, column in columns.items()
    ]
    return pd.concat(tables, ignore_index=True)[["model", "score", "mean", "low", "high", "n"]]


def _notes(frame: pd.DataFrame, answers: int, spent: _Spending) -> list[str]:
    notes = []
    if flags := results.warnings(frame, of_times=False):
        notes.append(f"Flags: {flags}.")
    texts = dict(zip(frame["prompt_id"], map(key_of, frame["prompt"]), strict=True))
    if doubled := len(texts) - len({*texts.values()}):
        notes.append(
            f"{doubled} of {len(texts)} prompts are the same as others. They get the same answers, "
            "so the intervals are too narrow; `repeats` asks again with other seeds."
        )
    if len(frame) < answers:
        notes.append(
            f"The budget was spent after {spent.tokens:,} tokens and {spent.seconds:.0f} s, with "
            f"{len(frame)} of {answers} answers; run it again to go on from there."
        )
    return notes
