"""An engine built once more beside the bundle: engines are not reproducible, what they give is."""

from __future__ import annotations

import shutil
from pathlib import Path

from xec_deploy.bundle import Bundle, open_bundle
from xec_deploy.engines.build import build_engine
from xec_deploy.engines.manifest import read_engine_manifest
from xec_deploy.engines.store import FOLDER

__all__ = ["rebuild_engine"]


def rebuild_engine(bundle: Bundle, name: str, folder: Path) -> Path:
    """Build an engine of a bundle again, with the same options, into a copy of the bundle.

    Parameters
    ----------
    bundle
        Has the engine.
    name
        The engine's file.
    folder
        Where the copy goes.

    Returns
    -------
    graph
        The copy's graph, beside which the backend finds the engine.

    Raises
    ------
    BundleError
        If the bundle has no such engine.
    CheckFailed
        If it does not build.
    """
    manifest = read_engine_manifest(bundle.path / FOLDER / name)
    copy = folder / bundle.path.name
    shutil.copytree(bundle.path, copy, ignore=shutil.ignore_patterns(FOLDER))
    (copy / FOLDER).mkdir()
    opened = open_bundle(copy, verify=False)
    build_engine(
        opened,
        manifest.precision,
        flavour=manifest.flavour,
        target=manifest.target,
        options=manifest.options,
        fallback=False,
        force=True,
    )
    return opened.file(manifest.graph)
