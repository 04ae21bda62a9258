"""What an engine is: a JSON file beside it, and the key under which it may be used again."""

from __future__ import annotations

import hashlib
import json
from os import PathLike
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from xec_deploy.bundle.onnx_file import file_hash
from xec_deploy.engines.layers import LayerSummary
from xec_deploy.engines.profiles import Profile
from xec_deploy.errors import BundleError

__all__ = [
    "ENGINE_SUFFIX",
    "EngineManifest",
    "EngineOptions",
    "FallbackRecord",
    "engine_key",
    "manifest_path",
    "read_engine_manifest",
]

ENGINE_SUFFIX: Final = ".engine"
KEY_LENGTH: Final = 8
"""Characters of the key in a file's name; the whole key is in the manifest."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EngineOptions(_Record):
    """Everything besides graph and machine that a build depends on."""

    profiles: tuple[Profile, ...] = Field(default=((1, 64, 256),), min_length=1)
    """Smallest, most frequent and largest batch, once or several times."""
    workspace_mib: int | None = Field(default=None, ge=1)
    """Memory for intermediate results; None leaves it to the library."""
    optimisation_level: int | None = Field(default=None, ge=0, le=5)
    """How long the builder searches; None leaves it to the library."""

    @model_validator(mode="after")
    def _ordered(self) -> EngineOptions:
        for profile in self.profiles:
            smallest, usual, largest = profile
            if not 1 <= smallest <= usual <= largest:
                raise ValueError(f"batches {profile} are not 1 <= MIN <= OPT <= MAX")
        return self

    @property
    def largest(self) -> int:
        """The largest batch of all profiles."""
        return max(high for _, _, high in self.profiles)


class FallbackRecord(_Record):
    """A precision that was asked for and not built."""

    precision: str
    reason: str


class EngineManifest(_Record):
    """Beside each engine, as ``NAME.engine.json``."""

    format_version: Literal[2] = 2
    key: str
    """Of everything that decides whether the engine may be used: see :func:`engine_key`."""
    sha256: str
    """Of the engine's file."""
    bytes: int
    bundle: str
    """Name of the bundle."""
    graph: str
    """Name of the graph in the bundle."""
    graph_sha256: str
    """The graph's canonical hash."""
    precision: str
    """What the engine computes in, proven by ``layers``."""
    requested: str
    """What was asked for."""
    fallbacks: tuple[FallbackRecord, ...] = ()
    flavour: str
    version: str
    target: str
    """Compute capability such as ``sm80``."""
    host: str
    """Processor architecture of the host."""
    options: EngineOptions
    tf32: Literal[False] = False
    """Matrix products of float32 never round their factors to 10 bits."""
    layers: LayerSummary
    device_memory_bytes: int | None = None
    """Memory for intermediate results of the largest batch, where it could be asked for."""
    build_seconds: float
    warnings: tuple[str, ...] = ()


def engine_key(
    *,
    graph_sha256: str,
    flavour: str,
    version: str,
    target: str,
    host: str,
    options: EngineOptions,
) -> str:
    """Return the key of an engine: equal keys mean that one engine serves for the other.

    Engines are not reproducible byte by byte and are tied to the library's version, the GPU and
    the host, so that neither their own hash nor their name can tell.
    """
    parts = {
        "format": 2,
        "graph": graph_sha256,
        "flavour": flavour,
        "version": version,
        "target": target,
        "host": host,
        "options": options.model_dump(mode="json"),
        "tf32": False,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def manifest_path(engine: str | PathLike[str]) -> Path:
    """Return the file of an engine's manifest."""
    path = Path(engine)
    return path.with_name(path.name + ".json")


def read_engine_manifest(engine: str | PathLike[str], *, verify: bool = True) -> EngineManifest:
    """Read the manifest of an engine and check that it is the engine's.

    Raises
    ------
    BundleError
        If it is missing or damaged, or the engine's bytes are others.
    """
    path = manifest_path(engine)
    rebuild = "Build the engine again with xec-deploy build-engine."
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BundleError(
            f"the engine's manifest cannot be read ({error.strerror})", where=str(path), fix=rebuild
        ) from error
    try:
        manifest = EngineManifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise BundleError(f"key {name!r}: {first['msg']}", where=str(path), fix=rebuild) from error
    if verify:
        if not Path(engine).is_file():
            raise BundleError("no such engine", where=str(engine), fix=rebuild)
        expected = engine_key(
            graph_sha256=manifest.graph_sha256,
            flavour=manifest.flavour,
            version=manifest.version,
            target=manifest.target,
            host=manifest.host,
            options=manifest.options,
        )
        if manifest.key != expected:
            raise BundleError(
                "the engine's manifest was edited (its key is not that of what it says)",
                where=str(path),
                fix=rebuild,
            )
        if file_hash(engine) != manifest.sha256:
            raise BundleError(
                "the engine is not the file its manifest describes (its hash differs)",
                where=str(engine),
                fix=rebuild,
            )
    return manifest
