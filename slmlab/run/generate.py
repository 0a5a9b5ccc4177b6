"""Generate one answer and measure it: from a prompt to a record of its text and numbers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from slmlab import models
from slmlab.devices import energy_j
from slmlab.engines import server
from slmlab.engines.address import is_local, speaks_openai
from slmlab.engines.client import SHARED, TIMEOUT, Session
from slmlab.engines.openai_server import LLAMA_SERVER
from slmlab.errors import GenerationError, ServerLost, SlmlabError
from slmlab.models.inventory import validate_model
from slmlab.run.images import for_server, need_vision, of, with_images
from slmlab.run.logprobs import compact, need_logprobs, validate_logprobs
from slmlab.run.options import (
    NOT_BY_LANGCHAIN,
    Options,
    Prompt,
    full_options,
    parameters_of,
    validate_prompt,
)
from slmlab.run.record import Generation
from slmlab.run.send import Clock, sender
from slmlab.run.target import Target, need_options, resolve_target, taken_options
from slmlab.run.tools import as_chat, need_tools, request_fields
from slmlab.run.truncation import from_count, from_second_request

if TYPE_CHECKING:
    from typing_extensions import Unpack

log = logging.getLogger(__name__)


def generate(
    model: str,
    prompt: Prompt,
    *,
    on_text: Callable[[str], None] | None = None,
    timeout: float = TIMEOUT,
    host: str | None = None,
    think: bool = False,
    logprobs: int = 0,
    images: Any = None,
    **options: Unpack[Options],
) -> Generation:
    """Run one prompt on one model and measure it.

    The request goes through langchain-ollama, so that the times are those that its users see: a
    text goes through ``OllamaLLM`` (``/api/generate``), a list of messages through ``ChatOllama``
    (``/api/chat``); one with ``min_p`` or ``logprobs``, which LangChain drops, or with ``format``,
    ``tools`` or images, and all to a server of OpenAI's API, through the ``ollama`` client.
    Before the clock starts, that client requests the model's digest and the loaded models, which
    LangChain does not provide.

    Args:
        model: a model's name.
        prompt: a text, or messages such as ``[{"role": "user", "content": "Hi"}]``.
        on_text: called with each piece of text as it comes, in this thread.
        timeout: seconds without any data from the server after which the generation fails.
        host: the server (default: ``slmlab.server.host()``); with ``/v1`` at its end one that is
            used through OpenAI's API, such as llama-server: the record's options are those that it
            takes.
        think: let a model that can think do so before it answers; off by default for all.
        logprobs: record how probable each token was, and this many of the likeliest ones at its
            place, up to 20 (True: 5); see ``slmlab.tokens``.
        images: an image or several, to be sent beside the prompt to a model that can see: paths,
            bytes, or pictures of PIL. The record holds their digests.
        options: sampling options over ``DEFAULT_OPTIONS`` (temperature, seed, num_ctx, …), and
            ``format`` (``"json"`` or a JSON schema that the answer must have) and ``tools`` (Python
            functions or their descriptions, which the model may call: ``record.tool_calls``).

    Raises:
        PromptError: the prompt, an image or an option is not usable, the model cannot see or call
            tools, the server does not take an option, or it reports no logprobs.
        ModelError: ``model`` is not a name, or there is no such model.
        ServerError: no server answers.
        GenerationError: it failed after it had started; ``.record`` has the text until then.

    Examples:
        >>> record = slmlab.generate(names[0], "Why is the sky blue?", num_predict=40)
        >>> record.tokens, record.stop_reason
        (40, 'length')
    """
    validate_model(model)
    prompt = validate_prompt(with_images(prompt, images))
    if options.get("tools") is not None:
        prompt = as_chat(prompt)
    sent = full_options(options, parameters=parameters_of(generate))
    logprobs = validate_logprobs(logprobs)
    target = resolve_target(model, sent["num_ctx"], server.address_of(host))
    if logprobs:
        need_logprobs(target.engine, target.engine_version, target.host)
    need_vision(prompt, target.model, target.host)
    need_tools(sent, target.model, target.host)
    need_options(target, sent)
    return generate_on(
        target, prompt, sent, on_text=on_text, timeout=timeout, think=think, logprobs=logprobs
    )


def generate_on(
    target: Target,
    prompt: Prompt,
    options: dict[str, Any],
    *,
    on_text: Callable[[str], None] | None = None,
    timeout: float = TIMEOUT,
    think: bool = False,
    logprobs: int = 0,
    langchain: bool = True,
    whole_prompt: bool | None = None,
    session: Session = SHARED,
) -> Generation:
    """Generate one answer with a checked prompt, full options and a resolved target.

    Comparisons and widgets use this; ``generate`` does the checks first. ``session.cancel()`` in
    another thread ends the generation.

    Args:
        target: where it goes.
        prompt: a text or messages.
        options: all sampling options; those that the server does not take are not sent, and the
            record says so.
        on_text: called with each piece of text.
        timeout: seconds without a sign of life after which it fails.
        think: let a model that can think do so.
        logprobs: how many alternatives of each token to record; 0: no probabilities.
        langchain: False: not through LangChain, which takes a fraction of the processor time; for
            answers whose times do not matter. There is no ``ttft_s`` then.
        whole_prompt: True: the embedded engine reads the whole prompt, also what it has of it in
            its prompt cache, so that times are comparable and a repeat gives the same text; Ollama
            cannot be asked to. None: so for a text, and not for a conversation.
        session: the clients to use.

    Raises:
        GenerationError: it failed; ``.record`` has the text until then.
    """
    requested, options = options, taken_options(target, options)
    # Before the clock starts, because this is slow the first time.
    dropped = bool(logprobs) or not NOT_BY_LANGCHAIN.isdisjoint(options) or bool(of(prompt))
    dropped = dropped or speaks_openai(target.host)
    through_langchain = langchain and not dropped
    send = sender(session, target.host, timeout, prompt, through_langchain)
    clock = Clock(on_text, logprobs)
    if whole_prompt is None:
        whole_prompt = isinstance(prompt, str)
    clock.whole_prompt = whole_prompt and target.engine in ("embedded", LLAMA_SERVER)
    record = blank(target, prompt, options, think)
    if len(options) < len(requested):
        ignored = {name: value for name, value in requested.items() if name not in options}
        record = replace(record, ignored=ignored)
    joules = energy_j() if is_local(target.host) else None
    info: dict[str, Any] = {}
    failure: Exception | None = None
    try:
        with models.errors_as_sentences(target.host, target.model):
            clock.start()
            info = send(target.model, for_server(prompt), options, think, clock)
    except (SlmlabError, ValueError) as error:
        failure = error
    if clock.callback_error is not None:
        # An error of the caller's own callback does not count as a failed generation.
        raise clock.callback_error
    if failure is not None:
        log.info("A generation by %s at %s failed: %s", target.model, target.host, failure)
        raise _failed(record, clock, failure) from failure
    used = _joules_since(joules)
    prompt_tokens = info.get("prompt_eval_count") or 0
    truncated = clock.prompt_truncated
    if truncated is None and not speaks_openai(target.host):
        truncated = _was_truncated(target, prompt, prompt_tokens, options, think, timeout, session)
    return replace(
        record,
        text=clock.text,
        thinking=info.get("thinking") or "",
        ttft_s=clock.first if langchain else None,
        wall_s=clock.last or clock.elapsed(),
        stop_reason=info.get("done_reason"),
        load_s=_seconds(info, "load_duration", target.host),
        prompt_tokens=prompt_tokens,
        prompt_s=_seconds(info, "prompt_eval_duration", target.host),
        cached_tokens=clock.cached_tokens,
        tokens=info.get("eval_count") or 0,
        generation_s=_seconds(info, "eval_duration", target.host),
        truncated=truncated,
        prompt_fresh=True if clock.whole_prompt else None,
        energy_j=used,
        logprobs=compact(clock.token_rows) if logprobs else None,
        tool_calls=clock.tool_calls,
    )


def _failed(record: Generation, clock: Clock, failure: Exception) -> GenerationError:
    """The error for a generation that ended too soon, with what it had until then."""
    record = replace(
        record,
        text=clock.text,
        error=str(failure),
        ttft_s=clock.first,
        wall_s=clock.elapsed(),
        truncated=None,
    )
    return GenerationError(str(failure), record, isinstance(failure, ServerLost))


def _seconds(info: Mapping[str, Any], name: str, host: str) -> float | None:
    """A duration in a server's answer. Ollama leaves out a 0; of others it is not known then."""
    nanoseconds = info.get(name)
    if nanoseconds is None and speaks_openai(host):
        return None
    return (nanoseconds or 0) / 1e9


def _joules_since(before: float | None) -> float | None:
    if before is None:
        return None
    after = energy_j()
    # If a counter wrapped around in between, the difference is not known.
    return after - before if after is not None and after >= before else None


def blank(target: Target, prompt: Prompt, options: dict[str, Any], think: bool) -> Generation:
    """The record of a generation before anything has come."""
    return Generation(
        model=target.model,
        prompt=prompt,
        text="",
        error=None,
        stop_reason=None,
        ttft_s=None,
        wall_s=0.0,
        load_s=0.0,
        prompt_tokens=0,
        prompt_s=0.0,
        tokens=0,
        generation_s=0.0,
        cold=target.cold,
        options=options,
        host=target.host,
        engine=target.engine,
        engine_version=target.engine_version,
        digest=target.digest,
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        think=think,
        gpu_share=target.gpu_share,
    )


def _was_truncated(
    target: Target,
    prompt: Prompt,
    tokens: int,
    options: dict[str, Any],
    think: bool,
    timeout: float,
    session: Session,
) -> bool | None:
    """Whether a server that does not report it truncated this prompt; None: it cannot be known."""
    num_ctx = target.num_ctx or options["num_ctx"]
    if tokens > num_ctx:  # an older server, which does not cap the context length
        num_ctx = options["num_ctx"]
    num_keep = options.get("num_keep", target.num_keep)
    version = target.engine_version
    truncated = from_count(prompt, tokens, num_ctx, num_keep, version)
    if truncated is None and tokens and "tools" not in options:
        return from_second_request(
            session,
            target.host,
            version,
            target.model,
            for_server(prompt),
            tokens,
            request_fields(options)[0],
            think,
            timeout,
        )
    return truncated
