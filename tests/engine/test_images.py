"""Images in prompts: a model that sees colours, by a projector made for it, tells them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from PIL import Image

import slmlab
from slmlab.errors import ModelError, PromptError
from slmlab.run.images import of
from tests.support import gguf_files, projectors
from tests.support.contract import lines
from tests.support.engines import QWEN, Engine
from tests.support.file_server import FileServer
from tests.support.projectors import COLOURS, png

NAME = "seeing:test"
ASK = "Repeat the colour word that you just saw. Answer with one word."
EXACT = {"temperature": 0, "num_predict": 6, "num_ctx": 2048}


@pytest.fixture(scope="module")
def projector(qwen_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return projectors.write(tmp_path_factory.mktemp("images") / "mmproj.gguf", qwen_gguf)


@pytest.fixture(scope="module", autouse=True)
def seeing(embedded: Engine, qwen_gguf: Path, projector: Path) -> Iterator[None]:
    slmlab.add(NAME, qwen_gguf, projector=projector, host=embedded.url)
    yield
    slmlab.models.remove(NAME, host=embedded.url)


@pytest.fixture
def engine(embedded: Engine) -> Engine:
    return embedded


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def converted(colour: str, kind: str) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(png(COLOURS[colour]))).save(out, kind)
    return out.getvalue()


def refused(http: httpx.Client, status: int = 400, model: str = NAME, **more: object) -> str:
    answer = http.post("/api/generate", json={"model": model, "prompt": ASK} | more)
    assert answer.status_code == status, answer.text
    return answer.json()["error"]


def test_it_says_that_it_sees(http):
    shown, without = (http.post("/api/show", json={"model": one}).json() for one in (NAME, QWEN))
    assert "vision" in shown["capabilities"]
    assert shown["details"]["families"] == ["qwen2", "clip"]
    assert shown["projector_info"]["clip.projector_type"] == "gemma3"
    assert "vision" not in without["capabilities"]
    assert "projector_info" not in without


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("route", ["generate", "chat"])
def test_it_tells_the_colour(client, route, colour):
    images = [png(COLOURS[colour])]
    if route == "generate":
        text = client.generate(NAME, ASK, images=images, options=EXACT).response
    else:
        messages = [{"role": "user", "content": ASK, "images": images}]
        text = client.chat(NAME, messages, options=EXACT).message.content
    assert text.lower().startswith(colour)


def test_several_images_keep_their_places(http):
    images = [in_base64(png(COLOURS[one])) for one in ("green", "red")]
    body = {"model": NAME, "images": images, "options": EXACT, "stream": False}
    say = "The first is [img], the second is [img]. What is the {} word? Answer with one word."
    for which, colour in (("first", "green"), ("second", "red")):
        answer = http.post("/api/generate", json=body | {"prompt": say.format(which)}).json()
        assert answer["response"].lower().startswith(colour)
    debug = http.post("/api/generate", json=body | {"prompt": say, "_debug_render_only": True})
    assert say in debug.json()["_debug_info"]["rendered_template"]


def test_a_prompt_as_it_is(client):
    text = "<|im_start|>user\n[img-0] " + ASK + "<|im_end|>\n<|im_start|>assistant\n"
    answer = client.generate(NAME, text, images=[png(COLOURS["blue"])], raw=True, options=EXACT)
    assert answer.response.lower().startswith("blue")


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "BMP"])
def test_kinds_of_files(client, kind):
    answer = client.generate(NAME, ASK, images=[converted("red", kind)], options=EXACT)
    assert answer.response.lower().startswith("red")


def test_openais_api(engine):
    client = openai.OpenAI(base_url=f"{engine.url}/v1", api_key="x")
    url = f"data:image/png;base64,{in_base64(png(COLOURS['blue']))}"
    image = {"type": "image_url", "image_url": {"url": url}}
    messages = [{"role": "user", "content": [{"type": "text", "text": ASK}, image]}]
    answer = client.chat.completions.create(
        model=NAME, messages=messages, temperature=0, max_tokens=6
    )
    assert answer.choices[0].message.content.lower().startswith("blue")


def test_a_conversation_goes_on(client):
    messages = [{"role": "user", "content": ASK, "images": [png(COLOURS["red"])]}]
    messages.append(client.chat(NAME, messages, options=EXACT).message)
    messages.append({"role": "user", "content": ASK, "images": [png(COLOURS["blue"])]})
    answer = client.chat(NAME, messages, options=EXACT)
    assert answer.message.content.lower().startswith("blue")
    assert answer.prompt_eval_count > 60


class TestBadInput:
    def test_a_model_that_does_not_see(self, http):
        images = [in_base64(png(COLOURS["red"]))]
        assert refused(http, model=QWEN, images=images) == f"{QWEN} does not support vision"

    @pytest.mark.parametrize(
        ("image", "sentence"),
        [
            ("%%%", "image 1 is not base64"),
            (in_base64(b"no picture"), "image 1 cannot be read as one of PNG, JPEG"),
            (in_base64(png(COLOURS["red"])[:60]), "image 1 cannot be read as one of PNG, JPEG"),
            (in_base64(png((0, 0, 0), 7100)), "image 1 has 7100 × 7100 pixels; at most 50 million"),
        ],
    )
    def test_no_images(self, http, image, sentence):
        assert refused(http, images=[image]).startswith(sentence)
        good = in_base64(png(COLOURS["red"]))
        assert refused(http, images=[good, image]).startswith(sentence.replace("1", "2", 1))

    def test_an_address_is_not_fetched(self, engine):
        part = {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}
        body = {"model": NAME, "messages": [{"role": "user", "content": [part]}]}
        answer = httpx.post(
            f"{engine.url}/v1/chat/completions", json=body, trust_env=False, verify=False
        )
        assert answer.status_code == 400
        assert "data URL" in answer.json()["error"]["message"]

    def test_the_mark_of_an_image_in_a_text_is_text(self, client):
        """Nobody can guess it, so no text stands for an image that is not there."""
        for mark in ("<__media__>", "<__image__>", "[img]"):
            assert client.generate(NAME, f"Say {mark}.", options=EXACT).eval_count

    def test_more_than_the_context_holds(self, http):
        options = EXACT | {"num_ctx": 256}
        images = [in_base64(png(COLOURS["red"]))]
        said = refused(http, prompt="word " * 1000, images=images, options=options)
        assert "context" in said

    def test_two_models_for_one(self, http, qwen_gguf):
        digest = f"sha256:{qwen_gguf.name.removeprefix('sha256-')}"
        files = {"a.gguf": digest, "b.gguf": digest}
        answer = http.post("/api/create", json={"model": "two", "files": files})
        assert answer.status_code == 400
        assert "one GGUF file for a model, and at most one projector" in answer.json()["error"]

    def test_a_model_given_as_a_projector(self, engine, qwen_gguf):
        with pytest.raises(ModelError, match=r"as a projector .mmproj. is none"):
            slmlab.add("x", qwen_gguf, projector=qwen_gguf, host=engine.url)


class TestPull:
    """From a registry, as Ollama's models and those of Hugging Face come."""

    @pytest.fixture
    def tiny(self, tmp_path: Path) -> Path:
        words = [f"Ġ{colour}" for colour in COLOURS]
        return gguf_files.write(tmp_path / "tiny.gguf", words=words)

    @pytest.fixture
    def eye(self, tmp_path: Path, tiny: Path) -> bytes:
        return projectors.write(tmp_path / "mmproj.gguf", tiny).read_bytes()

    def pulled(
        self, http: httpx.Client, files: FileServer, tiny: Path, projector: bytes
    ) -> tuple[list, list]:
        """What is told, and what the model can do then."""
        files.add_model("seeing", tiny, {"projector": projector})
        name = f"{files.address}/library/seeing"
        told = lines(http.post("/api/pull", json={"model": name, "insecure": True}))
        shown = http.post("/api/show", json={"model": name})
        abilities = shown.json()["capabilities"] if shown.status_code == 200 else []
        http.request("DELETE", "/api/delete", json={"model": name})
        return told, abilities

    def test_with_its_projector(self, http, files, tiny, eye):
        told, abilities = self.pulled(http, files, tiny, eye)
        assert told[-1] == {"status": "success"}
        assert "vision" in abilities

    @pytest.mark.parametrize(
        ("right", "wrong"),
        [(b"gemma3", b"gemmaX"), (b"clip.has_vision", b"clip.has_Vision")],
        ids=["unknown to llama.cpp", "does not see"],
    )
    def test_without_one_that_cannot_be_used(self, http, files, tiny, eye, right, wrong):
        told, abilities = self.pulled(http, files, tiny, eye.replace(right, wrong))
        assert any("kept without its projector" in one.get("status", "") for one in told)
        assert told[-1] == {"status": "success"}
        assert "completion" in abilities
        assert "vision" not in abilities


def test_a_template_that_takes_parts_gets_them(http, qwen_gguf, projector):
    """A projector makes the same weights another model, and removing it leaves the other one."""
    digests = {one["model"]: one["digest"] for one in http.get("/api/tags").json()["models"]}
    assert digests[NAME] != digests[QWEN]
    http.post("/api/create", json={"model": "child:test", "from": NAME, "system": "Be brief."})
    shown = http.post("/api/show", json={"model": "child:test"}).json()
    assert "vision" in shown["capabilities"]
    http.request("DELETE", "/api/delete", json={"model": "child:test"})
    body = {"model": NAME, "prompt": ASK, "images": [in_base64(png(COLOURS["red"]))]}
    rows = lines(http.post("/api/generate", json=body | {"options": EXACT}))
    assert "red" in "".join(json.dumps(row) for row in rows).lower()


def test_widgets_send_them_too(here):
    lab = slmlab.playground(NAME, ASK, images=png(COLOURS["green"]), **EXACT)
    lab.run()
    assert lab.records[0].text.lower().startswith("green")
    assert "data:image/png" in lab.static_html()
    assert "Without the images" in lab.code_text
    lab.follow_up_box.text.value = "Say it again."
    lab.follow_up()
    assert of(lab.records[1].prompt) == of(lab.records[0].prompt)
    both = slmlab.side_by_side([NAME, QWEN], ASK, images=[png(COLOURS["red"])], **EXACT)
    both.run()
    assert not both.runs  # nothing ran, for one of them cannot see
    assert f"{QWEN} cannot see" in both.message.value
    again = slmlab.side_by_side([NAME, NAME], ASK, images=[png(COLOURS["red"])], **EXACT)
    again.run()
    assert all(text.lower().startswith("red") for text in again.frame["text"])


def test_notebooks_send_them_too(embedded, tmp_path):
    given = {"host": embedded.url, **EXACT}
    rows = [{"prompt": ASK, "images": [png(colour)]} for colour in COLOURS.values()]
    frame = slmlab.compare(NAME, rows, store=tmp_path, timing=False, quiet=True, **given)
    seen = zip(frame["text"], COLOURS, strict=True)
    assert all(text.lower().startswith(colour) for text, colour in seen)
    record = slmlab.generate(NAME, ASK, images=png(COLOURS["blue"]), **given)
    assert record.text == frame["text"].iloc[-1]
    assert record.truncated is False
    chain = slmlab.chain(NAME, images=png(COLOURS["green"]), **given)
    assert chain.invoke({"question": ASK}).lower().startswith("green")
    with pytest.raises(PromptError, match="cannot see"):
        slmlab.generate(QWEN, ASK, images=png(COLOURS["red"]), **given)
