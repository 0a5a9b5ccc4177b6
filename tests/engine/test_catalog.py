"""The catalogue beside the models that are here."""

from __future__ import annotations

from slmlab.models import catalog
from tests.support.engines import SMOL
from tests.support.processes import free_port


class TestCatalogData:
    def test_what_is_here_and_fits(self, embedded):
        frame = catalog.on_this_machine(host=embedded.url).set_index("name")
        assert frame.loc["SmolLM2 135M", "here"] == SMOL
        assert frame.loc["Llama 3.2 1B", "here"] is None
        assert frame.loc["SmolLM2 135M", "fits"] is True
        nowhere = catalog.on_this_machine(host=f"http://127.0.0.1:{free_port()}")
        assert not nowhere["here"].notna().any()
