"""No text makes a terminal do anything."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as some

from slmlab.show import sanitize
from slmlab.show.display import Stream
from slmlab.terminal import Printable, printable
from tests.support.properties import MANY

ATTACKS = [
    "\x1b]52;c;cm0gLXJmIH4=\x07",  # sets the clipboard
    "\x1b]52;c;cm0gLXJmIH4=\x1b\\",
    "\x9d52;c;cm0gLXJmIH4=\x9c",
    "\x1b]0;title\x07",
    "\x1b[2J\x1b[H",  # clears
    "\x9b2J",
    "\x1b[31m",
    "\x1bc",  # resets
    "\x1b(0",
    "\x1bP$q\x1b\\",
    "\x90$q\x9c",
    "\x1b_Gf=100;AAAA\x1b\\",  # a picture
    "\x1b[6n",  # answers as if typed
    "\x05\x08\x0e\x7f\x85\x9c",
]
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_sequence_leaves_nothing_wherever_it_is_cut(attack):
    text = f"before{attack}after"
    assert printable(text) == sanitize.harmless(text) == "beforeafter"
    for place in range(len(text)):
        show = Printable()
        assert show(text[:place]) + show(text[place:]) == "beforeafter", place
    show = Printable()
    assert "".join(map(show, text)) == "beforeafter"


@MANY
@given(some.lists(some.text(max_size=5) | some.sampled_from([*ATTACKS, "\x1b", "\x1b[", "\x9d"])))
def test_no_text_is_obeyed_in_whatever_pieces_it_comes(pieces):
    show = Printable()
    assert not OBEYED.search("".join(map(show, pieces)))
    assert not OBEYED.search(printable("".join(pieces)))


def test_what_is_no_sequence_stays():
    for text in ("a\n\tb", "Grüße, ça va? 你好", "x[0] = ]1;2[", "👩‍🔬"):
        show = Printable()
        assert show(text) == printable(text) == text
    assert printable("\x1b]never ends\nthe next line") == "\nthe next line"
    show = Printable()
    assert len(show("\x1b]" + "x" * 5000)) == 0
    assert show("\nnext") == "\nnext", "and nothing is held for ever"


def test_an_answer_in_the_terminal_is_harmless_as_it_comes(capsys):
    stream = Stream("m\x1b[2J")
    for piece in ("Hello\x1b", "]52;c;AAAA", "\x07 world\x9b", "2J!"):
        stream(piece)
    stream.close("done\x1b[2J")
    assert capsys.readouterr().out == "m\n\nHello world!\n\ndone\n\n"
