"""Compare two models on as many prompts as it takes to tell them apart, and no more."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.errors import PromptError
from slmlab.evaluation.scorers.reading import Scorer
from slmlab.evaluation.scorers.table import score
from slmlab.evaluation.statistics import SIGNIFICANT
from slmlab.facts import Sentence
from slmlab.models.inventory import as_names
from slmlab.run.compare import compare
from slmlab.run.frames import key_of
from slmlab.run.grid import as_list, axes_of
from slmlab.run.options import full_options, parameters_of
from slmlab.run.servers import of_one_engine
from slmlab.run.tables import rows

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Unpack

    from slmlab.run.grid import GridOptions

# Between equal models the evidence reaches this in at most 5 % of all comparisons.
DECISIVE = 1 / SIGNIFICANT
FEWEST = 8  # wins of as many prompts that reach it


@dataclass(frozen=True, repr=False)
class Decision(Sentence):
    """Which of two models did better, and how many prompts it took to say so.

    Attributes:
        frame: the answers with their scores.
        better: the better model; None if the prompts could not tell.
        evidence: how many times likelier these scores are if one is better than if none is (see
            ``evidence``); 20 decides.
        sentence: the result.
    """

    TITLE = "Which is better"

    frame: pd.DataFrame
    better: str | None
    evidence: float
    sentence: str

    def __str__(self) -> str:
        """The sentence."""
        return self.sentence


def evidence(better: int, worse: int) -> float:
    """How strongly prompts tell two models apart, if one may look after every prompt.

    A sign test that is read again and again until it is significant is significant too often: of
    two equal models it would declare one the better in far more than 5 % of all comparisons. This
    number may be read at any time: between equal models it ever reaches 20 in at most 5 % of all
    comparisons (Ville's inequality; Ramdas, Grünwald, Vovk and Shafer 2023,
    https://arxiv.org/abs/2210.01948). It is the likelihood of the counts, averaged over all shares
    of wins from 0 to 1, divided by their likelihood at a share of one half.

    Args:
        better: the number of prompts on which one did better than the other.
        worse: the number on which it did worse.

    Examples:
        >>> from slmlab.evaluation.sequential import evidence
        >>> evidence(better=8, worse=0) > 20
        True
    """
    n = better + worse
    # The average is the beta function; in logarithms, since 2**n soon has no float.
    log = math.lgamma(better + 1) + math.lgamma(worse + 1) - math.lgamma(n + 2) + n * math.log(2)
    return math.exp(min(log, 700.0))


def decide(
    models: Sequence[str],
    prompts: Any,
    scorer: str | Scorer | None = None,
    *,
    step: int = 4,
    template: str | None = None,
    system: str | None = None,
    think: bool = False,
    store: str | Path | None = None,
    host: str | Sequence[str] | None = None,
    quiet: bool = False,
    **options: Unpack[GridOptions],
) -> Decision:
    """Ask two models until it is clear which of them does better, or the prompts run out.

    The prompts are put in a random order (always the same), so that the first ones stand for all;
    one that is there twice counts once.
    After every few, ``evidence`` says whether the scores tell the models apart; if so, or if the
    remaining prompts could not change that, it stops. So a clear winner takes some 10 to 30 prompts
    however many there are. If it says that one is better, it is wrong in at most 5 % of the
    comparisons of equal models. How much better it is, this does not say: an early stop makes a
    difference look larger than it is.

    Args:
        models: two models.
        prompts: as for ``slmlab.compare``.
        scorer: as for ``slmlab.score``.
        step: how many prompts are asked before each look.
        template: a template's name or text.
        system: a system prompt.
        think: let models think that can.
        store: the folder of the records, as in ``slmlab.compare``.
        host: the server, or several that share the work.
        quiet: print nothing.
        options: sampling options, one value each.

    Raises:
        PromptError: these are not two models, too few prompts, or several settings, or an option is
            not usable.
        TaskError: the answers cannot be scored.

    Examples:
        >>> found = slmlab.decide(names, slmlab.tasks.load("sentiment", items=8), num_predict=2)
        >>> print(found)
    """
    import numpy as np

    # Before they come to compare(), which takes other parameters too, and lists of values.
    full_options(dict.fromkeys(options), parameters=parameters_of(decide))
    axes = {**axes_of(options), "template": as_list(template), "system": as_list(system)}
    if several := [name for name, values in axes.items() if len(values) > 1]:
        raise PromptError(
            f"decide() compares two models in one setting, and {several[0]} has "
            f"{len(axes[several[0]])} values. Decide for each value by itself."
        )
    pair = as_names([models])
    if len(pair) != 2:
        raise PromptError(f"decide() compares two models; got {len(pair)}: {', '.join(pair)}.")
    # The same prompt again gets the same answer, and tells no more about the models.
    given = [*{key_of(_without_id(one)): one for one in rows(prompts)}.values()]
    order = [given[number] for number in np.random.default_rng(0).permutation(len(given))]
    if evidence(len(order), 0) < DECISIVE:
        raise PromptError(f"{len(order)} prompts can never decide; give at least {FEWEST}.")
    looks = _Looks(pair, scorer, len(order), quiet)
    compare(
        pair,
        order,
        template=template,
        system=system,
        think=think,
        timing=False,
        ask_again=True,
        store=store,
        host=of_one_engine(host),
        quiet=True,
        until=looks.add,
        step=step,
        **options,
    )
    return looks.decision()


def _without_id(row: Any) -> Any:
    """A row of a table without what only names it."""
    return {k: v for k, v in row.items() if k != "id"} if isinstance(row, Mapping) else row


class _Looks:
    """What the prompts that were asked so far say of two models."""

    def __init__(
        self, pair: Sequence[str], scorer: str | Scorer | None, total: int, quiet: bool
    ) -> None:
        self.pair, self.scorer, self.total, self.quiet = pair, scorer, total, quiet
        self.answered = self.scored = self.better = self.worse = 0
        self.frames: list[pd.DataFrame] = []

    def add(self, answers: pd.DataFrame) -> bool:
        """Score the answers to some more prompts; whether no more have to be asked."""
        # What was scored before is not scored again: a scorer may run code, or ask a model.
        self.frames.append(score(answers, self.scorer))
        gaps = _gaps(self.frames[-1], self.pair)
        self.answered += answers["prompt_id"].nunique()
        self.scored += len(gaps)
        self.better += sum(gap > 0 for gap in gaps)
        self.worse += sum(gap < 0 for gap in gaps)
        if not self.quiet:
            first, second = self.pair
            print(
                f"{self.answered} prompts: {first} did better on {self.better}, {second} on "
                f"{self.worse}",
                file=sys.stderr,
            )
        low, high = sorted((self.better, self.worse))
        decided = evidence(low, high) >= DECISIVE
        return decided or evidence(low, high + self.total - self.answered) < DECISIVE

    def decision(self) -> Decision:
        """What is known when no more are asked."""
        import pandas as pd

        frame = pd.concat(self.frames).sort_values(
            "model", key=lambda names: names.map(self.pair.index), kind="stable", ignore_index=True
        )
        return _decision(frame, self.pair, self.better, self.worse, self.scored, self.total)


def _gaps(frame: pd.DataFrame, pair: Sequence[str]) -> list[float]:
    """The difference of the two scores of each prompt that has both."""
    table = frame.pivot_table(index="prompt_id", columns="model", values="score", dropna=False)
    if not set(pair) <= set(table):
        return []
    return [round(gap, 12) for gap in (table[pair[0]] - table[pair[1]]).dropna()]


def _decision(
    frame: pd.DataFrame, pair: Sequence[str], better: int, worse: int, scored: int, total: int
) -> Decision:
    e_value = evidence(better, worse)
    first, second = pair if better >= worse else pair[::-1]
    wins, losses = max(better, worse), min(better, worse)
    counts = (
        f"after {scored} of {total} prompts, of which {first} did better on {wins} and {second} on "
        f"{losses} (evidence {e_value:.3g}; {DECISIVE:.0f} decides)"
    )
    if e_value >= DECISIVE:
        return Decision(frame, first, e_value, f"{first} is better: decided {counts}.")
    left = total - scored
    # Where answers have no score, fewer count than were asked, and more could have decided.
    hopeless = left and evidence(losses, wins + left) < DECISIVE
    why = f"; the other {left} could not change that" if hopeless else ""
    return Decision(frame, None, e_value, f"It is not decided {counts}{why}.")
