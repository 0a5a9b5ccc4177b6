"""Two browsers show a widget of one kernel, as when a teacher's page is open twice."""

from __future__ import annotations

from slmlab.evaluation import votes
from tests.support.browser import Front
from tests.support.engines import BASE, SMOL
from tests.support.widgets import button, pressable, shown, side_by_side, texts


def test_both_see_the_answers_and_a_vote_counts_once(chromium, lab):
    cell = side_by_side([SMOL, BASE], prompt="Name a colour.", num_predict=12)
    with shown(lab, cell) as one:
        other = Front(lab.kind, lab.url, lab.folder, chromium).open("lab")
        other.wait_for_selector(".slmlab-card", timeout=60_000)
        button(other, "Run").click()
        for page in (one, other):
            pressable(page, "A is best")
        assert texts(one) == texts(other)
        button(one, "A is best").click(no_wait_after=True)
        button(other, "B is best").click(no_wait_after=True, force=True)
        for page in (one, other):
            page.wait_for_selector(".slmlab-chosen")
        assert one.locator(".slmlab-chosen").count() == other.locator(".slmlab-chosen").count() == 1
        assert len(votes.read_votes(lab.folder / "votes.jsonl")) == 1
        other.context.close()
