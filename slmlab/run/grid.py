"""The plan of a comparison: models × prompts × settings × repeats, as a list of cells."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypedDict

from slmlab.errors import PromptError, did_you_mean
from slmlab.models.inventory import as_names
from slmlab.run import prompts
from slmlab.run.images import keep, with_images
from slmlab.run.options import (
    ALL_OPTIONS,
    LOAD_OPTIONS,
    Prompt,
    encodable,
    full_options,
    validate_prompt,
)
from slmlab.run.record import Generation
from slmlab.run.tables import file_of, rows
from slmlab.run.tools import as_chat

if TYPE_CHECKING:
    from typing_extensions import Unpack

# The options that a table's column of that name can give each row.
OWN = ("num_predict", "tools")
# The columns that compare() and score() write; a table's own column of that name becomes given_….
RESERVED = {field.name for field in fields(Generation)} | {
    "tokens_per_s",
    "prompt_tokens_per_s",
    "cut",
    "turn",
    "flags",
    "repeat",
    "prompt_id",
    "template",
    "system",
    "quantization",
    "model_load_s",
    "asked_again",
    *("machine", "cpu", "cores", "gpu"),
    "score",
    "score_note",
    *ALL_OPTIONS,
}


@dataclass(frozen=True)
class Cell:
    """One generation of the grid; ``columns`` are copied to the table of results.

    ``engine`` is the one that runs it, where a comparison has several.
    """

    model: str
    prompt: Prompt
    options: Mapping[str, Any]
    repeat: int
    columns: Mapping[str, Any]
    engine: str = ""

    @property
    def load(self) -> tuple[Any, ...]:
        """The model and the options it is loaded with; equal for cells that can share a load."""
        return (self.model, *(self.options.get(name) for name in LOAD_OPTIONS))


class GridOptions(TypedDict, total=False):
    """The sampling options of a grid: each has one value, or a list of values to compare."""

    temperature: float | Sequence[float] | None
    top_k: int | Sequence[int] | None
    top_p: float | Sequence[float] | None
    min_p: float | Sequence[float] | None
    repeat_penalty: float | Sequence[float] | None
    repeat_last_n: int | Sequence[int] | None
    presence_penalty: float | Sequence[float] | None
    frequency_penalty: float | Sequence[float] | None
    seed: int | Sequence[int] | None
    num_ctx: int | Sequence[int] | None
    num_predict: int | Sequence[int] | None
    stop: str | Sequence[str] | Sequence[Sequence[str]] | None
    num_thread: int | Sequence[int] | None
    num_gpu: int | Sequence[int] | None
    num_batch: int | Sequence[int] | None
    num_keep: int | Sequence[int] | None
    format: str | Mapping[str, Any] | type | Sequence[Any] | None
    tools: Sequence[Any] | str | None


def plan(
    models: str | Iterable[str],
    prompts: Any,
    *,
    template: str | Sequence[str] | None = None,
    system: str | Sequence[str | None] | None = None,
    quantization: str | Sequence[str] | None = None,
    repeats: int = 1,
    parameters: Iterable[str] = (),
    **options: Unpack[GridOptions],
) -> list[Cell]:
    """The cells of a grid, ordered so that each model is loaded once (for each context length).

    The arguments are those of ``slmlab.compare``; ``parameters`` are the names of its parameters,
    for the hint at a mistyped option. An option with a list of values is an axis of the grid.
    Repeat ``r`` has the seed ``seed + r`` on every model, so that rows can be paired. A table's
    columns ``num_predict`` and ``tools`` hold for their rows, unless that option is
    given. With tools, a text is sent as a conversation of one message.

    Raises:
        ModelError: a model is not a name.
        PromptError: the grid is empty, or a prompt, template, table or option is not usable.
    """
    names = as_names([models])
    path = file_of(prompts)
    filled = _fill(
        rows(prompts),
        [None] if template is None else as_list(template),
        f"{path}: " if path else "",
        own=[name for name in OWN if options.get(name) is None],
    )
    if isinstance(repeats, bool) or not hasattr(repeats, "__index__"):
        raise PromptError(f"repeats is a whole number; got {repeats!r}.")
    systems = [None] if system is None else as_list(system)
    for text in systems:
        if not isinstance(text, (str, type(None))):
            raise PromptError(f"A system prompt is a text; got {text!r}.")
    tags = [None] if quantization is None else as_list(quantization)
    settings = _settings(options, parameters)
    if not (names and filled and systems and tags and settings) or repeats < 1:
        raise PromptError("compare() needs at least one model, one prompt and one repeat.")
    # If one setting has tools, all are asked in the same form, so that they can be compared.
    chats = any("tools" in sent for sent in settings)
    with_systems = [
        (
            _with_system(prompt, text),
            columns if system is None else {**columns, "system": text},
            own,
        )
        for prompt, columns, own in filled
        for text in systems
    ]
    # Cells share what is equal: from tens of thousands of cells on, Python's garbage collector
    # takes as long to look through many small objects as it takes to make them.
    seeded = [
        ({**sent, "seed": sent["seed"] + repeat}, repeat)
        for sent in settings
        for repeat in range(repeats)
    ]
    sent_as = [
        (as_chat(prompt) if chats or "tools" in own else prompt, columns, own)
        for prompt, columns, own in with_systems
    ]
    return [
        Cell(
            model=_with_tag(name, tag),
            prompt=prompt,
            options={**sent, **own} if own else sent,
            repeat=repeat,
            columns={**columns, "quantization": tag} if tag else columns,
        )
        for name, tag in itertools.product(names, tags)
        for sent, repeat in seeded
        for prompt, columns, own in sent_as
    ]


def as_list(value: Any) -> list[Any]:
    """One value or several, but for a text, as a list."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return [value]
    return list(value)


def _settings(options: Mapping[str, Any], parameters: Iterable[str]) -> list[dict[str, Any]]:
    """Every combination of option values; those that need another load vary slowest."""
    axes = axes_of(options)
    order = sorted(axes, key=lambda name: name not in LOAD_OPTIONS)
    return [
        full_options(dict(zip(order, values, strict=True)), parameters=parameters)
        for values in itertools.product(*(axes[name] for name in order))
    ]


def axes_of(options: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values of each option; a list is several, unless the option is one itself."""
    axes = {}
    for name, value in options.items():
        several = isinstance(value, (list, tuple))
        if name == "stop" and several:
            several = any(isinstance(one, (list, tuple)) for one in value)
        if name == "tools" and several:
            several = any(isinstance(one, (list, tuple, str, type(None))) for one in value)
        axes[name] = list(value) if several else [value]
    return axes


def _with_tag(name: str, quantization: str | None) -> str:
    """The model's name with a quantization tag, as Ollama writes it: ``x:1b-instruct-q4_0``."""
    if quantization is None:
        return name
    return f"{name}{'-' if ':' in name else ':'}{quantization}"


def _with_system(prompt: Prompt, system: str | None) -> Prompt:
    if system is None:
        return prompt
    rest = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    return validate_prompt([{"role": "system", "content": system}, *rest])


def _fill(
    rows: Sequence[Any], names: list[str | None], where: str, own: Sequence[str]
) -> list[tuple[Prompt, dict[str, Any], dict[str, Any]]]:
    """For each template and row: the prompt as sent, its columns in the result, its own options."""
    filled = []
    for name in names:
        variables = [] if name is None else _variables(name)
        for number, row in enumerate(rows):
            columns = {"prompt_id": number} | ({} if name is None else {"template": name})
            options: dict[str, Any] = {}
            try:
                if isinstance(row, Mapping):
                    options = _own_options(row, own)
                    row = {key: row[key] for key in row if key not in options}
                    if row.get("images"):
                        row = {**row, "images": _kept(row["images"])}
                    columns |= own_columns(row)
                seen = row.get("images") if isinstance(row, Mapping) else None
                prompt = with_images(_prompt(row, name, variables), seen)
                options = {name: one for name, one in options.items() if one is not None}
                filled.append((prompt, columns, options))
            except PromptError as error:
                if len(rows) == 1 and not where:
                    raise
                raise PromptError(f"{where}Row {number + 1}: {error}") from error
    return filled


def _kept(images: Any) -> list[str]:
    """The digests of a row's images."""
    return [keep(one) for one in (images if isinstance(images, (list, tuple)) else [images])]


def _variables(template: str) -> list[str]:
    """A template's variables.

    Raises:
        PromptError: it has none, so that every row would send the same text.
    """
    names = prompts.variables(template)
    if not names:
        raise PromptError(
            f"The template {template!r} has no variables, so every row would send the same text. "
            "Write {question} where the text of the column `question` should go."
        )
    return names


def _own_options(row: Mapping[str, Any], own: Sequence[str]) -> dict[str, Any]:
    """A row's own options by name; None where a cell is empty."""
    given = {name: row[name] for name in own if name in row}
    # A table may have any texts in a column of this name.
    if isinstance(tools := given.get("tools"), str) and not tools.lstrip().startswith("[{"):
        del given["tools"]
    full = full_options(given)
    return {name: None if value is None else full[name] for name, value in given.items()}


def own_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's columns; those whose names compare() uses itself are renamed to ``given_…``."""
    columns = {}
    for column, value in row.items():
        name = column
        while name in RESERVED or (name != column and name in row):
            name = f"given_{name}"
        if isinstance(value, str):
            encodable(value, f"The column {column!r}")
        columns[name] = value
    return columns


def _prompt(row: Any, template: str | None, variables: list[str]) -> Prompt:
    if template is None:
        if isinstance(row, Mapping):
            if "prompt" not in row:
                hint = did_you_mean("prompt", row)
                raise PromptError(
                    "A table of prompts needs a column `prompt`, or a template that is filled with "
                    f"its columns; it has {', '.join(row)}.{hint}"
                )
            row = row["prompt"]
            if row is None:
                raise PromptError("The prompt is missing; write one, or remove the row.")
        if not isinstance(row, (str, Sequence)):
            raise PromptError(f"A prompt is a text or a list of messages; got {row!r}.")
        return validate_prompt(row)
    if isinstance(row, str):
        if len(variables) != 1:
            raise PromptError(
                f"The template {template!r} has the variables {', '.join(variables)}; "
                "give a table (a DataFrame, a CSV file or a list of dicts) with a column for each."
            )
        return validate_prompt(prompts.fill(template, **{variables[0]: row}))
    if not isinstance(row, Mapping):
        raise PromptError("A template takes texts or rows of a table, not conversations.")
    missing = [name for name in variables if name not in row]
    if missing:
        hint = did_you_mean(missing[0], row)
        raise PromptError(
            f"The template needs a column {missing[0]!r}, which the table does not have.{hint}"
        )
    doubled = [name for name in prompts.DOUBLED.findall(template) if name in row]
    if doubled and doubled[0] not in variables:
        raise PromptError(
            f"The template has {{{{{doubled[0]}}}}} beside {{{variables[0]}}}, and in double "
            f"braces it is not a variable. Write {{{doubled[0]}}} for the column {doubled[0]!r}."
        )
    values = {name: "" if row[name] is None else row[name] for name in variables}
    return validate_prompt(prompts.fill(template, **values))
