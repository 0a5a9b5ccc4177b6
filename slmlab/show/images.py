"""The images of a prompt, small."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from markupsafe import Markup

from slmlab.errors import PromptError
from slmlab.run import images

# Larger ones would make a notebook or a report grow by as much.
LARGEST = 300_000
_IMAGE = Markup(
    '<img src="data:image/{};base64,{}" alt="image {}" title="{}" '
    'style="max-height:7em;max-width:100%;margin:.3em .5em .3em 0;border-radius:4px">'
)


def thumbnails(digests: Iterable[str]) -> Markup:
    """Images beside each other; in words where they are large, or not on this machine."""
    return Markup().join(_one(number, digest) for number, digest in enumerate(digests, 1))


def _one(number: int, digest: str) -> Markup:
    try:
        content = images.read(digest)
    except PromptError:
        content = b""
    kind = images.kind_of(content)
    if kind is None or len(content) > LARGEST:
        size = f", {len(content) / 1e6:.1f} MB" if content else ", which is not on this machine"
        return Markup("<p><small>[image {}{}]</small></p>").format(digest[7:19], size)
    return _IMAGE.format(kind, base64.b64encode(content).decode(), number, digest[:19])
