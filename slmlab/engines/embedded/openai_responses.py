"""OpenAI's newer route, ``/v1/responses``: a translation of its older one for conversations.

What an answer looks like follows Ollama's ``openai/responses.go`` (0.34), but that one that was cut
says so. Nothing is stored, so a request brings its whole conversation.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from slmlab.engines.embedded import generate_api
from slmlab.engines.embedded.engine import Engine
from slmlab.engines.embedded.generate_api import Steps
from slmlab.engines.embedded.openai_responses_schemas import ResponsesRequest
from slmlab.engines.embedded.responses import parsed

_IN_PART = {"content_index": 0}


async def responses(engine: Engine, request: Request) -> Response:
    """``POST /v1/responses``: the next message of a conversation, as one object or as events."""
    args = await parsed(request, ResponsesRequest)
    chat = args.as_chats()
    question = chat.as_ollamas().model_copy(update={"truncate": args.truncation != "disabled"})
    answer = _Answer(args)
    translated = answer.events if args.stream else answer.whole
    return await generate_api.converse(
        engine, request, question, translated, must_call=chat.must_call
    )


class _Answer:
    """One answer: its items as they come, and the whole of it."""

    def __init__(self, args: ResponsesRequest) -> None:
        self.args, self.id, self.created = args, uuid.uuid4().hex, int(time.time())
        self.output: list[dict[str, Any]] = []
        self.numbers = itertools.count()

    async def whole(self, steps: Steps) -> Steps:
        """The answer as one object."""
        async with contextlib.aclosing(steps):
            async for step in steps:
                for _ in self._events_for(step):
                    pass
                yield self._response(step)

    async def events(self, steps: Steps) -> Steps:
        """The answer as events, each with its ``type``; the last has the whole of it."""
        begun = False
        async with contextlib.aclosing(steps):
            async for step in steps:
                if not begun:
                    begun = True
                    yield self._event("response.created", response=self._response())
                    yield self._event("response.in_progress", response=self._response())
                for event in self._events_for(step):
                    yield event
                if step["done"]:
                    whole = self._response(step)
                    yield self._event(f"response.{whole['status']}", response=whole)

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {"type": kind, "sequence_number": next(self.numbers), **fields}

    def _events_for(self, step: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Take in a part of the answer; the events that tell of it."""
        message = step["message"]
        if thoughts := message.get("thinking"):
            yield from self._open("reasoning")
            item = self.output[-1]
            item["summary"] = item["summary"] or [{"type": "summary_text", "text": ""}]
            item["summary"][0]["text"] += thoughts
            yield self._at("response.reasoning_summary_text.delta", summary_index=0, delta=thoughts)
        calls = message.get("tool_calls") or []
        silent = step["done"] and not calls and all(one["type"] != "message" for one in self.output)
        if message["content"] or silent:
            yield from self._open("message")
            text = message["content"]
            self.output[-1]["content"][0]["text"] += text
            if text:
                yield self._at("response.output_text.delta", **_IN_PART, delta=text, logprobs=[])
        if step["done"]:
            yield from self._close("incomplete" if step["done_reason"] == "length" else "completed")
        for call in calls:
            yield from self._called(call)

    def _open(self, kind: str) -> Iterator[dict[str, Any]]:
        """Begin an item of this kind, unless the last one is of it."""
        if self.output and self.output[-1]["type"] == kind:
            return
        yield from self._close("completed")
        item: dict[str, Any] = {"id": f"{kind[:3]}_{self.id}_{len(self.output)}", "type": kind}
        item |= {"summary": []} if kind == "reasoning" else {"role": "assistant", "content": []}
        item["status"] = "in_progress"
        self.output.append(item)
        yield self._event(
            "response.output_item.added", output_index=len(self.output) - 1, item={**item}
        )
        if kind == "message":
            item["content"] = [_text_part("")]
            yield self._at("response.content_part.added", content_index=0, part=_text_part(""))

    def _close(self, status: str) -> Iterator[dict[str, Any]]:
        """End the item that is open, if one is."""
        if not self.output or self.output[-1]["status"] != "in_progress":
            return
        item = self.output[-1]
        item["status"] = status
        if item["type"] == "reasoning":
            text = item["summary"][0]["text"]
            yield self._at("response.reasoning_summary_text.done", summary_index=0, text=text)
        else:
            (part,) = item["content"]
            text = part["text"]
            yield self._at("response.output_text.done", **_IN_PART, text=text, logprobs=[])
            yield self._at("response.content_part.done", **_IN_PART, part=part)
        yield self._done()

    def _called(self, call: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of a call, which comes whole."""
        item = {
            "id": f"fc_{self.id}_{len(self.output)}",
            "type": "function_call",
            "status": "in_progress",
            "call_id": call["id"],
            "name": call["function"]["name"],
            "arguments": "",
        }
        self.output.append(item)
        yield self._event(
            "response.output_item.added", output_index=len(self.output) - 1, item={**item}
        )
        arguments = json.dumps(call["function"]["arguments"], ensure_ascii=False)
        item |= {"status": "completed", "arguments": arguments}
        yield self._at("response.function_call_arguments.delta", delta=arguments)
        yield self._at("response.function_call_arguments.done", arguments=arguments)
        yield self._done()

    def _at(self, kind: str, **fields: Any) -> dict[str, Any]:
        """An event in the last item."""
        index = len(self.output) - 1
        return self._event(kind, item_id=self.output[-1]["id"], output_index=index, **fields)

    def _done(self) -> dict[str, Any]:
        index = len(self.output) - 1
        return self._event("response.output_item.done", output_index=index, item=self.output[-1])

    def _response(self, last: dict[str, Any] | None = None) -> dict[str, Any]:
        """The whole answer as it is now; ``last`` is its last part, with the counters."""
        args, cut = self.args, bool(last and last["done_reason"] == "length")
        status = "incomplete" if cut else "completed"
        return {
            "id": f"resp_{self.id}",
            "object": "response",
            "created_at": self.created,
            "completed_at": int(time.time()) if last else None,
            "status": status if last else "in_progress",
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "error": None,
            "model": args.model,
            "instructions": args.instructions,
            "previous_response_id": None,
            "output": self.output if last else [],
            "tools": [one.model_dump() | {"strict": False} for one in args.tools or []],
            "tool_choice": args.model_dump()["tool_choice"] or "auto",
            "parallel_tool_calls": True,
            "text": {"format": args.form.model_dump(by_alias=True, exclude_none=True)},
            "temperature": 1.0 if args.temperature is None else args.temperature,
            "top_p": 1.0 if args.top_p is None else args.top_p,
            "top_logprobs": 0,
            "max_output_tokens": args.max_output_tokens,
            "reasoning": args.reasoning.model_dump() if args.reasoning else None,
            "truncation": args.truncation or "auto",
            "usage": _usage(last) if last else None,
            "store": False,
            "background": False,
            "metadata": {},
        }


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(last: dict[str, Any]) -> dict[str, Any]:
    read, written = last.get("prompt_eval_count", 0), last.get("eval_count", 0)
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": last.get("prompt_eval_cached_count", 0)},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }
