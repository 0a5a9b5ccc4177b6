"""The records of several stores together, as those of a class's laptops; nothing counts twice."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slmlab.errors import PromptError, ResultsError
from slmlab.run.frames import key_of
from slmlab.run.grid import own_columns
from slmlab.run.options import ASK_AGAIN_FACTOR, validate_prompt
from slmlab.run.record import Generation
from slmlab.run.store import Entry, entries
from slmlab.run.tables import rows
from slmlab.run.tools import as_chat

# Columns of a table of prompts that are part of the record.
SENT = ("prompt", "num_predict", "tools", "images")


def collect(
    folders: Iterable[str | Path], prompts: Any = None
) -> tuple[list[Generation], list[dict[str, Any]]]:
    """Records and their further columns (see ``slmlab.results.load``), by machine and prompt.

    Raises:
        ResultsError: there is no such folder, or there are no records.
    """
    latest: dict[tuple[str, str], Entry] = {}
    places = [Path(one).expanduser() for one in folders]
    for place in places:
        if not place.is_dir():
            raise ResultsError(f"There is no folder {place} with records.")
        for one in entries(place):
            known = latest.setdefault((one.machine["id"], one.key), one)
            if one.record.started > known.record.started:
                latest[one.machine["id"], one.key] = one
    if not latest:
        where = ", ".join(map(str, places)) or "no folder"
        raise ResultsError(
            f"There are no records in {where}. Give the folders `results` of slmlab's folders "
            "(slmlab.paths.home()), or a folder that contains such folders."
        )
    kept = _without_cut(list(latest.values()))
    columns = None if prompts is None else _columns_by_prompt(prompts)
    if columns is not None:
        kept = [one for one in kept if key_of(one.record.prompt) in columns]
        if not kept:
            raise ResultsError("None of the records answers one of these prompts.")
    return _table(kept, columns)


def _without_cut(all_entries: list[Entry]) -> list[Entry]:
    """Without answers that were cut and asked for again with more tokens.

    Where one that was not cut was asked with so many more tokens too, the number of tokens is a
    setting that somebody compares, and all answers count.
    """

    def request_key(one: Entry, factor: int) -> str:
        record = one.record
        options = {**record.options, "num_predict": record.options["num_predict"] * factor}
        of = [record.model, record.digest, record.prompt, record.think, options]
        return key_of([one.machine["id"], *of])

    def settings_key(one: Entry) -> str:
        record = one.record
        options = {name: value for name, value in record.options.items() if name != "seed"}
        return key_of([one.machine["id"], record.model, record.digest, record.think, options])

    asked_again = {request_key(one, 1): one.asked_again for one in all_entries}
    compared = {
        settings_key(one)
        for one in all_entries
        if not one.record.cut and request_key(one, ASK_AGAIN_FACTOR) in asked_again
    }
    return [
        one
        for one in all_entries
        if not (
            one.record.cut
            and asked_again.get(request_key(one, ASK_AGAIN_FACTOR))
            and settings_key(one) not in compared
        )
    ]


def _columns_by_prompt(prompts: Any) -> dict[str, dict[str, Any]]:
    """The columns of each row of a table of prompts, by the prompt as sent."""
    columns: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows(prompts)):
        given = row if isinstance(row, Mapping) else {"prompt": row}
        if "prompt" not in given:
            raise PromptError("The table of prompts has no column `prompt`.")
        prompt = as_chat(given["prompt"]) if given.get("tools") else given["prompt"]
        own = own_columns({name: value for name, value in given.items() if name not in SENT})
        columns.setdefault(key_of(validate_prompt(prompt)), {"prompt_id": number, **own})
    return columns


def _table(
    kept: Sequence[Entry], own_columns_of: Mapping[str, dict[str, Any]] | None
) -> tuple[list[Generation], list[dict[str, Any]]]:
    labels = _labels(kept)
    numbers: dict[str, int] = {}
    for one in kept:
        numbers.setdefault(key_of(one.record.prompt), len(numbers))
    rows_of = []
    for one, repeat in zip(kept, _repeats(kept), strict=True):
        prompt = key_of(one.record.prompt)
        own = {"prompt_id": numbers[prompt]} if own_columns_of is None else own_columns_of[prompt]
        columns = {
            "machine": labels[one.machine["id"]],
            **{name: one.machine.get(name) for name in ("cpu", "cores", "gpu")},
            "repeat": repeat,
            **own,
        }
        rows_of.append((one.record, columns))
    rows_of.sort(key=lambda row: (row[1]["machine"], row[0].model, row[1]["prompt_id"]))
    return [record for record, _ in rows_of], [columns for _, columns in rows_of]


def _repeats(kept: Sequence[Entry]) -> list[int]:
    """The repeat that each record is: seeds of repeats follow each other, others do not.

    A seed that failed for a prompt leaves no hole if any other answer with the same settings has
    it. Repeats count from a prompt's first seed, on whatever machine and by whatever model, so that
    those with the same number have the same seed.
    """
    settings = [_settings(one) for one in kept]
    prompts = [key_of([one.record.prompt, of]) for one, of in zip(kept, settings, strict=True)]
    seeds: dict[str, set[int]] = {}
    for one, *groups in zip(kept, settings, prompts, strict=True):
        for group in groups:
            seeds.setdefault(group, set()).add(one.record.seed)
    numbers: dict[str, dict[int, int]] = {}
    for prompt, of in dict(zip(prompts, settings, strict=True)).items():
        repeats: dict[int, int] = {}
        first = last = min(seeds[prompt])
        for seed in sorted(seeds[prompt]):
            if not all(one in seeds[of] for one in range(last, seed)):
                first = seed
            repeats[seed] = seed - first
            last = seed
        numbers[prompt] = repeats
    return [numbers[prompt][one.record.seed] for one, prompt in zip(kept, prompts, strict=True)]


def _settings(one: Entry) -> str:
    """What the repeats of all prompts have in common, on all machines."""
    options = {name: value for name, value in one.record.options.items() if name != "seed"}
    if one.asked_again:
        options["num_predict"] //= ASK_AGAIN_FACTOR
    return key_of([options, one.record.think])


def _labels(kept: Sequence[Entry]) -> dict[str, str]:
    """A name for each machine; two of one name get numbers."""
    names = {one.machine["id"]: one.machine["name"] for one in kept}
    count = collections.Counter(names.values())
    seen: collections.Counter[str] = collections.Counter()
    labels = {}
    for machine, name in names.items():
        seen[name] += 1
        labels[machine] = f"{name} ({seen[name]})" if count[name] > 1 else name
    return labels
