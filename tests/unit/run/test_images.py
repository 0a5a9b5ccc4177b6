"""Images in prompts: where they may come from, what is sent, and what records hold."""

from __future__ import annotations

import base64
import hashlib
import io
import stat

import pandas as pd
import pytest
from PIL import Image

import slmlab
from slmlab import paths
from slmlab.errors import GenerationError, PromptError
from slmlab.run import results
from slmlab.run.images import with_images
from slmlab.show.images import thumbnails


def picture(kind: str = "PNG", colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(out, kind)
    return out.getvalue()


PNG = picture()
DIGEST = f"sha256:{hashlib.sha256(PNG).hexdigest()}"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMLAB_HOME", str(tmp_path / "home"))


@pytest.fixture
def seeing(wire):
    """A server whose models can see."""
    wire.capabilities = ["completion", "vision"]
    return wire


def sent_images(wire) -> list[bytes]:
    (body,) = wire.sent("/api/chat")
    return [base64.b64decode(one) for one in body["messages"][-1]["images"]]


class TestSending:
    def test_from_anywhere(self, seeing, tmp_path):
        file = tmp_path / "red.png"
        file.write_bytes(PNG)
        for given in (file, str(file), PNG, Image.open(file), [file], DIGEST):
            seeing.requests.clear()
            found = slmlab.generate("a:1b", "What is it?", images=given, host=seeing.url)
            assert sent_images(seeing) == [PNG]
            message = {"role": "user", "content": "What is it?", "images": [DIGEST]}
            assert found.prompt == [message]
            assert found.ttft_s is not None

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
    def test_kinds(self, seeing, kind):
        slmlab.generate("a:1b", "?", images=picture(kind), host=seeing.url)
        assert sent_images(seeing) == [picture(kind)]

    def test_in_a_conversation(self, seeing):
        talk = [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Ho"},
            {"role": "user", "content": "And this?", "images": [PNG, picture(colour="blue")]},
        ]
        slmlab.generate("a:1b", talk, host=seeing.url)
        assert sent_images(seeing) == [PNG, picture(colour="blue")]
        with pytest.raises(PromptError, match="in a message of the user"):
            slmlab.generate("a:1b", [{**talk[0], "role": "system", "images": [PNG]}])
        with pytest.raises(PromptError, match="has to be the last message"):
            slmlab.generate("a:1b", talk[:2], images=PNG)

    def test_a_comparison_takes_a_column_of_them(self, seeing, tmp_path):
        (tmp_path / "red.png").write_bytes(PNG)
        rows = [{"prompt": "What is it?", "images": str(tmp_path / "red.png")}]
        given = {"host": seeing.url, "timing": False, "quiet": True}
        frame = slmlab.compare("a:1b", rows, system="Be kind.", **given)
        assert sent_images(seeing) == [PNG]
        assert frame["images"][0] == [DIGEST]
        assert frame["prompt"][0][-1]["images"] == [DIGEST]
        results.to_csv(frame, tmp_path / "f.csv")
        pd.testing.assert_frame_equal(results.read(tmp_path / "f.csv"), frame, check_dtype=False)
        again = slmlab.compare("a:1b", rows, system="Be kind.", **given)
        assert len(seeing.sent("/api/chat")) == 1, "the second time from the store"
        assert again["text"][0] == frame["text"][0]
        page = slmlab.report(frame, tmp_path / "r.html").read_text()
        assert base64.b64encode(PNG).decode() in page
        assert "[image " in page

    def test_a_chain(self, seeing):
        chain = slmlab.chain("a:1b", images=PNG, host=seeing.url)
        chain.invoke({"question": "What is it?"})
        (body,) = seeing.sent("/api/generate")
        assert [base64.b64decode(one) for one in body["images"]] == [PNG]


class TestRefusing:
    def test_a_model_that_cannot_see(self, wire):
        given = {"images": PNG, "host": wire.url}
        with pytest.raises(PromptError, match=r"a:1b cannot see: its capabilities are completion"):
            slmlab.generate("a:1b", "?", **given)
        with pytest.raises(PromptError, match="cannot see"):
            slmlab.ask("a:1b", "?", **given)
        with pytest.raises(PromptError, match="cannot see"):
            slmlab.chain("a:1b", **given)
        with pytest.raises(PromptError, match="cannot see"):
            slmlab.compare(["a:1b", "b:1b"], [{"prompt": "?", "images": [PNG]}], host=wire.url)
        assert not [path for path, _ in wire.requests if path in ("/api/generate", "/api/chat")]

    @pytest.mark.parametrize(
        ("image", "why"),
        [
            (b"<svg/>", "This is no image that models read: these are PNG, JPEG"),
            (b"", "no image"),
            ("no/such.png", r"The image no/such.png cannot be read: No such file"),
            (5, "An image is a path, bytes, or a picture of PIL; got 5"),
            ("sha256:" + "0" * 64, "is not on this machine"),
            (PNG + bytes(20_000_000), "has 20 MB"),
        ],
    )
    def test_what_is_no_image(self, seeing, image, why):
        with pytest.raises(PromptError, match=why):
            slmlab.generate("a:1b", "?", images=image, host=seeing.url)
        assert not seeing.requests

    def test_what_the_server_says_of_an_image_is_told(self, seeing):
        said = '{"error":{"code":500,"message":"image input is not supported - hint: …"}}'
        seeing.errors["/api/chat"] = [(500, said)]
        with pytest.raises(GenerationError, match="image input is not supported"):
            slmlab.generate("a:1b", "?", images=PNG, host=seeing.url)


class TestKeeping:
    def test_once_and_for_this_user_only(self, seeing):
        for _ in range(2):
            slmlab.generate("a:1b", "?", images=[PNG, PNG], host=seeing.url)
        (file,) = (paths.home() / "images").iterdir()
        assert file.read_bytes() == PNG
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_they_are_added_once(self):
        message = {"role": "user", "content": "?", "images": [DIGEST]}
        assert with_images([message], [DIGEST]) == [message]

    def test_those_that_are_not_here_are_told_in_words(self):
        gone = "sha256:" + "1" * 64
        assert "which is not on this machine" in thumbnails([gone])
