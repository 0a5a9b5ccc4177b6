"""Bodies of requests: what is taken, and the sentence for what is not."""

from __future__ import annotations

import pytest

from slmlab.engines.embedded.schemas import (
    ChatRequest,
    CreateRequest,
    EmbedRequest,
    GenerateRequest,
    NameRequest,
    RequestError,
    parse,
)


def test_what_is_left_out_and_what_is_unknown():
    args = parse(GenerateRequest, b'{"model": "m", "prompt": "p", "colour": "red"}')
    assert (args.model, args.prompt, args.stream, args.options) == ("m", "p", None, None)
    assert not hasattr(args, "colour")


@pytest.mark.parametrize("body", [b"", b" \n"])
def test_a_missing_body(body):
    with pytest.raises(RequestError, match=r"^missing request body$"):
        parse(NameRequest, body)


@pytest.mark.parametrize(
    ("kind", "body", "where"),
    [
        (GenerateRequest, b'{"model": 5}', "model: "),
        (GenerateRequest, b'{"stream": "yes"}', "stream: "),
        (GenerateRequest, b'{"logprobs": 1}', "logprobs: "),
        (GenerateRequest, b'{"top_logprobs": 1.5}', "top_logprobs: "),
        (ChatRequest, b'{"messages": [{"content": "x"}]}', r"messages\.0\.role: "),
        (ChatRequest, b'{"messages": [{"role": "user", "content": 5}]}', r"messages\.0\.content"),
        (
            ChatRequest,
            b'{"tools": [{"type": "custom", "function": {"name": "f"}}]}',
            r"tools\.0\.type: Input should be 'function'",
        ),
        (CreateRequest, b'{"files": {"a": 5}}', r"files\.a: "),
        (GenerateRequest, b"[]", ""),
        (GenerateRequest, b"{", ""),
        (GenerateRequest, b'"x"', ""),
    ],
)
def test_the_sentence_says_where_a_body_is_wrong(kind, body, where):
    with pytest.raises(RequestError, match=f"^{where}") as refused:
        parse(kind, body)
    assert "\n" not in str(refused.value)


def test_either_field_has_the_name():
    assert parse(NameRequest, b'{"name": "m"}').name_given("x") == "m"
    assert parse(NameRequest, b'{"model": "m", "name": "n"}').name_given("x") == "m"
    with pytest.raises(RequestError, match=r"^model is required$"):
        parse(NameRequest, b"{}").name_given("model is required")


def test_words_that_python_has_for_itself():
    assert parse(CreateRequest, b'{"from": "m"}').from_ == "m"
    assert parse(GenerateRequest, b'{"_debug_render_only": true}').debug_render_only


def test_texts_to_embed():
    def texts(body: bytes) -> list[str]:
        return parse(EmbedRequest, body).texts()

    assert texts(b'{"input": "a"}') == ["a"]
    assert texts(b'{"input": ["a", ""]}') == ["a", ""]
    assert texts(b'{"input": [""]}') == [""]
    assert texts(b'{"input": ""}') == texts(b'{"input": []}') == texts(b"{}") == []
    for wrong in (b'{"input": 5}', b'{"input": ["a", 5]}', b'{"input": null}'):
        with pytest.raises(RequestError, match="invalid input type"):
            texts(wrong)
