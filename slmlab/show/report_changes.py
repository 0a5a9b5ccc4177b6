"""What changed from one run of a comparison to another, as a page with its differences marked."""

from __future__ import annotations

import math
import re
from typing import Any

from slmlab.evaluation.runs import CHANGES, Changes
from slmlab.run.cells import plain
from slmlab.run.images import of
from slmlab.show import sanitize
from slmlab.show.differences import marked
from slmlab.show.figure import colour
from slmlab.show.images import thumbnails
from slmlab.show.markdown import to_html
from slmlab.show.report_answers import UNLIKE, beginnings, question, words_apart
from slmlab.show.report_page import page

# What a reader looks for first; answers that are the same say nothing and are left out.
ORDER = ("worse", "better", "other words", "no score")
SIGNS = {"worse": "▼", "better": "▲", "other words": "≠", "no score": "?"}


def changes_page(changes: Changes, title: str) -> str:
    """The page of two runs: what changed and how sure that is, then the prompts side by side."""
    rows = [row for row in changes.cases.to_dict("records") if row["change"] != "same"]
    rows.sort(key=lambda row: ORDER.index(row["change"]))
    begins = beginnings([[row] for row in rows])
    counts = [name for name in CHANGES if name in changes.summary]
    models = changes.summary["model"]
    return page(
        "changes.html",
        title=title,
        headline=_headline(changes),
        lines=[(sanitize.harmless(name), text) for name, text in changes.lines()],
        notes=[sanitize.harmless(note) for note in changes.notes],
        runs=[sanitize.harmless(one) for one in changes.runs],
        counts={
            "title": "Prompts by change",
            "columns": ["model", *counts],
            "rows": [
                [sanitize.harmless(name), *map(int, row)]
                for name, row in zip(models, changes.summary[counts].to_numpy(), strict=True)
            ],
        },
        same=int((changes.cases["change"] == "same").sum()),
        order=ORDER,
        questions=[
            _prompt(row, begin, len(models) > 1) for row, begin in zip(rows, begins, strict=True)
        ],
    )


def _headline(changes: Changes) -> str:
    if worse := changes.regressions:
        return f"{', '.join(map(sanitize.harmless, worse))}: worse than before"
    if (changes.cases["change"] == "same").all():
        return "Every answer is the same as before"
    if "p_adjusted" not in changes.summary:
        return "Without scores, only words can be compared"
    if better := changes.improvements:
        return f"{', '.join(map(sanitize.harmless, better))}: better than before"
    return "No better and no worse than chance explains"


def _prompt(row: dict[str, Any], begin: int, several: bool) -> dict[str, Any]:
    """What the page shows of a prompt; its model's name if there are ``several``."""
    before, after = to_html(row["before"]), to_html(row["after"])
    # All of an answer that has little in common with the other would be marked.
    if words_apart([row["before"], row["after"]]) <= UNLIKE:
        before, after = marked(before, after), marked(after, before)
    known = [plain(row.get(name)) for name in ("task", "id")]
    parts = [str(part) for part in known if part is not None]
    # "arithmetic-02" says its task itself; "a2" does not say that it is of the task "a".
    if len(parts) == 2 and re.match(rf"{re.escape(parts[0])}(?![^\W_])", parts[1]):
        del parts[0]
    place = " ".join(parts)
    model = sanitize.harmless(row["model"])
    sides = (("before", before, "", 0), ("after", after, row["change"], 1))
    return {
        "task": model,
        "place": sanitize.harmless(place),
        "question": question(row, begin),
        "results": f"{SIGNS[row['change']]} {row['change']}" + f" · {model}" * several,
        "prompt": sanitize.prompt_text(row["prompt"]),
        "images": thumbnails(of(row["prompt"])),
        "apart": 0,
        "answers": [
            {
                "name": side,
                "variant": place,
                "colour": colour(place),
                "result": change,
                "sign": SIGNS.get(change, ""),
                "flags": [],
                "html": html,
                "numbers": _score(row[f"score_{side}"], row["repeats"]),
            }
            for side, html, change, place in sides
        ],
    }


def _score(value: float, repeats: int) -> str:
    """A prompt's score; of the answers of several repeats only one is shown above it."""
    mean = " (mean of the repeats; one is shown)" if repeats > 1 else ""
    return "" if math.isnan(value) else f"score {value:.2f}{mean}"
