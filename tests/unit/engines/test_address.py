"""Addresses of servers."""

from __future__ import annotations

import pytest

import slmlab
from slmlab.engines import server, supervisor
from slmlab.engines.address import (
    configured_host,
    credentials_for,
    is_local,
    read_address,
    server_key,
    speaks_openai,
)
from slmlab.errors import ServerError


class TestReadAddress:
    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5000"),
            ("http://127.0.0.1:5000//", "http://127.0.0.1:5000"),
            (" localhost:5000/ ", "http://localhost:5000"),
            ("HTTP://LocalHost:5000", "http://localhost:5000"),
            ("HTTPS://GPU.example", "https://gpu.example:443"),
            ("::1", "http://[::1]:11434"),
            ("[::1]", "http://[::1]:11434"),
            ("http://[::1]:5000/", "http://[::1]:5000"),
            ("2001:db8::7", "http://[2001:db8::7]:11434"),
            ("::", "http://127.0.0.1:11434"),
            ("http://0.0.0.0:5000", "http://127.0.0.1:5000"),
            ("gpu-server", "http://gpu-server:11434"),
            ("https://gpu.example/ollama/", "https://gpu.example:443/ollama"),
            ("ada:secret@gpu-server", "http://gpu-server:11434"),
            ("https://ada:sec%40ret@gpu.example/ollama/", "https://gpu.example:443/ollama"),
        ],
    )
    def test_each_has_one_spelling(self, text, address):
        assert read_address(text) == address
        assert read_address(address) == address

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " ",
            "8080",
            "http://",
            "http:/gpu:1",
            "http//gpu",
            "//gpu:1",
            "gpu:port",
            "gpu:0",
            "gpu:99999",
            "ftp://gpu",
            "gpu 1",
            "gpu,gpu2",
            "http://gpu?x=1",
            "http://[::1",
            "*:11434",
            "${HOST}:11434",
            "http://{host}",
            "<your server>:11434",
            "http://gp\nu:1",
            None,
            11434,
        ],
    )
    def test_what_is_no_address_is_said_to_be_none(self, text):
        with pytest.raises(ServerError, match="is not an address"):
            read_address(text)

    @pytest.mark.parametrize(
        "text",
        [
            "http://ada:sec/ret@gpu:1",
            "http://ada:sec#ret@gpu:1",
            "ada:sec?ret@gpu:1",
            "http://ada:secret@gpu:port",
            "ada:secret@",
        ],
    )
    def test_no_password_is_in_an_error(self, text):
        with pytest.raises(ServerError, match=r"is not an address.*%2F") as raised:
            read_address(text)
        assert "sec" not in str(raised.value)
        # Python would print these too.
        assert raised.value.__cause__ is None
        assert raised.value.__suppress_context__ or raised.value.__context__ is None

    @pytest.mark.parametrize(
        "text",
        [
            "http://gpu:80/v1/chat/completions",
            "http://ada:pw@gpu:80/V1/models",
            "http://gpu/api",
            "gpu:80/api/chat/",
            "http://gpu/API/Generate",
        ],
    )
    def test_the_address_of_an_api_is_not_the_servers(self, text):
        with pytest.raises(
            ServerError, match=r"(?i)ends in /(v1|api).*, http://gpu:80(, or |$)"
        ) as error:
            read_address(text)
        assert "pw" not in str(error.value)

    @pytest.mark.parametrize("text", ["http://gpu/v1", "gpu:80/v1/", "http://gpu:80/V1"])
    def test_v1_at_the_end_means_a_server_of_openais_api(self, text):
        assert read_address(text) == "http://gpu:80/v1"
        assert speaks_openai(read_address(text))
        assert read_address("https://gpu/api/v1") == "https://gpu:443/api/v1"
        assert not speaks_openai(read_address("http://gpu/v1/ollama"))
        with pytest.raises(ServerError, match=r"OLLAMA_HOST=.* ends in /v1.*, http://gpu:80$"):
            read_address("http://gpu/v1", "OLLAMA_HOST")

    def test_a_key_is_remembered_and_not_shown(self):
        assert read_address("http://:s3cret@gpu:7/v1") == "http://gpu:7/v1"
        assert credentials_for("http://gpu:7/v1") == ("", "s3cret")

    def test_a_password_is_what_its_escapes_stand_for(self):
        read_address("https://a%64a:s%2Fe%23c@gpu.example/ollama/")
        assert credentials_for("https://gpu.example:443/ollama") == ("ada", "s/e#c")

    def test_a_proxy_may_have_a_prefix(self):
        with pytest.raises(ServerError, match=r"ends in /api/chat, .*, http://gpu:80/ollama$"):
            read_address("http://gpu/ollama/api/chat")
        for path in ("/ollama", "/api/ollama", "/v1/ollama", "/user/ada/proxy/11434", "/api2"):
            assert read_address(f"http://gpu{path}") == f"http://gpu:80{path}"

    def test_localhost_is_a_second_name_and_no_second_server(self):
        assert server_key("http://localhost:5") == server_key("http://127.0.0.1:5")
        others = ["http://localhost:6", "http://[::1]:5", "http://gpu:5", "https://localhost:5"]
        assert len({*map(server_key, ["http://localhost:5", *others])}) == 5


class TestHost:
    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("", None),
            ("127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("gpu-server", "http://gpu-server:11434"),
            ("http://gpu-server", "http://gpu-server:80"),
            ("https://gpu.example/ollama/", "https://gpu.example:443/ollama"),
            ('"127.0.0.1:5000"', "http://127.0.0.1:5000"),
            ("[::1]:5000", "http://[::1]:5000"),
            (":5000", "http://127.0.0.1:5000"),
        ],
    )
    def test_ollama_host_is_read_as_ollama_reads_it(self, monkeypatch, text, address):
        monkeypatch.setenv("OLLAMA_HOST", text)
        assert configured_host() == address

    @pytest.mark.parametrize("text", ["127.0.0.1:port", "ftp://x", "127.0.0.1:99999"])
    def test_nonsense_is_named(self, monkeypatch, text):
        monkeypatch.setenv("OLLAMA_HOST", text)
        with pytest.raises(ServerError, match="not an address"):
            server.host()

    def test_a_remote_server_that_is_silent_is_never_replaced(self, lab, monkeypatch):
        monkeypatch.setenv("OLLAMA_HOST", "http://slmlab.invalid:11434")
        with pytest.raises(
            ServerError, match=r"No server answers at OLLAMA_HOST=.*slmlab\.invalid"
        ):
            slmlab.start(quiet=True)
        assert not list(supervisor.states())

    def test_an_unknown_engine(self, lab):
        with pytest.raises(ServerError, match="There is no engine 'olama'"):
            slmlab.start("olama", quiet=True)


@pytest.mark.parametrize(
    "name", ["127.1", "127.0.0.1", "localhost.", "[::ffff:127.0.0.1]", "[::1]", "LOCALHOST"]
)
def test_this_machine_has_many_names(name):
    assert is_local(f"http://{name}:11434")


@pytest.mark.parametrize("name", ["8.8", "127.example", "localhost.example", "[::ffff:8.8.8.8]"])
def test_other_names_are_not_taken_for_it(name):
    assert not is_local(f"http://{name}:11434")
