"""Named prompt templates, and LangChain chains over them."""

from __future__ import annotations

import contextlib
import re
import string
from typing import TYPE_CHECKING, Any

from slmlab.engines import server
from slmlab.engines.address import speaks_openai
from slmlab.engines.client import client_kwargs, ollama_package
from slmlab.engines.embedded import CACHE_PROMPT
from slmlab.errors import PromptError, did_you_mean
from slmlab.models.inventory import validate_model
from slmlab.run.files import is_file
from slmlab.run.images import need_vision, of, read, with_images
from slmlab.run.options import (
    NOT_BY_LANGCHAIN,
    Options,
    full_options,
    parameters_of,
    validate_prompt,
)

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable
    from typing_extensions import Unpack

STEP_BY_STEP = "Question: {question}\n\nAnswer: Let's think step by step."

TEMPLATES: dict[str, str] = {
    "plain": "{question}",
    # The template of the tutorial that slmlab grew from, and of LangChain's own page on Ollama.
    "step_by_step": STEP_BY_STEP,
    "short": "{question}\n\nAnswer in one sentence.",
    "explain": "Explain {topic} to a {audience}.",
    "summarize": "Summarize this text in at most {sentences} sentences.\n\nText:\n{text}",
    "translate": "Translate this text into {language}.\n\nText:\n{text}",
    "classify": "Classify this text as one of: {labels}. Reply with the label.\n\nText:\n{text}",
}

HYPOTENUSE = (
    "What is the hypotenuse of a right-angled triangle whose other two sides are 3 and 4 units "
    "long?"
)


# A variable's name: one word, or several, as in a column "Standard Question".
NAME = r"(?!\d+\b)\w(?:[\w /?&%#()-]*[\w?%#)])?"
DOUBLED = re.compile(rf"\{{\{{\s*({NAME})\s*\}}\}}")


def template_text(template: str) -> str:
    """The text of a template given by its name, or the text itself.

    If all variables of a template have double braces, ``{{question}}``, as in promptfoo and Jinja,
    these become single ones, and all other braces are doubled, which makes them text.

    Raises:
        PromptError: it is a single word but not a template's name, a file's name, or not a text.

    Examples:
        >>> slmlab.prompts.template_text("plain")
        '{question}'
        >>> slmlab.prompts.template_text("Say {{word}}.")
        'Say {word}.'
    """
    if not isinstance(template, str):
        raise PromptError(f"A template is a text; got {template!r}.")
    if template in TEMPLATES:
        return TEMPLATES[template]
    if template.replace("-", "_").isidentifier():
        raise PromptError(
            f"There is no template {template!r}.{did_you_mean(template, TEMPLATES)} "
            f"Templates: {', '.join(TEMPLATES)}; or give the text itself."
        )
    if is_file(template):
        raise PromptError(
            f"The template {template!r} is a file; give its text: Path({template!r}).read_text()."
        )
    if DOUBLED.search(template) and not any(map(_is_name, _fields(template))):
        parts = DOUBLED.split(template)  # texts, and names between them
        if more := re.search(r"\{\{.*?\}\}|\{%.*?%\}", "\n".join(parts[::2]), re.DOTALL):
            raise PromptError(
                f"The template has {more[0][:60]}, which is not a variable; only variables are "
                "filled in here."
            )
        parts[::2] = [text.replace("{", "{{").replace("}", "}}") for text in parts[::2]]
        parts[1::2] = [f"{{{name}}}" for name in parts[1::2]]
        return "".join(parts)
    return template


def variables(template: str) -> list[str]:
    """The names of a template's variables, in order; doubled braces are text.

    Raises:
        PromptError: the braces do not match, or a variable has no name.

    Examples:
        >>> slmlab.prompts.variables("Say {word} in {language}.")
        ['word', 'language']
    """
    text = template_text(template)
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    except ValueError as error:
        raise PromptError(
            f"The template is not well-formed: {error}. Write {{{{ for a brace."
        ) from error
    for name in names:
        if not _is_name(name):
            raise PromptError(
                f"The template has {{{name}}}, which is not a variable name. "
                "Write {{ for a brace."
            )
    return list(dict.fromkeys(names))


def _fields(text: str) -> list[str]:
    """The texts in single braces; none if the braces do not match."""
    with contextlib.suppress(ValueError):
        return [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    return []


def _is_name(text: str) -> bool:
    return re.fullmatch(NAME, text) is not None


def fill(template: str, /, **values: Any) -> str:
    """The prompt: a template (name or text) with its variables filled in.

    Raises:
        PromptError: a variable is missing or unknown, or a value does not fit the template's format
            specification.

    Examples:
        >>> slmlab.prompts.fill("Say {word} in {language}.", word="yes", language="French")
        'Say yes in French.'
    """
    wanted = variables(template)
    missing = [name for name in wanted if name not in values]
    extra = [name for name in values if name not in wanted]
    if missing:
        raise PromptError(f"The template also needs {', '.join(missing)}.")
    if extra:
        hint = did_you_mean(extra[0], wanted)
        raise PromptError(f"The template has no variable {extra[0]!r}.{hint}")
    try:
        return template_text(template).format(**values)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, MemoryError) as error:
        why = str(error) or type(error).__name__
        raise PromptError(f"The template cannot be filled: {why.rstrip('.')}.") from error


def chain(
    model: str,
    template: str = "plain",
    *,
    think: bool = False,
    images: Any = None,
    host: str | None = None,
    **options: Unpack[Options],
) -> Runnable[dict[str, Any], str]:
    """A plain LangChain runnable that sends what ``slmlab.ask`` sends and returns the text.

    It is short for these three lines, with your ``template``, ``model`` and ``options``::

        prompt = PromptTemplate.from_template(slmlab.prompts.template_text(template))
        llm = OllamaLLM(model=model, base_url=slmlab.server.host())
        chain = prompt | llm.bind(options=DEFAULT_OPTIONS | options, reasoning=think)

    and bypasses proxies for a server on this machine, and the embedded engine's prompt cache.

    Args:
        model: a model's name, such as ``llama3.2``.
        template: a template's name or text; its variables are the keys that ``invoke`` takes.
        think: let a model that can think do so before it answers; its thoughts are left out.
        images: an image or several that go with each text, to a model that can see.
        host: the server (default: ``slmlab.server.host()``).
        options: sampling options (see ``slmlab.run.options.DEFAULT_OPTIONS``).

    Raises:
        PromptError: the template, an image or an option is not usable, or the model cannot see.
        ModelError: the model is not a name.

    Examples:
        >>> chain = slmlab.chain(names[0], "step_by_step", num_predict=20)
        >>> text = chain.invoke({"question": "What is 3 × 4?"})
    """
    validate_model(model)
    variables(template)
    sent = full_options(options, parameters=parameters_of(chain))
    if dropped := NOT_BY_LANGCHAIN & sent.keys():
        raise PromptError(
            f"{', '.join(sorted(dropped))} cannot be set in a chain: LangChain's OllamaLLM drops "
            "it from its options. slmlab.generate and compare send it."
        )
    ollama_package()
    from langchain_core.prompts import PromptTemplate
    from langchain_ollama import OllamaLLM

    address = server.address_of(host)
    if speaks_openai(address):
        raise PromptError(
            f"A chain is made with LangChain's OllamaLLM, and {address} is used through OpenAI's "
            "API. LangChain's ChatOpenAI (the package langchain-openai) takes it as base_url."
        )
    seen = validate_prompt(with_images("-", images))
    need_vision(seen, model, address)
    # Before an OllamaLLM, a ChatPromptTemplate would put "Human: " in front of the text.
    prompt = PromptTemplate.from_template(template_text(template))
    # As ``ask`` does, so that it gives the same text as there.
    whole = {"headers": {CACHE_PROMPT: "false"}}
    llm = OllamaLLM(model=model, base_url=address, client_kwargs=client_kwargs(address) | whole)
    # Not all options are fields of OllamaLLM; and models that can think do so by default.
    more = {"images": [read(one) for one in of(seen)]} if of(seen) else {}
    return prompt | llm.bind(options=sent, reasoning=think, **more)
