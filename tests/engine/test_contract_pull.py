"""Both engines pull real bytes from one registry on this machine."""

from __future__ import annotations

import json

import pytest

from tests.support import gguf_files
from tests.support.contract import lines

TEMPLATE = "{{ .System }} {{ .Prompt }}"
TEXTS = {
    "template": TEMPLATE,
    "system": "Be brief.",
    "params": json.dumps({"stop": ["<a>", "<b>"], "temperature": 0.5, "num_ctx": 256}),
    "license": "Take it.",
}


@pytest.fixture
def tiny(tmp_path):
    return gguf_files.write(tmp_path / "tiny.gguf", template="{{ messages[0].content }}")


@pytest.fixture
def pull(http, files):
    """Pulls ``library/NAME`` from the registry; what came of it is removed afterwards."""

    def ask(name: str, **more: object) -> list[dict]:
        answer = http.post("/api/pull", json={"model": f"{files.address}/library/{name}"} | more)
        assert answer.status_code == 200, answer.text
        return lines(answer)

    yield lambda name, **more: ask(name, insecure=True, **more)
    for name in names(http):
        if name.startswith(files.address):
            http.request("DELETE", "/api/delete", json={"model": name})


def names(http) -> list[str]:
    return [one["name"] for one in http.get("/api/tags").json()["models"]]


def test_a_pulled_model_with_all_that_goes_with_it(http, engine, files, pull, tiny):
    blob = files.add_model("tiny", tiny, TEXTS)
    digest, size = blob.removeprefix("/bytes/"), tiny.stat().st_size
    steps = pull("tiny")
    said = [one["status"] for one in steps]
    assert said[0] == "pulling manifest"
    assert said[-1] == "success"
    assert said.index("verifying sha256 digest") < said.index("writing manifest")
    layer = {"status": f"pulling {digest[7:19]}", "digest": digest, "total": size}
    assert {**layer, "completed": size} in steps
    full = f"{files.address}/library/tiny:latest"
    assert full in names(http)
    shown = http.post("/api/show", json={"model": full}).json()
    assert shown["template"] == TEMPLATE
    assert shown["system"] == "Be brief."
    assert shown["license"] == "Take it."
    assert sorted(line.split(maxsplit=1) for line in shown["parameters"].splitlines()) == [
        ["num_ctx", "256"],
        ["stop", '"<a>"'],
        ["stop", '"<b>"'],
        ["temperature", "0.5"],
    ]
    assert pull("tiny")[-1] == {"status": "success"}
    assert len([path for path, _ in files.seen if path == blob]) == len(
        {(path, wanted) for path, wanted in files.seen if path == blob}
    ), "fetched a second time"


def test_a_new_version_takes_the_place_of_the_old(http, files, pull, tiny, tmp_path):
    files.add_model("tiny", tiny, TEXTS)
    pull("tiny")
    old = {one["name"]: one["digest"] for one in http.get("/api/tags").json()["models"]}
    other = gguf_files.write(tmp_path / "other.gguf", facts={"general.name": "other"})
    files.add_model("tiny", other, TEXTS)
    assert "removing unused layers" in [one["status"] for one in pull("tiny")]
    new = {one["name"]: one["digest"] for one in http.get("/api/tags").json()["models"]}
    full = f"{files.address}/library/tiny:latest"
    assert new.keys() == old.keys()
    assert new[full] != old[full]


def test_other_bytes_than_the_manifests(http, files, pull, tiny):
    blob = files.add_model("tiny", tiny)
    content = files.files[blob]
    files.files[blob] = content[:-1] + bytes([content[-1] ^ 1])
    assert "digest mismatch, file must be downloaded again" in pull("tiny")[-1]["error"]
    assert not [name for name in names(http) if name.startswith(files.address)]


def test_no_such_model(http, files, pull):
    steps = pull("nope")
    assert steps[0] == {"status": "pulling manifest"}
    assert steps[-1]["error"].startswith("pull model manifest: file does not exist")
    model = f"{files.address}/library/nope"
    answer = http.post("/api/pull", json={"model": model, "insecure": True, "stream": False})
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("pull model manifest: file does not exist")


@pytest.mark.parametrize("name", ["../x", "a/../x", "a b", "a/b/c/d", "x:", "http://x y/z"])
def test_names_that_are_no_names(http, name):
    answer = http.post("/api/pull", json={"model": name})
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid model name"})
