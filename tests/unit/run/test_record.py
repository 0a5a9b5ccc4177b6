"""How a record looks: short, and with numbers."""

from dataclasses import replace

import pytest

from slmlab.run.generate import blank
from slmlab.run.options import full_options
from slmlab.run.target import Target

TARGET = Target("http://127.0.0.1:1", "some:1b", "embedded", "1", "d" * 64, False, None)
LONG = "<script>alert(1)</script> " + "word " * 500
RECORD = replace(
    blank(TARGET, "p" * 5000, full_options({}), False),
    text=LONG,
    tokens=500,
    generation_s=10.0,
    wall_s=11.0,
    ttft_s=0.5,
    prompt_tokens=1234,
    stop_reason="length",
)


def test_a_record_is_one_short_line():
    assert str(RECORD) == (
        "500 tokens in 11.0 s (warm), first token after 0.50 s, 50.0 tokens/s, "
        "cut by the length limit"
    )
    assert repr(RECORD).startswith("<Generation by some:1b: 500 tokens in 11.0 s")
    assert len(repr(RECORD)) < 200
    assert "\n" not in repr(replace(RECORD, text="a\nb\nc"))
    assert str(replace(RECORD, error="No memory.")) == "failed: No memory."


@pytest.mark.parametrize(
    ("share", "said"), [(None, ""), (1.0, ""), (0.26, ", 26% on the GPU"), (0.0, ", on the CPU")]
)
def test_a_model_that_is_not_wholly_on_the_gpu_is_told(share, said):
    """It is many times slower, and nothing else would show why."""
    assert str(replace(RECORD, gpu_share=share)) == f"{RECORD}{said}"


@pytest.mark.parametrize("tokens", [0, 1, 4])
def test_a_handful_of_tokens_has_no_speed(tokens):
    """One token comes with reading the prompt: 1,000,000 tokens/s."""
    few = replace(RECORD, tokens=tokens, generation_s=tokens * 1e-6)
    assert few.tokens_per_s is None
    assert "tokens/s" not in str(few)
    assert "tokens_per_s" not in few._repr_html_()
    assert replace(RECORD, tokens=5, generation_s=0.5).tokens_per_s == 10
    read = replace(RECORD, prompt_fresh=True, prompt_tokens=tokens, prompt_s=1e-6)
    assert read.prompt_tokens_per_s is None
    assert replace(read, prompt_tokens=5, prompt_s=0.5).prompt_tokens_per_s == 10


def test_a_record_says_what_is_known_of_its_prompt():
    def texts(truncated):
        record = replace(RECORD, truncated=truncated)
        return str(record), record._repr_html_()

    for text in texts(True):
        assert "truncated" in text
        assert "perhaps" not in text
    for text in texts(None):
        assert "perhaps truncated" in text
    for text in texts(False):
        assert "truncated" not in text


def test_its_html_has_numbers_by_their_names_and_not_the_text():
    html = RECORD._repr_html_()
    for name in ("tokens", "prompt_tokens", "wall_s", "ttft_s", "tokens_per_s"):
        assert hasattr(RECORD, name)
        assert f">{name}</th>" in html
    for value in ("500", "1,234", "11.00", "0.50", "50.0", "2,526 characters"):
        assert value in html
    assert "word" not in html
    assert "ppp" not in html
    assert "cut by the length limit" in html
    assert "cut by" not in replace(RECORD, stop_reason="stop")._repr_html_()
    assert "with loading" not in html
    assert "with loading the model" in replace(RECORD, cold=True)._repr_html_()
    failed = replace(RECORD, error="<b>No</b> memory.", tokens=0, ttft_s=None)._repr_html_()
    assert "&lt;b&gt;No&lt;/b&gt; memory." in failed
    assert "ttft_s" not in failed
