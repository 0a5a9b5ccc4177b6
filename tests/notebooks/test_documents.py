"""The code in README and docs runs."""

from __future__ import annotations

import ast
import re
from dataclasses import replace

import pytest

import slmlab
from slmlab.engines.embedded.model_store import ModelStore
from slmlab.widgets.side_by_side import SideBySide
from tests.support.engines import BASE, GEMMA, QWEN, SMOL
from tests.support.paths import ROOT


@pytest.mark.parametrize("document", ["README.md", "docs/comparing.md", "docs/widgets.md"])
def test_its_code_runs(document, lab_with_models, monkeypatch):
    monkeypatch.chdir(lab_with_models)
    store = ModelStore(lab_with_models / "models")
    for name in (GEMMA, QWEN):  # whatever they write
        store.write(replace(store.get(BASE), name=name))
    monkeypatch.setenv("SLMLAB_TOKENS", "8")
    monkeypatch.setenv("SLMLAB_ITEMS", "3")
    slmlab.start("embedded", quiet=True)
    known = {"slmlab": slmlab, "names": [SMOL, BASE]}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    # Not here: clusters (see test_hosts.py), models that see (test_images.py), Hugging Face
    # (test_benchmarks.py), votes of people (test_judge_checks.py), a class's laptops
    # (test_collected.py), servers of OpenAI's API (test_openai_server.py), Inspect's logs
    # (test_exports.py), Drive and MLflow.
    elsewhere = (
        *("executor=", "models_that_see", "/content/drive"),
        *("hf:", "mlflow", "read_votes", '"class"', ":KEY@", "gpu-host", "inspect_ai"),
    )
    for block in [one for one in blocks if not any(word in one for word in elsewhere)]:
        for line in ast.parse(block).body:
            exec(compile(ast.Module([line], []), document, "exec"), known)
            if isinstance(known.get("lab"), SideBySide) and not known["lab"].runs:
                known["lab"].run()
