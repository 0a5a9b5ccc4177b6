"""One measured generation, and grids of them, on real models."""

from __future__ import annotations

import pickle
import threading
import time

import psutil
import pytest
from conftest import GEMMA, SMOL, free_port

import slmlab
from slmlab import prompts, results
from slmlab.errors import ModelError, PromptError, ServerError
from slmlab.generation import DEFAULT_OPTIONS, Generation, GenerationError, full_options, generate

SHORT = {"num_predict": 12, "temperature": 0}


@pytest.fixture
def at(engine, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", engine.url)
    return engine


@pytest.fixture
def here(embedded, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", embedded.url)
    return embedded


@pytest.mark.slow
class TestGenerate:
    def test_a_record_has_text_and_numbers(self, at):
        pieces: list[str] = []
        record = generate(at.model, "The sky is", on_text=pieces.append, **SHORT)
        assert record.text == "".join(pieces)
        assert record.error is None
        assert record.engine == at.kind
        assert record.host == at.url
        assert len(record.digest) == 64
        assert record.stop_reason in ("stop", "length")
        assert 0 < record.tokens <= 12
        assert record.prompt_tokens > 2
        assert 0 < record.ttft_s <= record.wall_s
        assert record.tokens_per_s == pytest.approx(record.tokens / record.generation_s)
        assert record.options == DEFAULT_OPTIONS | SHORT

    def test_messages_go_through_chat(self, at):
        record = generate(at.model, [{"role": "user", "content": "Hi"}], **SHORT)
        assert 0 < record.tokens <= 12
        assert record.text
        assert record.ttft_s > 0

    def test_cold_and_warm(self, at):
        from slmlab import models

        models.unload(at.model)
        assert generate(at.model, "x", num_predict=1).cold
        assert not generate(at.model, "x", num_predict=1).cold

    def test_a_record_pickles(self, at):
        record = generate(at.model, "x", num_predict=1)
        assert pickle.loads(pickle.dumps(record)) == record

    def test_a_server_without_a_sign_of_life_is_an_error_with_a_record(self, at):
        server_process = next(
            one
            for one in psutil.process_iter(["cmdline"])
            if any(str(at.url.rsplit(":", 1)[1]) in word for word in one.info["cmdline"] or [])
            or (one.name() == "ollama" and at.kind == "ollama")
        )
        generate(at.model, "x", num_predict=1)
        stop_after = threading.Timer(0.7, server_process.suspend)
        try:
            stop_after.start()
            with pytest.raises(GenerationError, match="did not answer in time") as caught:
                generate(at.model, "Tell a long story.", num_predict=2000, timeout=2)
        finally:
            server_process.resume()
        record = caught.value.record
        assert record.text, "what came before the silence is kept"
        assert record.error == str(caught.value)
        assert pickle.loads(pickle.dumps(caught.value)).record == record

    def test_an_interrupt_ends_it_and_the_server_is_free_again(self, at):
        def interrupt(_: str) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            generate(at.model, "Tell a long story.", on_text=interrupt, num_predict=4000)
        started = time.monotonic()
        generate(at.model, "x", num_predict=1)
        assert time.monotonic() - started < 15

    def test_what_the_user_typed_wrong_is_said_before_any_work(self, at):
        with pytest.raises(PromptError, match="prompt is empty"):
            generate(at.model, "  ")
        with pytest.raises(PromptError, match=r"'temprature'\. Did you mean 'temperature'"):
            generate(at.model, "x", temprature=1)
        with pytest.raises(PromptError, match="Each message is"):
            generate(at.model, [{"role": "robot", "content": "x"}])
        with pytest.raises(ModelError, match="no model 'nope'"):
            generate("nope", "x")


def test_no_server_is_a_sentence(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
    with pytest.raises(ServerError, match=r"slmlab\.start\(\)"):
        generate("x", "y")


def test_options_are_complete_and_checked():
    assert full_options(temperature=0, seed=None) == DEFAULT_OPTIONS | {"temperature": 0}
    with pytest.raises(PromptError, match="Did you mean 'num_ctx'"):
        full_options(numctx=1)


@pytest.mark.slow
class TestCompare:
    def test_every_prompt_to_every_model(self, here):
        seen: list[str] = []
        frame = slmlab.compare(
            [SMOL, GEMMA], ["The sky is", "Two plus two is"], repeats=2, num_predict=8,
            on_record=lambda record: seen.append(record.model),
        )  # fmt: skip
        assert seen == [SMOL] * 4 + [GEMMA] * 4, "one model after the other"
        assert len(frame) == 8
        assert frame["error"].isna().all()
        assert not frame["cold"].any(), "models are loaded before they are timed"
        assert (frame["model_load_s"] > 0.05).all()
        assert set(frame["seed"]) == {0, 1}
        by_model = frame.groupby("model")["seed"].apply(list)
        assert by_model[SMOL] == by_model[GEMMA], "repeats pair up across models"

    def test_the_tutorials_chain_gives_the_same_text(self, here):
        prompt = prompts.fill("step_by_step", question=prompts.HYPOTENUSE)
        record = generate(SMOL, prompt, temperature=0, num_predict=60)
        runnable = prompts.chain("step_by_step", SMOL, **record.options)
        text = runnable.invoke({"question": prompts.HYPOTENUSE})
        # LangChain's ChatPromptTemplate writes the speaker before the text.
        direct = generate(SMOL, f"Human: {prompt}", temperature=0, num_predict=60)
        assert text == direct.text
        assert "hypotenuse" in text

    def test_a_failing_cell_is_a_row_and_not_the_end(self, here, smol_gguf, tmp_path):
        """A model whose file is gone from the disk when its turn comes."""
        slmlab.add("doomed", str(smol_gguf))
        broken = threading.Event()

        def sabotage(cell) -> None:
            if cell.model == "doomed" and not broken.is_set():
                broken.set()
                slmlab.remove("doomed")

        frame = slmlab.compare(["doomed", SMOL], "The sky is", on_cell=sabotage, num_predict=4)
        doomed, fine = (row for _, row in frame.iterrows())
        assert "no model 'doomed'" in doomed["error"]
        assert fine["error"] is None or fine["error"] != fine["error"]
        assert fine["tokens"] == 4
        assert list(results.table(frame)["stop"]) == ["failed", "length"]

    def test_wrong_arguments_run_nothing(self, here):
        with pytest.raises(ModelError, match=f"Did you mean '{SMOL}'"):
            slmlab.compare([SMOL, SMOL[:-2]], "x")
        with pytest.raises(PromptError, match="at least one"):
            slmlab.compare([], "x")
        with pytest.raises(PromptError, match="empty"):
            slmlab.compare(SMOL, ["x", ""])

    def test_summary_and_plot(self, here, tmp_path):
        frame = slmlab.compare([SMOL], ["The sky is"], repeats=3, num_predict=6)
        row = results.summary(frame).iloc[0]
        assert row["runs"] == 3
        assert row["cut"] == 3
        assert row["tokens_per_s_min"] <= row["tokens_per_s"] <= row["tokens_per_s_max"]
        from slmlab import plots

        figure = plots.speed(frame)
        assert "n = 3" in figure.get_suptitle()
        figure.savefig(tmp_path / "speed.png")


def record(**changes) -> Generation:
    """A record for tests of tables; its numbers are made up, its type is real."""
    facts = {
        "model": "m", "prompt": "p", "text": "t", "error": None, "stop_reason": "stop",
        "ttft_s": 0.5, "wall_s": 1.0, "load_s": 0.0, "prompt_tokens": 3, "prompt_s": 0.1,
        "tokens": 10, "generation_s": 0.5, "cold": False, "options": DEFAULT_OPTIONS,
        "host": "h", "engine": "e", "engine_version": "1", "digest": "d", "started": "now",
    }  # fmt: skip
    return Generation(**facts | changes)


def test_summary_leaves_cold_and_failed_runs_out_of_the_speed():
    frame = results.to_frame(
        [
            record(),
            record(tokens=20),
            record(cold=True, tokens=1000),
            record(error="no", tokens=0, generation_s=0.0, ttft_s=None, stop_reason=None),
        ]
    )
    row = results.summary(frame).iloc[0]
    assert (row["runs"], row["failed"]) == (4, 1)
    assert (row["tokens_per_s_min"], row["tokens_per_s"], row["tokens_per_s_max"]) == (20, 30, 40)
