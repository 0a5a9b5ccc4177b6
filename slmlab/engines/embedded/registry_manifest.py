"""A model's manifest in a registry: which file is the model, and the texts that belong to it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from slmlab.engines.embedded import llama_cpp, pypi_models
from slmlab.engines.embedded.model_store import DIGEST
from slmlab.engines.embedded.registry import DigestMismatch, NoSuchFile, Registry, RegistryError
from slmlab.engines.embedded.responses import ApiError
from slmlab.engines.embedded.schemas import Message
from slmlab.engines.model_names import DEFAULT_HOST
from slmlab.errors import did_you_mean

# The prefix of the layers' media types, and the layers that are texts; "prompt" is an older name of
# "template".
_KINDS = "application/vnd.ollama.image."
_TEXTS = ("template", "prompt", "system", "params", "license", "messages")


class Layer(BaseModel):
    """A blob that a manifest names, and what it is."""

    media_type: str = Field("", alias="mediaType")
    digest: str = Field(pattern=f"^{DIGEST.pattern}$")
    size: int = Field(ge=0, lt=2**50)

    @property
    def kind(self) -> str:
        """The end of the media type: ``model``, ``template``, ``params`` and so on."""
        return self.media_type.partition(";")[0].removeprefix(_KINDS)

    @property
    def sha256(self) -> str:
        """The digest's 64 hex digits."""
        return self.digest[-64:]


class Manifest(BaseModel):
    """A model's layers: its file, and the texts that belong to it."""

    config: Layer | None = None
    layers: list[Layer] = Field(default_factory=list, max_length=200)


async def fetch(registry: Registry) -> Manifest:
    """The model's manifest.

    Raises:
        RegistryError: there is none, or it is not a model's; the message begins as Ollama's does.
    """
    name = registry.name
    try:
        return Manifest.model_validate(await registry.manifest())
    except NoSuchFile as error:
        raise NoSuchFile(f"pull model manifest: {error}") from error
    except RegistryError as error:
        hint = ""
        if name.host == DEFAULT_HOST:
            names = [one.name for one in pypi_models.PYPI_MODELS]
            hint = (
                f".{did_you_mean(name.full, names)} From the Python package index there are: "
                f"{', '.join(names)}"
            )
        raise RegistryError(f"pull model manifest: {error}{hint}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise RegistryError(
            f"pull model manifest: the answer of {name.host} is not a manifest of a model "
            f"({where or 'all of it'}: {first['msg']})"
        ) from error


async def model_layer(registry: Registry, manifest: Manifest) -> Layer:
    """The layer with the model's file.

    Raises:
        RegistryError: there is none that the embedded engine can use, or more than one.
    """
    full, kinds = registry.name.full, [one.kind for one in manifest.layers]
    models = [one for one in manifest.layers if one.kind == "model"]
    config = await _object(registry, manifest.config)
    kind = config.get("model_format") or "gguf"
    if "tensor" in kinds or kind != "gguf":
        raise RegistryError(
            f"{full} comes as {'safetensors' if kind == 'gguf' else kind}, which llama.cpp does "
            "not read; it has to be GGUF"
        )
    if not models and config.get("remote_host"):
        raise RegistryError(f"{full} runs on Ollama's own computers only; there is nothing to pull")
    if not models:
        there = f", only {', '.join(dict.fromkeys(kinds))}" if kinds else ""
        raise RegistryError(f"the manifest of {full} has no model layer{there}")
    if len(models) > 1:
        raise RegistryError(
            f"{full} has {len(models)} model files; the embedded engine takes one GGUF file for a "
            "model, so choose a quantization that is not split"
        )
    if "adapter" in kinds:
        raise RegistryError(f"{full} has an adapter, and the embedded engine cannot apply adapters")
    return models[0]


async def facts(registry: Registry, manifest: Manifest) -> dict[str, Any]:
    """The contents of the small layers: template, system prompt, options, license, messages.

    Raises:
        RegistryError: one cannot be downloaded, or cannot be read.
    """
    texts: dict[str, list[str]] = {}
    for one in manifest.layers:
        if one.kind in _TEXTS:
            content = (await _text(registry, one)).decode("utf-8", "replace")
            texts.setdefault(one.kind.replace("prompt", "template"), []).append(content)
    found: dict[str, Any] = {
        kind: texts[kind][-1] for kind in ("template", "system") if kind in texts
    }
    if "license" in texts:
        found["license"] = "\n\n".join(texts["license"])
    try:
        if "params" in texts:
            found["options"] = llama_cpp.check_options(json.loads(texts["params"][-1]))
        if "messages" in texts:
            messages = TypeAdapter(list[Message]).validate_json(texts["messages"][-1])
            found["messages"] = [{"role": one.role, "content": one.content} for one in messages]
    except (ValueError, AttributeError, ApiError) as error:
        raise RegistryError(
            f"the manifest of {registry.name.full} has parameters or messages that cannot be read: "
            f"{error}"
        ) from error
    return found


async def _text(registry: Registry, layer: Layer) -> bytes:
    content = await registry.text(layer.digest, layer.size)
    check_digest(layer, hashlib.sha256(content).hexdigest())
    return content


async def _object(registry: Registry, layer: Layer | None) -> dict[str, Any]:
    """The JSON object in a layer; an empty one if there is none."""
    if layer is None or not layer.size:
        return {}
    try:
        found = json.loads(await _text(registry, layer))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def check_digest(layer: Layer, found: str) -> None:
    """Compare the SHA-256 of a downloaded blob with the manifest's.

    Raises:
        DigestMismatch: they differ.
    """
    if found != layer.sha256:
        raise DigestMismatch(
            f"digest mismatch, file must be downloaded again: want sha256:{layer.sha256}, "
            f"got sha256:{found}"
        )
