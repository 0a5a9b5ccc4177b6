"""The request bodies of OpenAI's API, and what each of them is in Ollama's.

What a field becomes follows Ollama's ``openai/openai.go`` (0.34). A field that would change the
answer and is not supported is refused; others that are not here are ignored.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from slmlab.engines.embedded.schemas import (
    Body,
    CalledFunction,
    ChatRequest,
    EmbedRequest,
    GenerateRequest,
    Message,
    RequestError,
    Tool,
    ToolCall,
)

# What ``reasoning_effort`` is for Ollama's ``think``.
EFFORTS: dict[str, bool | str] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "ultra": "max",
    "max": "max",
}


class ContentPart(Body):
    """A part of a message: a text, or an image as a data URL."""

    type: Literal["text", "image_url"]
    text: str = ""
    image_url: dict[str, Any] | str | None = None


class NamedFunction(Body):
    """The function that a model called, with the text of its arguments; or that it must call."""

    name: str
    arguments: str = "{}"


class FunctionCall(Body):
    """A call of a function in an earlier answer; or, as ``tool_choice``, the one to be made."""

    id: str = ""
    function: NamedFunction


class ChatMessage(Body):
    """One message of a conversation."""

    role: str
    content: str | list[ContentPart] | None = None
    reasoning: str | None = None
    tool_calls: list[FunctionCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None


class JsonSchema(Body):
    """The JSON schema that an answer must keep to."""

    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(Body):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> ResponseFormat:
        if self.type == "json_schema" and not self.json_schema:
            raise ValueError("json_schema is missing")
        return self


class StreamOptions(Body):
    """What a stream has beside the answer."""

    include_usage: bool | None = None


class Reasoning(Body):
    """How hard the model thinks before it answers."""

    effort: str | None = None


class _Completion(Body):
    model: str = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, gt=-(2**53), lt=2**53)
    seed: int | None = Field(None, gt=-(2**53), lt=2**53)
    stop: str | list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    n: Literal[1] | None = None
    logit_bias: dict[str, float] | None = Field(None, max_length=0)

    @property
    def usage_wanted(self) -> bool:
        """Whether a stream is to end with the numbers of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def options(self) -> dict[str, Any]:
        """The sampling options by Ollama's names, with OpenAI's defaults."""
        return {
            "num_predict": self.max_tokens,
            "seed": self.seed,
            "stop": [self.stop] if isinstance(self.stop, str) else self.stop,
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "top_p": 1.0 if self.top_p is None else self.top_p,
            "frequency_penalty": self.frequency_penalty,
            "presence_penalty": self.presence_penalty,
        }


class ChatCompletionRequest(_Completion):
    """``/v1/chat/completions``."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, gt=-(2**53), lt=2**53)
    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionCall | None = None
    reasoning: Reasoning | None = None
    reasoning_effort: str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None

    def as_ollamas(self) -> ChatRequest:
        """The same request to ``/api/chat``, but for whether a tool must be called.

        Raises:
            RequestError: with one sentence on what is wrong.
        """
        options = self.options()
        if self.max_completion_tokens is not None:
            options["num_predict"] = self.max_completion_tokens
        form: object = None
        if self.response_format and self.response_format.type == "json_object":
            form = "json"
        elif self.response_format and self.response_format.json_schema:
            form = self.response_format.json_schema.schema_
        return ChatRequest(
            model=self.model,
            messages=_messages(self.messages),
            tools=self._tools(),
            stream=bool(self.stream),
            format=form,
            options=options,
            think=self._think(),
            logprobs=self.logprobs,
            top_logprobs=self.top_logprobs,
        )

    @property
    def must_call(self) -> bool:
        """Whether the answer must be a call of a tool."""
        return self.tool_choice == "required" or isinstance(self.tool_choice, FunctionCall)

    def _tools(self) -> list[Tool] | None:
        """The tools that the model is told of: all, none, or the one that it must call."""
        tools = self.tools or []
        if self.tool_choice == "none":
            return None
        if isinstance(self.tool_choice, FunctionCall):
            name = self.tool_choice.function.name
            tools = [tool for tool in tools if tool.function.name == name]
            if not tools:
                raise RequestError(f'tool_choice: there is no tool named "{name}"')
        if self.must_call and not tools:
            raise RequestError("tool_choice: there are no tools to be called")
        return tools

    def _think(self) -> bool | str | None:
        effort = self.reasoning.effort if self.reasoning else self.reasoning_effort
        if not effort:
            return None
        if effort not in EFFORTS:
            names = ", ".join(f'"{name}"' for name in EFFORTS)
            raise RequestError(f'invalid reasoning value: "{effort}" (must be one of {names})')
        return EFFORTS[effort]


class CompletionRequest(_Completion):
    """``/v1/completions``."""

    prompt: str | list[str] = ""
    suffix: str | None = None
    logprobs: int | None = None
    best_of: Literal[1] | None = None
    echo: Literal[False] | None = None

    def as_ollamas(self) -> GenerateRequest:
        """The same request to ``/api/generate``.

        Raises:
            RequestError: there are several prompts.
        """
        prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        if len(prompts) != 1:
            raise RequestError(f"prompt: one text for a request, not {len(prompts)}")
        return GenerateRequest(
            model=self.model,
            prompt=prompts[0],
            suffix=self.suffix,
            stream=bool(self.stream),
            options=self.options(),
            logprobs=self.logprobs is not None,
            top_logprobs=self.logprobs,
        )


class EmbeddingRequest(Body):
    """``/v1/embeddings``."""

    model: str = ""
    input: str | list[str]
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None

    @field_validator("input", mode="before")
    @classmethod
    def _are_texts(cls, given: Any) -> Any:
        first = given[0] if isinstance(given, list) and given else None
        if isinstance(first, int) or (isinstance(first, list) and first):
            raise ValueError(
                "send texts: the numbers of tokens are those of one tokenizer, and most clients "
                "take OpenAI's (LangChain sends texts with check_embedding_ctx_length=False)"
            )
        return given

    def as_ollamas(self) -> EmbedRequest:
        """The same request to ``/api/embed``."""
        texts = [self.input] if isinstance(self.input, str) else self.input
        return EmbedRequest(model=self.model, input=texts, dimensions=self.dimensions)


def _messages(given: list[ChatMessage]) -> list[Message]:
    """The messages in Ollama's shape; each result of a tool gets the name of the tool."""
    called = {call.id: call.function.name for one in given for call in one.tool_calls or []}
    messages = []
    for number, one in enumerate(given):
        if one.content is None and one.tool_calls is None:
            raise RequestError(f"messages.{number}.content: missing, and there are no tool_calls")
        parts = one.content if isinstance(one.content, list) else []
        text = one.content if isinstance(one.content, str) else None
        tool = one.name or called.get(one.tool_call_id or "") if one.role == "tool" else None
        messages.append(
            Message(
                role="system" if one.role == "developer" else one.role,
                content=text or "\n".join(part.text for part in parts if part.type == "text"),
                thinking=one.reasoning,
                images=[_image(part) for part in parts if part.type == "image_url"],
                tool_calls=[_call(call) for call in one.tool_calls or []],
                tool_name=tool,
                tool_call_id=one.tool_call_id,
            )
        )
    return messages


def _image(part: ContentPart) -> str:
    """The base64 text of an image."""
    given = part.image_url
    url = given.get("url") if isinstance(given, dict) else given
    head, comma, content = url.partition(",") if isinstance(url, str) else ("", "", "")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise RequestError("an image must be a data URL with base64, not an address")
    return content


def _call(given: FunctionCall) -> ToolCall:
    """A call whose arguments are an object."""
    try:
        arguments = json.loads(given.function.arguments)
        if not isinstance(arguments, dict):
            raise ValueError("no object")
    except (ValueError, RecursionError) as error:
        raise RequestError(
            f'invalid tool call arguments of "{given.function.name}": {error}'
        ) from error
    return ToolCall(
        id=given.id, function=CalledFunction(name=given.function.name, arguments=arguments)
    )
