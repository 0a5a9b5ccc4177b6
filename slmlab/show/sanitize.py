"""Make a model's text harmless: as HTML, as plain text, with differences marked.

Model output is untrusted. It is rendered by markdown-it with HTML switched off, and the result is
cleaned by nh3. Images are removed, since fetching one would tell its server about the reader.
"""

from __future__ import annotations

import difflib
import re

from markupsafe import Markup, escape

from slmlab.run.options import Prompt

_BLOCKS = {"p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "blockquote"}
_LISTS_AND_TABLES = {"ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td"}
TAGS = {"strong", "em", "s", "code", "a"} | _BLOCKS | _LISTS_AND_TABLES


def safe_html(text: str) -> Markup:
    """A model's Markdown as harmless HTML: no scripts, no images, no live tags of its own."""
    import nh3
    from markdown_it import MarkdownIt

    rendered = (
        MarkdownIt("commonmark", {"html": False, "breaks": True})
        .enable("table")
        .render(harmless(text))
    )
    cleaned = nh3.clean(
        rendered, tags=TAGS, attributes={"a": {"href"}}, url_schemes={"http", "https", "mailto"}
    )
    return Markup(cleaned)  # noqa: S704  cleaned above


# Characters that change the writing direction and can make a text look like another one.
_DIRECTIONS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_CONTROLS = (*(code for code in range(32) if code not in (9, 10)), 127)
_REPLACED: dict[int, str | None] = {code: "�" for code in _DIRECTIONS} | dict.fromkeys(_CONTROLS)
# Colours and cursor moves of terminals.
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")


def harmless(text: str) -> str:
    """A model's text without control characters, terminal codes and changed writing directions."""
    text = _ANSI.sub("", text.replace("\r\n", "\n"))
    return text.translate(_REPLACED).encode(errors="replace").decode()


def prompt_text(prompt: Prompt) -> str:
    """A prompt as harmless text; a conversation with the speaker before each message."""
    if isinstance(prompt, str):
        return harmless(prompt)
    return harmless("\n".join(f"{one['role']}: {one['content']}" for one in prompt))


def marked(text: str, reference: str, longest: int = 3000) -> Markup:
    """A text as harmless HTML, with ``<mark>`` around words that are not in the reference.

    Texts of more than ``longest`` words are not compared.
    """
    words, others = (re.findall(r"\S+|\s+", harmless(one)) for one in (text, reference))
    if max(len(words), len(others)) > 2 * longest:
        return escape(harmless(text))
    html = Markup()
    for kind, start, end, _, _ in difflib.SequenceMatcher(
        None, words, others, autojunk=False
    ).get_opcodes():
        piece = "".join(words[start:end])
        new = piece and kind in ("replace", "delete")
        html += Markup("<mark>{}</mark>").format(piece) if new else escape(piece)
    return html
