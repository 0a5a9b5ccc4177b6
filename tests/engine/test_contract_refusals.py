"""What is refused, with which status and in which words: those of today's Ollama (0.34.4)."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.ollama

ONE = {"messages": [{"role": "user", "content": "x"}], "prompt": "x", "input": "x"}
UNKNOWN, BAD = "model 'nope' not found", "invalid model name"
# A route below /api/, what its request has beside ONE, and the status and sentence of the answer.
REFUSALS = [
    ("generate", {"model": "nope"}, 404, UNKNOWN),
    ("chat", {"model": "nope"}, 404, UNKNOWN),
    ("embed", {"model": "nope"}, 404, 'model "nope" not found, try pulling it first'),
    ("embeddings", {"model": "nope"}, 404, 'model "nope" not found, try pulling it first'),
    ("show", {"model": "nope"}, 404, "model 'nope:latest' not found"),
    ("delete", {"model": "nope"}, 404, UNKNOWN),
    ("copy", {"source": "nope", "destination": "x"}, 404, 'model "nope" not found'),
    ("generate", {"model": "../../x"}, 400, BAD),
    ("chat", {"model": "a b"}, 400, BAD),
    ("embed", {"model": "../../x"}, 400, BAD),
    ("show", {"model": "a b"}, 400, BAD),
    ("pull", {"model": "a b"}, 400, BAD),
    ("delete", {"model": "a b"}, 400, 'name "a b" is invalid'),
    ("copy", {"source": "a b", "destination": "x"}, 400, 'source "a b" is invalid'),
    ("generate", {}, 404, "model '' not found"),
    ("chat", {}, 400, "model is required"),
    ("embed", {}, 404, "model '' not found"),
    ("generate", {"model": "MODEL", "think": True}, 400, '"MODEL" does not support thinking'),
    ("chat", {"model": "MODEL", "think": "high"}, 400, '"MODEL" does not support thinking'),
    ("chat", {"model": "MODEL", "think": 5}, 400, "think must be a boolean or string"),
    (
        "generate",
        {"model": "MODEL", "think": "x"},
        400,
        'invalid think value: "x" (must be "high", "medium", "low", "max", true, or false)',
    ),
    ("embed", {"model": "MODEL", "input": 5}, 400, "invalid input type"),
    ("embed", {"model": "MODEL", "input": [5]}, 400, "invalid input type"),
    (
        "embed",
        {"model": "MODEL"},
        501,
        "This server does not support embeddings. Start it with `--embeddings`",
    ),
    (
        "generate",
        {"model": "MODEL", "options": {"typical_p": 0.5}},
        400,
        "typical_p is no longer supported",
    ),
    (
        "generate",
        {"model": "MODEL", "options": {"temperature": "hot"}},
        500,
        'option "temperature" must be of type float32',
    ),
    (
        "generate",
        {"model": "MODEL", "raw": True, "system": "x"},
        400,
        "raw mode does not support template, system, or context",
    ),
    (
        "generate",
        {"model": "MODEL", "top_logprobs": 21},
        400,
        "top_logprobs must be between 0 and 20",
    ),
]


@pytest.mark.parametrize(("route", "more", "status", "sentence"), REFUSALS)
def test_the_status_and_the_sentence(http, engine, route, more, status, sentence):
    if not engine.newest:
        pytest.skip("an older Ollama, which says it otherwise or not at all")
    body = {key: engine.shallow if value == "MODEL" else value for key, value in more.items()}
    method = "DELETE" if route == "delete" else "POST"
    answer = http.request(method, f"/api/{route}", json=ONE | body | {"stream": False})
    wanted = (status, {"error": sentence.replace("MODEL", engine.shallow)})
    assert (answer.status_code, answer.json()) == wanted


def test_an_unknown_role_is_left_to_the_template(http, engine):
    messages = [{"role": "robot", "content": "x"}, {"role": "user", "content": "x"}]
    body = {"model": engine.shallow, "messages": messages, "options": {"num_predict": 1}}
    assert http.post("/api/chat", json=body | {"stream": False}).status_code == 200
