"""Addresses as people write them, in every call that takes one, and servers behind a password."""

from __future__ import annotations

import logging
import os

import pytest

import slmlab
from slmlab import models, paths
from slmlab.engines import find, server, supervisor
from slmlab.errors import ModelError, PromptError, ServerError, SlmlabError
from tests.support.dask import dask_executor
from tests.support.engines import SHALLOW, Engine
from tests.support.processes import free_port
from tests.support.reverse_proxy import IN_ADDRESS, PASSWORD, USER, ReverseProxy

SHORT = {"num_predict": 4, "quiet": True, "fresh": True}


@pytest.mark.parametrize("form", ["http://{}/", "{}", "{}/", "HTTP://{}", " {} "])
def test_every_call_takes_every_spelling(embedded, form, monkeypatch):
    place = embedded.url.removeprefix("http://")
    written = form.format(place)
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
    assert [one.name for one in models.installed(host=written)]
    assert slmlab.generate(SHALLOW, "Say A.", num_predict=2, host=written).host == embedded.url
    frame = slmlab.compare(SHALLOW, "Say A.", hosts=[written], **SHORT)
    assert [*frame["host"]] == [embedded.url]
    assert slmlab.ready(SHALLOW, host=written, quiet=True) == [SHALLOW]
    assert slmlab.chain(SHALLOW, host=written, num_predict=2).invoke({"question": "Say A."})
    assert slmlab.will_it_fit(SHALLOW, host=written).fits
    for widget in (
        slmlab.playground(SHALLOW, host=written),
        slmlab.side_by_side(SHALLOW, host=written),
        slmlab.arena(host=written),
        slmlab.catalog_explorer(host=written),
    ):
        assert widget.host == embedded.url
    monkeypatch.setenv("OLLAMA_HOST", written)
    assert server.status().host == embedded.url


def test_one_server_under_two_names_is_one(embedded):
    """Else two answers would be written at once while times are measured."""
    localhost = embedded.url.replace("127.0.0.1", "localhost")
    hosts = [localhost, embedded.url, f"{embedded.url}/"]
    frame = slmlab.compare(SHALLOW, ["One", "Two", "Three"], hosts=hosts, **SHORT)
    assert {*frame["host"]} == {localhost}


def test_hosts_that_are_no_addresses(embedded):
    for hosts in ([embedded.url, ""], [None], ["gpu server"]):
        with pytest.raises(ServerError, match="is not an address"):
            slmlab.compare(SHALLOW, "x", hosts=hosts, quiet=True)
    with pytest.raises(PromptError, match="contains no server"):
        slmlab.compare(SHALLOW, "x", hosts=[], quiet=True)


class TestPassword:
    @pytest.fixture(params=["", "/ollama"], ids=["at the root", "under a path"])
    def proxy(self, request, embedded: Engine):
        with ReverseProxy(embedded.url, request.param) as proxy:
            yield proxy

    @pytest.fixture
    def address(self, proxy) -> str:
        return f"http://{IN_ADDRESS}@{proxy.place}/"

    def test_it_is_used_everywhere_and_shown_nowhere(
        self, proxy, address, lab, caplog, capsys, monkeypatch
    ):
        caplog.set_level(logging.DEBUG)
        monkeypatch.setenv("OLLAMA_HOST", address)
        assert slmlab.start(quiet=True).host == server.host() == proxy.url
        assert os.environ["OLLAMA_HOST"] == address
        frame = slmlab.compare(SHALLOW, ["Say A.", "Say B."], hosts=[address], num_predict=2)
        assert frame["error"].isna().all()
        assert {*frame["host"]} == {proxy.url}
        assert slmlab.ask(SHALLOW, "Say A.", host=address, num_predict=2).host == proxy.url
        assert slmlab.generate(
            SHALLOW, [{"role": "user", "content": "Say A."}], host=address, num_predict=2
        ).tokens
        chain = slmlab.chain(SHALLOW, host=address, num_predict=2)
        assert chain.invoke({"question": "Say A."})
        with pytest.raises(ModelError) as raised:
            models.resolve("nobody", host=address)
        widget = slmlab.playground(SHALLOW, host=address)
        report = slmlab.report(frame, paths.home() / "report.html").read_text()
        shown = [repr(chain), str(raised.value), repr(widget), report, caplog.text]
        shown += [*capsys.readouterr(), slmlab.doctor()._repr_html_(), repr(slmlab.status())]
        written = [one.read_text() for one in paths.results().rglob("*") if one.is_file()]
        assert written
        for text in (*shown, *written):
            assert PASSWORD not in text
            assert IN_ADDRESS not in text
            assert f"{USER}:" not in text

    def test_it_goes_along_to_other_processes(self, proxy, address):
        with dask_executor(1) as executor:
            frame = slmlab.compare(SHALLOW, "Say A.", host=address, executor=executor, **SHORT)
        assert frame["error"].isna().all()

    def test_without_it_the_error_asks_for_it(self, proxy, monkeypatch):
        path = proxy.place
        for call in (
            lambda: slmlab.generate(SHALLOW, "x", host=path),
            lambda: models.installed(host=path),
            lambda: slmlab.ready(host=path),
            lambda: slmlab.compare(SHALLOW, "x", hosts=[path], quiet=True),
            lambda: slmlab.pull(SHALLOW, host=path, quiet=True),
        ):
            with pytest.raises(SlmlabError, match=r"\(401 Unauthorized\).*USER:PASSWORD@") as one:
                call()
            assert "No server" not in str(one.value)
            assert "<html>" not in str(one.value)
        monkeypatch.setenv("OLLAMA_HOST", path)
        monkeypatch.setattr(find, "is_local", lambda _: False)
        with pytest.raises(ServerError, match="401 Unauthorized"):
            slmlab.start(quiet=True)

    def test_a_wrong_one_is_said_to_be_wrong(self, proxy):
        with pytest.raises(ServerError, match=r"rejects the user and password") as raised:
            models.installed(host=f"http://ada:wrongword@{proxy.place}")
        assert "wrongword" not in str(raised.value)


def test_a_proxy_whose_server_is_gone(lab):
    with ReverseProxy(f"http://127.0.0.1:{free_port()}") as proxy:
        with pytest.raises(ServerError, match=r"does not reach .* \(status 502\)"):
            slmlab.generate(SHALLOW, "x", host=f"http://{IN_ADDRESS}@{proxy.place}")
        with pytest.raises(ServerError, match=r"does not reach .* \(status 502\)"):
            models.installed(host=f"http://{IN_ADDRESS}@{proxy.place}")


def test_another_program_is_not_said_to_be_nothing(files):
    with pytest.raises(ServerError, match=r"What answers at .* is not Ollama \(status 404\)"):
        slmlab.generate(SHALLOW, "x", host=files.url)


def test_another_server_does_not_get_the_log_of_ours(embedded, lab):
    """The log of our last server at the port, although another one answers there now."""
    folder = supervisor.folder_of(embedded.url)
    folder.mkdir(parents=True)
    (folder / "server.log").write_text("a line of long ago")
    for host in (embedded.url, embedded.url.replace("127.0.0.1", "localhost")):
        with pytest.raises(ServerError) as raised, models.errors_as_sentences(host):
            raise ConnectionError
        assert "broke during an answer" in str(raised.value)
        assert "long ago" not in str(raised.value)
