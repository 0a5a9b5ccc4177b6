"""Make a model's text harmless: as HTML, as plain text, with differences marked.

Model output is untrusted. It is rendered by markdown-it with HTML switched off, and the result is
cleaned by nh3. Images are removed, since fetching one would tell its server about the reader.
"""

from __future__ import annotations

from markupsafe import Markup

from slmlab.run import frames
from slmlab.run.options import Prompt
from slmlab.terminal import printable

_HTML = (
    "a b blockquote br code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i li ol p pre s "
    "section span strong sub summary sup table tbody td th thead tr u ul"
)
# Presentation MathML (https://www.w3.org/TR/mathml-core/) without what can link, act or hold
# other languages: no href, maction, semantics, annotation-xml.
_MATHML = (
    "math menclose merror mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot "
    "mrow ms mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover none"
)
_MATHML_ATTRIBUTES = (
    "accent accentunder columnalign columnlines columnspan depth display displaystyle fence form "
    "height largeop linethickness lspace mathvariant maxsize minsize movablelimits notation "
    "rowspan rspace scriptlevel separator stretchy style symmetric voffset width"
)
_STYLES = (
    "border-bottom border-left border-right border-top color justify-items padding-bottom "
    "padding-left padding-right padding-top text-align"
)
TAGS = {*_HTML.split(), *_MATHML.split()}
_DIRECTED = "blockquote h1 h2 h3 h4 h5 h6 ol p pre table td th ul"
_ATTRIBUTES = {
    **{tag: {"dir"} for tag in _DIRECTED.split()},
    **{tag: set(_MATHML_ATTRIBUTES.split()) for tag in _MATHML.split()},
}
_ATTRIBUTES["a"] = {"href", "id", "target"}
_ATTRIBUTES["li"] = {"id"}
_ATTRIBUTES["ol"] |= {"start"}
_ATTRIBUTES["pre"] |= {"tabindex"}
_ATTRIBUTES["td"] |= {"style"}
_ATTRIBUTES["th"] |= {"style"}
_ATTRIBUTES["div"] = _ATTRIBUTES["span"] = {"tabindex"}
_OURS = "code code-head copy formula latex table task thought waiting"
_CLASSES = {
    tag: {f"slmlab-{name}" for name in _OURS.split()}
    for tag in ("code", "details", "div", "li", "span")
}


def clean(html: str) -> Markup:
    """HTML that was made of a model's text, without anything that can act, load or escape."""
    import nh3
    from pygments.token import STANDARD_TYPES

    cleaned = nh3.clean(
        html,
        tags=TAGS,
        attributes=_ATTRIBUTES,
        allowed_classes=_CLASSES | {"span": _CLASSES["span"] | set(STANDARD_TYPES.values())},
        filter_style_properties=set(_STYLES.split()),
        url_schemes={"http", "https", "mailto"},
    )
    return Markup(cleaned)  # noqa: S704  cleaned above


# Characters that change the writing direction and can make a text look like another one.
_DIRECTIONS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
# Characters that are none; slmlab.show.mathematics marks the places of formulas with two of them.
_NONCHARACTERS = (*range(0xFDD0, 0xFDF0), 0xFFFE, 0xFFFF)
_REPLACED: dict[int, str | None] = {code: "�" for code in (*_DIRECTIONS, *_NONCHARACTERS)}


def harmless(text: str) -> str:
    """A model's text without control characters, terminal codes and changed writing directions."""
    return printable(text).translate(_REPLACED).encode(errors="replace").decode()


def prompt_text(prompt: Prompt) -> str:
    """A prompt as harmless text; a conversation with the speaker before each message."""
    return harmless(frames.prompt_text(prompt))
