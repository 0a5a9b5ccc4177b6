"""The catalogue of models."""

from __future__ import annotations

import pytest

from slmlab.engines.embedded.pypi_models import PYPI_MODELS
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

    def test_sources_have_short_names(self):
        hub = "https://huggingface.co"
        for address, name in (
            (f"{hub}/Qwen/Qwen3-0.6B", "Qwen card"),
            (f"{hub}/google/gemma-2-2b-it/blob/main/config.json", "google config"),
            (f"{hub}/docs/transformers/model_doc/gemma2", "huggingface.co docs"),
            ("https://github.com/QwenLM/Qwen3/blob/main/README.md", "Qwen3 on GitHub"),
            ("https://arxiv.org/abs/2408.00118", "arXiv 2408.00118"),
            ("https://www.aibars.net/en/library", "aibars.net"),
        ):
            assert catalog.source_name(address) == name

    def test_speed_is_predicted_from_what_is_read_for_a_token(self, monkeypatch):
        monkeypatch.setattr(catalog, "free_for", lambda engine: (8 * 10**9, "memory"))
        monkeypatch.setattr(catalog, "room_for", lambda engine: 8 * 10**9)
        monkeypatch.setattr(catalog.speed, "predicted", lambda size: 10e9 / size)
        frame = catalog.on_this_machine(host="http://127.0.0.1:9").set_index("name")
        one = frame.loc["Llama 3.2 1B"]
        assert one["tokens_per_s"] == pytest.approx(10 / one["download_gb"])
        assert frame.loc["all-MiniLM-L6-v2", "tokens_per_s"] is None, "it writes nothing"
        for row in frame[frame["active_parameters"].notna()].to_dict("records"):
            if row["tokens_per_s"]:
                assert row["tokens_per_s"] > 10e9 / catalog.memory(row)
        mixture = frame.loc["Phi-3.5 MoE"].to_dict() | {"fits": True}
        of_all = 10e9 / catalog._weights(mixture)
        times = mixture["parameters"] / mixture["active_parameters"]
        assert times > 5
        assert catalog._speed(mixture, 10e9) == pytest.approx(times * of_all)
        assert not frame[~frame["fits"].map(bool)]["tokens_per_s"].notna().any()
        for name, value in (("is_local", False), ("free_for", (8 * 10**9, "T4's memory"))):
            with monkeypatch.context() as elsewhere:
                elsewhere.setattr(catalog, name, lambda *_, value=value: value)
                away = catalog.on_this_machine(host="http://127.0.0.1:9")
            assert not away["tokens_per_s"].notna().any(), "its speed is another one"

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

    def test_what_is_known_is_plausible(self):
        """A digit too many, or the wrong unit, in any fact."""
        assert len(catalog.table()) > 40
        for row in catalog.table().to_dict("records"):
            name, bits = row["name"], catalog.BITS_PER_WEIGHT
            assert 1e7 < row["parameters"] < 5e10, name
            assert (row["active_parameters"] or 0) < row["parameters"], name
            assert (row["cache_layers"] or 0) <= (row["layers"] or 99), name
            assert row["quantization"] in {None, *bits}, name
            if row["download_gb"] and row["quantization"]:
                # Embeddings and encoders keep more bits than the blocks.
                each = row["download_gb"] * 8e9 / row["parameters"]
                assert 0.95 * bits[row["quantization"]] < each < 2.4 * bits[row["quantization"]], (
                    name
                )

    def test_a_model_takes_what_its_file_takes(self):
        """Those that one formula for all had made dangerously small."""
        frame = catalog.table().set_index("name")
        for name, least in (("Gemma 4 E2B", 4.6), ("Qwen3.5 2B", 2.7), ("SmolLM2 1.7B", 1.8)):
            assert catalog.memory(frame.loc[name].to_dict()) > least * 1e9
        row = frame.loc["Llama 3.2 1B"].to_dict() | {"download_gb": None}
        assert catalog.memory(row) > row["parameters"] * 8.5 / 8
        assert catalog.memory(row | {"quantization": None}) < row["parameters"] * 8.5 / 8

    def test_a_file_of_the_package_index_has_its_real_size(self):
        """Its embeddings are stored twice, so there are more numbers in it than parameters."""
        rows = {row["ollama_tag"]: row for row in catalog.table().to_dict("records")}
        files = [one for one in PYPI_MODELS if one.format == "gguf" and one.name in rows]
        assert len(files) == 2
        for one in files:
            assert rows[one.name]["download_gb"] == round(one.size / 1e9, 3)
            assert one.size < catalog.memory(rows[one.name], num_ctx=256) < one.size + 2**28

    def test_only_layers_with_a_cache_take_memory_for_it(self):
        frame = catalog.table().set_index("name")
        row = frame.loc["Gemma 4 E2B"].to_dict()
        shape = catalog.cache_shape(row)
        assert (shape.full, shape.windowed) == (3 * 512, 12 * 512)
        assert catalog.cache_shape(row | {"cache_layers": None}).full == 7 * 512

    def test_the_latest_of_a_family_is_recognized(self):
        name = catalog._installed_as("llama3.2:3b", ["llama3.2:latest"], True)
        assert name == "llama3.2:latest"
        assert catalog._installed_as("llama3.2:1b", ["llama3.2:latest"]) is None

    def test_a_tag_that_begins_like_another_is_that_of_its_own_model(self):
        llama = "deepseek-r1:8b-llama-distill-q4_K_M"
        assert catalog._installed_as(llama, [llama]) == llama
        assert catalog._installed_as("deepseek-r1:8b", [llama]) is None
        assert catalog._installed_as("deepseek-r1:8b", ["deepseek-r1:8b-q8_0"]) is not None
