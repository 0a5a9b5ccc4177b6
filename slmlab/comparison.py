"""A grid of generations: every prompt to every model, one model in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from slmlab import models, results, server
from slmlab.errors import PromptError, SlmlabError
from slmlab.generation import Generation, GenerationError, Prompt, full_options, generate

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Cell:
    """One generation of the grid."""

    model: str
    prompt: Prompt
    repeat: int
    seed: int


def plan(names: Iterable[str], prompts: Iterable[Prompt], repeats: int, seed: int) -> list[Cell]:
    """The grid, model by model. A repeat has the same seed on every model, so that rows pair up."""
    prompts = list(prompts)
    return [
        Cell(name, prompt, repeat, seed + repeat)
        for name in names
        for repeat in range(repeats)
        for prompt in prompts
    ]


def compare(
    names: str | Iterable[str],
    prompts: Prompt | Iterable[Prompt],
    *,
    repeats: int = 1,
    host: str | None = None,
    on_cell: Callable[[Cell], None] | None = None,
    on_text: Callable[[str], None] | None = None,
    on_record: Callable[[Generation], None] | None = None,
    timeout: float = 600.0,
    **options: Any,
) -> pd.DataFrame:
    """Put every prompt to every model and measure each answer.

    The models run one after the other, each alone in memory and loaded before its first prompt
    (``model_load_s`` has the seconds), with the same options for all, sent explicitly. A generation
    that fails is a row with ``error`` set, and the grid goes on.

    Args:
        names: one model or several; all must be installed.
        prompts: one prompt or several; a prompt is a text or a list of messages.
        repeats: how often each is run; repeat ``r`` has the seed ``seed + r`` on every model.
        host: the server (default: ``slmlab.server.host()``).
        on_cell: called before each generation.
        on_text: called with each piece of text.
        on_record: called with each finished record.
        timeout: seconds without a sign of life from the server after which a cell fails.
        options: sampling options (see ``slmlab.generation.DEFAULT_OPTIONS``).

    Returns:
        One row for each generation: the record's fields, ``repeat`` and ``model_load_s``.

    Raises:
        ModelError, PromptError, ServerError: something is wrong with the arguments; nothing ran.
    """
    host = host or server.host()
    names = [names] if isinstance(names, str) else list(names)
    prompts = [prompts] if _is_one(prompts) else list(prompts)
    sent = full_options(**options)
    if not names or not prompts or repeats < 1:
        raise PromptError("compare() needs at least one model, one prompt and one repeat.")
    for prompt in prompts:
        if isinstance(prompt, str) and not prompt.strip():
            raise PromptError("One of the prompts is empty.")
    for name in names:
        models.resolve(name, host)
    seed = sent.pop("seed")
    records, repeat_of, load_of = [], [], []
    ready, load_s = None, 0.0
    for cell in plan(names, prompts, repeats, seed):
        if cell.model != ready:
            load_s, ready = _make_ready(cell.model, sent["num_ctx"], host), cell.model
        if on_cell:
            on_cell(cell)
        try:
            record = generate(
                cell.model, cell.prompt,
                on_text=on_text, timeout=timeout, host=host, seed=cell.seed, **sent,
            )  # fmt: skip
        except GenerationError as error:
            record = error.record
        except SlmlabError as error:
            record = _failed(cell, sent, host, str(error))
        records.append(record)
        repeat_of.append(cell.repeat)
        load_of.append(load_s)
        if on_record:
            on_record(record)
    return results.to_frame(records).assign(repeat=repeat_of, model_load_s=load_of)


def _is_one(prompts: Any) -> bool:
    """Whether this is one prompt: a text, or a list of messages."""
    if isinstance(prompts, str):
        return True
    return isinstance(prompts, (list, tuple)) and bool(prompts) and isinstance(prompts[0], dict)


def _make_ready(name: str, num_ctx: int, host: str) -> float | None:
    """Load one model from cold; returns the seconds that took, None where it failed.

    On this machine every other model goes first, so that the one that runs has the machine to
    itself; on a remote server, which others may be using, nothing is unloaded.
    """
    try:
        if server.is_local(host):
            for other in models.loaded(host):
                models.unload(other.name, host)
        return models.load(name, num_ctx, host)
    except SlmlabError:
        return None  # the cell's own generation says what is wrong


def _failed(cell: Cell, options: dict, host: str, error: str) -> Generation:
    """The record of a generation that could not even start."""
    return Generation(
        model=cell.model, prompt=cell.prompt, text="", error=error, stop_reason=None, ttft_s=None,
        wall_s=0.0, load_s=0.0, prompt_tokens=0, prompt_s=0.0, tokens=0, generation_s=0.0,
        cold=False, options={**options, "seed": cell.seed}, host=host, engine="unknown",
        engine_version="", digest="",
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )  # fmt: skip
