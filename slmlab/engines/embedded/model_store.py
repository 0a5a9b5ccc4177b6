"""Models on disk: small JSON manifests that name blobs, each blob named by its SHA-256."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from pydantic import TypeAdapter

from slmlab.engines.embedded import capabilities, gguf_header, go_templates
from slmlab.engines.model_names import NameNotValid, full_name

DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")


@dataclass(frozen=True)
class StoredModel:
    """One named model: a GGUF blob, with the settings that go with the name.

    ``projector`` is the blob with which it sees images, where there is one. ``size`` counts both.
    """

    name: str
    blob: str
    size: int
    modified: str
    architecture: str
    parameters: int
    quantization: str
    context_length: int | None
    metadata: dict[str, Any]
    license: str = ""
    source: str = ""
    system: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, str]] = field(default_factory=list)
    fill_in_middle: bool = False
    template: str = ""
    projector: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 over all that can change an answer, such as weights and system prompt."""
        parts: list[object] = [self.blob, self.system, self.options]
        used = "" if "tokenizer.chat_template" in self.metadata else self.template
        parts += [part for part in (self.messages, used, self.projector) if part]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def chat_template(self) -> str | None:
        """The Jinja chat template of an instruct model; None for a base model.

        It is the file's own, else what came with the file from a registry; empty where that cannot
        be translated.
        """
        if own := self.metadata.get("tokenizer.chat_template"):
            return str(own)
        if go_templates.is_plain(self.template):
            return None
        return go_templates.as_jinja(self.template) or ""

    @property
    def capabilities(self) -> list[str]:
        """What it can do, in Ollama's words: completion, vision, tools …; or embedding."""
        return capabilities.of(self.metadata, self.fill_in_middle, bool(self.projector))

    @property
    def blobs(self) -> list[str]:
        """The digests of its files."""
        return [self.blob] + [self.projector] * bool(self.projector)

    @property
    def details(self) -> dict[str, Any]:
        """The model's ``details`` in Ollama's words."""
        return {
            "parent_model": "",
            "format": "gguf",
            "family": self.architecture,
            "families": [self.architecture] + ["clip"] * bool(self.projector),
            "parameter_size": _count(self.parameters),
            "quantization_level": self.quantization,
        }


_MODEL = TypeAdapter(StoredModel)


def _count(parameters: int) -> str:
    """A parameter count as Ollama writes it: 134.52M, 1.5B."""
    return f"{parameters / 1e9:.1f}B" if parameters >= 1e9 else f"{parameters / 1e6:.2f}M"


class ModelStore:
    """The models in one folder. Every write is to a temporary file that is then renamed."""

    def __init__(self, folder: Path) -> None:
        self.manifests = folder / "manifests"
        self.blobs = folder / "blobs"
        self.manifests.mkdir(parents=True, exist_ok=True)
        self.blobs.mkdir(parents=True, exist_ok=True)

    def blob(self, digest: str) -> Path:
        """Where the blob with this digest (64 hex digits, or ``sha256:`` and these) lies."""
        found = DIGEST.fullmatch(digest if ":" in digest or "-" in digest else f"sha256:{digest}")
        if not found:
            raise NameNotValid("invalid digest format")
        return self.blobs / f"sha256-{found[1]}"

    def partial(self, digest: str) -> Path:
        """Where the blob with this digest is put together while it is fetched."""
        return self.blob(digest).with_name(f"sha256-{digest}-partial")

    def temporary(self) -> Path:
        """A new, empty file beside the blobs, to be renamed into place when it is whole."""
        handle, name = tempfile.mkstemp(prefix="partial-", dir=self.blobs)
        os.close(handle)
        return Path(name)

    def add_blob(self, path: Path, digest: str) -> Path:
        """Move the finished file at ``path`` to its place among the blobs."""
        target = self.blob(digest)
        os.replace(path, target)
        return target

    def describe(self, name: str, blob: str, projector: str = "", **facts: Any) -> StoredModel:
        """The model of this name that the blob with this digest would be; nothing is written.

        Args:
            name: its name.
            blob: the digest of the model's file.
            projector: the digest of the file with which it sees images, if any.
            facts: other fields of the model.

        Raises:
            GGUFError: a blob is not what it should be.
        """
        path = self.blob(blob)
        header = gguf_header.read_header(path)
        gguf_header.check_usable(header)
        size = path.stat().st_size
        if projector:
            projector_path = self.blob(projector)
            gguf_header.check_projector(gguf_header.read_header(projector_path))
            projector = projector_path.name.removeprefix("sha256-")
            size += projector_path.stat().st_size
        return StoredModel(
            name=full_name(name),
            blob=path.name.removeprefix("sha256-"),
            size=size,
            projector=projector,
            modified=datetime.now(timezone.utc).isoformat(),
            architecture=header.architecture,
            parameters=header.parameters,
            quantization=header.quantization,
            context_length=header.context_length,
            metadata=header.metadata,
            fill_in_middle=header.fill_in_middle,
            **{"license": str(header.metadata.get("general.license", ""))} | facts,
        )

    def create(self, name: str, blob: str, **facts: Any) -> StoredModel:
        """Give the blob with this digest a name.

        Raises:
            GGUFError: the blob is not a GGUF model.
        """
        model = self.describe(name, blob, **facts)
        self.write(model)
        return model

    def copy(self, model: StoredModel, name: str) -> None:
        """Give ``model`` a second name."""
        self.write(StoredModel(**{**asdict(model), "name": full_name(name)}))

    def write(self, model: StoredModel) -> None:
        """Keep a model under its name; one that had the name before is forgotten."""
        handle, temporary = tempfile.mkstemp(dir=self.manifests)
        with os.fdopen(handle, "w") as file:
            json.dump(asdict(model), file)
        os.replace(temporary, self._manifest(model.name))

    def _manifest(self, name: str) -> Path:
        return self.manifests / (quote(full_name(name), safe="") + ".json")

    def get(self, name: str) -> StoredModel | None:
        """The model of this name, or None."""
        try:
            return _MODEL.validate_json(self._manifest(name).read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def all(self) -> list[StoredModel]:
        """Every model, the one changed last first, as Ollama lists them."""
        names = [unquote(path.stem) for path in self.manifests.glob("*.json")]
        models = [model for name in names if (model := self.get(name))]
        return sorted(models, key=lambda model: model.modified, reverse=True)

    def delete(self, name: str) -> None:
        """Forget the name, and its blobs where no other name uses them."""
        model = self.get(name)
        self._manifest(name).unlink(missing_ok=True)
        for blob in model.blobs if model else ():
            self.drop_unused(blob)

    def drop_unused(self, blob: str) -> None:
        """Remove the blob with this digest where no model uses it."""
        path = self.blob(blob)
        if all(self.blob(one) != path for other in self.all() for one in other.blobs):
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what downloads left behind that were killed over an hour ago.

        What a later pull goes on with stays for a week. Uploaded files that no model was made of
        stay for a day; all of them while a model's own facts cannot be read.
        """
        self._sweep_unnamed()
        for path in self.blobs.iterdir():
            kept = "-partial" in path.name
            if kept or path.name.startswith(("pull-", "partial-")):
                newest = max(
                    (one.stat().st_mtime for one in path.rglob("*")), default=path.stat().st_mtime
                )
                if newest < time.time() - (7 * 24 * 3600 if kept else 3600):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _sweep_unnamed(self) -> None:
        models = self.all()
        if len(models) < len(list(self.manifests.glob("*.json"))):
            return
        named = {self.blob(blob) for model in models for blob in model.blobs}
        for path in self.blobs.iterdir():
            unnamed = DIGEST.fullmatch(path.name) and path not in named
            if unnamed and path.stat().st_mtime < time.time() - 24 * 3600:
                path.unlink()

    def free_space(self) -> int:
        """Bytes free on the disk with the models."""
        return shutil.disk_usage(self.blobs).free
