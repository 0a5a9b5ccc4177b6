"""What a comparison does on a server: load a model, run a cell, wait until the server is back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import tenacity

from slmlab import models
from slmlab.engines.address import is_local, known_credentials, remember
from slmlab.engines.client import SHARED, Session, ask_version
from slmlab.errors import GenerationError, SlmlabError
from slmlab.run.generate import Target, generate_on, load_model, resolve_target
from slmlab.run.grid import Cell
from slmlab.run.record import Generation
from slmlab.run.scheduler import Attempt, Job

log = logging.getLogger(__name__)

# What is sent to a model between loading and timing; its answer is not kept.
WARM_UP_PROMPT, WARM_UP_TOKENS = "Count from one to five.", 8


@dataclass(frozen=True)
class Loaded:
    """A model as it is after loading, and the seconds that this took from cold (None: unknown)."""

    target: Target
    seconds: float | None


@dataclass(frozen=True)
class GenerationJob(Job[Cell, Loaded, Generation]):
    """The cells of a comparison as jobs; picklable where it has no ``on_text`` and no ``session``.

    The users and passwords of its servers go along to the process that it is pickled for.

    Args:
        targets: what each server said of each model, by host and model.
        timing: whether the times count: models are alone in memory and warm.
        think: let models that can think do so.
        timeout: seconds without a sign of life after which a generation fails.
        in_flight: how many requests a server gets at once.
        patience: seconds that a server which went away is waited for.
        on_text: called with each piece of text.
        session: the clients to use, where another thread may end their requests.
    """

    targets: Mapping[tuple[str, str], Target]
    timing: bool
    think: bool
    timeout: float
    in_flight: int
    patience: float
    on_text: Callable[[str], None] | None = None
    session: Session | None = None

    def __getstate__(self) -> dict[str, Any]:
        credentials = known_credentials(host for host, _ in self.targets)
        return {**self.__dict__, "credentials": credentials}

    def __setstate__(self, state: dict[str, Any]) -> None:
        remember(state["credentials"])
        self.__dict__.update({name: state[name] for name in state if name != "credentials"})

    def load(self, host: str, cell: Cell) -> Loaded:
        """Load the model of a cell.

        For timing, every other model goes first on this machine, so that the one that runs has the
        machine to itself, and an answer that is not kept warms it up. On a remote server, which
        others may be using, nothing is unloaded, and there are no seconds. What fails here fails
        again, with its sentence, in the first cell.
        """
        target, seconds = self.targets[host, cell.model], None
        alone = self.timing and is_local(host)
        try:
            for other in models.loaded(host=host) if alone else []:
                models.unload(other.name, host=host)
            took = load_model(cell.model, cell.options, host)
            seconds = took if alone else None
            target = resolve_target(cell.model, cell.options["num_ctx"], host)
            if self.timing:
                options = {**cell.options, "num_predict": WARM_UP_TOKENS}
                session = self.session or SHARED
                generate_on(target, WARM_UP_PROMPT, options, timeout=60, session=session)
        except SlmlabError as error:
            log.info("%s could not be loaded at %s: %s", cell.model, host, error)
        return Loaded(target, seconds)

    def attempt(self, host: str, cell: Cell, loaded: Loaded) -> Attempt[Generation]:
        """One record, also where the generation failed."""
        server_lost = False
        try:
            record = generate_on(
                loaded.target,
                cell.prompt,
                dict(cell.options),
                on_text=self.on_text,
                timeout=self.timeout,
                think=self.think,
                langchain=self.timing,
                session=self.session or SHARED,
            )
        except GenerationError as error:
            record, server_lost = error.record, error.lost
        return Attempt(replace(record, in_flight=self.in_flight), server_lost)

    def comes_back(self, host: str) -> bool:
        """Wait for a server that went away; whether it answers again."""
        waiting = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda facts: facts is None),
            wait=tenacity.wait_exponential(multiplier=0.1, max=2),
            stop=tenacity.stop_after_delay(self.patience),
            retry_error_callback=lambda _: None,
        )
        return waiting(ask_version, host) is not None
