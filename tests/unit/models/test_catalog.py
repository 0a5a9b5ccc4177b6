"""The catalogue of models."""

from __future__ import annotations

import pytest

from slmlab.errors import ModelError
from slmlab.models import catalog


class TestCatalogData:
    def test_every_fact_has_a_source(self):
        frame = catalog.table()
        assert frame["name"].is_unique
        for row in frame.to_dict("records"):
            sources = catalog.sources(row["name"])
            known = {fact for fact in catalog.FACTS if row[fact] is not None}
            assert known == set(sources)
            assert all(address.startswith("https://") for address in sources.values())
            assert {"developer", "parameters", "modality"} <= known

    def test_a_name_that_is_not_there_is_hinted_at(self):
        for name, hint in (("Gemma 3 1b", "Gemma 3 1B"), ("Gema 3 1B", "Gemma 3 1B")):
            with pytest.raises(ModelError, match=f"Did you mean '{hint}'"):
                catalog.sources(name)
        with pytest.raises(ModelError, match="no model 5"):
            catalog.sources(5)

    def test_the_tutorials_models_are_there_as_they_really_are(self):
        frame = catalog.table().set_index("name")
        assert frame.loc["Mistral 7B v0.3", "context"] == 32768
        assert frame.loc["Phi-3.5 mini", "modality"] == "text"
        assert frame.loc["Phi-3.5 MoE", "parameters"] > 40e9
        assert frame.loc["Llama 3.2 1B", "parameters"] == 1_235_814_400
        assert catalog.memory(frame.loc["Llama 3.2 1B"].to_dict()) < 2 * 2**30
