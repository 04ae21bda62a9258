"""Loading a bundle's graph in an engine, which must reproduce golden events first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from xec_deploy.backends import BACKENDS, Backend, RunOptions, create_backend
from xec_deploy.backends.registry import get_engine
from xec_deploy.bundle.golden import GoldenEvents, compare_with_golden
from xec_deploy.bundle.manifest import Manifest
from xec_deploy.errors import CheckFailed, UsageError
from xec_deploy.gates import load_gates
from xec_deploy.normalisation import channel_validity

if TYPE_CHECKING:
    from xec_deploy.bundle.bundle import Bundle

__all__ = ["find_graph", "open_engine"]

OPENING_EVENTS: Final = 4
"""Golden events run through an engine before its first use."""
FP32: Final = "fp32"
REMEDY: Final = (
    "Run xec-deploy parity on it: if every engine differs, export the bundle again, else choose "
    "another engine or precision."
)


def open_engine(
    bundle: Bundle, name: str, precision: str, options: RunOptions, inpaint: str | None
) -> Backend:
    """Load a graph in the engine called ``name`` and run golden events through it.

    Raises
    ------
    UsageError
        If there is no such engine, device or graph.
    MissingExtra
        If the engine is not installed.
    BundleError
        If it cannot load the graph.
    CheckFailed
        If it does not reproduce the golden events within the gate of the precision.
    """
    if inpaint is not None and bundle.inpainting(inpaint) == bundle.inpainting():
        inpaint = None
    graph = find_graph(bundle, name, precision, options.device, inpaint)
    backend = create_backend(name, graph, replace(options, precision=precision))
    if bundle.golden is not None:
        events = _opening_events(bundle.golden, bundle.manifest, inpaint)
        if not len(events):
            # Bundles of older versions have none of the kind; the network at least is proven.
            open_engine(bundle, name, precision, options, None)
            return backend
        outputs = backend.run(events.npho, events.time, events.dead)
        try:
            compare_with_golden(
                bundle.manifest,
                events,
                outputs,
                where=f"{bundle.path} on {name} ({precision})",
                gate=load_gates().of_event(precision),
            )
        except CheckFailed as error:
            raise CheckFailed(error.what, where=error.where, fix=REMEDY) from error
    return backend


def find_graph(bundle: Bundle, name: str, precision: str, device: str, inpaint: str | None) -> Path:
    """Return the ONNX file for a precision: the bundle's, or the one the engine makes it from.

    ``int8`` stands for the graph made for the device, ``int8-cpu`` or ``int8-trt``.

    Raises
    ------
    UsageError
        If the bundle has no such graph and the engine does not compute in the precision itself.
    """
    engine = get_engine(name)
    graphs = bundle.manifest.graphs
    special = f"{precision}-{'cpu' if device == 'cpu' else 'trt'}"
    if precision not in graphs and special in graphs:
        return _graph(bundle, special, inpaint)
    if precision not in graphs and precision in engine.computes_in(device):
        return _graph(bundle, FP32, inpaint)
    if precision not in graphs and graphs:
        able = [
            other for other, entry in BACKENDS.items() if precision in entry.computes_in(device)
        ]
        if able:
            raise UsageError(
                f"the bundle has no {precision!r} graph, and {name} cannot make one of fp32",
                where=str(bundle.path),
                fix=f"Pass --backend {able[0]}, or add one with xec-deploy quantize.",
            )
    return _graph(bundle, precision, inpaint)


def _graph(bundle: Bundle, precision: str, inpaint: str | None) -> Path:
    return bundle.graph(precision) if inpaint is None else bundle.graph(precision, inpaint)


def _opening_events(golden: GoldenEvents, manifest: Manifest, inpaint: str | None) -> GoldenEvents:
    """Return events to verify an engine with.

    Their reference knows one way to fill dead channels: for another one they must have none.
    """
    if inpaint is None:
        return golden.head(OPENING_EVENTS)
    with np.errstate(invalid="ignore"):
        valid, _ = channel_validity(
            golden.npho, golden.time, golden.dead, manifest.normalisation.npho_threshold
        )
    return golden.select(np.flatnonzero(valid.all(axis=1))[:OPENING_EVENTS])
