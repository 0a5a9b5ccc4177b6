"""What the contract tests share."""

from __future__ import annotations

import json

import httpx
import openai

from tests.support.engines import Engine


def lines(response: httpx.Response) -> list[dict]:
    return [json.loads(line) for line in response.text.splitlines()]


SHORT = {"num_predict": 12, "temperature": 0, "seed": 1}
OPENAI_ASK = [{"role": "user", "content": "The sky is"}]
OPENAI_SHORT = {"max_tokens": 8, "temperature": 0, "seed": 1}
# A tool.
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def openai_client(engine: Engine) -> openai.OpenAI:
    """The client of OpenAI's Python package for this engine."""
    http = httpx.Client(trust_env=False, verify=False, timeout=120)
    return openai.OpenAI(
        base_url=f"{engine.url}/v1", api_key="any", http_client=http, max_retries=0
    )
