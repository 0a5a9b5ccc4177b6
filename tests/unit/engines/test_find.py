"""How a server looks."""

from slmlab.engines.find import Server


def test_a_server_is_one_line_and_a_table():
    ours = Server("http://127.0.0.1:11434", "ollama", "0.30.1", ours=True)
    line = "Ollama 0.30.1 at http://127.0.0.1:11434 (started by slmlab)"
    assert str(ours) == line
    assert repr(ours) == f"<Server: {line}>"
    html = Server("http://h:1", "embedded", "<1>")._repr_html_()
    assert "Embedded engine &lt;1&gt;" in html
    assert "by somebody else" in html
