"""Measure how fast a model reads and writes: by depth, threads, and requests at once."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable
from typing import Any

from slmlab import hardware, models
from slmlab.devices import cpu_name
from slmlab.engines import server
from slmlab.engines.address import is_local, speaks_openai
from slmlab.engines.client import Session
from slmlab.errors import Interrupted, ModelError, PartialResultError, PromptError, SlmlabError
from slmlab.memory import free_for, gpus_of, parallel_requests
from slmlab.models import speed
from slmlab.models.inventory import validate_model
from slmlab.run.options import DEFAULT_OPTIONS, full_options
from slmlab.run.record import FEWEST_TOKENS
from slmlab.run.speeds import Bench, Speed, frame, students
from slmlab.run.target import Target, resolve_target
from slmlab.run.timed_requests import TOO_SHORT, TimedRequests

# Tokens kept free for a chat template, and for the question after what was read before.
MARGIN = 256
LEAST_PROMPT = 16
# From this share of the machine's processor time on, what else runs is worth a warning.
BUSY = 0.1
# The embedded engine goes on from what it has read if that is more than half of a prompt; a
# template ends with a few tokens more.
TEMPLATE_END = 32


def bench(
    model: str,
    *,
    depth: int | Iterable[int] = 0,
    threads: int | Iterable[int] | None = None,
    at_once: int | Iterable[int] = 1,
    prompt_tokens: int = 512,
    tokens: int = 64,
    repeats: int = 5,
    students_at: float | None = None,
    host: str | None = None,
    quiet: bool = False,
) -> Bench:
    """Measure how fast a model reads a prompt (prefill) and writes an answer (decode).

    On this machine all models are unloaded first, so that the model has the machine to itself; if
    other programs keep it busy, a line says so. The first answer after each load is told apart
    (cold), a second one is discarded, and then each test runs ``repeats`` times. Prompts are of
    random words, and no two begin alike: what is timed is read whole, and not found in a cache. For
    a depth above 0 a text of that length is read before, and only what comes after it is timed.

    Times are the server's own, but for the prefill of several requests at once: that is timed from
    the request to the first piece of the answer, since each waits for the others. The first token
    of an answer comes out of prefill, so decode is the time of the tokens after it, as in
    llama-bench. Speeds are those of each request, not of all together.

    Args:
        model: a model's name.
        depth: tokens that the context holds before what is timed, one number or several. With 0 a
            decode still comes after a short question.
        threads: of the processor, one number or several (default: the server's choice).
        at_once: requests at once, one number or several, each with a context of its own.
        prompt_tokens: length of a prompt whose prefill is timed, with its chat template.
        tokens: tokens of an answer whose decoding is timed.
        repeats: how often each test runs.
        students_at: also find the largest number of requests at once that get so many tokens per
            second each, at the first depth, with the first number of threads.
        host: the server (default: ``slmlab.server.host()``).
        quiet: print nothing while it runs.

    Raises:
        PromptError: a number is not usable, a depth is beyond the context length, the engine does
            not take so many requests at once, or is used through OpenAI's API; nothing was sent.
        ModelError: there is no such model.
        ServerError: no server answers.
        PartialResultError: it failed on the way; ``frame`` has what was measured.

    Examples:
        >>> found = slmlab.bench(names[0], prompt_tokens=64, tokens=8, repeats=2)
        >>> list(found.frame["test"])
        ['prefill', 'decode']
    """
    validate_model(model)
    depths, several = numbers("depth", depth, 0), numbers("at_once", at_once, 1)
    counts = [None] if threads is None else numbers("threads", threads, 1)
    (prompt_tokens,) = numbers("prompt_tokens", [prompt_tokens], LEAST_PROMPT)
    (tokens,) = numbers("tokens", [tokens], FEWEST_TOKENS)
    (repeats,) = numbers("repeats", [repeats], 1)
    if students_at is not None and not (
        hasattr(students_at, "__float__") and 0 < students_at < float("inf")
    ):
        raise PromptError(f"students_at is a number of tokens per second; got {students_at!r}.")
    address = _address(host)
    needed = prompt_tokens + tokens + MARGIN
    num_ctx = max(DEFAULT_OPTIONS["num_ctx"], -(-(max(depths) + needed) // 256) * 256)
    options = full_options({"num_ctx": num_ctx, "num_predict": tokens + 1, "temperature": 0})
    tokens = options["num_predict"] - 1  # a limit in the environment may have shortened it
    target = resolve_target(model, num_ctx, address)
    limit = parallel_requests(target.engine)
    _check(target, depths, counts, several, prompt_tokens, tokens, needed, limit)
    here = is_local(target.host)
    notes = _warning() if here else []
    for one in [] if quiet else notes:
        print(one, file=sys.stderr, flush=True)
    speeds: list[Speed] = []

    def on_speed(one: Speed) -> None:
        speeds.append(one)
        if not quiet:
            print(one, file=sys.stderr, flush=True)

    cold: list[str] = []
    held = ""
    session = Session()
    try:
        for count in counts:
            requests = TimedRequests(target, options, count, repeats, session, on_speed)
            cold += requests.load()
            for before in depths:
                written = {}
                for number in several:
                    requests.prefill(before, number, prompt_tokens)
                    written[number] = requests.decode(before, number, tokens)
                if students_at and not held:
                    decode = functools.partial(requests.decode, before, tokens=tokens)
                    held = students(students_at, limit, written, decode)
    except KeyboardInterrupt as error:
        message = f"Stopped; .frame has the {len(speeds)} tests that were measured."
        raise Interrupted(message, frame(speeds)) from error
    except SlmlabError as error:
        if not speeds:
            raise
        message = f"{error} .frame has the {len(speeds)} tests that were measured before."
        raise PartialResultError(message, frame(speeds)) from error
    finally:
        session.close()
    machine = (
        (f"{cpu_name()}, {hardware.usable_cores()} cores", *gpus_of(target.engine)) if here else ()
    )
    return Bench(
        model=model,
        engine=f"{target.engine} {target.engine_version}",
        machine=", ".join(machine),
        speeds=tuple(speeds),
        cold=tuple(cold),
        notes=(*notes, *_without_joules(here, speeds)),
        predicted=_predicted(target) if here else None,
        students=held,
        facts=_facts(target),
    )


def _address(host: str | None) -> str:
    """The server's address.

    Raises:
        PromptError: it is used through OpenAI's API.
    """
    address = server.address_of(host)
    if speaks_openai(address):
        raise PromptError(
            f"{address} is used through OpenAI's API, which cannot load a model with a context of "
            "a given length, nor keep its cache out of what is timed. For llama.cpp there is "
            "llama-bench, whose rows have the form of Bench.jsonl()."
        )
    return address


def _warning() -> list[str]:
    """A sentence if the machine is busy with something else."""
    busy = hardware.busy_share()
    if busy < BUSY:
        return []
    return [
        f"Before the start other programs used {busy:.0%} of this machine's processor time, so "
        "these speeds may be too low. Close them and measure again."
    ]


def _without_joules(here: bool, speeds: list[Speed]) -> list[str]:
    """A sentence if there is no energy to show, and no test's note says why."""
    if any(one.joules is not None or TOO_SHORT in one.note for one in speeds):
        return []
    why = (
        "no energy counter of this machine can be read (Linux shows that of a processor to root, "
        "and hides it in most virtual machines)"
        if here
        else "the server is on another machine"
    )
    return [f"No joules: {why}."]


def numbers(name: str, given: Any, least: int) -> list[int]:
    """Whole numbers, given as one or several: each once, in order.

    Raises:
        PromptError: there is none, or one of them is not a whole number from ``least`` on.
    """
    several = [given] if isinstance(given, str) or not isinstance(given, Iterable) else [*given]
    # numpy's integers, which come out of tables, are accepted too.
    values = [
        int(one.__index__())
        for one in several
        if hasattr(one, "__index__") and not isinstance(one, bool)
    ]
    if len(values) < max(1, len(several)) or min(values) < least:
        given = several[0] if len(several) == 1 else several
        raise PromptError(f"{name} is a whole number from {least} on; got {given!r}.")
    return list(dict.fromkeys(values))


def _check(
    target: Target,
    depths: list[int],
    threads: list[int] | list[None],
    at_once: list[int],
    prompt_tokens: int,
    tokens: int,
    needed: int,
    limit: int,
) -> None:
    """Refuse what would not be measured as it was asked for."""
    if "completion" not in models.capabilities(target.model, host=target.host):
        raise ModelError(f"{target.model} makes vectors of texts and does not write any.")
    if tokens < FEWEST_TOKENS:
        raise PromptError(
            f"SLMLAB_TOKENS allows {tokens + 1} tokens, too few to measure a speed; unset it."
        )
    most = target.num_ctx
    if most is not None and max(depths) + needed > most:
        raise PromptError(
            f"{target.model}'s context holds {most:,} tokens: too few for depth={max(depths)}, "
            f"prompt_tokens={prompt_tokens}, tokens={tokens} and {MARGIN} for a chat template. "
            f"Beside these, a depth of {max(0, most - needed):,} is left."
        )
    least = prompt_tokens + TEMPLATE_END
    if shallow := [one for one in depths if 0 < one < least]:
        raise PromptError(
            f"depth={shallow[0]} is too little beside prompt_tokens={prompt_tokens}: an engine "
            "goes on from what it has read if that is more than half of a prompt. Take 0 or "
            f"{least} and more, or a shorter prompt."
        )
    if max(at_once) > limit:
        raise PromptError(
            f"The engine at {target.host} runs {limit} {'request' if limit == 1 else 'requests'} "
            f"at once for a model, and queues the others: at_once={max(at_once)} would "
            "measure their waiting. To let it run more, set OLLAMA_NUM_PARALLEL before it starts."
        )
    cores = hardware.usable_cores()
    counts = [one for one in threads if one is not None]
    if counts and max(counts) > cores and target.engine == "embedded" and is_local(target.host):
        raise PromptError(
            f"threads={max(counts)}: this machine has {cores} usable "
            f"{'core' if cores == 1 else 'cores'}, and the engine takes no more threads than that."
        )


def _predicted(target: Target) -> float | None:
    """What ``python -m slmlab fit`` predicts; nothing for a GPU."""
    if free_for(target.engine)[1] != "memory":
        return None
    return speed.predicted(models.resolve(target.model, host=target.host).size)


def _facts(target: Target) -> dict[str, Any]:
    """What llama-bench has in all rows, as far as it is known."""
    facts: dict[str, Any] = {}
    if is_local(target.host):
        facts = {"cpu_info": cpu_name(), "gpu_info": ", ".join(gpus_of(target.engine))}
        if target.engine == "embedded" and not gpus_of(target.engine):
            facts["backends"] = "CPU"
    facts["model_filename"] = target.model
    info = models.show(target.model, host=target.host).get("modelinfo") or {}
    if count := info.get("general.parameter_count"):
        facts["model_n_params"] = int(count)
    return facts
