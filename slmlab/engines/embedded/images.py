"""Images that go to a model: checked here, and put into the messages or the text of a prompt."""

from __future__ import annotations

import base64
import binascii
import io
import re
import warnings
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from slmlab.engines.embedded.responses import ApiError

# A message's text, or its texts and images in parts, as in OpenAI's API.
Content = str | list[dict[str, Any]]
# What llama.cpp decodes itself, and what it does not and Pillow turns into PNG.
AS_THEY_ARE, CONVERTED = ("PNG", "JPEG"), ("GIF", "BMP", "WEBP")
# A small file may unfold to gigabytes; this many pixels take 150 MB.
MOST_PIXELS = 50_000_000
# How many tokens an image is taken for before the model has seen it, as in Ollama (prompt.go).
TOKENS = 768
# Where a text may say that its images belong, again as in Ollama.
_TAG = re.compile(r"\[img(?:-\d+)?\]")


def checked(images: Sequence[str]) -> list[str]:
    """The images in base64, each as PNG or JPEG.

    Raises:
        ApiError: one is not base64, not an image of a kind that is read here, or far too large.
    """
    return [_checked(number, image) for number, image in enumerate(images, 1)]


def _checked(number: int, image: str) -> str:
    from PIL import Image

    try:
        content = base64.b64decode(image, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(400, f"image {number} is not base64: {error}") from error
    try:
        with warnings.catch_warnings():
            # Pillow warns of many pixels, which are counted here before any is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(content), formats=AS_THEY_ARE + CONVERTED)
        if picture.width * picture.height > MOST_PIXELS:
            raise ApiError(
                400,
                f"image {number} has {picture.width} × {picture.height} pixels; at most "
                f"{MOST_PIXELS // 10**6} million are read",
            )
        picture.load()  # what is damaged shows here, before the model is asked
        if picture.format in AS_THEY_ARE:
            return image
        whole = io.BytesIO()
        picture.convert("RGB").save(whole, "PNG")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        kinds = ", ".join(AS_THEY_ARE + CONVERTED)
        raise ApiError(400, f"image {number} cannot be read as one of {kinds}: {error}") from error
    return base64.b64encode(whole.getvalue()).decode()


def with_images(text: str, images: Sequence[str]) -> Content:
    """The content of a message: its text, and its images before it or where ``[img]`` stands."""
    if not images:
        return text
    texts = _TAG.split(text, maxsplit=len(images))
    before = len(images) - (len(texts) - 1)
    parts = [_part(image) for image in images[:before]]
    for one, image in zip_longest(texts, images[before:]):
        parts += [{"type": "text", "text": one}] if one else []
        parts += [_part(image)] if image else []
    return parts


def of(messages: Sequence[dict[str, Any]]) -> list[str]:
    """The images of a conversation in base64, in their order."""
    return [
        part["image_url"]["url"].partition(",")[2]
        for message in messages
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "image_url"
    ]


def marked(content: Content, marker: str) -> str:
    """The content as one text, in which ``marker`` stands for each image."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", marker) for part in content)


def _part(image: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
