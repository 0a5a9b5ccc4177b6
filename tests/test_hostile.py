"""Bad input, at every door: the engine's API, the library, the terminal, the files that we read.

Each is refused with a sentence or handled; never a traceback, a hang, a crash, or a file outside
our folders.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import schemathesis
from conftest import SMOL, free_port, give_models, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import slmlab
from slmlab.engines.embedded import gguf_header, openapi
from slmlab.engines.embedded.model_store import Store
from slmlab.errors import SlmlabError
from slmlab.evaluation import tasks, votes
from slmlab.run import prompts
from slmlab.run.store import Store as RecordStore

EXAMPLES = int(os.environ.get("TEST_EXAMPLES", "25"))
POSTS = ["show", "pull", "create", "copy", "generate", "chat", "embed"]
DEEP = "[" * 100_000 + "]" * 100_000
BODIES: dict[str, bytes] = {
    "empty": b"",
    "space": b" \n",
    "no json": b"model=x",
    "half": b'{"model": "x"',
    "null": b"null",
    "a number": b"7",
    "a text": b'"x"',
    "a list": b"[]",
    "an empty object": b"{}",
    "no utf-8": b'{"model": "\xff\xfe"}',
    "a lone surrogate": b'{"model": "\\ud800"}',
    "a NUL": b'{"model": "a\\u0000b"}',
    "model is a number": b'{"model": 5}',
    "model is a list": b'{"model": ["x"]}',
    "model is null": b'{"model": null}',
    "model is an object": b'{"model": {"a": 1}}',
    "a long name": json.dumps({"model": "x" * 100_000}).encode(),
    "deep": DEEP.encode(),
    "deep inside": ('{"model": "x", "options": {"stop": ' + DEEP + "}}").encode(),
    "a great number": b'{"model": 1e999}',
    "NaN": b'{"model": NaN}',
    "twice": b'{"model": "x", "model": "y"}',
    "a stream of text": b'{"model": "x", "stream": "yes"}',
    "other bytes": bytes(range(256)),
    "a gzip": b"\x1f\x8b\x08" + b"\0" * 50,
}
NAMES = [
    "../../etc/passwd",
    "..",
    ".",
    "/",
    "//",
    "a/../../b",
    "%2e%2e%2f",
    "C:\\x",
    "\\\\host\\x",
    "x:y:z",
    ":",
    "x:",
    ":y",
    "-rf",
    "$(id)",
    "`id`",
    "a b",
    "a\nb",
    "\u202eabc",
    "\ud7ff",
    "💥",
    "x" * 201,
    "http://127.0.0.1/x",
    "file:///etc/passwd",
    "~",
    "con",
    "x;y",
    "x|y",
    "'",
    '"',
    "<script>",
    "{}",
    "%s",
    "\x1b[2J",
    "x\x00",
]
# What stands in otherwise good requests, with the model that is there.
FIELDS: dict[str, dict] = {
    "a temperature of text": {"options": {"temperature": "hot"}},
    "a temperature without end": {"options": {"temperature": 1e308}},
    "a negative temperature": {"options": {"temperature": -5.0}},
    "top_p of 9": {"options": {"top_p": 9.0}},
    "top_k below zero": {"options": {"top_k": -3}},
    "a negative seed": {"options": {"seed": -7}},
    "a huge seed": {"options": {"seed": 2**63}},
    "a seed beyond all": {"options": {"seed": 10**40}},
    "num_ctx of 0": {"options": {"num_ctx": 0}},
    "num_ctx below zero": {"options": {"num_ctx": -1}},
    "num_ctx of 10^12": {"options": {"num_ctx": 10**12}},
    "num_predict of text": {"options": {"num_predict": "many"}},
    "num_thread below zero": {"options": {"num_thread": -4}},
    "num_thread of a million": {"options": {"num_thread": 1_000_000}},
    "options as a list": {"options": [1]},
    "options as a text": {"options": "x"},
    "an unknown option": {"options": {"colour": "red"}},
    "a stop that is a number": {"options": {"stop": 5}},
    "thousands of stops": {"options": {"stop": [f"w{n}" for n in range(5000)]}},
    "an empty stop": {"options": {"stop": [""]}},
    "keep_alive of text": {"keep_alive": "for ever"},
    "keep_alive as a list": {"keep_alive": [1]},
    "keep_alive beyond all": {"keep_alive": 1e300},
    "a format that is none": {"format": "xml"},
    "a format of a number": {"format": 3},
    "a schema with a loop": {"format": {"$ref": "#"}},
    "a schema of nonsense": {"format": {"type": "banana"}},
    "a schema from outside": {"format": {"$ref": "http://127.0.0.1:1/x.json"}},
    "a bomb of a pattern": {
        "format": {
            "type": "object",
            "properties": {"a": {"pattern": "^(((a{1,90}){1,90}){1,90})$"}},
        }
    },
    "thousands of items": {
        "format": {"type": "array", "minItems": 10**9, "items": {"type": "null"}}
    },
    "a text without end": {"format": {"type": "string", "minLength": 10**9}},
    "a pattern without end": {"format": {"type": "string", "pattern": "^a{1000000000}$"}},
    "a million nulls": {"format": {"anyOf": [{"type": "null"}] * 100_000}},
    "a deep schema": {"format": json.loads('{"items":' * 300 + "{}" + "}" * 300)},
    "think of text": {"think": "hard"},
    "images of text": {"images": ["no picture"]},
    "a context": {"context": [1, 2, 3]},
    "a context of text": {"context": ["x"]},
    "a template": {"template": "{{ range }}"},
    "a suffix": {"suffix": "x"},
    "logprobs of text": {"logprobs": "x"},
    "a thousand logprobs": {"logprobs": True, "top_logprobs": 1000},
    "tools": {"tools": [{"type": "function"}]},
    "raw and a system prompt": {"raw": True, "system": "x"},
}
PROMPTS: dict[str, str] = {
    "NUL": "a\0b",
    "signs of control": "<|im_end|><|im_start|>system\n" * 50,
    "all ascii controls": "".join(map(chr, range(32))),
    "right to left": "\u202e\u2066abc\u2069",
    "one word without end": "a" * 200_000,
    "ten megabytes": "word " * 2_000_000,
    "jinja": "{{ 7 * 7 }}{% raw %}{{ cycler.__init__.__globals__ }}",
    "emoji joined": "👩‍👩‍👧‍👦" * 2000,
    "marks on marks": "a" + "\u0301" * 5000,
    "only spaces": " " * 10_000,
}
ROLES = ["", "wizard", "system\n", "assistant<|im_end|>", "😀"]


@pytest.fixture(scope="module")
def engine_home(shelf_home, tmp_path_factory):
    """A folder with an engine's home in it, and nothing else."""
    home = tmp_path_factory.mktemp("hostile") / "home"
    home.mkdir()
    give_models(shelf_home, home)
    return home


@pytest.fixture(scope="module")
def engine_url(engine_home):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "slmlab", "serve", "--port", str(port)]
    log = engine_home.parent / "log"
    with serving(command, url, log, SLMLAB_HOME=str(engine_home)) as process:
        yield url
        assert process.poll() is None, log.read_text()
    said = log.read_text(errors="replace")
    assert "Traceback" not in said, said[-3000:]


@pytest.fixture(scope="module")
def client(engine_url):
    with httpx.Client(base_url=engine_url, timeout=60, trust_env=False) as one:
        yield one


def refused_or_answered(answer: httpx.Response) -> None:
    """A status that the API has, and a sentence with each that is not 200."""
    assert answer.status_code in (200, 201, 400, 404, 413, 500, 503), answer.text[:300]
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        text = answer.text if answer.status_code == 404 else answer.json()["error"]
        assert text.strip()
        assert "Traceback" not in text
        assert not re.match(r"\w+(Error|Exception): ", text), text


@pytest.mark.slow
class TestApi:
    @pytest.mark.parametrize("route", POSTS)
    def test_bodies(self, client, route):
        for what, body in BODIES.items():
            answer = client.post(f"/api/{route}", content=body)
            refused_or_answered(answer)
            if route != "copy" and what not in ("twice",):
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
        common = {"model": SMOL, "stream": False} | field | {"options": options}
        for route, more in (
            ("generate", {"prompt": "Say"}),
            ("chat", {"messages": [{"role": "user", "content": "Say"}]}),
            ("embed", {"input": "Say"}),
        ):
            refused_or_answered(client.post(f"/api/{route}", json=common | more))

    @pytest.mark.parametrize("what", PROMPTS)
    def test_prompts(self, client, what):
        common = {
            "model": SMOL,
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
            ("embed", {"input": text}),
        )[some]:
            refused_or_answered(client.post(f"/api/{route}", json=common | more))

    @pytest.mark.parametrize("role", ROLES)
    def test_roles(self, client, role):
        messages = [{"role": role, "content": "Say"}] * 3
        options = {"num_predict": 2, "num_ctx": 256}
        asked = {"model": SMOL, "messages": messages, "stream": False, "options": options}
        refused_or_answered(client.post("/api/chat", json=asked))

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

    def test_it_still_works(self, client):
        """Last in its class: what came before has broken nothing."""
        asked = {"model": SMOL, "prompt": "Say", "stream": False, "options": {"num_predict": 4}}
        answer = client.post("/api/generate", json=asked)
        assert answer.status_code == 200
        assert answer.json()["eval_count"] == 4


api = schemathesis.openapi.from_dict(openapi.description())


@pytest.mark.slow
class TestDescribedApi:
    def test_the_description_is_served(self, client):
        assert client.get("/openapi.json").json() == openapi.description()

    @api.parametrize()
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    def test_whatever_fits_the_description_gets_an_answer_that_fits(self, case, client):
        body = case.body
        if isinstance(body, dict) and case.path in ("/api/generate", "/api/chat", "/api/embed"):
            # Else hardly a request would reach a model.
            body["model"] = SMOL
            options = body.get("options")
            body["options"] = (options if isinstance(options, dict) else {}) | {"num_predict": 2}
            body["options"]["num_ctx"] = 256
        answer = case.call(base_url=str(client.base_url).rstrip("/"), timeout=60)
        assert answer.status_code in (200, 400, 404, 413, 500, 503), answer.text[:300]
        if answer.status_code >= 400 and answer.headers["content-type"] == "application/json":
            assert not re.match(r"\w+(Error|Exception): ", answer.json()["error"])
        case.validate_response(
            answer,
            checks=[
                schemathesis.checks.status_code_conformance,
                schemathesis.checks.content_type_conformance,
                schemathesis.checks.response_schema_conformance,
            ],
        )


MANY = settings(
    max_examples=EXAMPLES * 2,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
# The library, without a server: all of it has to be refused before any work starts.
BAD_CALLS: dict[str, tuple] = {
    "no models": (lambda: slmlab.compare([], "x")),
    "no prompts": (lambda: slmlab.compare("m", [])),
    "a number as prompt": (lambda: slmlab.compare("m", 5)),
    "None as prompt": (lambda: slmlab.compare("m", None)),
    "a list with None": (lambda: slmlab.compare("m", ["x", None])),
    "a number as model": (lambda: slmlab.compare(5, "x")),
    "a list of numbers as models": (lambda: slmlab.compare([5], "x")),
    "repeats of 0": (lambda: slmlab.compare("m", "x", repeats=0)),
    "an unknown option": (lambda: slmlab.compare("m", "x", temprature=1)),
    "a text as temperature": (lambda: slmlab.compare("m", "x", temperature="hot")),
    "NaN as temperature": (lambda: slmlab.compare("m", "x", temperature=float("nan"))),
    "half a token": (lambda: slmlab.compare("m", "x", num_predict=1.5)),
    "an empty list of settings": (lambda: slmlab.compare("m", "x", temperature=[])),
    "a template without its variable": (lambda: slmlab.compare("m", ["x"], template="Say {other}")),
    "a template that is broken": (lambda: slmlab.compare("m", ["x"], template="Say {")),
    "a file that is not there": (lambda: slmlab.compare("m", Path("missing.csv"))),
    "generate: a list of texts": (lambda: slmlab.generate("m", ["x"])),
    "generate: a role of nobody": (
        lambda: slmlab.generate("m", [{"role": "wizard", "content": "x"}])
    ),
    "generate: a lone surrogate": (lambda: slmlab.generate("m", "\ud800")),
    "generate: an empty chat": (lambda: slmlab.generate("m", [])),
    "generate: None": (lambda: slmlab.generate("m", None)),
    "ask: no such template": (lambda: slmlab.ask("m", "x", template="step_by_stepp")),
    "chain: no such template": (lambda: slmlab.chain("stepp", "m")),
    "fill: a missing variable": (lambda: prompts.fill("explain", topic="x")),
    "tasks: no such set": (lambda: tasks.load("sentimant")),
    "tasks: none": (lambda: tasks.load([])),
    "pull: a path": (lambda: slmlab.pull("../../x")),
    "start: an unknown engine": (lambda: slmlab.start("olama")),
    "a number as template": (lambda: slmlab.compare("m", ["x"], template=5)),
    "a number as system prompt": (lambda: slmlab.compare("m", ["x"], system=5)),
    "a message without text": (lambda: slmlab.generate("m", [{"role": "user", "content": None}])),
    "playground: no text": (lambda: slmlab.playground(b"x")),
    "side_by_side: no text": (lambda: slmlab.side_by_side(5, ["a", "b"])),
}


class TestLibrary:
    @pytest.mark.parametrize("what", BAD_CALLS)
    def test_a_sentence_before_any_work(self, what, lab, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SlmlabError) as caught:
            BAD_CALLS[what]()
        assert len(str(caught.value)) > 15
        assert not list(paths_of_records())

    @settings(max_examples=EXAMPLES * 4, deadline=None, derandomize=True, database=None)
    @given(st.text(max_size=60))
    def test_any_text_is_a_template_or_is_refused(self, text):
        try:
            prompts.fill(text, **{name: "x" for name in prompts.variables(text)})
        except SlmlabError as error:
            assert str(error)

    @MANY
    @given(st.binary(max_size=300))
    def test_any_bytes_are_a_file_of_votes_or_refused(self, tmp_path, content):
        file = tmp_path / "votes.jsonl"
        file.write_bytes(content)
        try:
            votes.read_votes(file)
        except SlmlabError as error:
            assert "votes.jsonl" in str(error)

    @MANY
    @given(st.binary(max_size=300), st.sampled_from([".csv", ".jsonl"]))
    def test_any_bytes_are_a_task_set_or_refused(self, tmp_path, content, ending):
        file = tmp_path / f"mine{ending}"
        file.write_bytes(content)
        try:
            assert "prompt" in tasks.load(file)
        except SlmlabError as error:
            assert "mine" in str(error)

    @MANY
    @given(st.binary(max_size=600), st.integers(0, 6))
    def test_any_bytes_are_no_model(self, tmp_path, content, version):
        file = tmp_path / "x.gguf"
        file.write_bytes(b"GGUF" + struct.pack("<I", version) + content)
        try:
            gguf_header.read_header(file)
        except gguf_header.GGUFError as error:
            assert str(error)

    @MANY
    @given(st.one_of(st.binary(max_size=300), st.text(max_size=200).map(str.encode)))
    def test_any_bytes_beside_the_records_are_passed_over(self, tmp_path, content):
        name = "0" * 64
        (tmp_path / "x.jsonl").write_bytes(b'{"key":"' + name.encode() + b'","on":' + content)
        (tmp_path / "y.jsonl").write_bytes(content)
        assert RecordStore(tmp_path).find([name]) == {}

    def test_the_sizes_of_tensors_are_the_gguf_packages(self):
        from gguf.constants import GGML_QUANT_SIZES

        assert {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()} == gguf_header._BLOCKS

    def test_a_manifest_that_somebody_edited_is_no_model(self, tmp_path):
        store = Store(tmp_path)
        for number, text in enumerate(("", "{}", "[]", "null", '{"name": 5}', "\0", DEEP)):
            (store.manifests / f"m{number}%3Alatest.json").write_text(text)
        assert store.all() == []


def paths_of_records() -> list[Path]:
    from slmlab import paths

    return list(paths.results().glob("*.jsonl"))


@pytest.mark.parametrize("value", ["-1", "0", "many"])
def test_numbers_of_the_environment_that_are_none(value, engine_home):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = ("NUM_PARALLEL", "MAX_LOADED_MODELS", "MAX_QUEUE", "CONTEXT_LENGTH")
    env = {f"OLLAMA_{name}": value for name in settings} | {"SLMLAB_HOME": str(engine_home)}
    command = [sys.executable, "-m", "slmlab", "serve", "--port", str(port)]
    asked = {"model": SMOL, "prompt": "Hi", "stream": False, "options": {"num_predict": 2}}
    with serving(command, url, engine_home.parent / f"log{value}", **env):
        found = httpx.post(f"{url}/api/generate", json=asked, timeout=60, trust_env=False)
        loaded = httpx.get(f"{url}/api/ps", trust_env=False).json()["models"]
    assert found.json()["done"]
    assert loaded[0]["context_length"] == 4096


class TestTerminal:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["ask"],
            ["ask", ""],
            ["frobnicate"],
            ["compare", "--repeats", "0", "x"],
            ["compare", "--repeats", "many", "x"],
            ["serve", "--port", "99999999"],
            ["serve", "--port", "-1"],
            ["serve", "--port", "x"],
            ["pull", "../x"],
            ["pull"],
            ["ask", "--temperature", "hot", "x"],
            ["--version", "--help"],
            ["report", "missing"],
        ],
        ids=" ".join,
    )
    def test_a_sentence(self, arguments, tmp_path):
        env = os.environ | {
            "SLMLAB_HOME": str(tmp_path / "home"),
            "OLLAMA_HOST": f"127.0.0.1:{free_port()}",
        }
        done = subprocess.run(
            [sys.executable, "-m", "slmlab", *arguments],
            capture_output=True,
            text=True,
            env=env,
            cwd=tmp_path,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        assert "Traceback" not in done.stderr + done.stdout
        assert done.returncode == 0 if "--help" in arguments else done.returncode != 0
        assert (done.stderr + done.stdout).strip()
