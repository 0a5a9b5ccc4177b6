"""The body of a request to OpenAI's ``/v1/responses``, and what it is for its older route.

What a field becomes follows Ollama's ``openai/responses.go`` (0.34). A field that would change the
answer and is not supported is refused; others that are not here are ignored.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from slmlab.engines.embedded.openai_schemas import (
    ChatCompletionRequest,
    ChatMessage,
    ContentPart,
    FunctionCall,
    NamedFunction,
    Reasoning,
)
from slmlab.engines.embedded.schemas import Body, Function, RequestError, Tool

NOT_KEPT = "nothing is stored here; send the whole conversation as `input`"


class Part(Body):
    """A part of a message: a text, or an image as a data URL."""

    type: Literal["input_text", "output_text", "input_image"]
    text: str = ""
    image_url: str | None = None

    @model_validator(mode="after")
    def _has_image(self) -> Part:
        if self.type == "input_image" and not self.image_url:
            raise ValueError("an image must be a data URL in `image_url`")
        return self

    def as_chats(self) -> ContentPart:
        """The same part in a conversation of the older route."""
        kind: Literal["text", "image_url"] = "image_url" if self.image_url else "text"
        return ContentPart(type=kind, text=self.text, image_url=self.image_url)


class Item(Body):
    """A message, a model's thoughts, its call of a function, or what the function returned."""

    type: Literal["message", "reasoning", "function_call", "function_call_output"] = "message"
    role: str = ""
    content: list[Part] = Field(default_factory=list)
    summary: list[dict[str, Any]] = Field(default_factory=list)
    call_id: str = ""
    name: str = ""
    arguments: str = "{}"
    output: list[Part] = Field(default_factory=list)

    @field_validator("content", "output", mode="before")
    @classmethod
    def _in_parts(cls, given: Any) -> Any:
        return [{"type": "input_text", "text": given}] if isinstance(given, str) else given or []

    @model_validator(mode="after")
    def _has_role(self) -> Item:
        if self.type == "message" and not self.role:
            raise ValueError("a message has no `role`")
        return self


class TextFormat(Body):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    schema_: dict[str, Any] | None = Field(None, alias="schema")

    @model_validator(mode="after")
    def _has_schema(self) -> TextFormat:
        if self.type == "json_schema" and self.schema_ is None:
            raise ValueError("schema is missing")
        return self


class TextSettings(Body):
    """What holds for the text of the answer."""

    format: TextFormat | None = None


class FunctionTool(Function):
    """A function that the model may call."""

    type: Literal["function"]

    @model_validator(mode="before")
    @classmethod
    def _is_function(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("type") != "function":
            raise ValueError(f"no tool of type {given.get('type')!r} is here, only functions")
        return given


class ChosenFunction(Body):
    """The function that the model must call."""

    type: Literal["function"]
    name: str


class ResponsesRequest(Body):
    """``/v1/responses``."""

    model: str = ""
    input: list[Item] = Field(min_length=1)
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, gt=0, lt=2**53)
    temperature: float | None = None
    top_p: float | None = None
    text: TextSettings | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenFunction | None = None
    reasoning: Reasoning | None = None
    truncation: Literal["auto", "disabled"] | None = None
    stream: bool | None = None
    # Refused: they would change the answer, or when it comes.
    previous_response_id: Any = None
    conversation: Any = None
    prompt: Any = None
    background: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None

    @field_validator("input", mode="before")
    @classmethod
    def _in_items(cls, given: Any) -> Any:
        return [{"role": "user", "content": given}] if isinstance(given, str) else given

    @field_validator("previous_response_id", "conversation", "prompt")
    @classmethod
    def _not_kept(cls, given: Any) -> Any:
        if given is not None:
            raise ValueError(NOT_KEPT)
        return given

    @property
    def form(self) -> TextFormat:
        """The form of the answer."""
        return (self.text.format if self.text else None) or TextFormat(schema=None)

    def as_chats(self) -> ChatCompletionRequest:
        """The same request to ``/v1/chat/completions``.

        Raises:
            RequestError: there is no message.
        """
        messages = self._messages()
        if not messages:
            raise RequestError("input: there is no message in it")
        schema = {"schema": self.form.schema_} if self.form.schema_ is not None else None
        choice: Any = self.tool_choice
        if isinstance(choice, ChosenFunction):
            choice = {"function": {"name": choice.name}}
        return ChatCompletionRequest.model_validate(
            {
                "model": self.model,
                "messages": messages,
                "stream": bool(self.stream),
                "max_tokens": self.max_output_tokens,
                "temperature": self.temperature,
                "top_p": self.top_p,
                "response_format": {"type": self.form.type, "json_schema": schema},
                "tools": [Tool(function=one) for one in self.tools] if self.tools else None,
                "tool_choice": choice,
                "reasoning": self.reasoning,
            }
        )

    def _messages(self) -> list[ChatMessage]:
        messages: list[ChatMessage] = []
        if self.instructions:
            messages.append(ChatMessage(role="system", content=self.instructions))
        thoughts = ""
        for item in self.input:
            if item.type == "reasoning":  # it belongs to the message that follows
                thoughts += "\n".join(str(one.get("text", "")) for one in item.summary)
                continue
            parts = [part.as_chats() for part in item.output or item.content]
            message = ChatMessage(role=item.role, content=parts)
            if item.type == "function_call_output":
                message = ChatMessage(role="tool", content=parts, tool_call_id=item.call_id)
            elif item.type == "function_call":
                called = NamedFunction(name=item.name, arguments=item.arguments)
                call = FunctionCall(id=item.call_id, function=called)
                if messages and messages[-1].role == "assistant":  # a turn's calls are one message
                    messages[-1].tool_calls = [*(messages[-1].tool_calls or []), call]
                    continue
                message = ChatMessage(role="assistant", tool_calls=[call])
            message.reasoning, thoughts = thoughts or None, ""
            messages.append(message)
        return messages
