"""Servers that speak only OpenAI's API, as llama-server, vLLM and LM Studio: used as if Ollama's.

The address of one ends in ``/v1``. Every client of it gets a transport that turns the requests of
Ollama's API into those of OpenAI's, and the answers back, so that nothing above has to know. What
OpenAI's API does not have is refused in a sentence; what a server does not report is left out, and
never guessed. A text is sent as a conversation of one message, to which the server applies the
model's chat template, as Ollama does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from slmlab.engines.address import OPENAI_ROUTE
from slmlab.engines.embedded import CACHE_PROMPT, PROMPT_TRUNCATED
from slmlab.errors import ServerError

# What a server writes as the owner of its models, and the name of its program.
_PROGRAMS = {"llamacpp": "llama-server", "vllm": "vllm"}
LLAMA_SERVER, UNKNOWN_PROGRAM = "llama-server", "openai-api"
# Ollama's options, and their names in OpenAI's API.
_FIELDS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "num_predict": "max_tokens",
    "stop": "stop",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
# What llama-server takes beside these, under the same names.
_OF_LLAMA_SERVER = ("top_k", "min_p", "repeat_penalty", "repeat_last_n")
# What identifies a model in a server's list; other fields change from one request to the next.
_LASTING = ("id", "owned_by", "root", "max_model_len", "meta")
# Seconds after which this side closes an idle connection. The servers of llama.cpp and vLLM do it
# after five, as httpx would: a question sent at that moment would get no answer.
IDLE = 2


def options_of(engine: str) -> set[str]:
    """The options that such a server takes, by its program, as ``/api/version`` names it."""
    return {*_FIELDS, "format", *(_OF_LLAMA_SERVER if engine == LLAMA_SERVER else ())}


class OpenAIServer(httpx.BaseTransport):
    """Answers requests of Ollama's API by requests of OpenAI's.

    Args:
        host: the server's address, which ends in ``/v1``.
        kwargs: arguments of the client that reaches it.
    """

    def __init__(self, host: str, **kwargs: Any) -> None:
        self.host = host
        self._http = httpx.Client(limits=httpx.Limits(keepalive_expiry=IDLE), **kwargs)
        self._program: str | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer to one request.

        Raises:
            ServerError: the server has Ollama's API too, which says more.
        """
        route = request.url.path.rpartition("/api/")[2]
        if route == "version":
            return self._version(request)
        if route == "tags":
            return self._tags(request)
        if route in ("chat", "generate"):
            body = json.loads(request.read())
            has_prompt = body.get("messages") or (body.get("prompt") and not body.get("raw"))
            pictures = any(one.get("images") for one in body.get("messages") or ())
            if has_prompt and not (pictures or body.get("images") or body.get("tools")):
                return self._answer(request, route, body)
        return _refusal(
            501,
            f"{self.host} is used through OpenAI's API, by which slmlab only asks for texts: it "
            "cannot download, describe, load or unload models there, or see the memory they "
            "take, and sends no images, tools or texts to embed",
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _send(
        self, request: httpx.Request, method: str, url: str, body: Any = None
    ) -> httpx.Response:
        """A request of its own, with the time limits and passwords of the given one."""
        known = request.headers.get("Authorization")
        sent = self._http.build_request(
            method,
            url,
            headers={"Authorization": known} if known else {},
            json=body,
            extensions=request.extensions,
        )
        return self._http.send(sent, stream=True)

    def _json(self, request: httpx.Request, url: str) -> Any:
        """What a GET request gives; None if that is no object of JSON."""
        answer = self._send(request, "GET", url)
        try:
            found = json.loads(answer.read()) if answer.status_code == 200 else None
        except ValueError:
            found = None
        finally:
            answer.close()
        return found if isinstance(found, dict) else None

    def _models(self, request: httpx.Request) -> list[dict[str, Any]] | httpx.Response:
        """The server's list of models, or what it answers instead."""
        answer = self._send(request, "GET", f"{self.host}/models")
        try:
            text = answer.read()
        finally:
            answer.close()
        if answer.status_code != 200:
            headers = {k: v for k, v in answer.headers.items() if k in ("location",)}
            return httpx.Response(answer.status_code, headers=headers, content=text)
        try:
            models = [one for one in json.loads(text)["data"] if isinstance(one["id"], str)]
        except (ValueError, TypeError, LookupError):
            return httpx.Response(404)
        owners = {one.get("owned_by") for one in models}
        owner = owners.pop() if len(owners) == 1 else None
        self._program = _PROGRAMS.get(str(owner), UNKNOWN_PROGRAM)
        return models

    def _version(self, request: httpx.Request) -> httpx.Response:
        models = self._models(request)
        if isinstance(models, httpx.Response):
            return models
        own = self.host.removesuffix(OPENAI_ROUTE)
        version = "of unknown version"
        if self._program == LLAMA_SERVER:
            version = (self._json(request, f"{own}/props") or {}).get("build_info") or version
        elif (self._json(request, f"{own}/api/version") or {}).get("version"):
            raise ServerError(
                f"The server at {own} has Ollama's API beside OpenAI's, and it takes more options "
                f"and measures more: give its own address, {own}"
            )
        return httpx.Response(200, json={"version": version, "engine": self._program})

    def _tags(self, request: httpx.Request) -> httpx.Response:
        models = self._models(request)
        if isinstance(models, httpx.Response):
            return models
        return httpx.Response(200, json={"models": [self._tag(one) for one in models]})

    def _tag(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """A model in Ollama's list.

        OpenAI's API has no digest of a model's weights. This one stands for what the server says of
        the model, and for the server: records are never taken for those of another.
        """
        lasting = [self.host, {name: model.get(name) for name in _LASTING}]
        digest = hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()
        meta = model.get("meta")
        size = meta.get("size") if isinstance(meta, dict) else None
        return {"model": model["id"], "name": model["id"], "size": size or 0, "digest": digest}

    def _answer(
        self, request: httpx.Request, route: str, body: Mapping[str, Any]
    ) -> httpx.Response:
        if self._program is None:
            models = self._models(request)
            if isinstance(models, httpx.Response):
                return models
        llama_server = self._program == LLAMA_SERVER
        fields = self._fields(body, llama_server)
        if llama_server and request.headers.get(CACHE_PROMPT) == "false":
            fields["cache_prompt"] = False
        answer = self._send(request, "POST", f"{self.host}/chat/completions", fields)
        if answer.status_code != 200:
            text = answer.read()
            answer.close()
            return httpx.Response(answer.status_code, content=text)
        # llama-server refuses a prompt that does not fit; of others it is not known.
        headers = {PROMPT_TRUNCATED: "false"} if llama_server else {}
        return httpx.Response(200, headers=headers, stream=_Lines(answer, route, self.host))

    def _fields(self, body: Mapping[str, Any], llama_server: bool) -> dict[str, Any]:
        """The request in OpenAI's form."""
        options = body.get("options") or {}
        fields: dict[str, Any] = {
            "model": body["model"],
            "messages": body.get("messages") or [{"role": "user", "content": body["prompt"]}],
            "stream": True,
            "stream_options": {"include_usage": True},
            **{_FIELDS[name]: options[name] for name in _FIELDS if name in options},
        }
        if fields.get("max_tokens", 0) < 0:  # no limit
            del fields["max_tokens"]
        if form := body.get("format"):
            fields["response_format"] = (
                {"type": "json_object"}
                if form == "json"
                else {"type": "json_schema", "json_schema": {"name": "answer", "schema": form}}
            )
        if body.get("logprobs"):
            fields |= {"logprobs": True, "top_logprobs": body.get("top_logprobs") or 0}
        if llama_server:
            # Its own default is 0.05, that of Ollama and the embedded engine 0.
            fields["min_p"] = 0.0
            fields |= {name: options[name] for name in _OF_LLAMA_SERVER if name in options}
            fields["chat_template_kwargs"] = {"enable_thinking": bool(body.get("think"))}
        return fields


class _Lines(httpx.SyncByteStream):
    """An answer of OpenAI's API on its way, as the lines of Ollama's."""

    def __init__(self, answer: httpx.Response, route: str, host: str) -> None:
        self.answer, self.route, self.host = answer, route, host

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines():
            yield json.dumps(line).encode() + b"\n"

    def close(self) -> None:
        self.answer.close()

    def _lines(self) -> Iterator[dict[str, Any]]:
        reason = usage = None
        timings: dict[str, Any] = {}
        for line in self.answer.iter_lines():
            data = line.removeprefix("data:").strip()
            if not line.startswith("data:") or data == "[DONE]":
                continue
            try:
                chunk = json.loads(data)
                if error := chunk.get("error"):
                    yield {"error": error.get("message", "") if isinstance(error, dict) else error}
                    return
                usage = chunk.get("usage") or usage
                timings = chunk.get("timings") or timings
                for choice in chunk.get("choices") or ():
                    reason = choice.get("finish_reason") or reason
                    if piece := self._piece(choice):
                        yield piece
            except (ValueError, TypeError, LookupError, AttributeError):
                yield {"error": f"{self.host} answers in another form than OpenAI's API has"}
                return
        if reason is None:
            raise httpx.RemoteProtocolError("the answer has no end", request=self.answer.request)
        if usage is None or not {"prompt_tokens", "completion_tokens"} <= usage.keys():
            yield {"error": f"{self.host} does not report how many tokens it read and wrote"}
            return
        yield {**self._text("", ""), "done": True, "done_reason": reason, **_counts(usage, timings)}

    def _piece(self, choice: Mapping[str, Any]) -> dict[str, Any] | None:
        """What a chunk adds to the answer, if anything."""
        delta = choice.get("delta") or {}
        thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
        rows = (choice.get("logprobs") or {}).get("content") or []
        if not (delta.get("content") or thought or rows):
            return None
        piece = self._text(delta.get("content") or "", thought)
        return piece | ({"logprobs": rows} if rows else {}) | {"done": False}

    def _text(self, text: str, thought: str) -> dict[str, Any]:
        if self.route == "generate":
            return {"response": text, "thinking": thought}
        return {"message": {"role": "assistant", "content": text, "thinking": thought}}


def _counts(usage: Mapping[str, Any], timings: Mapping[str, Any]) -> dict[str, int]:
    """Tokens and durations (in nanoseconds), as far as they are reported."""
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    found = {
        "prompt_eval_count": usage["prompt_tokens"],
        "prompt_eval_cached_count": timings.get("cache_n", cached),
        "eval_count": usage["completion_tokens"],
    }
    for name, milliseconds in (("prompt_eval", "prompt_ms"), ("eval", "predicted_ms")):
        if milliseconds in timings:
            found[f"{name}_duration"] = int(timings[milliseconds] * 1e6)
    return {name: value for name, value in found.items() if value is not None}


def _refusal(status: int, why: str) -> httpx.Response:
    return httpx.Response(status, json={"error": why})
