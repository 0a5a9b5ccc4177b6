"""What a comparison does on a server: load a model, run a cell, wait for a lost server."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from slmlab import models
from slmlab.engines.address import is_local, known_credentials, remember, speaks_openai
from slmlab.engines.client import SHARED, Session, ask_version
from slmlab.errors import GenerationError, SlmlabError
from slmlab.run.generate import generate_on
from slmlab.run.grid import Cell
from slmlab.run.record import Generation
from slmlab.run.scheduler import Attempt, Job
from slmlab.run.target import Target, load_model, resolve_target
from slmlab.run.tools import request_fields

log = logging.getLogger(__name__)

# Sent to a model after loading and before timing; the answer is discarded.
WARM_UP_PROMPT, WARM_UP_TOKENS = "Count from one to five.", 8


@dataclass(frozen=True)
class Loaded:
    """A loaded model, and the seconds that loading took from cold (None: unknown)."""

    target: Target
    seconds: float | None


@dataclass(frozen=True)
class GenerationJob(Job[Cell, Loaded, Generation]):
    """Runs the cells of a comparison; picklable without ``on_text`` and ``session``.

    When pickled for another process, it takes the users and passwords of its servers along.

    Args:
        targets: what each server reports about each model, by host and model.
        timing: whether times matter, so that models run alone in memory and warm.
        think: let models that can think do so.
        logprobs: how many alternatives of each token to record; 0: no probabilities.
        timeout: seconds without any data after which a generation fails.
        in_flight: how many requests a server gets at once.
        patience: seconds to wait for a server that went away.
        on_text: called with each piece of text.
        session: the clients to use if another thread may cancel their requests.
        sharing: how many of the servers are on this machine, where they work at once.
    """

    targets: Mapping[tuple[str, str], Target]
    timing: bool
    think: bool
    timeout: float
    in_flight: int
    patience: float
    logprobs: int = 0
    on_text: Callable[[str], None] | None = None
    session: Session | None = None
    sharing: int = 1

    def __getstate__(self) -> dict[str, Any]:
        credentials = known_credentials(host for host, _ in self.targets)
        return {**self.__dict__, "credentials": credentials}

    def __setstate__(self, state: dict[str, Any]) -> None:
        remember(state["credentials"])
        self.__dict__.update({name: state[name] for name in state if name != "credentials"})

    def load(self, host: str, cell: Cell) -> Loaded:
        """Load the model of a cell.

        For timing, all other models on this machine are unloaded first, so that this one has the
        machine to itself, and an answer that is discarded warms it up. On a remote server, which
        others may be using, nothing is unloaded and the loading time stays unknown; a server of
        OpenAI's API cannot be asked to load or unload. An error here
        is only logged, since the first cell fails in the same way and records it.
        """
        target, seconds = self.targets[host, cell.model], None
        managed = not speaks_openai(host)
        alone = self.timing and is_local(host) and managed
        try:
            for other in models.loaded(host=host) if alone else []:
                models.unload(other.name, host=host)
            if managed:
                took = load_model(cell.model, cell.options, host)
                seconds = took if alone else None
                target = resolve_target(cell.model, cell.options["num_ctx"], host)
            if self.timing:
                options = request_fields(cell.options)[0] | {"num_predict": WARM_UP_TOKENS}
                session = self.session or SHARED
                generate_on(target, WARM_UP_PROMPT, options, timeout=60, session=session)
        except SlmlabError as error:
            log.info("%s could not be loaded at %s: %s", cell.model, host, error)
        return Loaded(target, seconds)

    def attempt(self, host: str, cell: Cell, loaded: Loaded) -> Attempt[Generation]:
        """The record of one cell, even if the generation failed."""
        server_lost = False
        try:
            record = generate_on(
                loaded.target,
                cell.prompt,
                dict(cell.options),
                on_text=self.on_text,
                timeout=self.timeout,
                think=self.think,
                logprobs=self.logprobs,
                langchain=self.timing,
                whole_prompt=True,  # an answer must not depend on what ran before
                session=self.session or SHARED,
            )
        except GenerationError as error:
            record, server_lost = error.record, error.lost
        servers = self.sharing if is_local(host) else 1
        return Attempt(replace(record, in_flight=self.in_flight * servers), server_lost)

    def comes_back(self, host: str) -> bool:
        """Wait for a server that went away; returns whether it answers again."""
        import tenacity  # slow, and seldom needed

        waiting = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda facts: facts is None),
            wait=tenacity.wait_exponential(multiplier=0.1, max=2),
            stop=tenacity.stop_after_delay(self.patience),
            retry_error_callback=lambda _: None,
        )
        return waiting(ask_version, host) is not None
