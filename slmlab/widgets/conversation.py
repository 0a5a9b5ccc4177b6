"""Conversations with several models: their turns, their settings, and where they go on."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from slmlab.errors import PromptError
from slmlab.run import prompts, thoughts
from slmlab.run.options import Prompt, validate_prompt
from slmlab.run.streaming import Answer

LETTERS = "ABCDEF"
# Stands in a path before the place of the column whose answer all went on from.
FORK = "\0"
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Setup:
    """The settings of a column: a template's name or text, a system prompt, options, thinking."""

    template: str = "plain"
    system: str = ""
    think: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def prompt(self, text: str, before: Messages) -> Prompt:
        """What is sent for a text that a user typed; the template is for the first turn only.

        Raises:
            PromptError: the text is empty, or the template does not have exactly one variable.
        """
        validate_prompt(text)
        system = [{"role": "system", "content": self.system}] if self.system.strip() else []
        if before:
            return [*system, *before, {"role": "user", "content": text}]
        names = prompts.variables(self.template)
        if len(names) != 1:
            raise PromptError(
                "The template needs one variable, such as {question}, which the prompt fills; this "
                f"one has {len(names)}: {self.template[:60]!r}."
            )
        filled = prompts.fill(self.template, **{names[0]: text})
        return [*system, {"role": "user", "content": filled}] if system else filled

    def named(self, name: str) -> str:
        """One of the settings in a few words, as ``temperature 1.0``."""
        if name == "system":
            short = textwrap.shorten(self.system, 40, placeholder=" …")
            return f"system “{short}”" if short else "no system prompt"
        if name == "template":
            return f"template {textwrap.shorten(self.template, 40, placeholder=' …')}"
        if name == "think":
            return "thinking" if self.think else "not thinking"
        return f"{name} {self.options.get(name, 'default')}"


@dataclass
class Turn:
    """A text that a user typed, and its answers, one for each column.

    ``path`` holds the texts of the conversation up to this one. ``source`` is the column from whose
    answer all went on (None: each from its own). ``voted`` is set by a vote, ``best`` too unless
    it was a tie.
    """

    text: str
    answers: list[Answer]
    setups: list[Setup]
    path: tuple[str, ...] = ()
    source: int | None = None
    voted: bool = False
    best: int | None = None

    @property
    def texts(self) -> list[str]:
        """The texts that were typed, up to this one."""
        return [one for one in self.path if not one.startswith(FORK)]

    @property
    def names(self) -> list[str]:
        """The columns' models, with what differs between their settings."""
        varied = varied_settings(self.setups)
        return [
            variant(answer.model, setup, varied)
            for answer, setup in zip(self.answers, self.setups, strict=True)
        ]


@dataclass(frozen=True)
class Point:
    """Where a conversation goes on: after so many turns, from each column's answer or from one's.

    ``again`` says that the next turn is asked again, with another text.
    """

    after: int = 0
    column: int | None = None
    again: bool = False


def column_prompts(
    text: str, turns: Sequence[Turn], source: int | None, setups: Sequence[Setup]
) -> list[Prompt]:
    """What is sent to each column for a text that is typed after these turns.

    Raises:
        PromptError: the text or a template is not usable, or there is no answer to go on from.
    """
    if not turns:
        return [setup.prompt(text, []) for setup in setups]
    last = turns[-1].answers
    found = []
    for place, setup in enumerate(setups):
        origin = place if source is None else source
        if origin >= len(last) or not without_thoughts(last[origin]):
            raise PromptError(
                f"There is no answer {LETTERS[origin]} in turn {len(turns)} to go on from. Choose "
                "the answer of another column, or ask that turn again."
            )
        found.append(setup.prompt(text, history(last[origin])))
    return found


def history(answer: Answer) -> Messages:
    """The conversation up to and including an answer, without system prompt and thoughts."""
    prompt = answer.prompt
    before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return [
        *(dict(one) for one in before if one["role"] != "system"),
        {"role": "assistant", "content": without_thoughts(answer)},
    ]


def without_thoughts(answer: Answer) -> str:
    """An answer's text without thoughts, which models do not get to read again."""
    found = thoughts.parts(answer.text)
    if not any(part.thought for part in found):
        return answer.text.strip() and answer.text
    return "".join(part.text for part in found if not part.thought).strip()


def points(turns: Sequence[Turn]) -> list[tuple[str, Point]]:
    """Where a conversation can go on, each with a label; the usual place is the first."""
    found = []
    for number in range(len(turns), 0, -1):
        where = "" if number == len(turns) else f"turn {number}: "
        columns = len(turns[number - 1].answers)
        own = "each model's own answer" if columns > 1 else "this answer"
        found.append((f"{where}{own}", Point(number)))
        if columns > 1:
            found += [
                (f"{where}answer {LETTERS[place]}, for all", Point(number, place))
                for place in range(columns)
            ]
    for number in range(len(turns), 0, -1):
        again = Point(number - 1, turns[number - 1].source, again=True)
        found.append((f"turn {number} again, edited", again))
    return found


def path(text: str, turns: Sequence[Turn], source: int | None) -> tuple[str, ...]:
    """The texts of a conversation, and from whose answers it went on; equal for equal ones."""
    before = turns[-1].path if turns else ()
    return (*before, *(() if source is None else (f"{FORK}{source}",)), text)


def varied_settings(setups: Iterable[Setup]) -> list[str]:
    """The names of the settings that differ between these."""
    setups = list(setups)
    names = dict.fromkeys(name for one in setups for name in one.options)
    values = [
        {"template": one.template, "system": one.system.strip(), "think": one.think, **one.options}
        for one in setups
    ]
    return [
        name
        for name in ("template", "system", "think", *names)
        if any(one.get(name) != values[0].get(name) for one in values)
    ]


def variant(model: str, setup: Setup, varied: Iterable[str]) -> str:
    """A model with some of its settings: ``qwen2.5:0.5b · temperature 1.0``."""
    return " · ".join([model, *map(setup.named, varied)])


def too_long(answers: Sequence[Answer]) -> str:
    """A sentence on conversations that did not fit the context; empty if all did."""
    cut: dict[bool | None, list[str]] = {True: [], None: []}
    for place, answer in enumerate(answers):
        record = answer.record
        if record and record.turn > 1 and record.prompt_tokens and record.truncated in cut:
            cut[record.truncated].append(LETTERS[place] if len(answers) > 1 else answer.model)
    sentences = [
        f"The conversation of {', '.join(names)} {what} longer than the context, so the server "
        "left out its beginning. A larger Context in the settings keeps it."
        for names, what in ((cut[True], "was"), (cut[None], "may have been"))
        if names
    ]
    return " ".join(sentences)


def to_rows(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """The conversation of each column, as a table of prompts that ``slmlab.compare`` takes.

    ``prompt`` is the list of messages up to the last question, ``text`` the answer that ``model``
    gave to it.
    """
    last = turns[-1]
    return [
        {"prompt": [*_system(answer), *history(answer)[:-1]], "model": name, "text": answer.text}
        for answer, name in zip(last.answers, last.names, strict=True)
    ]


def _system(answer: Answer) -> Messages:
    if isinstance(answer.prompt, str):
        return []
    return [dict(one) for one in answer.prompt if one["role"] == "system"]
