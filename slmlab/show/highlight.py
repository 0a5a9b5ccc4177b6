"""A block of code as HTML: its language named, its words coloured, a button to copy it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from pygments.lexer import Lexer

# Colouring takes much longer than all the rest, and nobody reads that much code in an answer.
LONGEST = 20_000
_BLOCK = Markup(
    '<div class="slmlab-code"><div class="slmlab-code-head"><span>{}</span>'
    '<span class="slmlab-copy"></span></div>'
    '<pre dir="ltr" tabindex="0"><code>{}</code></pre></div>\n'
)


@functools.lru_cache(200)
def code_html(code: str, info: str) -> Markup:
    """A block of code.

    The classes of its words are those of Pygments; ``text.css`` gives them their colours. A
    language that Pygments does not know is named and left uncoloured.

    Args:
        code: what stands between the fences.
        info: what stands behind the opening fence: nothing, or the language and perhaps more.
    """
    from pygments import highlight
    from pygments.formatters import HtmlFormatter

    language, *more = info.split() or [""]
    lexer = _lexer(language.lower()) if language and len(code) <= LONGEST else None
    if lexer is None:
        return _BLOCK.format(info, code)
    coloured = highlight(code, lexer, HtmlFormatter(nowrap=True))
    return _BLOCK.format(info if more else lexer.name, Markup(coloured))  # noqa: S704  Pygments escapes


@functools.lru_cache(200)
def _lexer(language: str) -> Lexer | None:
    """What takes code of a language apart; None where there is none."""
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None
