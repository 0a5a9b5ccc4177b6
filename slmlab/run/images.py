"""Images in prompts: taken from anywhere, kept by their digest, sent to models that can see.

A prompt holds the digests of its images, so that records, tables and files of them stay small and
say exactly what was sent. The images themselves are kept once each in slmlab's own folder.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slmlab import paths
from slmlab.errors import PromptError

# How files of these kinds begin; servers turn others than PNG and JPEG into one of them.
_BEGINNINGS = {
    "png": rb"\x89PNG\r\n\x1a\n",
    "jpeg": rb"\xff\xd8\xff",
    "webp": rb"RIFF....WEBP",
    "gif": rb"GIF8[79]a",
    "bmp": rb"BM....\0\0\0\0",
}
# Larger ones make requests that servers refuse.
LARGEST = 20_000_000
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


def keep(image: Any) -> str:
    """Keep an image; returns its digest, which stands for it in prompts.

    Args:
        image: the path of a file, its bytes, a picture of PIL, or the digest of one that is kept.

    Raises:
        PromptError: it is no image, or cannot be read or kept.
    """
    if isinstance(image, str) and (known := _DIGEST.fullmatch(image)):
        if not (_folder() / known[1]).is_file():
            read(image)
        return image
    content = _content(image)
    if kind_of(content) is None:
        raise PromptError(
            f"{_named(image)} is no image that models read: these are PNG, JPEG, WebP, GIF and BMP."
        )
    if len(content) > LARGEST:
        raise PromptError(
            f"{_named(image)} has {len(content) / 1e6:.0f} MB; an image has {LARGEST / 1e6:.0f} MB "
            "at most. Make it smaller: models see no more than about 1,000 × 1,000 pixels."
        )
    digest = hashlib.sha256(content).hexdigest()
    file = _folder() / digest
    try:
        if not file.exists():
            paths.make(file.parent)
            part = file.with_name(f"{digest}.{os.getpid()}.part")
            with open(part, "wb", opener=paths.opener) as out:
                out.write(content)
            part.replace(file)
    except OSError as error:
        raise PromptError(
            f"The image cannot be kept in {file.parent}: {error.strerror}."
        ) from error
    return f"sha256:{digest}"


def read(digest: str) -> bytes:
    """The image with this digest.

    Raises:
        PromptError: it is not kept here.
    """
    found = _DIGEST.fullmatch(digest)
    try:
        return (_folder() / found[1]).read_bytes() if found else b""
    except OSError as error:
        raise PromptError(
            f"The image {digest[:19]}… is not on this machine; give the image itself in its place."
        ) from error


def of(prompt: Any) -> list[str]:
    """The digests of a prompt's images, in order."""
    if isinstance(prompt, str) or not isinstance(prompt, Sequence):
        return []
    return [one for message in prompt for one in message.get("images") or ()]


def with_images(prompt: Any, images: Any) -> Any:
    """A prompt with images beside its text; in a conversation, beside its last message.

    Raises:
        PromptError: the last message is not the user's.
    """
    if images is None:
        return prompt
    several = list(images) if isinstance(images, (list, tuple)) else [images]
    if not several:
        return prompt
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt, "images": several}]
    *before, last = prompt
    if not isinstance(last, Mapping) or last.get("role") != "user":
        raise PromptError(
            "Images belong to what the user says, so that has to be the last message."
        )
    there = list(last.get("images") or ())
    return [*before, {**last, "images": there + [one for one in several if one not in there]}]


def for_server(prompt: Any) -> Any:
    """A prompt with its images in base64, as Ollama's API takes them."""
    if not of(prompt):
        return prompt
    return [
        {**one, "images": [base64.b64encode(read(name)).decode() for name in one["images"]]}
        if one.get("images")
        else one
        for one in prompt
    ]


def need_vision(prompt: Any, model: str, host: str) -> None:
    """Check that a model can see, if a prompt has images.

    Raises:
        PromptError: it cannot.
    """
    from slmlab.models import abilities

    if of(prompt) and "vision" not in abilities.capabilities(model, host=host):
        raise PromptError(
            f"{model} cannot see: its capabilities are "
            f"{', '.join(abilities.capabilities(model, host=host))}. Images take a model with "
            "`vision`, such as gemma3:4b or qwen2.5vl:3b."
        )


def kind_of(content: bytes) -> str | None:
    """The kind of an image by how it begins; None where it is none that models read."""
    for kind, beginning in _BEGINNINGS.items():
        if re.match(beginning, content, re.DOTALL):
            return kind
    return None


def _folder() -> Path:
    return paths.home() / "images"


def _content(image: Any) -> bytes:
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, (str, os.PathLike)):
        path = Path(image).expanduser()
        try:
            return path.read_bytes()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise PromptError(f"The image {path} cannot be read: {why}.") from error
    if callable(getattr(image, "save", None)):  # PIL, which need not be imported for it
        out = io.BytesIO()
        image.save(out, "PNG")
        return out.getvalue()
    raise PromptError(f"An image is a path, bytes, or a picture of PIL; got {image!r}.")


def _named(image: Any) -> str:
    return str(image) if isinstance(image, (str, os.PathLike)) else "This"
