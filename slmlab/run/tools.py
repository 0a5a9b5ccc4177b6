"""The form that an answer must have, and the tools that a model may call.

Ollama takes both beside its options. Records and tables keep them as texts in JSON, so that they
can be compared, grouped and stored like any other setting.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from slmlab.errors import PromptError

# The settings that are sent beside Ollama's options.
FIELDS = ("format", "tools")


def as_format(value: Any) -> str:
    """A ``format`` as it is kept: ``json``, or a JSON schema as text.

    Raises:
        PromptError: it is neither.
    """
    if hasattr(value, "model_json_schema"):  # a class of pydantic
        value = value.model_json_schema()
    if value == "json":
        return "json"
    schema = _loaded(value)
    if not isinstance(schema, Mapping) or not schema:
        raise PromptError(
            'format is "json" or a JSON schema such as {"type": "object", "properties": …}; '
            f"got {value!r}."
        )
    return _text(schema, "format")


def as_tools(value: Any) -> str:
    """``tools`` as they are kept: a list of functions in OpenAI's form, as text.

    Raises:
        PromptError: they are no tools.
    """
    tools = _loaded(value)
    if isinstance(tools, Mapping) or callable(tools):
        tools = [tools]
    if not isinstance(tools, Sequence) or isinstance(tools, str) or not tools:
        raise PromptError(f"tools is a list of functions; got {value!r}.")
    if any(callable(one) for one in tools):
        from langchain_core.utils.function_calling import convert_to_openai_tool

        try:
            tools = [convert_to_openai_tool(one) if callable(one) else one for one in tools]
        except ValueError as error:
            raise PromptError(f"A tool cannot be described: {error}") from error
    for one in tools:
        function = one.get("function") if isinstance(one, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise PromptError(
                'A tool is a Python function with annotations, or {"type": "function", "function": '
                f'{{"name": …, "description": …, "parameters": {{…}}}}}}; got {one!r}.'
            )
    return _text(tools, "tools")


def request_fields(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Full options as they are sent: what goes in ``options``, and what beside it."""
    beside = {name: options[name] for name in FIELDS if name in options}
    rest = {name: value for name, value in options.items() if name not in beside}
    return rest, {name: _loaded(value) for name, value in beside.items()}


def as_chat(prompt: Any) -> Any:
    """A prompt as a conversation; Ollama takes tools only with one."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def need_tools(options: Mapping[str, Any], model: str, host: str) -> None:
    """Check that a model can call tools, if there are any.

    Raises:
        PromptError: it cannot.
    """
    from slmlab.models import abilities

    if "tools" in options and "tools" not in abilities.capabilities(model, host=host):
        raise PromptError(
            f"{model} cannot call tools: its chat template has no place for them. Models with "
            "`tools` among slmlab.models.capabilities(model) can, such as qwen2.5:0.5b."
        )


def written(calls: Any) -> str:
    """Calls in one line each, as ``get_weather(city="Oslo")``."""
    return "\n".join(
        f"{one['name']}({', '.join(f'{k}={_in_json(v)}' for k, v in one['arguments'].items())})"
        for one in (calls if isinstance(calls, list) else ())
    )


def _in_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _loaded(value: Any) -> Any:
    """What a text in JSON stands for; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _text(value: Any, name: str) -> str:
    try:
        # Not sorted: a model writes the fields of an object in the schema's order.
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise PromptError(f"{name} has something that is not JSON: {error}.") from error
