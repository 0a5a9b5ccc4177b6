"""The OpenAPI description of the embedded engine, made from its table of routes."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

import slmlab
from slmlab.engines.embedded.engine import Engine

_REFUSED = {401: "Another user sent it, without the engine's key"}
_ERRORS = {
    400: "The request is invalid",
    404: "There is no such model",
    408: "The body stopped coming",
    413: "The body is too large",
    500: "The model or the disk failed; the message says how",
    501: "A model that writes was asked to embed",
    503: "Too many requests are waiting",
}


@dataclass(frozen=True)
class Operation:
    """One method of one path: its handler, its input and its output.

    Attributes:
        method: the HTTP method, in capitals.
        path: the path, with parameters in braces.
        handler: the function that answers a request with the engine.
        summary: what it does, in a few words.
        body: the schema of the JSON body, or ``file`` for the bytes of a file.
        answer: a JSON object, one that may also come as lines of JSON or as server-sent events,
            lines of JSON only, plain text, or nothing.
        status: the status of a successful answer.
    """

    method: Literal["GET", "HEAD", "POST", "DELETE"]
    path: str
    handler: Callable[[Engine, Request], Awaitable[Response]]
    summary: str
    body: type[BaseModel] | Literal["file"] | None = None
    answer: Literal["json", "json or lines", "json or events", "lines", "text", "nothing"] = "json"
    status: int = 200


def description(operations: Iterable[Operation]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these operations."""
    from pydantic.json_schema import models_json_schema  # takes a while, and is seldom needed

    operations = list(operations)
    schemas = {one.body for one in operations if one.body and one.body != "file"}
    refs, definitions = models_json_schema(
        [(schema, "validation") for schema in sorted(schemas, key=lambda one: one.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        described: dict[str, Any] = {"summary": one.summary, "responses": _responses(one)}
        if names := re.findall(r"\{(\w+)\}", one.path):
            described["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in names
            ]
        if one.body == "file":
            described["requestBody"] = {"content": {"application/octet-stream": {}}}
        elif one.body:
            content = {"application/json": {"schema": refs[one.body, "validation"]}}
            described["requestBody"] = {"required": True, "content": content}
        paths.setdefault(one.path, {})[one.method.lower()] = described
    text, null = {"type": "string"}, {"type": "null"}
    error = {"type": "object", "required": ["error"], "properties": {"error": text}}
    details = {"message": text, "type": text, "param": null, "code": null}
    openai_error = {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {"type": "object", "required": list(details), "properties": details}
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "slmlab's embedded engine", "version": slmlab.__version__},
        "paths": paths,
        "components": {
            "schemas": {**definitions["$defs"], "Error": error, "OpenAIError": openai_error}
        },
    }


def _responses(operation: Operation) -> dict[str, Any]:
    done: dict[str, Any] = {"description": "Done"}
    if operation.answer == "text":
        done["content"] = {"text/plain": {"schema": {"type": "string"}}}
    elif operation.answer == "lines":
        done["content"] = {"application/x-ndjson": {"schema": {}}}
    elif operation.answer != "nothing":
        done["content"] = {"application/json": {"schema": {"type": "object"}}}
        if operation.answer == "json or lines":
            done["content"]["application/x-ndjson"] = {"schema": {}}
        if operation.answer == "json or events":
            done["content"]["text/event-stream"] = {"schema": {}}
    openai = operation.path.startswith("/v1/")
    error = {"$ref": f"#/components/schemas/{'OpenAIError' if openai else 'Error'}"}
    content = {"application/json": {"schema": error}}
    plain = {"text/plain": {"schema": {"type": "string"}}}
    wrong_method = {
        "description": "The route has other methods",
        "content": content if openai else plain,
    }
    responses = {str(operation.status): done, "405": wrong_method}
    takes_something = operation.body or "{" in operation.path
    for status, text in (_REFUSED | _ERRORS if takes_something else _REFUSED).items():
        responses[str(status)] = {"description": text}
        if operation.method != "HEAD":  # which answers without a body
            responses[str(status)]["content"] = content
    return responses
