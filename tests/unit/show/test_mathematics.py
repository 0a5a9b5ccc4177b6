"""Formulas in a model's text."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmlab.show import mathematics
from slmlab.show.mathematics import find

PIECES = (
    *("$", "$$", "\\(", "\\)", "\\[", "\\]", "\\begin{align}", "\\end{align}", "\\", "`", "```"),
    *("\n", "\n\n", "> ", "- ", " ", "x", "5", "\\$", "\\frac{1}{2}", "~~~", "a word"),
)
texts = st.lists(st.sampled_from(PIECES)).map("".join)


def found(text: str, live: bool = False) -> list[str]:
    return [one.source for one in find(text, live)[1] if not one.waiting]


@pytest.mark.parametrize(
    ("text", "formulas"),
    [
        (r"So \[ c^2 = a^2 + b^2 \] holds.", [r"\[ c^2 = a^2 + b^2 \]"]),
        (r"With \(x_1 * y_2\) and $z$.", [r"\(x_1 * y_2\)", "$z$"]),
        ("$$\na = b\n$$", ["$$\na = b\n$$"]),
        (r"\begin{align} a &= b \end{align}", [r"\begin{align} a &= b \end{align}"]),
        ("面积是$a$的", ["$a$"]),
        ("1. Use:\n   \\[\n   x\n   \\]\n2. Add", ["\\[\n   x\n   \\]"]),
        # Money, variables of a shell, an escaped dollar.
        ("$5 and $6", []),
        ("It costs $5-$6, US$7, or $1,000/month ($12,000/year).", []),
        ("$20 for it and US$", []),
        ("$HOME and $PATH, $HOME:$PATH", []),
        (r"\$a\$ \\[ x \\]", []),
        # Code.
        (r"`$a$` ``$b` $c$`` \(d\)", [r"\(d\)"]),
        ("```\n$a$\n```\n$b$", ["$b$"]),
        ("~~~ python\n$a$\n```\n$b$\n", []),
        ("- ```\n  \\[ a \\]\n  ```\n\n\\[ b \\]", ["\\[ b \\]"]),
        # The answer was cut.
        (r"So \[ c = \sqrt{", [r"\[ c = \sqrt{"]),
        ("\\begin{align}\na &= b\n\nThen more.", ["\\begin{align}\na &= b"]),
        # Words.
        (r"In regular expressions \( begins a group.", []),
        (r"Brackets \[ open and close \] lists", []),
        ("I have $$ to spend", []),
    ],
)
def test_formulas_are_found_and_nothing_else(text, formulas):
    assert found(text) == formulas


@given(text=texts, live=st.booleans())
def test_each_text_comes_back(text, live):
    marked, formulas = find(text, live)
    assert mathematics.restore(marked, formulas) == text


@pytest.mark.parametrize("text", [r"So \[ c^2 = a", "so $x_1 * y_2", "$$\na\n", "a \\beg", "a $x$"])
def test_a_formula_on_its_way_waits(text):
    [formula] = find(text, live=True)[1]
    assert formula.waiting
    assert formula.source in mathematics.to_html(formula)


def test_a_price_on_its_way_does_not_wait():
    assert find("It costs $5", live=True)[1] == []


def test_lines_of_a_quotation_lose_its_marks():
    [formula] = find("> \\[\n> a > b\n> \\]\n")[1]
    assert formula.latex == "\na > b\n"


@pytest.mark.parametrize(
    ("latex", "shown"),
    [
        (r"\frac{1}{2}", "<mfrac><mn>1</mn><mn>2</mn></mfrac>"),
        (r"\begin{align} a &= b \\ c &= d \end{align}", "<mtable"),
        (r"\begin{equation} x = 1 \label{a} \end{equation}", "<mi>x</mi>"),
        (r"x \tag{3}", "<mtext>(3)</mtext>"),
        (r"\begin{split} a &= b \end{split}", "<mtable"),
        (r"\boxed{5}", 'notation="box"'),
        (r"\text{if } x > 0", "<mtext>"),
    ],
)
def test_latex_becomes_mathml(latex, shown):
    assert shown in mathematics.mathml(latex, True)


@pytest.mark.parametrize(
    "latex",
    [
        *(r"\unknown", r"\frac{1", "x^", r"\href{javascript:1}{x}", "{" * 5000, "x" * 20_000),
        r"\frac{1}{" * 300 + "2" + "}" * 300,
    ],
)
def test_what_does_not_parse_is_none(latex):
    assert mathematics.mathml(latex, False) is None


# The converter is native code, and its stack is the thread's: half a megabyte in macOS's threads.
FUZZ = r"""
import random, threading
from slmlab.show import mathematics
threading.stack_size(512 * 1024)
pieces = ["{", "}", r"\frac", r"\sqrt", r"\sqrt[", "]", r"\left(", r"\right)", r"\hat ", r"\text{",
          r"\begin{matrix}", r"\end{matrix}", "^", "_", "1", "x", "&", r"\\", r"\mathbf ", r"\not ",
          r"\over", "'", r"\operatorname{", r"\binom", r"\middle|", r"\substack{", r"\overset"]
def fuzz():
    for seed in range(1000):
        rng = random.Random(seed)
        some = rng.choices(pieces, k=rng.randint(1, 6))
        latex = "".join(some) * rng.randint(1, 400)
        mathematics.mathml.__wrapped__(latex, True)
        mathematics.mathml.__wrapped__(latex + "2" + "}" * latex.count("{"), True)
    for one in pieces:
        for times in range(80, 1000, 10):
            mathematics.mathml.__wrapped__(one * times + "2" + "}" * times, True)
thread = threading.Thread(target=fuzz)
thread.start()
thread.join()
print("done")
"""


def test_no_nesting_takes_the_process_along():
    done = subprocess.run([sys.executable, "-c", FUZZ], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
