"""The program that makes a comparison again, without a server: the same plan comes out of it."""

from __future__ import annotations

import pandas as pd
import pytest

import slmlab
from slmlab.run import results
from slmlab.run.frames import prompt_keys
from slmlab.run.grid import plan
from slmlab.show.recipe import recipe
from tests.support.records import record

TASKS = [
    {"task": "colours", "prompt": "Name a colour.", "expected": ["red"], "scorer": "contains"},
    {"task": "sums", "prompt": "What is 2 + 2?", "expected": 4, "scorer": "number"},
]
GRIDS = {
    "texts": (["a", "b"], ["One?", "Two?"], {}),
    "every default changed": (
        ["a"],
        ["One?"],
        {
            "temperature": 0.1,
            "top_k": 3,
            "top_p": 0.5,
            "repeat_penalty": 1.2,
            "repeat_last_n": 32,
            "presence_penalty": 0.1,
            "frequency_penalty": 0.2,
            "seed": 7,
            "num_ctx": 512,
            "num_predict": 9,
            "stop": ["\n", "."],
            "num_thread": 1,
            "num_gpu": 0,
            "num_batch": 64,
            "num_keep": 4,
            "repeats": 3,
        },
    ),
    "axes": (["a"], ["One?"], {"temperature": [0.0, 1.0], "seed": [1, 100], "repeats": 2}),
    "several stops": (["a"], ["One?"], {"stop": [["a"], ["b", "c"]]}),
    "table": (["a", "b"], TASKS, {}),
    "limits of the rows": (
        ["a"],
        [{**one, "num_predict": n} for one, n in zip(TASKS, (8, 16), strict=True)],
        {},
    ),
    "a quote, a brace and a line break": (["a"], ["Say 'no', \"yes\", {x}\nand \\n."], {}),
    "a template for texts": (["a"], ["One", "Two"], {"template": "Q: {question}\nA:"}),
    "templates for texts": (["a"], ["One"], {"template": ["plain", "step_by_step"]}),
    "a template for a table": (
        ["a"],
        [{"topic": "tides", "audience": "child"}],
        {"template": "explain"},
    ),
    "system prompts": (["a"], ["One?"], {"system": [None, "Be short."]}),
    "a conversation": (
        ["a"],
        [[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]],
        {"system": "Be short."},
    ),
    "quantizations": (["a", "b:1b"], ["One?"], {"quantization": ["q4_0", "q8_0"]}),
}


def frame_of(models, prompts, settings, **more) -> pd.DataFrame:
    """What compare() would give for a plan."""
    cells = plan(models, prompts, **settings)
    more = {"text": "x", "started": "2026-01-01T00:00:00+00:00"} | more
    rows = [
        record(model=cell.model, prompt=cell.prompt, options=cell.options, **more) for cell in cells
    ]
    return results.to_frame(rows, [{"repeat": cell.repeat, **cell.columns} for cell in cells])


def run(program: str, monkeypatch, **more) -> pd.DataFrame:
    """Run a recipe with a compare() that only plans; what it was given, and its table."""

    def compare(models, prompts, *, fresh, timing=True, think=False, **settings):
        assert fresh
        in_flight = 1 if timing else 4
        return frame_of(models, prompts, settings, think=think, in_flight=in_flight)

    monkeypatch.setattr(slmlab, "start", lambda: None, raising=False)
    monkeypatch.setattr(slmlab, "compare", compare, raising=False)
    names: dict = {}
    exec(program, names)
    return names["frame"]


@pytest.mark.parametrize("name", GRIDS)
def test_it_plans_the_same_cells(name, monkeypatch):
    found = frame_of(*GRIDS[name])
    again = run(recipe(found), monkeypatch)
    pd.testing.assert_frame_equal(again[found.columns], found)


@pytest.mark.parametrize("name", ["every default changed", "several stops"])
def test_a_report_tells_settings(name, tmp_path):
    models, prompts, settings = GRIDS[name]
    found = frame_of(models, prompts, {**settings, "repeats": 1})
    page = slmlab.report(found, tmp_path / "r.html").read_text()
    assert ("varying stop" in page) == (name == "several stops")
    assert ("num_thread 1" in page) == (name == "every default changed")


def test_servers_that_share_a_machine_got_one_request_each():
    found = frame_of(["a"], TASKS, {}, in_flight=2)
    here, there = (
        [f"http://{address}:{1 + row % 2}" for row in range(len(found))]
        for address in ("127.0.0.1", "192.168.0.7")
    )
    assert "timing" not in recipe(found.assign(host=here))
    assert "timing=False" in recipe(found.assign(host=here[0]))
    assert "timing=False" in recipe(found.assign(host=there))


def test_scores_timing_and_thinking(monkeypatch):
    found = frame_of(["a", "b"], TASKS, {}, in_flight=4, think=True)
    scored = found.assign(score=[1.0, 0.0, 0.0, 1.0], judged=[0.0, 1.0, 2.0, 3.0])
    again = run(recipe(scored), monkeypatch)
    pd.testing.assert_frame_equal(again[found.columns], found)
    assert again["think"].all()
    assert (again["in_flight"] == 4).all()


def test_limits_are_those_before_cut_answers_were_asked_again(monkeypatch):
    rows = [{**one, "num_predict": n} for one, n in zip(TASKS, (8, 16), strict=True)]
    found = frame_of(["a", "b"], rows, {})
    longer = found.assign(asked_again=[True, False, False, True], num_predict=[32, 16, 8, 64])
    program = recipe(longer)
    assert "ask_again=True" in program
    again = run(program.replace(", ask_again=True", ""), monkeypatch)
    pd.testing.assert_frame_equal(again[found.columns], found)


def test_prompts_of_joined_comparisons_are_told_apart(tmp_path):
    one = frame_of(["a", "b"], [f"One {n}?" for n in range(10)], {"repeats": 2})
    other = frame_of(["a", "b"], [f"Two {n}?" for n in range(8)], {"repeats": 2})
    for joined in (
        pd.concat([one, other], ignore_index=True),
        pd.concat([one.assign(task="one"), other.assign(task="two")], ignore_index=True),
    ):
        assert len(set(prompt_keys(joined))) == 18
        page = slmlab.report(joined, tmp_path / "r.html").read_text()
        assert "18 prompts" in page
        assert page.count('<details class="prompt"') == 36, "one for each prompt and repeat"
    assert "<small>two, prompt 0 (run 1)</small> Two 0?" in page


def test_a_table_that_was_stored_gives_the_same_program(tmp_path):
    found = frame_of(["a"], TASKS, {"temperature": [0.0, 1.0], "stop": ["x"]})
    results.to_json(found, tmp_path / "found.json")
    stored = pd.read_json(tmp_path / "found.json", orient="records")
    assert recipe(stored) == recipe(found)


def test_templates_and_system_prompts_are_not_counted_as_prompts():
    found = frame_of(
        ["a"], ["One", "Two"], {"template": ["plain", "short"], "system": [None, "Be kind."]}
    )
    assert len(found) == 8
    assert len(set(prompt_keys(found))) == 2


def test_prompts_of_a_widget_are_repeated_as_they_were_sent():
    """Its columns have templates, system prompts and histories of their own."""
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    sent = ["Hi", [{"role": "system", "content": "Be kind."}, *talk[:1]], [*talk, talk[0]]]
    frame = results.to_frame(
        [record(model="a", prompt=prompt) for prompt in sent],
        [
            {"prompt_id": number, "repeat": 0, "variant": "a", "system": system}
            for number, system in ((0, None), (0, "Be kind."), (1, None))
        ],
    )
    assert len(set(prompt_keys(frame))) == 2
    names: dict = {"slmlab": None}
    lines = recipe(frame).splitlines()
    first = lines.index("prompts = [")
    exec("\n".join(lines[first : lines.index("]", first) + 1]), names)
    assert names["prompts"] == sent
    assert "system=" not in recipe(frame)
