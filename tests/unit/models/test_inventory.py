"""Names and files of models, which are checked before anything is sent."""

import numpy as np
import pytest

import slmlab
from slmlab import models
from slmlab.errors import ModelError, PromptError, ServerError
from slmlab.models.inventory import add, as_names, validate_context

NOWHERE = "http://127.0.0.1:1"  # a test that gets as far as a request ends in a ServerError


def test_names_come_singly_and_in_lists():
    assert as_names([]) == []
    assert as_names(["a"]) == ["a"]
    assert as_names(["a", ["b", "c"], ("a", "d"), {"e": 1}]) == ["a", "b", "c", "d", "e"]
    for wrong in (5, None, [5], [None], [["a"]], "", " ", b"a"):
        with pytest.raises(ModelError, match="given by their names"):
            as_names([wrong])


@pytest.mark.parametrize("wrong", [5, None, ["a"], ["a", "b"], "", b"a"])
@pytest.mark.parametrize(
    "call",
    [
        models.show,
        models.resolve,
        models.unload,
        models.download_size,
        slmlab.will_it_fit,
        lambda name: models.load(name, 2048),
        lambda name: slmlab.add(name, "x.gguf"),
        lambda name: slmlab.ask(name, "x"),
        lambda name: slmlab.generate(name, "x"),
        lambda name: slmlab.compare([name, [name]], "x"),
        lambda name: slmlab.remove(["good", [name]]),
    ],
)
def test_what_is_no_name_is_said_before_a_server_is_asked(call, wrong, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", NOWHERE)
    with pytest.raises(ModelError, match="given by their names"):
        call(wrong)


def test_servers_are_addresses():
    for wrong in (5, [5], ["http://127.0.0.1:1", None]):
        with pytest.raises(ServerError, match="is not an address"):
            slmlab.compare("m", "x", hosts=wrong)


@pytest.mark.parametrize("wrong", ["4096", None, 0, -1, 40.5, True])
@pytest.mark.parametrize(
    "call",
    [
        lambda length: models.load("m", length),
        lambda length: slmlab.will_it_fit("m", length),
        lambda length: slmlab.catalog.on_this_machine(length),
    ],
)
def test_a_context_is_a_number_of_tokens(call, wrong, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", NOWHERE)
    with pytest.raises(PromptError, match="num_ctx is a number of tokens"):
        call(wrong)


def test_a_number_out_of_a_table_is_a_number():
    assert type(validate_context(np.int64(4096))) is int


def test_a_path_that_leads_to_no_model_is_a_sentence(tmp_path, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    (tmp_path / "own.gguf").write_bytes(b"GGUF....")
    (tmp_path / "weights.bin").write_bytes(b"PK\x03\x04....")
    (tmp_path / "empty").mkdir()
    for path, sentence in {
        "~/missing.gguf": "There is no file .*missing.gguf.$",
        "~/nowhere/x.gguf": "no file .*: there is no folder .*nowhere.",
        "~": r"is a folder; give the path of a GGUF file in it\. There is own\.gguf\.",
        tmp_path / "empty": r"is a folder; .* It has none\.",
        tmp_path / "weights.bin": "is not a GGUF file",
        "~nobody-of-that-name/x.gguf": "cannot be read",
        "a\0b": "cannot be read",
        5: "given by its path; got 5",
    }.items():
        with pytest.raises(ModelError, match=sentence):
            add("own", path, host=NOWHERE)
