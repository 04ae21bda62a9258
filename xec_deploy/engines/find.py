"""The engine of a graph that may run here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xec_deploy.engines.manifest import ENGINE_SUFFIX, EngineManifest, read_engine_manifest
from xec_deploy.engines.profiles import choose_profile, describe_profiles, usual_batch
from xec_deploy.engines.verify import Surroundings, verify_engine
from xec_deploy.errors import BundleError

__all__ = ["FoundEngine", "find_engine"]


@dataclass(frozen=True)
class FoundEngine:
    """An engine's file and what it is."""

    path: Path
    manifest: EngineManifest


def find_engine(
    folder: Path, graph_sha256: str, here: Surroundings, *, precision: str, batch: int | None = None
) -> FoundEngine:
    """Return the engine of a graph that fits library, GPU and host.

    Parameters
    ----------
    folder
        Where engines are, which need not exist.
    graph_sha256
        Canonical hash of the graph.
    here
        Where it is to run.
    precision
        Asked for, for the message; an engine that fell back to a higher one has another graph.
    batch
        Events it must take at once; None for any.

    Returns
    -------
    engine
        If several fit, the one whose best batch is nearest to ``batch``, else the largest.

    Raises
    ------
    BundleError
        If there is none, with what is wrong with the one that comes nearest.
    """
    fitting: list[FoundEngine] = []
    problem: BundleError | None = None
    for path in sorted(folder.glob(f"*{ENGINE_SUFFIX}")):
        try:
            manifest = read_engine_manifest(path)
            if not manifest.graph.startswith(precision.partition("-")[0]):
                continue
            verify_engine(manifest, graph_sha256, here, where=str(path))
        except BundleError as error:
            problem = error
            continue
        fitting.append(FoundEngine(path, manifest))
    able = [e for e in fitting if batch is None or _takes(e, batch)]
    if able:
        return min(able, key=lambda e: _distance(e, batch))
    if fitting:
        limits = "; ".join(describe_profiles(e.manifest.options.profiles) for e in fitting)
        raise BundleError(
            f"no engine takes {batch} events at once (batches: {limits})",
            where=str(folder),
            fix="Pass another --batch, or build one with xec-deploy build-engine --batch.",
        )
    if problem is not None:
        raise problem
    raise BundleError(
        f"there is no engine of the {precision} graph",
        where=str(folder),
        fix=f"Build one: xec-deploy build-engine BUNDLE --precision {precision.partition('-')[0]}.",
    )


def _takes(engine: FoundEngine, batch: int) -> bool:
    return choose_profile(engine.manifest.options.profiles, batch) is not None


def _distance(engine: FoundEngine, batch: int | None) -> int:
    profiles = engine.manifest.options.profiles
    if batch is None:
        return -usual_batch(profiles)
    chosen = choose_profile(profiles, batch)
    assert chosen is not None  # noqa: S101 - it takes the batch
    return abs(profiles[chosen][1] - batch)
