"""What is accepted as an answer's form and as tools, and how both are sent."""

from __future__ import annotations

import json

import pydantic
import pytest

import slmlab
from slmlab.errors import PromptError
from slmlab.run import grid, results, tools
from slmlab.show.recipe import recipe

SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "string"}}}


def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return city


def tool(name: str) -> dict:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


class TestFormat:
    def test_a_schema_keeps_the_order_of_its_fields(self):
        assert json.loads(tools.as_format(SCHEMA)) == SCHEMA
        assert list(json.loads(tools.as_format(SCHEMA))["properties"]) == ["b", "a"]
        assert tools.as_format(tools.as_format(SCHEMA)) == tools.as_format(SCHEMA)
        assert tools.as_format("json") == "json"

    def test_a_class_of_pydantic_is_its_schema(self):
        class Person(pydantic.BaseModel):
            name: str

        assert json.loads(tools.as_format(Person)) == Person.model_json_schema()

    @pytest.mark.parametrize("wrong", ["xml", {}, 5, [SCHEMA], '"json"'])
    def test_anything_else_is_refused(self, wrong):
        with pytest.raises(PromptError, match='format is "json" or a JSON schema'):
            tools.as_format(wrong)


class TestTools:
    def test_functions_are_described_by_their_annotations(self):
        (one,) = json.loads(tools.as_tools(get_weather))
        assert one["function"]["name"] == "get_weather"
        assert one["function"]["description"] == "Tell the weather in a city."
        assert one["function"]["parameters"]["required"] == ["city"]
        assert tools.as_tools([get_weather]) == tools.as_tools(tools.as_tools([one]))

    @pytest.mark.parametrize("wrong", ["hammer", [], 3, [{"name": "x"}], [3]])
    def test_anything_else_is_refused(self, wrong):
        with pytest.raises(PromptError, match=r"(tools is a list|A tool is a Python function)"):
            tools.as_tools(wrong)

    def test_calls_are_written_as_in_python(self):
        calls = [
            {"name": "f", "arguments": {"city": "Oslo", "n": 2}},
            {"name": "g", "arguments": {}},
        ]
        assert tools.written(calls) == 'f(city="Oslo", n=2)\ng()'
        assert tools.written(None) == tools.written([]) == ""


class TestGrid:
    def test_both_are_axes(self):
        both = [None, [tool("f")]]
        cells = grid.plan("m", "x", format=["json", SCHEMA, None], tools=both)
        found = [(cell.options.get("format"), cell.options.get("tools")) for cell in cells]
        assert len(set(found)) == 6
        # All in the same form, so that they can be compared.
        assert {json.dumps(cell.prompt) for cell in cells} == {'[{"role": "user", "content": "x"}]'}

    def test_one_list_of_tools_is_one_setting(self):
        (cell,) = grid.plan("m", "x", tools=[tool("f"), tool("g")])
        assert len(json.loads(cell.options["tools"])) == 2

    def test_a_row_may_have_tools_of_its_own(self):
        rows = [{"prompt": "x", "tools": [tool("f")]}, {"prompt": "y", "tools": None}]
        first, second = grid.plan("m", rows)
        assert "tools" in first.options and "tools" not in second.options
        assert second.prompt == "y"
        assert "tools" not in first.columns

    def test_a_column_of_other_texts_is_none(self):
        (cell,) = grid.plan(
            "m", [{"question": "x", "tools": "hammer"}], template="{question} {tools}"
        )
        assert cell.prompt == "x hammer"
        assert cell.columns["given_tools"] == "hammer"


class TestSent:
    def test_they_are_sent_beside_the_options(self, wire):
        slmlab.compare("a:1b", "x", host=wire.url, quiet=True, format=SCHEMA)
        body = wire.sent("/api/generate")[-1]
        assert body["format"] == SCHEMA
        assert "format" not in body["options"]

    def test_without_a_place_for_tools_nothing_is_sent(self, wire):
        with pytest.raises(PromptError, match="a:1b cannot call tools"):
            slmlab.compare("a:1b", "x", host=wire.url, quiet=True, tools=[get_weather])
        assert wire.sent("/api/chat") == []

    def test_a_comparison_can_be_stored_and_repeated(self, wire, tmp_path):
        wire.capabilities = ["completion", "tools"]
        frame = slmlab.compare(
            "a:1b", ["x", "y"], host=wire.url, quiet=True, tools=[get_weather], format="json"
        )
        assert frame["tool_calls"].tolist() == [[], []]
        (sent,) = {json.dumps(body["tools"]) for body in wire.sent("/api/chat") if "tools" in body}
        assert json.loads(sent)[0]["function"]["name"] == "get_weather"
        for ending in ("csv", "json"):
            path = tmp_path / f"x.{ending}"
            getattr(results, f"to_{ending}")(frame, path)
            again = results.read(path)
            for name in ("tools", "format", "tool_calls", "prompt"):
                assert again[name].tolist() == frame[name].tolist(), name
        written = recipe(frame)
        assert "format='json'" in written
        assert "get_weather" in written
