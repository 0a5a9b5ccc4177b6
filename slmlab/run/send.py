"""Send one prompt, through langchain-ollama or, with less overhead, through the ollama client."""

from __future__ import annotations

import functools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import httpx

from slmlab.engines.client import Session, client_kwargs, ollama_package, open_client
from slmlab.engines.embedded import CACHE_PROMPT, PROMPT_TRUNCATED
from slmlab.run.options import Prompt
from slmlab.run.tools import request_fields

if TYPE_CHECKING:
    import ollama
    from langchain_core.callbacks import BaseCallbackHandler


class Clock:
    """Collects the text as it comes, and the times of its first and last piece.

    ``prompt_truncated`` and ``cached_tokens`` are what the server reports about the prompt (None:
    nothing); ``tool_calls`` are those of the answer (None: it had no tools). An exception from
    ``on_text`` is kept in ``callback_error``, since callers above may replace it. ``whole_prompt``
    asks the embedded engine to use no prompt cache. ``logprobs`` asks for so many alternatives of
    each token; ``token_rows`` is what the server reports of them.
    """

    def __init__(self, on_text: Callable[[str], None] | None, logprobs: int = 0) -> None:
        self.on_text = on_text
        self.logprobs = logprobs
        self.token_rows: list[dict[str, Any]] = []
        self.tool_calls: list[dict[str, Any]] | None = None
        self.pieces: list[str] = []
        self.first: float | None = None
        self.last: float | None = None
        self.started = 0.0
        self.callback_error: Exception | None = None
        self.prompt_truncated: bool | None = None
        self.cached_tokens: int | None = None
        self.whole_prompt = False

    def start(self) -> None:
        """Start the clock; this thread sends the request now."""
        _sending.clock = self
        self.started = time.perf_counter()

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    def add(self, text: str) -> None:
        """Take a piece of text that has come."""
        if not text:
            return
        self.last = self.elapsed()
        if self.first is None:
            self.first = self.last
        self.pieces.append(text)
        if self.on_text:
            try:
                self.on_text(text)
            except Exception as error:
                self.callback_error = error
                raise

    def called(self, name: str, arguments: dict[str, Any]) -> None:
        """Take a call of a tool that has come; its first sign is no earlier."""
        self.last = self.elapsed()
        if self.first is None:
            self.first = self.last
        self.tool_calls = [*(self.tool_calls or ()), {"name": name, "arguments": arguments}]

    @property
    def text(self) -> str:
        """All the text so far."""
        # JSON can contain lone surrogates, which can be neither stored nor shown.
        return "".join(self.pieces).encode(errors="replace").decode()


# Called with a model, a prompt, options, whether to think, and a clock; returns server counters.
Send = Callable[[str, Prompt, dict[str, Any], bool, Clock], dict[str, Any]]


def sender(session: Session, host: str, timeout: float, prompt: Prompt, langchain: bool) -> Send:
    """The function that sends this kind of prompt to a server and feeds a clock.

    The answer is always streamed, so that the time limit applies to each piece. Creating the
    function is slow the first time.
    """
    if langchain:
        llm = _langchain(session, host, timeout, chat=not isinstance(prompt, str))
        return functools.partial(_through_langchain, llm)
    return functools.partial(_through_ollama, _ollama(session, host, timeout))


# The clock of the request that this thread is sending. The shared clients expose neither headers
# nor fields that they do not know, but they call a hook in the thread that sent the request, before
# any text comes.
_sending = threading.local()
_CACHED = re.compile(rb'"prompt_eval_cached_count": ?(\d+)')


class _Watched(httpx.SyncByteStream):
    """An answer on its way, which tells the clock what clients leave out.

    That is how much of the prompt was cached, in its last line, and the bytes of tokens, which are
    more than their texts where a token ends in the middle of a character.
    """

    def __init__(self, stream: httpx.SyncByteStream, clock: Clock) -> None:
        self.stream, self.clock = stream, clock

    def __iter__(self) -> Iterator[bytes]:
        end = line = b""
        for piece in self.stream:
            if self.clock.logprobs:
                *lines, line = (line + piece).split(b"\n")
                for one in lines:
                    self.clock.token_rows += json.loads(one).get("logprobs") or () if one else ()
            end = (end + piece)[-1000:]
            # Before the piece goes on: clients stop reading at the last line.
            if found := _CACHED.search(end):
                self.clock.cached_tokens = int(found[1])
            yield piece

    def close(self) -> None:
        self.stream.close()


def _client_kwargs(session: Session, host: str, timeout: float) -> dict[str, Any]:
    """Arguments of a client by which server and clock tell each other of the prompt."""

    def ask(request: httpx.Request) -> None:
        if _sending.clock.whole_prompt:
            request.headers[CACHE_PROMPT] = "false"

    def note(response: httpx.Response) -> None:
        if value := response.headers.get(PROMPT_TRUNCATED):
            _sending.clock.prompt_truncated = value == "true"
        if isinstance(response.stream, httpx.SyncByteStream):
            response.stream = _Watched(response.stream, _sending.clock)

    kwargs = session.client_kwargs(host, timeout)
    hooks = {"request": [*kwargs["event_hooks"]["request"], ask], "response": [note]}
    return kwargs | {"event_hooks": hooks}


def _langchain(session: Session, host: str, timeout: float, chat: bool) -> Any:
    """The session's ``ChatOllama`` or ``OllamaLLM``; each call gets its model and options."""

    def make() -> Any:
        ollama_package()
        from langchain_ollama import ChatOllama, OllamaLLM

        return (ChatOllama if chat else OllamaLLM)(
            model="given with each call",
            base_url=host,
            client_kwargs=client_kwargs(host, timeout),
            sync_client_kwargs=_client_kwargs(session, host, timeout),
        )

    return session.get_or_create(("langchain", chat, host, timeout), make)


def _ollama(session: Session, host: str, timeout: float) -> ollama.Client:
    def make() -> ollama.Client:
        return open_client(host, **_client_kwargs(session, host, timeout))

    return session.get_or_create(("ollama, reading headers", host, timeout), make)


def _through_langchain(
    llm: Any, model: str, prompt: Prompt, options: dict[str, Any], think: bool, clock: Clock
) -> dict[str, Any]:
    """Send through LangChain; returns the counters in the last chunk."""
    if isinstance(prompt, str):
        result = llm.generate(
            [prompt],
            callbacks=[_callback_class()(clock)],
            model=model,
            options=options,
            reasoning=think,
        )
        return result.generations[0][0].generation_info or {}
    info: dict[str, Any] = {}
    thoughts = []
    for chunk in llm.stream(list(prompt), model=model, options=options, reasoning=think):
        clock.add(chunk.content)
        thoughts.append(chunk.additional_kwargs.get("reasoning_content") or "")
        info = chunk.response_metadata or info
    return info | {"thinking": "".join(thoughts)}


def _through_ollama(
    client: ollama.Client,
    model: str,
    prompt: Prompt,
    options: dict[str, Any],
    think: bool,
    clock: Clock,
) -> dict[str, Any]:
    """Send through Ollama's own client; returns the counters in the last chunk."""
    last: ollama.GenerateResponse | ollama.ChatResponse | None = None
    thoughts = []
    options, fields = request_fields(options)
    more: dict[str, Any] = {"options": options, "think": think, **fields}
    if "tools" in fields:
        clock.tool_calls = []
    if clock.logprobs:
        more |= {"logprobs": True, "top_logprobs": clock.logprobs}
    if isinstance(prompt, str):
        for last in client.generate(model, prompt, stream=True, **more):
            clock.add(last.response or "")
            thoughts.append(last.thinking or "")
    else:
        for last in client.chat(model, list(prompt), stream=True, **more):
            clock.add(last.message.content or "")
            for call in last.message.tool_calls or ():
                clock.called(call.function.name, dict(call.function.arguments))
            thoughts.append(last.message.thinking or "")
    info = last.model_dump(exclude={"response", "message", "context", "logprobs"}) if last else {}
    return info | {"thinking": "".join(thoughts)}


@functools.cache
def _callback_class() -> Callable[[Clock], BaseCallbackHandler]:
    """The LangChain callback that feeds a clock; created late, as LangChain is slow to import."""
    from langchain_core.callbacks import BaseCallbackHandler

    class FeedClock(BaseCallbackHandler):
        # Exceptions from the user's on_text, such as an interrupt, end the generation.
        raise_error = True

        def __init__(self, clock: Clock) -> None:
            self.clock = clock

        def on_llm_new_token(self, token: Any, **_: Any) -> None:
            self.clock.add(token)

    return FeedClock
