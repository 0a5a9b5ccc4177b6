"""How a record looks: short, and with numbers."""

from dataclasses import replace

from slmlab.run.generate import Target, blank
from slmlab.run.options import full_options

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


def test_its_html_has_numbers_by_their_names_and_not_the_text():
    html = RECORD._repr_html_()
    for name in ("tokens", "prompt_tokens", "wall_s", "ttft_s", "tokens_per_s"):
        assert hasattr(RECORD, name)
        assert f">{name}</th>" in html
    for value in ("500", "1,234", "11.00", "0.50", "50.0", "2,526 characters"):
        assert value in html
    assert "word" not in html
    assert "ppp" not in html
    failed = replace(RECORD, error="<b>No</b> memory.", tokens=0, ttft_s=None)._repr_html_()
    assert "&lt;b&gt;No&lt;/b&gt; memory." in failed
    assert "ttft_s" not in failed
