"""The API reference has all that ``import slmlab`` hands out, each with an example."""

from __future__ import annotations

import inspect

import slmlab
from scripts import api_reference

PAGES = {area.page: dict(api_reference.public(area)) for area in api_reference.AREAS}
# What slmlab itself needs of the machine and its folders; its own tests cover it.
NOT_FOR_READERS = {"hardware", "paths"}


def test_each_name_of_the_package_stands_there():
    described = {name for area in api_reference.AREAS for name in area.functions}
    described |= {path.split(".")[1] for area in api_reference.AREAS for path in area.modules}
    assert set(slmlab.__all__) - described == NOT_FOR_READERS
    assert described <= {*slmlab.__all__, "errors"}


def test_each_function_stands_there_once_and_has_an_example():
    paths = [path for page in PAGES.values() for path in page]
    assert len(paths) == len(set(paths)) > 90
    for page in PAGES.values():
        for path, value in page.items():
            text = inspect.getdoc(value) or ""
            assert text, path
            assert inspect.isclass(value) or ">>> " in text, path


def test_a_page_shows_functions_before_classes_under_their_module():
    text = api_reference.page(api_reference.AREAS[0])
    order = [".. autofunction:: slmlab.compare", "``slmlab.prompts``", "slmlab.prompts.fill"]
    order += ["Classes\n-------", ".. autoclass:: slmlab.run.record.Generation"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
