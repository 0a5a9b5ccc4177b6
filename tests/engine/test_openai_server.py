"""Servers that speak only OpenAI's API: llama.cpp's own, and the embedded engine's ``/v1``."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import slmlab
from slmlab import models
from slmlab.engines import openai_server, server
from slmlab.errors import GenerationError, ModelError, PromptError, ServerError
from slmlab.run.options import DEFAULT_OPTIONS
from slmlab.run.streaming import Answer, Answers
from slmlab.show import variants
from slmlab.show.recipe import recipe
from tests.support.engines import SMOL, Engine
from tests.support.processes import free_port, wait_for
from tests.support.reverse_proxy import IN_ADDRESS, ReverseProxy

KEY, CONTEXT = "s3cret", 512
GREEDY = {"temperature": 0, "num_predict": 12}
OF_OPENAI = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "num_predict")


@contextlib.contextmanager
def listening(gguf: Path) -> Iterator[str]:
    """Where llama.cpp's own HTTP server listens, with a key and a context of 512 tokens."""
    config = {
        "path": str(gguf),
        "socket": "",
        "key": KEY,
        "num_ctx": CONTEXT,
        "parallel": 1,
        "threads": 1,
        "cache_type": "f16",
        "embedding": False,
    }
    with subprocess.Popen(
        [sys.executable, "-m", "slmlab.engines.embedded.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            print(json.dumps(config), file=process.stdin, flush=True)
            yield json.loads(process.stdout.readline())["address"].removeprefix("http://")
        finally:
            process.kill()


@pytest.fixture(scope="module")
def place(quick_gguf: Path) -> Iterator[str]:
    with listening(quick_gguf) as found:
        yield found


@pytest.fixture(scope="module")
def llama_server(place: str) -> str:
    return f"http://:{KEY}@{place}/v1"


@pytest.fixture(scope="module")
def model(llama_server: str) -> str:
    (one,) = models.installed(host=llama_server)
    assert one.size > 10_000_000
    return one.name


@pytest.fixture
def only_v1(embedded: Engine) -> Iterator[ReverseProxy]:
    with ReverseProxy(embedded.url, only="/v1") as proxy:
        yield proxy


class TestLlamaServer:
    def test_a_record_has_its_text_and_its_own_durations(self, llama_server, model, place):
        pieces: list[str] = []
        record = slmlab.generate(
            model, "What is 2 + 2?", host=llama_server, on_text=pieces.append, **GREEDY
        )
        assert record.text == "".join(pieces) != ""
        assert len(pieces) > 1
        assert (record.engine, record.host) == ("llama-server", f"http://{place}/v1")
        assert record.engine_version
        assert record.prompt_tokens > 5
        assert 0 < record.tokens <= 12
        assert 0 < record.ttft_s <= record.wall_s
        assert 0 < record.prompt_s < record.wall_s
        assert 0 < record.generation_s < record.wall_s
        assert record.load_s is None
        assert record.truncated is False
        assert record.prompt_fresh
        assert "perhaps" not in str(record)
        assert KEY not in json.dumps(record.to_dict())

    def test_a_connection_that_was_idle_is_not_used_again(self, shallow_gguf):
        """The server closes it after five seconds; what is sent just then gets no answer."""

        def ports(place: str) -> set[int]:
            there = int(place.rsplit(":", 1)[1])
            mine = psutil.Process().net_connections("tcp")
            return {one.laddr.port for one in mine if one.raddr and one.raddr.port == there}

        with listening(shallow_gguf) as place:
            host = f"http://:{KEY}@{place}/v1"
            (model,) = models.installed(host=host)
            slmlab.generate(model.name, "Hi", host=host, **GREEDY)
            before = ports(place)
            time.sleep(openai_server.IDLE + 0.1)
            slmlab.generate(model.name, "Hi", host=host, **GREEDY)
            assert before
            assert not ports(place) & before

    def test_it_writes_what_the_embedded_engine_writes(self, llama_server, model, embedded):
        """The same llama.cpp, model and options: so they all came through."""
        ways = {"num_predict": 24, "temperature": 1.5, "top_k": 5, "repeat_penalty": 1.3, "seed": 7}
        ours = slmlab.generate(SMOL, "Tell me about the sea.", host=embedded.url, **ways)
        theirs = slmlab.generate(model, "Tell me about the sea.", host=llama_server, **ways)
        assert theirs.text == ours.text
        assert theirs.prompt_tokens == ours.prompt_tokens
        other = slmlab.generate(
            model, "Tell me about the sea.", host=llama_server, **ways | {"seed": 8}
        )
        assert other.text != ours.text

    def test_records_have_the_options_that_it_takes(self, llama_server, model):
        record = slmlab.generate(model, "Hi", host=llama_server, **GREEDY)
        all_options = DEFAULT_OPTIONS | GREEDY
        assert record.options == {n: all_options[n] for n in all_options if n != "num_ctx"}
        for more in ({"num_ctx": 8192}, {"num_thread": 1}):
            with pytest.raises(PromptError, match=rf"{next(iter(more))} cannot be set at .*/v1"):
                slmlab.generate(model, "Hi", host=llama_server, **more)
            with pytest.raises(PromptError, match=rf"{next(iter(more))} cannot be set at .*/v1"):
                slmlab.compare(model, "Hi", host=llama_server, quiet=True, **more)

    def test_an_answer_that_was_cut_says_so(self, llama_server, model):
        cut = slmlab.generate(model, "Tell a story.", host=llama_server, num_predict=3)
        assert (cut.cut, cut.tokens, cut.stop_reason) == (True, 3, "length")

    def test_a_prompt_that_does_not_fit_is_an_error(self, llama_server, model):
        with pytest.raises(GenerationError, match=r"does not fit into .*'s context:"):
            slmlab.generate(model, "word " * 2 * CONTEXT, host=llama_server)

    def test_a_comparison_runs_and_resumes(self, llama_server, model):
        conversation = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Tell me a story."},
        ]
        asked = {"host": llama_server, "quiet": True, "repeats": 2, "num_predict": 5}
        prompts = ["Count to ten.", conversation]
        frame = slmlab.compare(model, prompts, **asked)
        assert len(frame) == 4
        assert frame["error"].isna().all()
        assert (frame["tokens_per_s"] > 0).all()
        assert frame["model_load_s"].isna().all()
        assert frame["load_s"].isna().all()
        assert not frame["cold"].any()
        assert "num_ctx" not in frame
        again: list[object] = []
        resumed = slmlab.compare(
            model, ["Count to ten.", conversation], on_cell=again.append, **asked
        )
        assert again == []
        assert [*resumed["text"]] == [*frame["text"]]

    def test_a_schema_and_log_probabilities(self, llama_server, model):
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        record = slmlab.generate(
            model, "Give a number.", host=llama_server, format=schema, logprobs=2, **GREEDY
        )
        assert record.text.lstrip().startswith("{")
        assert 0 < len(record.logprobs) <= record.tokens
        assert len(record.logprobs[0]["top_logprobs"]) == 2

    def test_a_running_answer_can_be_stopped(self, llama_server, model):
        ways = {"num_predict": 400, "temperature": 0}
        answer = Answer(model, "Tell me a long story.", server.address_of(llama_server), ways)
        answers = Answers([answer])
        answers.start()
        wait_for(lambda: answer.text or not answers.running, 60, "the first piece")
        answers.stop()
        assert answers.wait(60)
        assert answer.state == "stopped"
        assert answer.record.stop_reason == "stopped"
        assert answer.record.text

    def test_what_it_cannot_do_is_said_in_a_sentence(self, llama_server, model, place):
        cannot = [
            lambda: models.show(model, host=llama_server),
            lambda: models.loaded(host=llama_server),
            lambda: models.load(model, 2048, host=llama_server),
            lambda: slmlab.pull("smollm2", host=llama_server, quiet=True),
            lambda: slmlab.remove(model, host=llama_server),
            lambda: slmlab.generate(model, "Hi", host=llama_server, tools=[len]),
        ]
        for call in cannot:
            with pytest.raises(ModelError, match=r"OpenAI's API, by which slmlab only asks for"):
                call()
        with pytest.raises(PromptError, match="ChatOpenAI"):
            slmlab.chain(model, host=llama_server)
        with pytest.raises(ModelError, match=r"There is no model 'x' on .* Here now: [^ ]+\.$"):
            slmlab.generate("x", "Hi", host=llama_server)
        with pytest.raises(ServerError, match=r"not Ollama but .* give the address http.*/v1$"):
            slmlab.generate(model, "Hi", host=f"http://{place}")

    def test_two_of_a_program_run_a_model_each(self, llama_server, model, quick_gguf, tmp_path):
        other = tmp_path / "other.gguf"
        other.symlink_to(quick_gguf)
        ways = {"quiet": True, "store": tmp_path / "store", **GREEDY}
        with listening(other) as there:
            hosts = [llama_server, f"http://:{KEY}@{there}/v1"]
            names = [str(other), model]
            frame = slmlab.compare(names, ["Say A.", "Say B."], hosts=hosts, **ways)
            assert frame["error"].isna().all()
            ran = [(one.model, one.host.split("//")[1]) for one in frame.itertuples()]
            own = llama_server.split("@")[1]
            assert ran == [(model, own)] * 2 + [(str(other), f"{there}/v1")] * 2
            assert frame["text"][:2].tolist() == frame["text"][2:].tolist()
            assert len(slmlab.results.summary(frame)) == 2
            with pytest.raises(ModelError, match="There is no model 'nope'"):
                slmlab.compare([*names, "nope"], "Hi", hosts=hosts, **ways)
            with pytest.raises(ModelError, match=f"There is no model '{model}' on .*{there}"):
                slmlab.compare(model, "Hi", hosts=hosts, **ways)
            with pytest.raises(PromptError, match="num_ctx cannot be set"):
                slmlab.compare(names, "Hi", hosts=hosts, num_ctx=1024, **ways)

    def test_a_wrong_key_is_said_to_be_wrong(self, place, model):
        try:
            with pytest.raises((ServerError, GenerationError), match=r"rejects the key|API [kK]ey"):
                slmlab.generate(model, "Hi", host=f"http://:wrong@{place}/v1")
        finally:
            server.address_of(f"http://:{KEY}@{place}/v1")  # the key last given counts


class TestAnyServer:
    """One that tells neither its program nor its durations."""

    def test_what_it_does_not_report_is_none(self, only_v1):
        host = f"http://{IN_ADDRESS}@{only_v1.place}/v1"
        assert SMOL in [one.name for one in models.installed(host=host)]
        record = slmlab.generate(SMOL, "What is 2 + 2?", host=host, **GREEDY)
        assert record.text
        assert (record.engine, record.engine_version) == ("openai-api", "of unknown version")
        assert record.prompt_s is record.generation_s is record.load_s is None
        assert record.tokens_per_s is record.prompt_tokens_per_s is record.truncated is None
        assert record.tokens > 0 < record.prompt_tokens
        assert {*record.options} == {*OF_OPENAI}
        assert record.ttft_s > 0
        assert slmlab.results.flags(record)[:1] == ["prompt perhaps truncated"]
        assert record.ignored == {n: v for n, v in DEFAULT_OPTIONS.items() if n not in OF_OPENAI}
        assert "options ignored" not in slmlab.results.flags(record)
        with pytest.raises(PromptError, match="top_k cannot be set"):
            slmlab.generate(SMOL, "Hi", host=host, top_k=1)
        with pytest.raises(PromptError, match=r"not known whether .* reports the probabilities"):
            slmlab.generate(SMOL, "Hi", host=host, logprobs=1)

    def test_engine_against_engine(self, only_v1, embedded, tmp_path):
        hosts = [embedded.url, f"http://{IN_ADDRESS}@{only_v1.place}/v1"]
        asked: list[object] = []
        ways = {"hosts": hosts, "quiet": True, "top_k": 7, "store": tmp_path, **GREEDY}
        prompts = ["Say A.", "Say B."]
        frame = slmlab.compare(SMOL, prompts, on_cell=asked.append, **ways)
        assert len(asked) == 4
        assert frame["engine"].tolist() == ["embedded"] * 2 + ["openai-api"] * 2
        assert frame["prompt_id"].tolist() == [0, 1, 0, 1]
        assert frame["text"][:2].tolist() == frame["text"][2:].tolist()
        assert frame["generation_s"].notna().tolist() == [True, True, False, False]
        assert frame["top_k"].isna().tolist() == [False, False, True, True]
        assert frame["ignored"].isna().tolist() == [True, True, False, False]
        left_out = {*DEFAULT_OPTIONS} - {*OF_OPENAI}
        assert {*frame["ignored"][2].split(", ")} == left_out
        assert ["options ignored" in one for one in frame["flags"]] == [False, False, True, True]
        assert len(slmlab.results.summary(frame, by="engine")) == 2
        assert {*variants.names(frame, frame["prompt"])} == {
            f"{SMOL} · embedded",
            f"{SMOL} · openai-api",
        }
        assert f"hosts={[*dict.fromkeys(frame['host'])]}" in recipe(frame)
        again = slmlab.compare(SMOL, prompts, on_cell=asked.append, **ways)
        assert len(asked) == 4
        assert again["text"].tolist() == frame["text"].tolist()
        with pytest.raises(PromptError, match="run embedded and openai-api, and this takes one"):
            slmlab.decide([SMOL, "x"], list("ABCDEFGH"), "exact", host=hosts)
        page = slmlab.report(frame, tmp_path / "r.html").read_text()
        assert "options ignored" in page

    def test_each_engine_runs_what_is_left_when_it_is_asked_in_steps(
        self, only_v1, embedded, tmp_path
    ):
        hosts = [f"http://{IN_ADDRESS}@{only_v1.place}/v1", embedded.url]
        looks: list[int] = []
        frame = slmlab.compare(
            SMOL,
            ["A", "B", "C"],
            hosts=hosts,
            timing=False,
            quiet=True,
            store=tmp_path,
            until=lambda rows: looks.append(len(rows)) or len(looks) == 2,
            step=1,
            **GREEDY,
        )
        assert looks == [2, 2]
        assert frame["engine"].tolist() == ["openai-api"] * 2 + ["embedded"] * 2

    def test_a_model_on_two_of_a_program_could_not_be_told_apart(self, embedded, tmp_path):
        with (
            ReverseProxy(embedded.url, only="/v1") as one,
            ReverseProxy(embedded.url, only="/v1") as other,
        ):
            hosts = [f"http://{IN_ADDRESS}@{at.place}/v1" for at in (one, other)]
            with pytest.raises(ModelError, match=f"both have a model '{SMOL}'.*another name"):
                slmlab.compare(SMOL, "Hi", hosts=hosts, quiet=True, store=tmp_path)

    def test_a_server_with_ollamas_api_is_asked_through_that(self, embedded):
        with pytest.raises(ServerError, match=rf"give its own address, {embedded.url}$"):
            slmlab.generate(SMOL, "Hi", host=f"{embedded.url}/v1")

    def test_nobody_there(self):
        address = f"http://127.0.0.1:{free_port()}/v1"
        with pytest.raises(ServerError, match=rf"No server answers at {address}.*Start it there"):
            slmlab.generate("x", "Hi", host=address)

    def test_something_else_there(self, files):
        with pytest.raises(ServerError, match=r"does not speak OpenAI's API \(status 404\)"):
            slmlab.generate("x", "Hi", host=f"{files.url}/v1")
