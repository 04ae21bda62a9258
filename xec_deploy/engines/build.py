"""From a bundle's graph to an engine in the lowest precision that builds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from xec_deploy.bundle import Bundle
from xec_deploy.bundle.onnx_file import canonical_hash, file_hash, load_onnx
from xec_deploy.checks import CHECKS, run_checks
from xec_deploy.engines.layers import LayerSummary, proof_of, summarise_layers
from xec_deploy.engines.manifest import (
    ENGINE_SUFFIX,
    KEY_LENGTH,
    EngineManifest,
    EngineOptions,
    FallbackRecord,
    engine_key,
)
from xec_deploy.engines.process import NotBuilt, Progress, run_worker
from xec_deploy.engines.store import FOLDER, keep, list_in_bundle, reusable, scratch
from xec_deploy.engines.target import choose_flavour, choose_target
from xec_deploy.engines.verify import host_architecture
from xec_deploy.errors import CheckFailed, UsageError, nearest

__all__ = ["GRAPHS", "LADDER", "Built", "Fallback", "Progress", "build_engine"]

LADDER: Final[dict[str, tuple[str, ...]]] = {
    "int8": ("int8", "fp16", "fp32"),
    "fp16": ("fp16", "fp32"),
    "bf16": ("bf16", "fp32"),
    "fp32": ("fp32",),
}
"""What is tried, in this order, for a precision that is asked for."""
GRAPHS: Final = {"int8": "int8-trt", "fp16": "fp16", "bf16": "bf16", "fp32": "fp32"}
"""Names of the bundle's graphs by precision."""
_CHECKED_BY_BUILDING: Final = "E20"

Fallback = FallbackRecord


@dataclass(frozen=True)
class Built:
    """An engine, built or found.

    Attributes
    ----------
    path
        The engine.
    manifest
        What it is.
    reused
        Whether it was built before.
    fallbacks
        Precisions that were asked for and not built, with reasons.
    """

    path: Path
    manifest: EngineManifest
    reused: bool
    fallbacks: tuple[Fallback, ...] = ()


def build_engine(
    bundle: Bundle,
    precision: str,
    *,
    flavour: str | None = None,
    target: str | None = None,
    options: EngineOptions | None = None,
    fallback: bool = True,
    force: bool = False,
    progress: Progress | None = None,
) -> Built:
    """Build an engine into the bundle's folder ``engines``, or find one that fits.

    Parameters
    ----------
    bundle
        A folder; its graph of the precision must be there (``xec-deploy quantize`` adds them).
    precision
        ``fp32``, ``fp16``, ``bf16`` or ``int8``.
    flavour
        See :data:`xec_deploy.tensorrt.FLAVOURS`; None takes what is installed and can build here.
    target
        Compute capability such as ``sm80``; None for that of the GPU here.
    options
        Batches, memory.
    fallback
        Whether a precision that does not build gives way to the next of :data:`LADDER`.
    force
        Build even if a fitting engine is there.
    progress
        See :data:`~xec_deploy.engines.process.Progress`.

    Raises
    ------
    UsageError
        If precision, flavour or target do not exist, or the bundle has no such graph.
    MissingExtra
        If TensorRT is not installed.
    CheckFailed
        If the graph fails a check, or nothing on the ladder builds.
    """
    if precision not in LADDER:
        raise UsageError(f"unknown precision {precision!r}", fix=nearest(precision, LADDER))
    if not bundle.path.is_dir():
        raise UsageError(
            "engines are kept in a bundle", where=str(bundle.path), fix="Pass a folder NAME.xec."
        )
    if bundle.manifest.io != "raw":
        raise UsageError(
            "engines take raw events, and the bundle's graphs take normalised ones",
            where=str(bundle.path),
            fix="Export the checkpoint once more without --io legacy.",
        )
    library = choose_flavour(flavour)
    plan = _Plan(
        bundle=bundle,
        requested=precision,
        flavour=library.name,
        version=library.version,
        target=choose_target(library, target),
        options=options or EngineOptions(),
    )
    fallbacks: list[Fallback] = []
    steps = LADDER[precision] if fallback else (precision,)
    for step in steps:
        if GRAPHS[step] not in bundle.manifest.graphs:
            if step == precision:
                raise _no_graph(bundle, step)
            fallbacks.append(Fallback(precision=step, reason="the bundle has no such graph"))
            continue
        try:
            return plan.engine(step, tuple(fallbacks), force=force, progress=progress)
        except NotBuilt as failure:
            fallbacks.append(Fallback(precision=step, reason=str(failure)))
    reasons = "; ".join(f"{part.precision}: {part.reason}" for part in fallbacks)
    raise CheckFailed(
        f"no engine could be built for {plan.target} ({reasons})",
        where=str(bundle.path),
        fix="Try another flavour, target or a smaller batch.",
    )


@dataclass(frozen=True)
class _Plan:
    bundle: Bundle
    requested: str
    flavour: str
    version: str
    target: str
    options: EngineOptions

    def engine(
        self,
        precision: str,
        fallbacks: tuple[Fallback, ...],
        *,
        force: bool,
        progress: Progress | None,
    ) -> Built:
        """Build one precision, or find it."""
        graph = self.bundle.graph(GRAPHS[precision])
        graph_sha256 = canonical_hash(load_onnx(graph))
        host = host_architecture()
        key = engine_key(
            graph_sha256=graph_sha256,
            flavour=self.flavour,
            version=self.version,
            target=self.target,
            host=host,
            options=self.options,
        )
        name = f"{precision}-{self.flavour}-{self.target}-{key[:KEY_LENGTH]}{ENGINE_SUFFIX}"
        path = self.bundle.path / FOLDER / name
        found = None if force else reusable(path, key)
        if found is not None:
            return Built(path, found, reused=True, fallbacks=fallbacks)
        self._refuse(precision)
        with scratch(path.parent) as part:
            result = run_worker(self._request(graph, part), progress)
            summary = summarise_layers(result["layers"], result["source"])
            _prove(summary, precision)
            manifest = EngineManifest(
                key=key,
                sha256=file_hash(part),
                bytes=part.stat().st_size,
                bundle=self.bundle.manifest.name,
                graph=GRAPHS[precision],
                graph_sha256=graph_sha256,
                precision=precision,
                requested=self.requested,
                fallbacks=fallbacks,
                flavour=self.flavour,
                version=self.version,
                target=self.target,
                host=host,
                options=self.options,
                layers=summary,
                device_memory_bytes=result["device_memory_bytes"],
                build_seconds=result["seconds"],
                warnings=tuple(result["warnings"]),
            )
            keep(part, path, manifest)
        list_in_bundle(self.bundle, path, manifest)
        return Built(path, manifest, reused=False, fallbacks=fallbacks)

    def _refuse(self, precision: str) -> None:
        """Refuse what ``check`` refuses; what the parser says, building shows."""
        ids = [name for name in CHECKS if name != _CHECKED_BY_BUILDING]
        report = run_checks(self.bundle.path, ids, graphs=[GRAPHS[precision]])
        for graph, result in report.errors:
            finding = result.findings[0]
            where = f" at {finding.operator} {finding.node!r}" if finding.operator else ""
            raise CheckFailed(
                f"{graph.file} fails check {result.id}{where}: {finding.message}",
                where=str(self.bundle.path),
                fix="xec-deploy check shows everything; export or quantise the graph again.",
            )

    def _request(self, graph: Path, plan: Path) -> dict[str, Any]:
        from_rtx = self.flavour == "rtx"
        cache = f"{self.flavour}-{self.version}-{self.target}.timing"
        return {
            "onnx": str(graph),
            "plan": str(plan),
            "flavour": self.flavour,
            # TensorRT builds for the GPU at hand and has no targets.
            "target": self.target if from_rtx else None,
            "profiles": self.options.profiles,
            "workspace_mib": self.options.workspace_mib,
            "optimisation_level": self.options.optimisation_level,
            "timing_cache": None if from_rtx else str(self.bundle.path / FOLDER / cache),
        }


def _no_graph(bundle: Bundle, precision: str) -> UsageError:
    target = " --target tensorrt" if precision == "int8" else ""
    return UsageError(
        f"the bundle has no {GRAPHS[precision]!r} graph; since TensorRT 11 the precision of an "
        "engine is that of its graph",
        where=str(bundle.path),
        fix="Add one with: xec-deploy quantize "
        f"{bundle.path.name} --precision {precision}{target} --data EVENTS.root.",
    )


def _prove(summary: LayerSummary, precision: str) -> None:
    problem = proof_of(summary, precision)
    if problem is not None:
        raise NotBuilt(problem)
