"""The page of what changed between two runs."""

from __future__ import annotations

from pathlib import Path

import bs4
import pandas as pd

import slmlab
from slmlab.evaluation.runs import compare_runs
from tests.support.hostile import HOSTILE
from tests.support.records import comparison


def run(texts: dict[str, tuple[str, float]], model: str = "m") -> pd.DataFrame:
    """A scored run: answer and score by prompt."""
    return comparison(
        [
            {"model": model, "prompt": prompt, "prompt_id": number, "repeat": 0}
            | {"text": text, "score": score, "started": "2026-01-05T10:00:00+00:00"}
            for number, (prompt, (text, score)) in enumerate(texts.items())
        ]
    )


def page(before: pd.DataFrame, after: pd.DataFrame, tmp_path: Path) -> bs4.BeautifulSoup:
    path = slmlab.report(compare_runs(before, after), tmp_path / "changes.html")
    return bs4.BeautifulSoup(path.read_text(), "html.parser")


BEFORE = run({"Same?": ("yes", 1), "Sum?": ("It is five now", 0), "Sky?": ("It is blue now", 1)})
AFTER = run({"Same?": ("yes", 1), "Sum?": ("It is four now", 1), "Sky?": ("It is green now", 0)})


def test_what_got_worse_comes_first_and_differing_words_are_marked(tmp_path):
    found = page(BEFORE, AFTER, tmp_path)
    prompts = found.select("details.prompt")
    assert [" ".join(one.summary.get_text().split()) for one in prompts] == [
        "Sky? ▼ worse",
        "Sum? ▲ better",
    ]
    assert [[mark.get_text() for mark in one.select("mark")] for one in prompts] == [
        ["blue", "green"],
        ["five", "four"],
    ]
    assert [one.get_text() for one in prompts[0].select(".answer > small")] == [
        "score 1.00",
        "score 0.00",
    ]
    text = found.get_text()
    assert "1 answer stayed the same, with the same score, and is left out." in text
    assert "No better and no worse than chance explains" in text
    assert "Before: 3 answers, 2026-01-05 10:00:00 (UTC)." in text


def test_of_repeats_it_shows_one_that_changed_and_says_that_the_score_is_a_mean(tmp_path):
    before = pd.concat([run({"Sum?": ("5", 1)}).assign(repeat=r, seed=r) for r in (0, 1)])
    found = page(before, before.assign(text=["5", "4"], score=[1.0, 0.0]), tmp_path)
    one, other = found.select("details.prompt .answer")
    assert "5" in one.get_text() and "score 1.00 (mean of the repeats; one is" in one.get_text()
    assert "4" in other.get_text() and "score 0.50 (mean of the repeats; one is" in other.get_text()


def test_a_prompt_is_named_by_its_id_and_the_task_that_this_does_not_say(tmp_path):
    names = {"task": ["sums", "sums", "sky"], "id": ["sums-1", 2, 0]}
    found = page(BEFORE.assign(**names), AFTER.assign(**names), tmp_path)
    said = [one.summary.get_text(" ", strip=True) for one in found.select("details.prompt")]
    assert said == ["sky 0 Sky? ▼ worse", "sums 2 Sum? ▲ better"]
    names["id"][2] = "sky-1"
    found = page(BEFORE.assign(**names), AFTER.assign(**names), tmp_path)
    first = found.select_one("details.prompt").summary.get_text(" ", strip=True)
    assert first == "sky-1 Sky? ▼ worse"
    names["id"][2] = "skyline"  # which is no number of the task "sky"
    found = page(BEFORE.assign(**names), AFTER.assign(**names), tmp_path)
    first = found.select_one("details.prompt").summary.get_text(" ", strip=True)
    assert first == "sky skyline Sky? ▼ worse"


def test_it_says_first_who_did_worse(tmp_path):
    many = {f"Q{number}": ("yes", 1.0) for number in range(12)}
    worse = {name: ("no", 0.0) for name in many}
    assert page(run(many), run(worse), tmp_path).h2.get_text() == "m: worse than before"
    assert page(run(worse), run(many), tmp_path).h2.get_text() == "m: better than before"
    same = page(run(many), run(many), tmp_path)
    assert same.h2.get_text() == "Every answer is the same as before"
    assert not same.select("details.prompt")
    unscored = [run(one).drop(columns="score") for one in (many, worse)]
    said = page(*unscored, tmp_path).h2.get_text()
    assert said == "Without scores, only words can be compared"


def test_the_models_are_a_filter_and_the_changes_too(tmp_path):
    both = [pd.concat([frame, frame.assign(model="n")]) for frame in (BEFORE, AFTER)]
    found = page(*both, tmp_path)
    chosen = {
        one["name"]: [option.get_text() for option in one.select("option")]
        for one in found.select("select")
    }
    assert chosen == {"task": ["all", "m", "n"], "result": ["all", "worse", "better"]}


def test_what_models_write_stays_text(tmp_path):
    texts = {f"{number}: {text}": (text, 1) for number, text in enumerate(HOSTILE)}
    other = {name: (f"{text} and more", 0) for name, (text, _) in texts.items()}
    found = page(run(texts, "<b>m"), run(other, "<b>m"), tmp_path)
    assert len(found.select("details.prompt")) == len(HOSTILE)
    assert len(found.select("script")) == 1
    assert not found.select("b, img, iframe, object, form:not(.filters)")


def test_each_change_names_its_model_where_there_are_several(tmp_path):
    two = [pd.concat([one, one.assign(model="n")]) for one in (BEFORE, AFTER)]
    changes = [one.get_text() for one in page(*two, tmp_path).select("summary .results")]
    assert changes == ["▼ worse · m", "▼ worse · n", "▲ better · m", "▲ better · n"]
