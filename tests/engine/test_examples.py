"""The examples in the docstrings run, as the API reference shows them."""

from __future__ import annotations

import doctest
import inspect

import matplotlib.pyplot as plt
import pytest

import slmlab
from scripts import api_reference
from slmlab import models, paths
from tests.support.engines import BASE, MINILM, MODELS, SHALLOW, give_models

FUNCTIONS = {
    path: value
    for area in api_reference.AREAS
    for path, value in api_reference.public(area)
    if not inspect.isclass(value)
}


class Checker(doctest.OutputChecker):
    """An example that shows no output may have any: what models write differs between machines."""

    def check_output(self, want: str, got: str, flags: int) -> bool:
        return not want or super().check_output(want, got, flags)


@pytest.mark.parametrize("path", FUNCTIONS)
def test_it_runs(path, here, frame, models_home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    give_models(models_home, paths.home())
    known = {"slmlab": slmlab, "names": [SHALLOW, BASE], "frame": frame.copy()}
    text = inspect.getdoc(FUNCTIONS[path]) or ""
    test = doctest.DocTestParser().get_doctest(text, known, path, None, None)
    assert test.examples, "no example"
    report: list[str] = []
    runner = doctest.DocTestRunner(Checker(), verbose=False, optionflags=doctest.ELLIPSIS)
    runner.run(test, out=report.append)
    plt.close("all")
    for model in models.installed():
        if model.name not in (*MODELS, MINILM, SHALLOW, BASE):
            models.remove(model.name)
    assert not runner.failures, "".join(report)
