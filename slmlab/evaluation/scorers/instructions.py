"""A scorer for instructions that can be checked without understanding the answer, as in IFEval."""

from __future__ import annotations

import collections
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from slmlab.errors import Unscorable
from slmlab.evaluation.scorers.reading import Row, answer, cell, parsed

Arguments = Mapping[str, Any]
YES_NO_MAYBE = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def instructions(text: str, row: Row) -> bool:
    """The answer follows all ``instructions``: dicts with a ``type`` and what it needs.

    The types and their rules are IFEval's (Zhou et al. 2023, https://arxiv.org/abs/2311.07911), in
    its strict form: the answer is taken as it is. Left out are those that need a language to be
    recognized or sentences to be told apart (``language:response_language``,
    ``length_constraints:number_sentences``, ``change_case:capital_word_frequency``); of
    ``change_case:english_capital`` and ``english_lowercase``, only the case is checked.

    Examples:
        >>> brief = {"type": "length_constraints:number_words", "relation": "less than"}
        >>> row = {"instructions": [brief | {"num_words": 5}, {"type": "punctuation:no_comma"}]}
        >>> slmlab.scorers.instructions("As you like it.", row)
        True
    """
    wanted = parsed(cell(row, "instructions"), list)
    if not wanted:
        raise Unscorable("`instructions` is not a list of instructions.")
    answered = answer(text)
    # An empty answer follows none, not even one to leave something out.
    return bool(answered.strip()) and all([_follows(answered, one) for one in wanted])


def _follows(text: str, instruction: Any) -> bool:
    kind = instruction.get("type") if isinstance(instruction, Mapping) else instruction
    if kind not in RULES:
        raise Unscorable(f"There is no rule for the instruction {kind!r}.")
    try:
        return RULES[kind](text, instruction)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise Unscorable(f"The instruction {instruction!r} lacks something: {error!r}.") from error


def _related(count: int, relation: str, number: int) -> bool:
    if relation not in ("less than", "at least") or number < 0:
        raise ValueError(relation)
    return count < number if relation == "less than" else count >= number


def _words(text: str, given: Arguments) -> bool:
    return _related(len(re.findall(r"\w+", text)), given["relation"], given["num_words"])


def _keyword_count(text: str, given: Arguments) -> bool:
    count = text.lower().count(given["keyword"].strip().lower())
    return _related(count, given["relation"], given["frequency"])


def _letter_count(text: str, given: Arguments) -> bool:
    count = collections.Counter(text.lower())[given["letter"].strip().lower()]
    return _related(count, given["let_relation"], given["let_frequency"])


def _forbidden(text: str, given: Arguments) -> bool:
    words = [rf"\b{re.escape(one)}\b" for one in given["forbidden_words"]]
    return not any(re.search(one, text, re.IGNORECASE) for one in words)


def _paragraphs(text: str, given: Arguments) -> bool:
    """So many parts between dividers ``***``, none of them empty but what is outside of all."""
    parts = [part.strip() for part in text.split("***")]
    if not parts[0]:
        parts = parts[1:]
    if parts and not parts[-1]:
        parts = parts[:-1]
    return all(parts) and len(parts) == int(given["num_paragraphs"])


def _first_word(text: str, given: Arguments) -> bool:
    """So many paragraphs with a blank line between them, one of which begins with a word."""
    parts = text.split("\n\n")
    number = given["nth_paragraph"]
    count = sum(bool(part.strip()) for part in parts)
    if not 0 < number <= count or not parts[number - 1].strip():
        return False
    word = parts[number - 1].split()[0].lstrip("'").lstrip('"').lower()
    first = re.split(r"[.,?!'\"]", word)[0]
    return count == int(given["num_paragraphs"]) and first == str(given["first_word"]).lower()


def _postscript(text: str, given: Arguments) -> bool:
    marker = given["postscript_marker"].strip()
    patterns = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return bool(re.search(patterns.get(marker, re.escape(marker.lower())), text.lower()))


def _bullets(text: str, given: Arguments) -> bool:
    lines = [line.lstrip() for line in text.splitlines()]
    # Two stars begin bold letters.
    bullets = [one for one in lines if one[:1] == "-" or (one[:1] == "*" and one[:2] != "**")]
    return len(bullets) == int(given["num_bullets"])


# The next two look for brackets without a regular expression, which would take quadratic time.
def _placeholders(text: str, given: Arguments) -> bool:
    count = 0
    for line in text.split("\n"):
        end = 0
        while (begin := line.find("[", end)) >= 0 and (end := line.find("]", begin) + 1):
            count += 1
    return count >= int(given["num_placeholders"])


def _title(text: str, given: Arguments) -> bool:
    for line in text.split("\n"):
        begin, end = line.find("<<"), line.rfind(">>")
        if 0 <= begin < end and line[begin:end].strip("<> \t"):
            return True
    return False


def _highlights(text: str, given: Arguments) -> bool:
    single = [one for one in re.findall(r"\*[^\n*]*\*", text) if one.strip("*").strip()]
    double = [one for one in re.findall(r"\*\*[^\n*]*\*\*", text) if one[2:-2].strip()]
    return len(single) + len(double) >= int(given["num_highlights"])


def _sections(text: str, given: Arguments) -> bool:
    marker = re.escape(given["section_spliter"].strip())
    return len(re.findall(rf"{marker}\s?\d+", text)) >= int(given["num_sections"])


def _json(text: str, given: Arguments) -> bool:
    inside = re.sub(r"^```(?:json|Json|JSON)?|```$", "", text.strip()).strip()
    try:
        json.loads(inside)
    except (ValueError, RecursionError):
        return False
    return True


def _two_responses(text: str, given: Arguments) -> bool:
    parts = [part.strip() for part in text.split("******")]
    responses = [part for part in parts if part]
    return all(parts[1:-1]) and len(responses) == 2 and responses[0] != responses[1]


def _ends(text: str, given: Arguments) -> bool:
    end: str = given["end_phrase"].strip().lower()
    return text.strip().strip('"').lower().endswith(end)


def _repeats(text: str, given: Arguments) -> bool:
    prompt: str = given["prompt_to_repeat"].strip().lower()
    return text.strip().lower().startswith(prompt)


RULES: dict[str, Callable[[str, Arguments], bool]] = {
    "keywords:existence": lambda text, given: all(
        one.lower() in text.lower() for one in given["keywords"]
    ),
    "keywords:frequency": _keyword_count,
    "keywords:forbidden_words": _forbidden,
    "keywords:letter_frequency": _letter_count,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": _words,
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": lambda text, given: any(
        one in text for one in YES_NO_MAYBE
    ),
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeats,
    "startend:end_checker": _ends,
    "startend:quotation": lambda text, given: bool(re.fullmatch(r'".*"', text.strip(), re.DOTALL)),
    "change_case:english_capital": lambda text, given: text.isupper(),
    "change_case:english_lowercase": lambda text, given: text.islower(),
    "punctuation:no_comma": lambda text, given: "," not in text,
}
