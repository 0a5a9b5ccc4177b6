"""The text of an answer as HTML: Markdown as GitHub shows it, with formulas and coloured code.

This is the one renderer for notebooks, widgets and the report. What a model writes is untrusted:
markdown-it renders it with HTML switched off, and nh3 cleans what comes out.
"""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from markupsafe import Markup

from slmlab.run import thoughts
from slmlab.run.tools import written
from slmlab.show import mathematics
from slmlab.show.highlight import code_html
from slmlab.show.sanitize import clean, harmless

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_core import StateCore
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

# With more lists and quotations within each other, a text is shown as it was written.
DEEPEST = 100
# With more brackets within each other there are no links, for looking for them would take long.
DEEPEST_LINK = 8
_DIRECTED = (
    "paragraph",
    "heading",
    "bullet_list",
    "ordered_list",
    "blockquote",
    "table",
    "th",
    "td",
)
# Markdown of a longer text would hold up a page for longer than a blink: what comes after is shown
# as it was written, so much of it.
LONGEST, MOST_LINES, LONGEST_PLAIN = 12_000, 1_000, 80_000
# Each thought is rendered by itself; what comes after so many parts is shown as it was written too.
MOST_PARTS = 60
# Of a longer text only the end is drawn while it comes: each update sends all of it again.
LONGEST_LIVE = 4_000
# And of very many thoughts the last ones.
MOST_LIVE = 8
# Our own file, in which `>` selects children.
_CSS = (Path(__file__).parent / "text.css").read_text(encoding="utf-8")
STYLE = Markup("<style>\n{}</style>").format(Markup(_CSS))  # noqa: S704
# MathJax, which Jupyter's pages run over all outputs, leaves alone what has one of its classes.
_PLACE = Markup('<div class="slmlab-text tex2jax_ignore mathjax_ignore">{}</div>')
_REST = Markup(
    '<details class="slmlab-rest"><summary>{}</summary><pre tabindex="0">{}</pre></details>'
)
_THOUGHT = Markup('<details class="slmlab-thought"><summary>{}</summary><div>{}</div></details>')
# Where a page lets nobody copy, the code is at least selected.
COPY_SCRIPT = (
    "const code = this.closest('.slmlab-code').querySelector('code');"
    "getSelection().selectAllChildren(code);"
    "navigator.clipboard?.writeText(code.textContent).then(() => { this.textContent = 'Copied'; })"
)
COPY_BUTTON = Markup(
    '<button type="button" class="slmlab-copy-code" onclick="{}">Copy</button>'
).format(COPY_SCRIPT)
COPY_PLACE = Markup('<span class="slmlab-copy"></span>')
_FENCE = re.compile(r"^[ \t>]*(?P<fence>`{3,}|~{3,})(?P<rest>[^`\n]*)$", re.MULTILINE)
# What is not yet a list's item, and would be a heading's line or part of the paragraph before.
_HALF_LINE = re.compile(r"\n[ \t>]*(?:[-*+=#|]+|\d+[.)]?)[ \t]*\Z")
_SAFE_LINK = re.compile(r"https?://|mailto:", re.IGNORECASE)
_TASK = re.compile(r"\[([ xX])\](?=\s)")
_PLAIN_TAG = re.compile(
    r"<(?P<tag>br)\s*/?>|<(?P<pair>sub|sup)>(?P<text>[^<>\n]{1,200})</(?P=pair)>"
)
_ENCODED_MARK = re.compile("%EF%B7%90(\\d+)%EF%B7%91")


def to_html(
    text: str,
    *,
    live: bool = False,
    thinking: str = "",
    tokens: int | None = None,
    seconds: float | None = None,
) -> Markup:
    """An answer as harmless HTML: no scripts, no images, no live tags of its own.

    Formulas become MathML, and stay as they were written where they are none. Thoughts are folded
    away, and so is what comes after the first ``LONGEST`` characters, as it was written. It needs
    ``STYLE`` once on its page.

    Args:
        text: what the model wrote: Markdown, perhaps with ``<think>…</think>``.
        live: more of it is to come: a formula without an end waits as text, and of a long text only
            the end is shown.
        thinking: thoughts that came apart from the text.
        tokens: how many tokens the model wrote in all; thoughts are said to have their share.
        seconds: how long it wrote.
    """
    text, after = (text[-LONGEST_PLAIN:], "") if live else _beginning(text)
    parts = thoughts.parts(text)
    if after and parts and not parts[-1].ended:
        # Its end is in what comes after.
        parts[-1] = replace(parts[-1], ended=True)
    if thinking:
        parts.insert(0, thoughts.Part(thinking, thought=True))
    characters = max(1, sum(len(part.text) for part in parts) + len(after))
    if live:
        parts = parts[-MOST_LIVE:]
    after = "".join(part.text for part in parts[MOST_PARTS:]) + after
    parts = parts[:MOST_PARTS]
    html = Markup()
    for number, part in enumerate(parts, 1):
        comes = live and number == len(parts)
        shown, more = (_end_of(part.text), "") if live else _beginning(part.text)
        body = _text_html(harmless(shown), comes) + _rest(more)
        if part.thought:
            share = len(part.text) / characters
            spent = _spent(tokens and share * tokens, seconds and share * seconds)
            body = _THOUGHT.format(_thought_title(part, comes, spent), body)
        html += body
    return _PLACE.format(html + _rest(after))


def code_block(code: str, language: str) -> Markup:
    """Code as HTML, coloured and with a button that copies it. It needs ``STYLE`` too."""
    return _PLACE.format(_cleaned(code_html(harmless(code), language)))


def calls_html(calls: Any) -> Markup:
    """The calls of tools in an answer, as code."""
    return code_block(written(calls), "python") if calls else Markup()


def _cleaned(html: str) -> Markup:
    return clean(html).replace(COPY_PLACE, COPY_BUTTON)


def _thought_title(part: thoughts.Part, comes: bool, spent: str) -> str:
    if comes and not part.ended:
        return "Thinking …"
    return f"Thoughts{spent}" + ("" if part.ended else ", cut before their end")


def _spent(tokens: float | None, seconds: float | None) -> str:
    """Nobody counts the tokens of thoughts by themselves, so this is said to be about right."""
    facts = [f"{tokens:.0f} tokens"] if tokens else []
    facts += [f"{seconds:.1f} s"] if seconds else []
    return f" (about {' in '.join(facts)})" if facts else ""


def _beginning(text: str) -> tuple[str, str]:
    """The beginning of a long text, up to the end of a line where there is one, and the rest."""
    lines = text[: LONGEST + 1].split("\n", MOST_LINES)
    if len(text) <= LONGEST and len(lines) <= MOST_LINES:
        return text, ""
    end = len(text[: LONGEST + 1]) - len(lines[-1]) if len(lines) > 1 else LONGEST
    end = end if end > LONGEST // 2 or len(lines) > MOST_LINES else LONGEST
    return text[:end], text[end:]


def _rest(text: str) -> Markup:
    """What comes after the beginning, as it was written and folded away."""
    if not text:
        return Markup()
    shown = text[:LONGEST_PLAIN]
    note = f"{len(text):,} more characters, as they were written"
    if len(shown) < len(text):
        note += f": the first {len(shown):,} of them; the record has them all"
    return _REST.format(note, harmless(shown))


def _end_of(text: str) -> str:
    """The end of a long text: whole paragraphs, and within a block of code its first line too."""
    if len(text) <= LONGEST_LIVE:
        return text
    start = len(text) - LONGEST_LIVE
    paragraph = text.find("\n\n", start, start + LONGEST_LIVE // 2)
    line = text.find("\n", start, start + LONGEST_LIVE // 2)
    start = max(start, paragraph + 2 if paragraph >= 0 else line + 1)
    fence = ""
    for found in _FENCE.finditer(text, 0, start):
        if not fence:
            fence = found[0]
        elif not found["rest"].strip() and found["fence"] in fence:
            fence = ""
    return f"…\n\n{fence}\n{text[start:]}" if fence else f"…\n\n{text[start:]}"


def _text_html(text: str, live: bool) -> Markup:
    """Markdown without thoughts."""
    if live:
        text = _HALF_LINE.sub("", text)
    text, formulas = mathematics.find(text, live)
    name = hashlib.blake2s(text.encode(), digest_size=4).hexdigest()
    env: dict[str, Any] = {"docId": name, "formulas": formulas}
    renderer = _renderer(with_links=_bracket_depth(text) <= DEEPEST_LINK)
    tokens = renderer.parse(text, env)
    if max((token.level for token in tokens), default=0) >= DEEPEST - 1:
        return Markup("<pre>{}</pre>").format(mathematics.restore(text, formulas))
    html = renderer.renderer.render(tokens, renderer.options, env)
    return _cleaned(mathematics.put_into(html, formulas))


def _bracket_depth(text: str) -> int:
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]]|\n[ \t]*\n", text):
        depth = depth + 1 if bracket == "[" else max(0, depth - 1) if bracket == "]" else 0
        deepest = max(deepest, depth)
    return deepest


@functools.cache
def _renderer(with_links: bool) -> MarkdownIt:
    from markdown_it import MarkdownIt
    from mdit_py_plugins.footnote import footnote_plugin

    renderer = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": DEEPEST})
    renderer.enable(["table", "strikethrough"]).use(footnote_plugin).disable("footnote_inline")
    if not with_links:
        renderer.disable(["link", "image", "footnote_ref"])
    renderer.validateLink = lambda url: bool(_SAFE_LINK.match(url))  # type: ignore[method-assign]
    renderer.inline.ruler.before("autolink", "plain_tag", _plain_tag)
    renderer.core.ruler.push("answer", _finish)
    for name, rule in {
        "fence": _fence,
        "code_block": _fence,
        "image": _image,
        "table_open": _table_open,
        "table_close": _table_close,
    }.items():
        renderer.add_render_rule(name, rule)
    return renderer


def _plain_tag(state: StateInline, silent: bool) -> bool:
    """The three tags of HTML that models use within Markdown: <br>, <sub>, <sup>."""
    found = _PLAIN_TAG.match(state.src, state.pos)
    if not found:
        return False
    if not silent:
        if found["tag"]:
            state.push("hardbreak", "br", 0)
        else:
            state.push(f"{found['pair']}_open", found["pair"], 1)
            state.push("text", "", 0).content = found["text"]
            state.push(f"{found['pair']}_close", found["pair"], -1)
    state.pos = found.end()
    return True


def _finish(state: StateCore) -> None:
    """Put the source of formulas back where they are none, and say how blocks are laid out."""
    formulas = state.env["formulas"]
    opened: list[Token] = []
    for place, token in enumerate(state.tokens):
        _restore(token, formulas)
        if token.type.removesuffix("_open") in _DIRECTED:
            opened.append(token)
        elif token.type.removesuffix("_close") in _DIRECTED:
            opened.pop()
        if token.type == "inline" and token.children:
            for child in token.children:
                _restore(child, formulas)
            _tick(state.tokens, place)
            _direct(opened, token.children)


def _direct(opened: list[Token], words: Sequence[Token]) -> None:
    """Let blocks run as their first words do.

    The browser's own ``dir="auto"`` knows nothing of a list whose items are paragraphs.
    """
    text = (letter for word in words if word.type == "text" for letter in word.content)
    classes = map(unicodedata.bidirectional, text)
    first = next((one for one in classes if one in ("L", "R", "AL")), None)
    for block in opened:
        if first and not block.attrGet("dir"):
            block.attrSet("dir", "ltr" if first == "L" else "rtl")


def _restore(token: Token, formulas: list[mathematics.Formula]) -> None:
    if token.type in ("fence", "code_block", "code_inline"):
        token.content = mathematics.restore(token.content, formulas)
        token.info = mathematics.restore(token.info, formulas)
    for name, value in token.attrs.items():
        if isinstance(value, str) and formulas:
            value = _ENCODED_MARK.sub(lambda mark: unquote(mark[0]), value)
            token.attrs[name] = mathematics.restore(value, formulas)
    if token.type == "link_open":
        token.attrSet("target", "_blank")


def _tick(tokens: list[Token], place: int) -> None:
    """Make ``[ ]`` and ``[x]`` at the beginning of a list's item boxes."""
    first = (tokens[place].children or [])[0]
    if place < 2 or tokens[place - 2].type != "list_item_open" or first.type != "text":
        return
    if found := _TASK.match(first.content):
        first.content = ("☐" if found[1] == " " else "☑") + first.content[3:]
        tokens[place - 2].attrSet("class", "slmlab-task")


# How tokens are written: as plain text, for adding ``Markup`` to it would escape it.


def _fence(_: Any, tokens: Sequence[Token], place: int, *__: Any) -> str:
    token = tokens[place]
    if token.info.strip() == "math" and (found := mathematics.mathml(token.content, True)):
        return str(found)
    return str(code_html(token.content, token.info.strip()))


def _image(_: Any, tokens: Sequence[Token], place: int, *__: Any) -> str:
    """A link in place of an image, for fetching one tells a stranger of the reader."""
    token = tokens[place]
    link = Markup('<a href="{}" target="_blank">{}</a>')
    return str(link.format(token.attrs["src"], token.content or "image"))


def _table_open(_: Any, tokens: Sequence[Token], place: int, *__: Any) -> str:
    direction = tokens[place].attrGet("dir") or "ltr"
    return f'<div class="slmlab-table" tabindex="0"><table dir="{direction}">\n'


def _table_close(*_: Any) -> str:
    return "</table></div>\n"
