"""Bad input at the door of the engine's API.

Each is refused with a sentence or handled; never a traceback, a hang, a crash, or a file outside
our folders.
"""

from __future__ import annotations

import json
import re
import sys
from urllib.parse import quote

import httpx
import pytest

from tests.support.engines import MINILM, SHALLOW
from tests.support.hostile import BODIES, FIELDS, NAMES, POSTS, PROMPTS, ROLES
from tests.support.processes import free_port, serving


def refused_or_answered(answer: httpx.Response) -> None:
    """A status that the API has, and a sentence with each that is not 200."""
    assert answer.status_code in (200, 201, 400, 404, 413, 500, 501, 503), answer.text[:300]
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        text = answer.text if answer.status_code == 404 else answer.json()["error"]
        text = text["message"] if isinstance(text, dict) else text
        assert text.strip()
        assert "Traceback" not in text
        assert not re.match(r"\w+(Error|Exception): ", text), text


class TestApi:
    @pytest.mark.parametrize("route", POSTS)
    def test_bodies(self, client, route):
        for what, body in BODIES.items():
            answer = client.post(f"/api/{route}", content=body)
            refused_or_answered(answer)
            if route != "copy" and what not in ("twice",):
                assert answer.status_code >= 400, (route, what)

    @pytest.mark.parametrize(
        "route", ["chat/completions", "completions", "responses", "embeddings"]
    )
    def test_bodies_of_openais_api(self, client, route):
        for what, body in BODIES.items():
            answer = client.post(f"/v1/{route}", content=body)
            refused_or_answered(answer)
            assert answer.status_code >= 400, (route, what)

    def test_bodies_of_delete(self, client):
        for body in BODIES.values():
            answer = client.request("DELETE", "/api/delete", content=body)
            refused_or_answered(answer)
            assert answer.status_code >= 400

    def test_names(self, client, engine_home):
        before = {path for path in engine_home.parent.rglob("*") if path.is_file()}
        for name in NAMES:
            for route, body in (
                ("show", {"model": name}),
                ("pull", {"model": name}),
                ("generate", {"model": name, "prompt": "x"}),
                ("chat", {"model": name, "messages": []}),
                ("embed", {"model": name, "input": "x"}),
                ("create", {"model": name, "from": "missing"}),
                ("copy", {"source": "missing", "destination": name}),
            ):
                answer = client.post(f"/api/{route}", content=json.dumps(body).encode())
                refused_or_answered(answer)
                if route == "pull" and answer.status_code == 200:
                    assert "error" in answer.text
                else:
                    assert answer.status_code >= 400, (route, name)
            refused_or_answered(client.request("DELETE", "/api/delete", json={"model": name}))
            refused_or_answered(client.post(f"/api/blobs/{quote(name, safe='', errors='replace')}"))
        after = {path for path in engine_home.parent.rglob("*") if path.is_file()}
        assert after == before

    @pytest.mark.parametrize("what", FIELDS)
    def test_fields(self, client, what):
        field = FIELDS[what]
        given_options = field.get("options", {})
        options = (
            {"num_predict": 2, "num_ctx": 256} | given_options
            if isinstance(given_options, dict)
            else given_options
        )
        common = {"stream": False} | field | {"options": options}
        for route, more in (
            ("generate", {"prompt": "Say"}),
            ("chat", {"messages": [{"role": "user", "content": "Say"}]}),
            ("embed", {"input": "Say"}),
        ):
            model = MINILM if route == "embed" else SHALLOW
            refused_or_answered(client.post(f"/api/{route}", json={"model": model} | common | more))

    @pytest.mark.parametrize("what", PROMPTS)
    def test_prompts(self, client, what):
        common = {
            "model": SHALLOW,
            "stream": False,
            "options": {"num_predict": 2, "num_ctx": 64},
        }
        text = PROMPTS[what]
        # Ten megabytes take llama.cpp nine seconds to cut into tokens.
        some = slice(1) if len(text) > 10**6 else slice(None)
        for route, more in (
            ("generate", {"prompt": text}),
            ("generate", {"prompt": text, "raw": True}),
            ("generate", {"prompt": "x", "system": text}),
            ("chat", {"messages": [{"role": "user", "content": text}]}),
            ("embed", {"model": MINILM, "input": text}),
        )[some]:
            refused_or_answered(client.post(f"/api/{route}", json=common | more))

    @pytest.mark.parametrize("role", ROLES)
    def test_roles(self, client, role):
        messages = [{"role": role, "content": "Say"}] * 3
        options = {"num_predict": 2, "num_ctx": 256}
        body = {"model": SHALLOW, "messages": messages, "stream": False, "options": options}
        refused_or_answered(client.post("/api/chat", json=body))

    def test_pages_of_others_are_refused(self, client):
        for header in (
            {"Host": "evil.example"},
            {"Host": "127.0.0.1.evil.example"},
            {"Host": "localhost.evil.example"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://localhost.evil.example"},
            {"Host": "[::1"},
        ):
            assert client.get("/api/tags", headers=header).status_code in (400, 403), header

    def test_a_body_larger_than_any_real_request(self, client):
        answer = client.post("/api/generate", content=b" " * (64 * 2**20 + 1))
        assert answer.status_code == 413
        assert answer.json()["error"] == "request body is larger than 64 MiB"

    def test_it_still_works(self, client):
        """Last in its class: what came before has broken nothing."""
        body = {"model": SHALLOW, "prompt": "Say", "stream": False, "options": {"num_predict": 4}}
        answer = client.post("/api/generate", json=body)
        assert answer.status_code == 200
        assert answer.json()["eval_count"] == 4


@pytest.mark.parametrize("value", ["-1", "0", "many"])
def test_numbers_of_the_environment_that_are_none(value, engine_home):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = ("NUM_PARALLEL", "MAX_LOADED_MODELS", "MAX_QUEUE", "CONTEXT_LENGTH")
    env = {f"OLLAMA_{name}": value for name in settings} | {"SLMLAB_HOME": str(engine_home)}
    command = [sys.executable, "-m", "slmlab", "serve", "--port", str(port)]
    body = {"model": SHALLOW, "prompt": "Hi", "stream": False, "options": {"num_predict": 2}}
    with serving(command, url, engine_home.parent / f"log{value}", **env):
        found = httpx.post(
            f"{url}/api/generate", json=body, timeout=60, trust_env=False, verify=False
        )
        loaded = httpx.get(f"{url}/api/ps", trust_env=False, verify=False).json()["models"]
    assert found.json()["done"]
    assert loaded[0]["context_length"] == 4096
