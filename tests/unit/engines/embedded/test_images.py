"""Images of a request: what is let through, and where they stand among the texts."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from slmlab.engines.embedded import images
from slmlab.engines.embedded.responses import ApiError
from tests.support.projectors import png

RED = base64.b64encode(png((255, 0, 0))).decode()


def shape(content: images.Content) -> object:
    """Texts as they are, and each image by the end of its URL."""
    if isinstance(content, str):
        return content
    return [one.get("text", one.get("image_url", {}).get("url", "")[-1:]) for one in content]


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("Hi", "", "Hi"),
        ("Hi", "A", ["A", "Hi"]),
        ("Hi", "AB", ["A", "B", "Hi"]),
        ("", "A", ["A"]),
        ("See [img] here", "A", ["See ", "A", " here"]),
        ("[img-0] and [img-1]", "AB", ["A", " and ", "B"]),
        ("See [img]", "AB", ["A", "See ", "B"]),
        ("[img] [img]", "A", ["A", " [img]"]),
        ("[img]", "", "[img]"),
    ],
)
def test_places(text, given, expected):
    content = images.with_images(text, list(given))
    assert shape(content) == expected
    assert images.of([{"content": content}]) == list(given)


def test_as_one_text():
    assert images.marked("Hi", "#") == "Hi"
    assert images.marked(images.with_images("See [img] here", ["A"]), "#") == "See # here"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_llama_cpp_gets_what_it_reads(kind):
    out = io.BytesIO()
    Image.new("RGB", (4, 4), (255, 0, 0)).save(out, kind)
    (checked,) = images.checked([base64.b64encode(out.getvalue()).decode()])
    picture = Image.open(io.BytesIO(base64.b64decode(checked)))
    assert picture.format == ("JPEG" if kind == "JPEG" else "PNG")
    assert picture.convert("RGB").getpixel((1, 1))[0] > 250


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        ("%%%", "image 2 is not base64"),
        (base64.b64encode(b"text").decode(), "image 2 cannot be read as one of PNG, JPEG, GIF"),
        (base64.b64encode(png((0, 0, 0))[:60]).decode(), "image 2 cannot be read as one of PNG"),
    ],
)
def test_bad_images(image, sentence):
    with pytest.raises(ApiError, match=sentence) as raised:
        images.checked([RED, image])
    assert raised.value.status == 400


def test_a_small_file_that_unfolds_to_gigabytes(monkeypatch):
    monkeypatch.setattr(images, "MOST_PIXELS", 56 * 56 - 1)
    with pytest.raises(ApiError, match="image 1 has 56 × 56 pixels; at most 0 million are read"):
        images.checked([RED])
