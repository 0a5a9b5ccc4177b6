"""Downloads that cannot begin."""

import httpx
import pytest

import slmlab
from slmlab.errors import ModelError, ServerError, ServerLost
from slmlab.models import download


def test_without_a_server_that_is_said_once_and_is_no_fault_of_a_model():
    with pytest.raises(ServerError) as caught:
        slmlab.pull(["a", "b"], "a", host="http://127.0.0.1:9", quiet=True)
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith("No server answers at http://127.0.0.1:9")
    assert isinstance(caught.value.__cause__, ServerError)


@pytest.mark.parametrize(
    ("failures", "kind", "text"),
    [
        ({"a": ModelError("no a"), "b": ModelError("no b")}, ModelError, "no a\nno b"),
        ({"a": ServerLost("gone"), "b": ModelError("no b")}, ModelError, "gone\nno b"),
        ({"a": KeyError("x"), "b": ServerError("gone")}, ModelError, "a: 'x'\ngone"),
        ({"a": ServerLost("gone"), "b": ServerError("late")}, ServerError, "gone\nlate"),
    ],
)
def test_each_model_that_cannot_be_had_gets_its_sentence(failures, kind, text, monkeypatch):
    def fails(model, host, events):
        events.put(download._Event(model, ended=True, error=failures[model]))

    monkeypatch.setattr(download, "_pull_one", fails)
    with pytest.raises(kind) as caught:
        slmlab.pull(failures, host="http://127.0.0.1:9", quiet=True)
    assert (str(caught.value), caught.value.__cause__) == (text, failures["a"])


def test_what_an_interrupted_download_left_here_needs_no_room(wire, monkeypatch):
    asked = []
    monkeypatch.setattr(download, "download_size", lambda model: 1000)
    monkeypatch.setattr(download, "_partly_here", lambda: 400)
    monkeypatch.setattr(download, "_check_disk", lambda model, needed: asked.append(needed))
    monkeypatch.setattr(download, "_pull_once", lambda *_: None)
    slmlab.pull(["c:1b", "a:1b"], host=wire.url, quiet=True)
    assert asked == [600], "a:1b is here already"


@pytest.mark.parametrize(
    ("model", "registry"),
    [
        ("llama3.2:1b", "https://registry.ollama.ai"),
        ("hub.example/library/llama3.2:1b", "https://hub.example"),
        ("127.0.0.1:5000/library/llama3.2:1b", "http://127.0.0.1:5000"),
        ("http://mirror:5000/library/llama3.2:1b", "http://mirror:5000"),
    ],
)
def test_only_a_registry_here_or_one_that_says_so_is_asked_without_tls(model, registry):
    assert download._registry(model) == registry


@pytest.mark.parametrize(
    ("error", "again"),
    [(httpx.ReadError("reset"), True), (httpx.InvalidURL("x"), False), (ModelError("x"), False)],
)
def test_a_connection_that_breaks_is_worth_another_try(error, again):
    assert download._worth_another_try(error) is again


def test_what_is_no_name_is_found_before_anything_is_asked():
    with pytest.raises(ModelError, match=r"given by their names.*got 5"):
        slmlab.pull(["a", 5], host="http://127.0.0.1:9")
