"""The request bodies of the embedded engine's routes, with Ollama's names and error texts."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator


class RequestError(ValueError):
    """The request's body is missing, is not JSON, or has a field of the wrong type (status 400)."""


class Body(BaseModel):
    """A body, or an object in one."""

    # Strict like Go's decoder: "5" is not a number. Unknown fields are ignored, as there.
    # Each is built when a request first needs it, which lets the engine start sooner.
    model_config = ConfigDict(strict=True, extra="ignore", populate_by_name=True, defer_build=True)


class NameRequest(Body):
    """A model's name, in the field ``model`` or the older ``name``."""

    model: str = ""
    name: str = ""
    stream: bool | None = None

    def name_given(self, otherwise: str) -> str:
        """The name; raises ``RequestError(otherwise)`` if none is given."""
        if not (self.model or self.name):
            raise RequestError(otherwise)
        return self.model or self.name


class PullRequest(NameRequest):
    """``/api/pull``."""

    insecure: bool | None = None


class CalledFunction(Body):
    """The function that a model calls."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class ToolCall(Body):
    """A call of a tool, as an answer has it and as it goes back in with the conversation."""

    id: str = ""
    function: CalledFunction


class Message(Body):
    """One message of a chat."""

    role: str
    content: str | None = ""
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class Function(Body):
    """A function that a model may call; ``parameters`` is the JSON schema of its arguments."""

    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None

    @field_validator("parameters")
    @classmethod
    def _is_schema(cls, parameters: dict[str, Any] | None) -> dict[str, Any] | None:
        import jsonschema

        try:
            jsonschema.Draft202012Validator.check_schema(parameters or {})
        except jsonschema.SchemaError as error:
            raise ValueError(f"no JSON schema: {error.message}") from error
        return parameters


class Tool(Body):
    """A tool that a model may use."""

    type: Literal["function"] = "function"  # llama.cpp knows no other
    function: Function


class CreateRequest(NameRequest):
    """``/api/create``."""

    from_: str = Field("", alias="from")
    files: dict[str, str] | None = None
    adapters: dict[str, str] | None = None
    quantize: str | None = None
    template: str | None = None
    system: str | None = None
    license: str | None = None
    messages: list[Message] | None = None
    parameters: dict[str, Any] | None = None


class CopyRequest(Body):
    """``/api/copy``."""

    source: str = ""
    destination: str = ""


class _Run(Body):
    model: str = ""
    stream: bool | None = None
    format: Any = None
    keep_alive: Any = None
    options: dict[str, Any] | None = None
    think: Any = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    debug_render_only: bool = Field(default=False, alias="_debug_render_only")


class GenerateRequest(_Run):
    """``/api/generate``."""

    prompt: str = ""
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None
    images: list[str] | None = None


class ChatRequest(_Run):
    """``/api/chat``."""

    messages: list[Message] = Field(default_factory=list)
    tools: list[Tool] | None = None


class EmbedRequest(Body):
    """``/api/embed``."""

    model: str = ""
    input: Any = ""
    truncate: bool | None = None
    dimensions: int | None = None
    options: dict[str, Any] | None = None
    keep_alive: Any = None

    def texts(self) -> list[str]:
        """The texts to embed; none for an empty input, though one for a list with an empty text."""
        if self.input == "":
            return []
        texts = self.input if isinstance(self.input, list) else [self.input]
        if not all(isinstance(text, str) for text in texts):
            raise RequestError("invalid input type")
        return texts


class EmbeddingsRequest(Body):
    """``/api/embeddings``."""

    model: str = ""
    prompt: str = ""
    options: dict[str, Any] | None = None
    keep_alive: Any = None


class LikelihoodRequest(Body):
    """``/slmlab/likelihood``.

    ``continuations`` follow the ``prompt``, as it is or, with ``chat``, in the model's chat
    template; ``top`` is how many of the likeliest tokens to tell at each place.
    """

    model: str = ""
    prompt: str = ""
    continuations: list[str] = Field(default_factory=list)
    chat: bool = False
    top: int = 0
    options: dict[str, Any] | None = None
    keep_alive: Any = None


Kind = TypeVar("Kind", bound=Body)


def parse(kind: type[Kind], body: bytes) -> Kind:
    """The request in ``body``.

    Raises:
        RequestError: with one sentence on the first thing that is wrong.
    """
    if not body.strip():
        raise RequestError("missing request body")
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        what = first["msg"].removeprefix("Value error, ")
        raise RequestError(f"{where}: {what}" if where else what) from error
