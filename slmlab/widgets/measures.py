"""The numbers below answers that stand side by side, and which of them stands out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from slmlab.run import results
from slmlab.run.record import FEWEST_TOKENS, Generation
from slmlab.run.streaming import Answer
from slmlab.show import display
from slmlab.widgets import markup

# The button's page holds the text a second time.
LONGEST_COPIED = 100_000

NOT_THE_SAME_START = (
    *("not alone", "failed", "cold"),
    *("prompt cached", "prompt truncated", "prompt perhaps truncated"),
)


CACHED = "prompt cached"


@dataclass(frozen=True)
class Measure:
    """A number of a record: its label, attribute, format and unit, and what is good.

    ``more`` says whether more is better (None: neither). A record with one of the flags ``unlike``
    was not measured as the others were; with ``of_prompt`` neither were those of which some had
    most of their prompt in a cache and some not.
    """

    label: str
    name: str
    form: str
    unit: str
    more: bool | None = None
    unlike: tuple[str, ...] = ()
    of_prompt: bool = False


# How long the whole answer took is no merit: a short answer is not better for being short.
MEASURES = (
    Measure("speed", "tokens_per_s", "{:.1f}", "tokens/s", True, ("not alone", "failed")),
    Measure("first token", "ttft_s", "{:.2f}", "s", False, NOT_THE_SAME_START, True),
    Measure("whole answer", "wall_s", "{:.1f}", "s"),
    Measure("length", "tokens", "{:.0f}", "tokens"),
)


def standing_out(measure: Measure, records: Sequence[Generation | None]) -> list[bool]:
    """Which records are clearly better than those of all other models, measured alike.

    One run says little about a small difference, so it has to be a fifth. Answers of one model are
    no rivals: what differs between them is chance, or its settings.
    """
    rivals = {
        place: (one.model, float(value))
        for place, one in enumerate(records)
        if one is not None
        and (value := getattr(one, measure.name))
        and (one.text or one.tokens >= FEWEST_TOKENS)
        and not {*measure.unlike} & {*results.flags(one)}
    }

    def beats(one: float, other: float) -> bool:
        return one >= other * results.CLEARLY if measure.more else one * results.CLEARLY <= other

    found = [False] * len(records)
    if measure.more is None or (measure.of_prompt and _some_cached(records)):
        return found
    for place, (model, value) in rivals.items():
        others = [other for name, other in rivals.values() if name != model]
        found[place] = bool(others) and all(beats(value, other) for other in others)
    return found


def _mostly_cached(record: Generation) -> bool:
    """Whether most of a prompt was in the server's cache, from an earlier turn or an equal one."""
    return (record.cached_tokens or 0) > record.prompt_tokens / 2


def _some_cached(records: Sequence[Generation | None]) -> bool:
    """Whether most of the prompt was cached for some of them, and not for others."""
    return len({_mostly_cached(one) for one in records if one}) > 1


def strips_html(records: Sequence[Generation | None]) -> list[Markup]:
    """The numbers of each record, as bars relative to the largest; those that stand out marked.

    A record that is None gets none; one alone has no bars.
    """
    lines: list[list[Markup]] = [[] for _ in records]
    rivals = len(records) > 1
    mixed = _some_cached(records)
    for measure in MEASURES:
        values = [getattr(one, measure.name) if one else None for one in records]
        largest = max((value for value in values if value is not None), default=0)
        stars = standing_out(measure, records)
        for place, value in enumerate(values):
            if value is not None:
                lines[place].append(
                    markup.number_html(
                        measure.label,
                        measure.form.format(value),
                        measure.unit,
                        value / max(largest, 1e-9) if rivals else None,
                        best=stars[place],
                    )
                )
    return [
        Markup("<div class='slmlab-strip'>{}</div><div>{}</div>").format(
            Markup().join(lines[place]),
            markup.flags_html(_flags(one, mixed)),
        )
        if one
        else Markup()
        for place, one in enumerate(records)
    ]


def _flags(record: Generation, mixed: bool) -> list[str]:
    """The flags of a record; if ``mixed``, also that its prompt came from a cache."""
    found = results.flags(record)
    return [*found, CACHED] if mixed and _mostly_cached(record) and CACHED not in found else found


def metrics_html(answer: Answer) -> Markup:
    """The numbers of one answer, the reason why it ended, and a button that copies it."""
    copy = markup.copy_button(answer.text[:LONGEST_COPIED])
    record = answer.record
    if record is None or record.error:
        return copy
    (strip,) = strips_html([record])
    about = Markup("<p class='slmlab-quiet'>prompt {} tokens · ended by {} {}</p>").format(
        record.prompt_tokens, display.why_it_ended(record), copy
    )
    return strip + about
