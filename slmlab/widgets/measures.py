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

# A difference that is smaller may be gone in the next run of the same model.
CLEARLY = 1.2
# The button's page holds the text a second time.
LONGEST_COPIED = 100_000

NOT_THE_SAME_START = (
    *("not alone", "failed", "cold"),
    *("prompt cached", "prompt truncated", "prompt perhaps truncated"),
)


@dataclass(frozen=True)
class Measure:
    """A number of a record: its label, attribute, format and unit, and what is good.

    ``more`` says whether more is better (None: neither). A record with one of the flags ``unlike``
    was not measured as the others were.
    """

    label: str
    name: str
    form: str
    unit: str
    more: bool | None = None
    unlike: tuple[str, ...] = ()


# How long the whole answer took is no merit: a short answer is not better for being short.
MEASURES = (
    Measure("speed", "tokens_per_s", "{:.1f}", "tokens/s", True, ("not alone", "failed")),
    Measure("first token", "ttft_s", "{:.2f}", "s", False, NOT_THE_SAME_START),
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
        return one >= other * CLEARLY if measure.more else one * CLEARLY <= other

    found = [False] * len(records)
    if measure.more is None:
        return found
    for place, (model, value) in rivals.items():
        others = [other for name, other in rivals.values() if name != model]
        found[place] = bool(others) and all(beats(value, other) for other in others)
    return found


def strips_html(records: Sequence[Generation | None]) -> list[Markup]:
    """The numbers of each record, as bars relative to the largest; those that stand out marked.

    A record that is None gets none; one alone has no bars.
    """
    lines: list[list[Markup]] = [[] for _ in records]
    rivals = len(records) > 1
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
            Markup().join(lines[place]), markup.flags_html(results.flags(one))
        )
        if one
        else Markup()
        for place, one in enumerate(records)
    ]


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
