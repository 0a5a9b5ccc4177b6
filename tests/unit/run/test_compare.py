"""What compare() refuses before it speaks to any server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

import slmlab
from slmlab.errors import Interrupted, PromptError
from slmlab.run.compare import _executor
from slmlab.run.grid import GridOptions
from slmlab.run.options import Options
from slmlab.run.servers import addresses
from slmlab.run.store import RecordStore


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"repeat": 3}, "no option 'repeat'. Did you mean 'repeats'"),
        ({"max_tokens": 3}, "Did you mean 'num_predict'"),
        ({"n_ctx": 3}, "Did you mean 'num_ctx'"),
        ({"tempratures": [0, 1]}, "Did you mean 'temperature'"),
        ({"time": True}, "Did you mean 'tim"),
        ({"host": "http://a:1", "hosts": ["http://b:1"]}, "mean the same; give only one"),
    ],
)
def test_wrong_arguments_are_a_sentence(wrong, words):
    with pytest.raises(PromptError, match=words):
        slmlab.compare("m", "Why?", **wrong)


def test_servers_come_under_either_name():
    two = ["http://a:1", "http://b:1"]
    assert addresses("http://a:1", None) == addresses(None, "http://a:1") == two[:1]
    assert addresses(two, None) == addresses(None, two) == addresses(None, [*two, *two]) == two


def test_an_executor_of_the_callers_is_not_shut_down():
    with ThreadPoolExecutor(1) as mine:
        with _executor(mine, 1) as used:
            assert used is mine
        assert mine.submit(int, "3").result() == 3


def test_every_option_can_be_an_axis():
    assert GridOptions.__annotations__.keys() == Options.__annotations__.keys()


def test_what_failed_is_told(wire, capsys):
    wire.errors["/api/generate"] = [(500, "unable to allocate 9 GiB")]
    frame = slmlab.compare("a:1b", ["One.", "Two."], host=wire.url, timing=False)
    assert frame["error"].notna().sum() == 1
    told = "Cells that failed: 1. a:1b does not fit into this machine's memory"
    assert told in capsys.readouterr().out


class TestTimes:
    """What records say about times, by what a server reports."""

    PROMPTS = ("One, two.", "Alpha, beta.", "Red, green.")

    def compare(self, wire, models="a:1b", prompts=PROMPTS, **more):
        return slmlab.compare(models, list(prompts), host=wire.url, quiet=True, **more)

    def test_each_model_is_alone_in_memory_while_it_is_timed(self, wire):
        wire.loaded = {"a:1b": 4096, "b:1b": 4096}
        alone = []
        self.compare(wire, ["a:1b", "b:1b"], on_text=lambda _: alone.append([*wire.loaded]))
        assert alone == [["a:1b"]] * 6 + [["b:1b"]] * 6

    def test_an_answer_for_which_the_model_was_loaded_again_is_cold(self, wire):
        second = 10**9
        wire.load_ns = [1, 1, second, 1]  # the first answer warms up
        frame = self.compare(wire)
        assert [*frame["cold"]] == [False, True, False]
        assert [*frame["load_s"]] == [1e-9, 1.0, 1e-9]

    def test_a_prompt_that_begins_as_one_before_is_not_fresh(self, wire):
        frame = self.compare(
            wire, prompts=["The sun shines.", "Why is it warm?", "The sun shines. Still."]
        )
        assert [*frame["prompt_fresh"]] == [True, True, False]

    def test_on_a_remote_server_neither_is_known(self, wire, monkeypatch):
        monkeypatch.setattr("slmlab.run.job.is_local", lambda address: False)
        wire.loaded = {"b:1b": 4096}
        frame = self.compare(wire)
        assert frame["prompt_fresh"].isna().all() and frame["model_load_s"].isna().all()
        assert wire.loaded == {"a:1b": 4096, "b:1b": 4096}


class TestStop:
    """A comparison that ends before all prompts are asked."""

    def compare(self, wire, **more):
        prompts = [f"P{number}" for number in range(6)]
        return slmlab.compare(
            ["a:1b", "b:1b"], prompts, host=wire.url, quiet=True, timing=False, **more
        )

    def test_a_function_of_the_rows_says_when(self, wire, monkeypatch):
        found: list[int] = []
        monkeypatch.setattr(
            RecordStore, "find", lambda self, keys, in_flight=None: found.append(len(keys)) or {}
        )
        seen = []

        def until(rows):
            seen.append(rows[["model", "prompt"]].to_numpy().tolist())
            return len(seen) == 2

        frame = self.compare(wire, until=until, step=2)
        pairs = [[model, f"P{n}"] for model in ("a:1b", "b:1b") for n in range(4)]
        assert frame[["model", "prompt"]].to_numpy().tolist() == pairs
        assert seen[0] == [["a:1b", "P0"], ["a:1b", "P1"], ["b:1b", "P0"], ["b:1b", "P1"]]
        assert len(wire.sent("/api/generate")) >= 8
        assert "P4" not in [body["prompt"] for body in wire.sent("/api/generate")]
        assert len(found) == 1, "the store is read once"

    def test_what_is_stored_of_later_prompts_does_not_count(self, wire):
        self.compare(wire)
        frame = self.compare(wire, until=lambda rows: True, step=3)
        assert frame["prompt_id"].tolist() == [0, 1, 2] * 2

    def test_it_goes_to_the_end_if_nobody_stops_it(self, wire):
        looks = []
        frame = self.compare(wire, until=lambda rows: looks.append(len(rows)), step=4)
        assert (len(frame), looks) == (12, [8, 4])

    def test_a_record_may_be_enough(self, wire):
        kept = []
        frame = self.compare(wire, on_record=lambda one: kept.append(one) or len(kept) == 3)
        assert frame["prompt"].tolist() == ["P0", "P1", "P2"]

    def test_what_else_a_function_returns_does_not_end_it(self, wire):
        assert len(self.compare(wire, on_record=lambda one: len(one.text))) == 12

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"until": "decided"}, "slmlab.decide"),
            ({"until": max, "step": 0}, "step is a number of prompts, 1 or more; got 0"),
        ],
    )
    def test_what_says_nothing_is_refused(self, wrong, words):
        with pytest.raises(PromptError, match=words):
            slmlab.compare("m", "Why?", **wrong)


class TestCutAnswers:
    """Answers that num_predict cuts, and what asking again makes of them."""

    def compare(self, wire, *prompts, **more):
        return slmlab.compare("a:1b", prompts or "Why?", host=wire.url, timing=False, **more)

    def lengths(self, wire):
        return [body["options"]["num_predict"] for body in wire.sent("/api/generate")]

    def test_they_are_asked_again_with_four_times_as_many_tokens(self, wire, capsys):
        wire.pieces = ["one", " two", " three", " four", " five"]
        frame = self.compare(wire, num_predict=2, ask_again=True)
        assert frame["text"].tolist() == ["one two three four five"]
        assert frame[["num_predict", "asked_again", "cut"]].to_numpy().tolist() == [
            [8, True, False]
        ]
        assert self.lengths(wire) == [2, 8]
        assert "2/2" in capsys.readouterr().out
        slmlab.score(frame.assign(expected="five"), "contains")
        assert capsys.readouterr().err == ""

    def test_the_bar_shows_them_where_all_first_answers_were_stored(self, wire, capsys):
        wire.pieces = ["one", " two", " three"]
        self.compare(wire, num_predict=2, quiet=True)
        self.compare(wire, num_predict=2, ask_again=True)
        printed = capsys.readouterr().out
        assert "1 of 1 cells were measured before" in printed
        assert "2/2" in printed
        self.compare(wire, "How?", num_predict=2, quiet=True)
        self.compare(wire, "How?", num_predict=2, ask_again=True, quiet=True)
        assert capsys.readouterr().out == ""

    def test_once_and_what_is_cut_then_stays_so(self, wire, capsys):
        wire.pieces = ["word"] * 9
        frame = self.compare(wire, num_predict=2, ask_again=True, quiet=True)
        assert frame[["num_predict", "asked_again", "cut"]].to_numpy().tolist() == [[8, True, True]]
        slmlab.score(frame.assign(expected="x"), "contains")
        assert capsys.readouterr().err == ""

    def test_a_score_says_which_were_cut_and_nobody_asked_again(self, wire, capsys):
        wire.pieces = ["word"] * 9
        frame = self.compare(wire, "Why?", "How?", num_predict=2, quiet=True)
        assert "asked_again" not in frame
        slmlab.score(frame.assign(expected="x"), "contains")
        assert "2 of 2 scored answers were cut by num_predict" in capsys.readouterr().err
        # The end of the context cut these: more tokens would change nothing.
        slmlab.score(frame.assign(expected="x", num_predict=100), "contains")
        assert capsys.readouterr().err == ""

    def test_only_what_was_cut_is_asked_again_and_both_answers_are_kept(self, wire):
        rows = [{"prompt": "Why?", "num_predict": 2}, {"prompt": "How?", "num_predict": 3}]
        wire.pieces = ["one", " two", " three"]
        for _ in range(2):
            frame = self.compare(wire, *rows, ask_again=True, quiet=True)
            assert frame["num_predict"].tolist() == [8, 3]
            assert frame["asked_again"].tolist() == [True, False]
        assert sorted(self.lengths(wire)) == [2, 3, 8], "the second time they are read"
        short = self.compare(wire, *rows, quiet=True)
        assert short["text"].tolist() == ["one two", "one two three"]

    def test_a_cap_on_all_answers_holds_for_these_too(self, wire, monkeypatch):
        monkeypatch.setenv("SLMLAB_TOKENS", "2")
        frame = self.compare(wire, num_predict=3, ask_again=True, quiet=True)
        assert not frame["asked_again"].any()
        wire.pieces = ["word"] * 9
        frame = self.compare(wire, "Well?", num_predict=3, ask_again=True, quiet=True)
        assert frame[["num_predict", "asked_again", "cut"]].to_numpy().tolist() == [[2, True, True]]
        assert self.lengths(wire) == [2, 2]

    def test_what_was_finished_is_kept_when_the_second_round_is_stopped(self, wire):
        wire.pieces = ["one", " two", " three"]

        def stop(cell):
            if cell.options["num_predict"] == 8:
                raise KeyboardInterrupt

        with pytest.raises(Interrupted) as stopped:
            self.compare(wire, num_predict=2, ask_again=True, quiet=True, on_cell=stop)
        assert stopped.value.frame["text"].tolist() == ["one two"]
        assert stopped.value.frame["asked_again"].tolist() == [False]

    @pytest.mark.parametrize("fresh", [False, True])
    def test_to_go_on_is_promised_only_where_it_does(self, fresh, wire):
        def stop(cell):
            raise KeyboardInterrupt

        with pytest.raises(Interrupted) as stopped:
            self.compare(wire, quiet=True, on_cell=stop, fresh=fresh)
        assert ("again to continue" in str(stopped.value)) is not fresh
