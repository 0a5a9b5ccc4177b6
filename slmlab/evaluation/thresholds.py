"""What has to hold in an evaluation, and whether it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from slmlab.errors import SlmlabError
from slmlab.evaluation import statistics
from slmlab.evaluation.runs import compare_runs
from slmlab.evaluation.suite import Suite, Threshold
from slmlab.evaluation.yaml_lines import Document
from slmlab.run import results

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Check:
    """A threshold for one model: what was wanted, what was found, and whether that is enough."""

    model: str
    wanted: str
    found: str
    passed: bool

    def __str__(self) -> str:
        """The result in one line."""
        return f"{'ok' if self.passed else 'MISSED':<6} {self.model}: {self.wanted}; {self.found}"


def earlier_answers(suite: Suite, document: Document) -> dict[str, pd.DataFrame]:
    """The earlier answers that thresholds name, by their file.

    Raises:
        FileError: a file cannot be read, or does not contain answers.
    """
    folder = document.path.parent if document.path else Path()
    tables = {}
    for number, one in enumerate(suite.thresholds):
        if one.not_worse_than is not None:
            try:
                path = folder / Path(one.not_worse_than).expanduser()
                tables[one.not_worse_than] = results.read(path)
            except SlmlabError as error:
                place = ("thresholds", number, "not_worse_than")
                raise document.error(place, str(error)) from error
    return tables


def check(
    frame: pd.DataFrame,
    threshold: Threshold,
    column: str,
    models: Sequence[str],
    earlier: Mapping[str, pd.DataFrame],
) -> list[Check]:
    """One threshold, for each model that it concerns."""
    about = threshold.score
    if threshold.task is not None:
        about += f" on {threshold.task}"
        frame = frame[frame["task"] == threshold.task] if "task" in frame else frame.head(0)
    names = [threshold.model] if threshold.model else models
    if threshold.at_least is not None:
        wanted = f"{about} at least {threshold.at_least:g}"
        judge: Callable[[str], tuple[str, bool]] = partial(
            _at_least, frame, column, threshold.at_least
        )
    else:
        file = str(threshold.not_worse_than)
        wanted = f"{about} not worse than in {file}"
        if threshold.margin is not None:
            wanted += f" by {threshold.margin:g} or more"
        after = frame[frame["model"].isin(names)]
        judge = partial(_not_worse, earlier[file], after, column, threshold.margin)
    checks = []
    for name in names:
        rows = frame[frame["model"] == name]
        missing = int(rows[column].isna().sum())
        if rows.empty:
            checks.append(Check(name, wanted, "there are no answers", False))
        elif missing:  # whatever they would have been, they cannot be passed over
            text = f"{missing} of {len(rows)} answers have no score"
            checks.append(Check(name, wanted, text, False))
        else:
            checks.append(Check(name, wanted, *judge(name)))
    return checks


def _at_least(frame: pd.DataFrame, column: str, least: float, model: str) -> tuple[str, bool]:
    (row,) = statistics.means(frame[frame["model"] == model], column).to_dict("records")
    mean = statistics.Interval(row["mean"], row["low"], row["high"], row["n"], "")
    return str(mean), bool(mean.low >= least)


def _not_worse(
    before: pd.DataFrame, after: pd.DataFrame, column: str, margin: float | None, model: str
) -> tuple[str, bool]:
    try:
        changes = compare_runs(before, after, score=column)
    except SlmlabError as error:
        return str(error), False
    mine = changes.cases["change"][changes.cases["model"] == model]
    if mine.empty:
        return "the earlier run has no answers of it", False
    if (mine == "same").all():
        return f"none of {len(mine)} answers has changed", True
    row = changes.summary.set_index("model").loc[model]
    if "p" not in row or row["p"] != row["p"]:
        return "the earlier answers have no such scores", False
    notes = "".join(f" {note}" for note in changes.notes)
    if margin is None:
        return row["sentence"] + notes, model not in changes.regressions
    difference = statistics.Interval(
        row["difference"], row["low"], row["high"], int(row["n"]), row["method"]
    )
    return f"difference {difference}{notes}", bool(difference.low > -margin)


def junit(name: str, checks: Sequence[Check], verdict: str, finished: bool) -> str:
    """The checks as JUnit XML, which continuous integration shows as tests.

    An evaluation that was stopped has one more test, which is an error.
    """
    suite = ElementTree.Element("testsuite", name=_xml(name), tests=str(len(checks)))
    suite.set("failures", str(sum(not one.passed for one in checks)))
    suite.set("errors", str(int(not finished)))
    for one in checks:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_xml(f"{name}.{one.model}"), name=_xml(one.wanted)
        )
        if not one.passed:
            ElementTree.SubElement(case, "failure", message=_xml(one.found))
    if not finished:
        suite.set("tests", str(len(checks) + 1))
        case = ElementTree.SubElement(suite, "testcase", classname=_xml(name), name="finished")
        ElementTree.SubElement(case, "error", message=_xml(verdict))
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


def _xml(text: str) -> str:
    """A text without the characters that XML cannot hold."""
    return "".join(one if one >= " " or one in "\t\n" else "\ufffd" for one in text)
