"""Whether an engine may run here: on this graph, with this library, on this GPU."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from xec_deploy.engines.manifest import EngineManifest
from xec_deploy.errors import BundleError

__all__ = ["Surroundings", "host_architecture", "verify_engine"]


@dataclass(frozen=True)
class Surroundings:
    """Where an engine is to run.

    Attributes
    ----------
    flavour, version
        The library.
    capability
        Of the GPU, such as ``sm80``; None without one.
    host
        Processor architecture.
    """

    flavour: str
    version: str
    capability: str | None
    host: str


def host_architecture() -> str:
    """Return the processor architecture, such as ``x86_64``."""
    return platform.machine().lower()


def verify_engine(
    manifest: EngineManifest, graph_sha256: str, here: Surroundings, *, where: str
) -> None:
    """Refuse an engine that is not for this graph, library, GPU and host.

    TensorRT would refuse most of these itself, in words about serialisation; it would run an engine
    of another network without a word.

    Parameters
    ----------
    manifest
        Of the engine, read and verified.
    graph_sha256
        Canonical hash of the graph in the bundle that is to run.
    here
        Library, GPU and host.
    where
        The engine, for the message.

    Raises
    ------
    BundleError
        If the engine is stale, of another version or flavour, or for another GPU or host.
    """
    command = f"xec-deploy build-engine BUNDLE --precision {manifest.requested}"
    rebuild = f"Build it again: {command}."
    if manifest.graph_sha256 != graph_sha256:
        raise BundleError(
            f"the engine is stale: it was built from another {manifest.graph} graph "
            f"({manifest.graph_sha256[:12]}, the bundle has {graph_sha256[:12]})",
            where=where,
            fix=rebuild,
        )
    if manifest.flavour != here.flavour:
        raise BundleError(
            f"the engine is of flavour {manifest.flavour!r}, loaded is {here.flavour!r}",
            where=where,
            fix=f"Build one: {command} --flavour {here.flavour}.",
        )
    if manifest.version != here.version:
        raise BundleError(
            f"the engine was built with {manifest.flavour} {manifest.version}, installed is "
            f"{here.version}; engines do not outlive their version",
            where=where,
            fix=rebuild,
        )
    if manifest.host != here.host:
        raise BundleError(
            f"the engine was built for hosts of {manifest.host}, this is {here.host}",
            where=where,
            fix="Build it on a machine of this kind.",
        )
    if here.capability is None:
        raise BundleError(
            "there is no GPU to run the engine on",
            where=where,
            fix="Check the driver with nvidia-smi, or run with --device cpu.",
        )
    if manifest.target != here.capability:
        raise BundleError(
            f"the engine was built for a GPU of {manifest.target}, this one is {here.capability}",
            where=where,
            fix=f"Build one: {command} --target {here.capability}.",
        )
