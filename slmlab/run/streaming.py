"""Answers that are generated in the background while a front end shows them."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from slmlab.engines.client import Session
from slmlab.errors import GenerationError, SlmlabError
from slmlab.run.generate import generate_on
from slmlab.run.images import need_vision
from slmlab.run.logprobs import need_logprobs
from slmlab.run.options import Prompt, full_options, validate_prompt
from slmlab.run.record import Generation
from slmlab.run.target import load_model, need_options, resolve_target

FINAL = ("done", "stopped", "failed")
# Seconds to wait after a stop. A cancelled request ends at once, but loading cannot be cancelled.
STOPS_WITHIN = 2.0


@dataclass
class Answer:
    """One answer, pending or finished.

    ``state`` is ``waiting`` (for its turn), ``loading`` (the model), ``reading`` (the prompt),
    ``writing``, or one of ``FINAL``. ``record`` is set in a final state if anything was sent;
    ``error`` is the message of a failure, ``since`` when the state began (``time.monotonic``).
    ``logprobs`` is how many alternatives of each token to record.
    """

    model: str
    prompt: Prompt
    host: str
    options: Mapping[str, Any] = field(default_factory=dict)
    think: bool = False
    logprobs: int = 0
    state: str = "waiting"
    error: str = ""
    record: Generation | None = None
    pieces: list[str] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.pieces)


class Answers:
    """Generations in the background, one for each answer.

    By default they run one after the other, so that each model has the machine to itself; with
    ``at_once`` they share it, and the records say so (``in_flight``). Either way a model is loaded
    before its clock starts.

    Raises:
        PromptError: a prompt or an option is not usable; nothing was started.
    """

    def __init__(self, answers: Sequence[Answer], at_once: bool = False) -> None:
        for answer in answers:
            answer.prompt = validate_prompt(answer.prompt)
            answer.options = full_options(answer.options)
        self.answers = list(answers)
        self.width = len(self.answers) if at_once else 1
        self._session = Session()
        self._lock = threading.Lock()
        self._work_done: list[Future[None]] = []
        self._unfinished = len(self.answers)

    def start(self) -> None:
        """Begin; returns at once."""
        pool = ThreadPoolExecutor(self.width, thread_name_prefix="slmlab-answer")
        self._work_done = [pool.submit(self._work, answer) for answer in self.answers]
        pool.shutdown(wait=False)

    @property
    def running(self) -> bool:
        """Whether any answer is not in a final state yet."""
        return any(answer.state not in FINAL for answer in self.answers)

    def wait(self, seconds: float) -> bool:
        """Wait for all records, including those of stopped answers; returns whether all are set."""
        return not concurrent.futures.wait(self._work_done, seconds).not_done

    def stop(self) -> None:
        """Stop all running answers and keep their text so far; returns at once."""
        with self._lock:
            for answer in self.answers:
                if answer.state not in FINAL:
                    answer.state = "stopped"
        self._session.cancel()

    def _moves_on(self, answer: Answer, state: str) -> bool:
        """Set an answer's next state unless it is final already; returns whether it was set."""
        with self._lock:
            if answer.state in FINAL:
                return False
            answer.state, answer.since = state, time.monotonic()
            return True

    def _work(self, answer: Answer) -> None:
        try:
            record = self._generate(answer)
            if record is not None:
                answer.record = record
                self._moves_on(answer, "done")
        except GenerationError as error:
            with self._lock:
                answer.record = replace(error.record, in_flight=self.width)
                if answer.state == "stopped":
                    answer.record = replace(answer.record, error=None, stop_reason="stopped")
                else:
                    answer.error = str(error)
            self._moves_on(answer, "failed")
        except Exception as error:
            # Nothing above this thread could report the error, so it goes into the answer.
            answer.error = str(error) if isinstance(error, SlmlabError) else repr(error)
            self._moves_on(answer, "failed")
        with self._lock:
            self._unfinished -= 1
            over = not self._unfinished
        if over:  # answers are kept for long, and need no connections for that
            self._session.close()

    def _generate(self, answer: Answer) -> Generation | None:
        """The record of one answer; None if it was stopped before anything was sent."""
        if answer.state in FINAL:
            return None
        target = resolve_target(answer.model, answer.options["num_ctx"], answer.host)
        if answer.logprobs:
            need_logprobs(target.engine, target.engine_version, target.host)
        need_vision(answer.prompt, target.model, target.host)
        need_options(target, dict(answer.options))
        if target.cold:
            if not self._moves_on(answer, "loading"):
                return None
            load_model(answer.model, answer.options, answer.host)
            target = resolve_target(answer.model, answer.options["num_ctx"], answer.host)
        if not self._moves_on(answer, "reading"):
            return None

        def add(piece: str) -> None:
            answer.pieces.append(piece)
            if answer.state == "reading":
                self._moves_on(answer, "writing")

        record = generate_on(
            target,
            answer.prompt,
            dict(answer.options),
            on_text=add,
            think=answer.think,
            logprobs=answer.logprobs,
            session=self._session,
        )
        return replace(record, in_flight=self.width)


def finish(answers: Answers) -> list[Answer]:
    """Run answers to the end without showing them; an interrupt stops them.

    Returns:
        The same answers, all in a final state.
    """
    answers.start()
    try:
        while not answers.wait(0.2):
            pass
    except KeyboardInterrupt:
        answers.stop()
        answers.wait(STOPS_WITHIN)
    return answers.answers
