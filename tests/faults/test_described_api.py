"""Requests that schemathesis makes from the engine's own description."""

from __future__ import annotations

import re

import schemathesis
from hypothesis import HealthCheck, settings

from slmlab.engines.embedded import routes
from tests.support.engines import MINILM, SHALLOW
from tests.support.properties import EXAMPLES

# The routes that run a model, and with which. Else hardly a request would reach one.
RUN = {
    "/api/generate": SHALLOW,
    "/api/chat": SHALLOW,
    "/api/embed": MINILM,
    "/api/embeddings": MINILM,
    "/slmlab/likelihood": SHALLOW,
    "/v1/chat/completions": SHALLOW,
    "/v1/completions": SHALLOW,
    "/v1/responses": SHALLOW,
    "/v1/embeddings": MINILM,
}
api = schemathesis.openapi.from_dict(routes.description())


class TestDescribedApi:
    def test_the_description_is_served(self, client):
        assert client.get("/openapi.json").json() == routes.description()

    @api.parametrize()
    @settings(
        max_examples=max(1, EXAMPLES // 2),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    def test_whatever_fits_the_description_gets_an_answer_that_fits(self, case, client):
        body = case.body
        if isinstance(body, dict) and case.path in RUN:
            body["model"] = RUN[case.path]
            if case.path.startswith("/v1/"):
                body |= {"max_tokens": 2, "max_completion_tokens": 2, "max_output_tokens": 2}
            else:
                options = body.get("options")
                body["options"] = (options if isinstance(options, dict) else {}) | {
                    "num_predict": 2,
                    "num_ctx": 256,
                }
        answer = case.call(base_url=str(client.base_url).rstrip("/"), timeout=60)
        assert answer.status_code in (200, 400, 404, 405, 413, 500, 501, 503), answer.text[:300]
        if answer.status_code >= 400 and answer.headers["content-type"] == "application/json":
            error = answer.json()["error"]
            text = error["message"] if case.path.startswith("/v1/") else error
            assert not re.match(r"\w+(Error|Exception): ", text)
        case.validate_response(
            answer,
            checks=[
                schemathesis.checks.status_code_conformance,
                schemathesis.checks.content_type_conformance,
                schemathesis.checks.response_schema_conformance,
            ],
        )
