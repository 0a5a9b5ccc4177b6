"""The embedded engine and registries that fail, lie, or have something else than a model."""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import gguf
import httpx
import numpy as np
import pytest

import slmlab
from slmlab import models
from slmlab.errors import ModelError
from tests.support import gguf_files
from tests.support.paths import ROOT
from tests.support.processes import free_port, serving

GO_TEMPLATES = json.loads((ROOT / "tests/corpus/go_templates.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An embedded engine with a home of its own: its address, and the folder with its blobs."""
    home = tmp_path_factory.mktemp("registry")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "slmlab", "serve", "--port", str(port)]
    with serving(command, url, home / "log", SLMLAB_HOME=str(home)):
        yield url, home / "models/blobs"


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server[0], timeout=60, trust_env=False, verify=False) as client:
        yield client
        for one in client.get("/api/tags").json()["models"]:
            client.request("DELETE", "/api/delete", json={"model": one["name"]})
        for left in server[1].iterdir():  # what the next pull would go on with
            left.unlink()


@pytest.fixture
def pull(http, files):
    """Pulls ``library/x`` from the registry; returns the last line of the answer."""

    def ask() -> dict:
        body = {"model": f"{files.address}/library/x", "insecure": True}
        return json.loads(http.post("/api/pull", json=body).text.splitlines()[-1])

    return ask


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return gguf_files.write(folder / "tiny.gguf", template="{{ messages[0].content }}")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A file of four megabytes, whose header llama.cpp does not know."""
    path = tmp_path_factory.mktemp("large") / "large.gguf"
    writer = gguf.GGUFWriter(path, "whisper9")
    writer.add_tokenizer_model("gpt2")
    writer.add_tensor("token_embd.weight", np.ones((1024, 1024), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def starts(files, blob):
    """The offsets from which a blob was requested."""
    ranges = [wanted for path, wanted in files.seen if path == blob]
    return [int(wanted[6:].split("-")[0]) if wanted else 0 for wanted in ranges]


def downloading(http, files):
    """The lines of a pull, as a stream."""
    body = {"model": f"{files.address}/library/x", "insecure": True}
    return http.stream("POST", "/api/pull", json=body)


class TestDownloads:
    def test_a_cut_goes_on_where_it_was(self, pull, files, tiny):
        blob = files.add_model("x", tiny)
        files.cut[blob] = [20_000, 10_000]
        assert pull() == {"status": "success"}
        assert starts(files, blob) == [0, 20_000, 30_000]

    def test_a_registry_that_does_not_know_range(self, pull, files, tiny):
        blob = files.add_model("x", tiny)
        files.cut[blob] = [20_000]
        files.ignore_range = True
        assert pull() == {"status": "success"}

    def test_who_hangs_up_ends_the_download_and_the_next_pull_goes_on(
        self, http, pull, files, tiny, server
    ):
        blob = files.add_model("x", tiny)
        files.stall[blob] = [20_000]
        with downloading(http, files) as answer:
            for line in answer.iter_lines():
                if json.loads(line).get("completed", 0) >= 20_000:
                    break
        assert http.get("/api/tags").json() == {"models": []}
        assert pull() == {"status": "success"}
        assert starts(files, blob) == [0, 20_000]
        assert [path.name for path in server[1].iterdir()] == [blob[7:].replace(":", "-")]

    def test_two_pulls_at_once_share_one_download(self, http, pull, files, tiny):
        blob = files.add_model("x", tiny)
        files.stall[blob] = [20_000]
        with ThreadPoolExecutor() as pool, downloading(http, files) as answer:
            said = answer.iter_lines()
            for line in said:
                if json.loads(line).get("completed", 0) >= 20_000:
                    break
            second = pool.submit(pull)
            while [path for path, _ in files.seen].count("/v2/library/x/manifests/latest") < 2:
                next(said)
            files.over.set()  # the connection breaks, and one of the two asks again
            assert json.loads([*said][-1]) == {"status": "success"}
            assert second.result() == {"status": "success"}
        assert starts(files, blob) == [0, 20_000]

    def test_what_was_there_is_served_while_a_new_version_comes(
        self, http, pull, files, tiny, tmp_path
    ):
        files.add_model("x", tiny)
        pull()
        (before,) = http.get("/api/tags").json()["models"]
        new = gguf_files.write(tmp_path / "new.gguf", facts={"general.name": "new"})
        files.stall[files.add_model("x", new)] = [20_000]
        with downloading(http, files) as answer:
            for line in answer.iter_lines():
                if json.loads(line).get("completed", 0) >= 20_000:
                    break
            ask = {"model": before["name"], "prompt": "a", "options": {"num_predict": 2}}
            written = http.post("/api/generate", json=ask | {"stream": False}).json()
            assert written["eval_count"] >= 1
        assert http.get("/api/tags").json()["models"] == [before]

    def test_an_architecture_unknown_to_llama_cpp_is_named_before_the_rest_comes(
        self, http, pull, files, large, server
    ):
        blob = files.add_model("x", large)
        files.stall[blob] = [2_000_000]  # the rest never comes
        assert (
            "cannot be used: llama.cpp here does not know its architecture, whisper9"
            in (pull()["error"])
        )
        assert [*server[1].iterdir()] == []

    def test_more_than_the_disk_has(self, pull, files, tiny):
        blob = files.add_model("x", tiny)
        files.change_manifest("x", lambda one: one["layers"][0].update(size=10**14))
        assert pull()["error"].startswith("no space left on device: ")
        assert starts(files, blob) == []

    def test_params_and_messages_are_the_models_defaults(self, http, pull, files, tiny):
        files.add_model(
            "x",
            tiny,
            {
                "params": json.dumps({"num_predict": 3, "num_ctx": 128, "unknown": 1}),
                "messages": json.dumps([{"role": "user", "content": "ab"}]),
            },
        )
        pull()
        name = f"{files.address}/library/x"
        shown = http.post("/api/show", json={"model": name}).json()
        assert shown["messages"] == [{"role": "user", "content": "ab"}]
        written = http.post("/api/generate", json={"model": name, "prompt": "a", "stream": False})
        assert written.json()["eval_count"] <= 3
        (loaded,) = http.get("/api/ps").json()["models"]
        assert loaded["context_length"] == 128


class TestAnswersOfRegistries:
    MANIFEST = "/v2/library/x/manifests/latest"

    def test_a_token_for_anybody_is_fetched_and_goes_nowhere_else(self, pull, files, tiny):
        files.add_model("x", tiny)
        files.token = "let-me-in"
        assert pull() == {"status": "success"}
        assert "/token" in [path for path, _ in files.seen]

    def test_busy_for_a_moment(self, pull, files, tiny):
        blob = files.add_model("x", tiny)
        files.busy = {self.MANIFEST: [429], blob: [503]}
        assert pull() == {"status": "success"}

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (401, "there is no model library/x on "),
            (403, "there is no model library/x on "),
            (404, "pull model manifest: file does not exist"),
            (400, "refuses library/x (status 400)"),
            (412, "has library/x for later versions of Ollama only"),
        ],
    )
    def test_refusals(self, http, pull, files, status, error):
        files.status[self.MANIFEST] = status
        assert error in pull()["error"]
        assert http.get("/api/tags").json() == {"models": []}

    def test_a_token_from_somewhere_without_encryption(self, pull, files):
        files.status[self.MANIFEST] = 401
        challenge = 'Bearer realm="http://elsewhere.example/token"'
        files.headers[self.MANIFEST] = {"WWW-Authenticate": challenge}
        assert "names elsewhere.example for tokens, without TLS" in pull()["error"]

    def test_sent_on_to_what_is_no_web_address(self, pull, files, tiny):
        blob = files.add_model("x", tiny)
        files.redirects[f"/v2/library/x/blobs/{blob[7:]}"] = "ftp://127.0.0.1/x"
        assert "redirects to an address that cannot be used" in pull()["error"]

    def test_a_registry_without_encryption_has_to_be_asked_for(self, http, files, tiny):
        files.add_model("x", tiny)
        answer = http.post("/api/pull", json={"model": f"{files.address}/library/x"}).text
        assert "set insecure: true" in answer
        answer = http.post("/api/pull", json={"model": f"{files.url}/library/x"}).text
        assert "set insecure to true" in answer


KINDS = "application/vnd.ollama.image."


def drop_model(manifest):
    manifest["layers"] = [one for one in manifest["layers"] if "model" not in one["mediaType"]]


def double_model(manifest):
    manifest["layers"].append(manifest["layers"][0])


class TestManifests:
    @pytest.mark.parametrize(
        ("change", "error"),
        [
            (drop_model, "has no model layer, only license"),
            (double_model, "has 2 model files"),
            (lambda one: one.update(layers=7), "is not a manifest of a model (layers: "),
            (lambda one: one["layers"][0].update(digest="sha256:../x"), "(layers.0.digest: "),
            (lambda one: one["layers"][0].update(size=-1), "(layers.0.size: "),
            (
                lambda one: one["layers"][0].update(size=one["layers"][0]["size"] - 9),
                "bytes according to its manifest",
            ),
            (
                lambda one: one["layers"][0].update(size=one["layers"][0]["size"] + 9),
                "bytes according to its manifest",
            ),
            (
                lambda one: one["layers"][1].update(mediaType=f"{KINDS}adapter"),
                "has an adapter, and the embedded engine cannot apply adapters",
            ),
            (
                lambda one: one["layers"][1].update(
                    mediaType="application/vnd.ollama.image.params"
                ),
                "has parameters or messages that cannot be read",
            ),
        ],
    )
    def test_what_they_may_not_say(self, http, pull, files, tiny, server, change, error):
        files.add_model("x", tiny, {"license": "Take it."})
        files.change_manifest("x", change)
        assert error in pull()["error"]
        assert http.get("/api/tags").json() == {"models": []}
        assert not [one for one in server[1].iterdir() if "-partial" not in one.name]

    def test_one_that_is_no_json(self, pull, files):
        files.files["/v2/library/x/manifests/latest"] = b"<html>"
        assert "is not a manifest" in pull()["error"]

    def test_a_small_layer_with_other_bytes(self, pull, files, tiny):
        files.add_model("x", tiny, {"license": "Take it."})
        for path in files.files:
            files.files[path] = files.files[path].replace(b"Take it.", b"Leave it")
        assert "digest mismatch" in pull()["error"]


@pytest.mark.parametrize(
    ("facts", "error"),
    [
        ({"general.type": "mmproj"}, "the file is a projector (mmproj)"),
        ({"general.type": "adapter"}, "the file is a LoRA adapter"),
        ({"split.count": 3}, "one of the 3 parts that a model was split into"),
    ],
)
def test_files_that_are_no_model(pull, files, tmp_path, server, facts, error):
    files.add_model("x", gguf_files.write(tmp_path / "x.gguf", facts=facts))
    assert error in pull()["error"]
    assert [*server[1].iterdir()] == []


def test_a_git_lfs_pointer(pull, files, tmp_path, server):
    pointer = tmp_path / "x.gguf"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n")
    files.add_model("x", pointer)
    assert "the file is a Git LFS pointer" in pull()["error"]
    assert [*server[1].iterdir()] == []


def test_a_file_that_llama_cpp_refuses_is_gone_again(pull, files, tmp_path, server):
    files.add_model("x", gguf_files.write(tmp_path / "x.gguf", sizes=False))
    assert "key not found in model: llama.context_length" in pull()["error"]
    assert [*server[1].iterdir()] == []


class TestTemplates:
    """Files without a chat template, with one in Go's language beside them."""

    @pytest.fixture
    def bare(self, tmp_path):
        return gguf_files.write(tmp_path / "bare.gguf")

    @pytest.mark.parametrize(
        "name",
        ["chatml", *(f"{one}.gotmpl" for one in ("vicuna", "falcon-instruct", "gemma3-instruct"))],
    )
    def test_a_chat_is_written_as_ollama_writes_it(self, http, pull, files, bare, name):
        (known,) = [one for one in GO_TEMPLATES["templates"] if one["name"] == name]
        files.add_model("x", bare, {"template": known["template"]})
        assert pull() == {"status": "success"}
        for messages, expected in zip(
            GO_TEMPLATES["conversations"], known["rendered"], strict=True
        ):
            if messages[-1]["role"] == "assistant":
                continue  # llama.cpp goes on with it, whatever the template says
            ask = {"model": f"{files.address}/library/x", "messages": messages, "stream": False}
            answer = http.post("/api/chat", json=ask | {"_debug_render_only": True}).json()
            assert answer["_debug_info"]["rendered_template"] == expected, messages

    def test_a_model_made_from_it_has_it_too(self, http, pull, files, bare):
        files.add_model("x", bare, {"template": "<u>{{ .Prompt }}<a>"})
        pull()
        made = {"model": "mine", "from": f"{files.address}/library/x", "system": "S"}
        assert http.post("/api/create", json=made).status_code == 200
        ask = {"model": "mine", "messages": [{"role": "user", "content": "hi"}], "stream": False}
        answer = http.post("/api/chat", json=ask | {"_debug_render_only": True}).json()
        assert answer["_debug_info"]["rendered_template"] == "<u>hi<a>"

    def test_one_that_cannot_be_translated_leaves_raw_prompts(self, http, pull, files, bare):
        files.add_model("x", bare, {"template": "{{ if .Tools }}T{{ end }}{{ .Prompt }}"})
        assert pull() == {"status": "success"}
        model = {"model": f"{files.address}/library/x", "stream": False}
        few = {"options": {"num_predict": 2}}
        chat = http.post("/api/chat", json=model | {"messages": [{"role": "user", "content": "a"}]})
        asked = http.post("/api/generate", json=model | {"prompt": "a"})
        for answer in (chat, asked):
            assert answer.status_code == 400
            assert "cannot be translated for llama.cpp" in answer.json()["error"]
        raw = http.post("/api/generate", json=model | few | {"prompt": "a", "raw": True})
        assert raw.json()["eval_count"] >= 1

    def test_a_template_that_formats_nothing_is_none(self, http, pull, files, bare):
        files.add_model("x", bare, {"template": "{{ .Prompt }}"})
        assert pull() == {"status": "success"}
        ask = {"model": f"{files.address}/library/x", "prompt": "ab", "stream": False}
        answer = http.post("/api/generate", json=ask | {"_debug_render_only": True}).json()
        assert answer["_debug_info"]["rendered_template"] == "ab"


class TestLibrary:
    """The same through ``slmlab``."""

    @pytest.fixture(autouse=True)
    def here(self, http, server, monkeypatch):
        monkeypatch.setenv("OLLAMA_HOST", server[0])

    def test_pull_ready_and_fit(self, files, tiny):
        files.add_model("x", tiny)
        name = f"{files.address}/library/x"
        fit = slmlab.will_it_fit(name)
        assert fit.weights == tiny.stat().st_size
        slmlab.pull(name, quiet=True)
        assert slmlab.ready(f"http://{name}") == [f"{name}:latest"]
        assert models.resolve(name).family == "llama"

    def test_errors_are_sentences(self, files):
        name = f"{files.address}/library/nope"
        with pytest.raises(ModelError, match=f"There is no model '{name}'"):
            slmlab.pull(name, quiet=True)
        assert threading.active_count() < 50
