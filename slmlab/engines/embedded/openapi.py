"""The embedded engine's API in OpenAPI's words, made from the bodies that it parses."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import slmlab
from slmlab.engines.embedded.schemas import (
    ChatRequest,
    CopyRequest,
    CreateRequest,
    EmbedRequest,
    GenerateRequest,
    NameRequest,
)

# Route, method, body, what it does, and whether it may answer in lines.
_ROUTES: list[tuple[str, str, type[BaseModel] | None, str, bool]] = [
    ("/api/version", "get", None, "Version and engine", False),
    ("/api/tags", "get", None, "Models on disk", False),
    ("/api/ps", "get", None, "Models in memory", False),
    ("/api/show", "post", NameRequest, "All that is known of one model", False),
    ("/api/pull", "post", NameRequest, "Fetch a model from the package index", True),
    ("/api/create", "post", CreateRequest, "Name an uploaded file or a changed model", True),
    ("/api/copy", "post", CopyRequest, "A second name for a model", False),
    ("/api/delete", "delete", NameRequest, "Unload and remove a model", False),
    ("/api/generate", "post", GenerateRequest, "Continue one prompt", True),
    ("/api/chat", "post", ChatRequest, "The next message of a conversation", True),
    ("/api/embed", "post", EmbedRequest, "Vectors of texts", False),
]
_ERRORS = {
    400: "The request is not what it should be",
    404: "There is no such model",
    413: "The body is too large",
    500: "The model or the disk failed; the text says how",
    503: "Too many requests wait already",
}


def description() -> dict[str, Any]:
    """The OpenAPI 3.1 document that the engine serves at ``/openapi.json``."""
    kinds = sorted({body for _, _, body, _, _ in _ROUTES if body}, key=lambda kind: kind.__name__)
    refs, definitions = models_json_schema(
        [(kind, "validation") for kind in kinds], ref_template="#/components/schemas/{model}"
    )
    error = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    failures = {
        str(status): {
            "description": text,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
        for status, text in _ERRORS.items()
    }
    paths: dict[str, dict] = {}
    for path, method, body, summary, lines in _ROUTES:
        content: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
        if lines:
            content["application/x-ndjson"] = {"schema": {}}
        done: dict[str, Any] = {"description": "Done"}
        if path not in ("/api/copy", "/api/delete"):
            done["content"] = content
        operation: dict[str, Any] = {"summary": summary, "responses": {"200": done}}
        if body:
            schema = {"schema": refs[body, "validation"]}
            operation["requestBody"] = {"required": True, "content": {"application/json": schema}}
            operation["responses"] |= failures
        paths.setdefault(path, {})[method] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "slmlab's embedded engine", "version": slmlab.__version__},
        "paths": paths,
        "components": {"schemas": {**definitions["$defs"], "Error": error}},
    }
