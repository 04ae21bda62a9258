"""Bundles: a folder ``NAME.xec`` with graphs, golden events and the manifest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xec_deploy import __version__
from xec_deploy.backends import AUTO, Backend, RunOptions
from xec_deploy.bundle.compose import cached_graph
from xec_deploy.bundle.engine import open_engine
from xec_deploy.bundle.golden import GoldenEvents
from xec_deploy.bundle.legacy import raw_graph
from xec_deploy.bundle.manifest import Manifest, PartName
from xec_deploy.bundle.onnx_file import file_hash, graph_record, load_onnx
from xec_deploy.detector.constants import N_SENSORS
from xec_deploy.errors import UsageError, nearest

__all__ = [
    "Bundle",
    "Inpaint",
]

LONE_PRECISION: Final = "fp32"

Inpaint: TypeAlias = Literal["model", "solid-angle", "neighbours", "none"]
"""What happens to dead channels, see :meth:`Bundle.graph`."""


@dataclass
class Bundle:
    """An opened and verified bundle, or a lone ONNX file; made by :func:`open_bundle`.

    Attributes
    ----------
    path
        The folder, or the ONNX file.
    manifest
        What the model is.
    golden
        Golden events; None for a lone ONNX file.
    """

    path: Path
    manifest: Manifest
    golden: GoldenEvents | None
    _backends: dict[tuple[Any, ...], Backend] = field(default_factory=dict, repr=False)

    def graph(self, precision: str = LONE_PRECISION, inpaint: str | None = None) -> Path:
        """Return the ONNX file to run: raw events in, the outputs of the manifest out.

        Parameters
        ----------
        precision
            Which of the bundle's graphs.
        inpaint
            What happens to dead channels: ``model`` for the bundle's inpainter, ``none`` for what
            the network makes of them itself, ``solid-angle`` or ``neighbours`` for a filler ahead
            of the network, see :mod:`xec_deploy.inpaint`; None for what the bundle does by
            default.

        Returns
        -------
        path
            A file of the bundle, or one that was joined from it in the user's cache.

        Raises
        ------
        UsageError
            If there is no such graph.
        """
        chosen = self.inpainting(inpaint)
        if chosen == self.inpainting():
            return self._runnable(self.file(precision))
        plain = self._runnable(self._without_inpainter(precision))
        if chosen == "none":
            return plain
        # Late, because fillers are built of the graphs this package knows.
        from xec_deploy.inpaint.compose import FillerName, filled_graph  # noqa: PLC0415

        return filled_graph(plain, cast("FillerName", chosen))

    def inpainting(self, inpaint: str | None = None) -> Inpaint:
        """Return what happens to dead channels where ``inpaint`` is asked for.

        ``none`` means that the network sees them as dead.

        Raises
        ------
        UsageError
            If there is no such way, or not for this bundle.
        """
        manifest = self.manifest
        has_model = manifest.kind == "inpainter" or manifest.inpainter is not None
        if inpaint is None:
            return "model" if has_model else "none"
        if inpaint not in get_args(Inpaint):
            raise UsageError(
                f"no way {inpaint!r} to treat dead channels",
                fix=nearest(inpaint, get_args(Inpaint)),
            )
        if inpaint == "model" and not has_model:
            raise UsageError(
                "the bundle has no inpainter",
                where=str(self.path),
                fix="Export it with --inpainter, or choose solid-angle or neighbours.",
            )
        if inpaint != "model" and manifest.kind == "inpainter":
            raise UsageError(
                f"an inpainter fills dead channels itself, not by {inpaint!r}",
                where=str(self.path),
                fix="Leave --inpaint out.",
            )
        return cast("Inpaint", inpaint)

    def file(self, precision: str = LONE_PRECISION) -> Path:
        """Return the ONNX file of a precision as it lies in the bundle."""
        if self.path.is_file():
            # Only the name of the precision could be wrong here, but it goes to the provenance.
            if precision != LONE_PRECISION:
                raise UsageError(
                    f"a lone ONNX file has no {precision!r} graph",
                    where=str(self.path),
                    fix="Leave the precision out, or pass a bundle folder.",
                )
            return self.path
        records = self.manifest.graphs
        if precision not in records:
            raise UsageError(
                f"the bundle has no {precision!r} graph",
                where=str(self.path),
                fix=nearest(precision, records),
            )
        return self.path / records[precision].file

    def part(self, name: PartName) -> Path:
        """Return the ONNX file of a part of the fp32 graph.

        Raises
        ------
        UsageError
            If the bundle does not keep it.
        """
        records = self.manifest.parts
        if name not in records:
            raise UsageError(
                f"the bundle does not keep the part {name!r}",
                where=str(self.path),
                fix="Export it with --inpainter for inpainter and regressor, with --parts for "
                "normalisation and network.",
            )
        return self.path / records[name].file

    def _without_inpainter(self, precision: str) -> Path:
        file = self.file(precision)
        if self.manifest.inpainter is None:
            return file
        if precision != LONE_PRECISION or self.path.is_file():
            raise UsageError(
                "the inpainter is part of the graph and cannot be left out",
                where=str(file),
                fix="Use the bundle's fp32 graph, or export one without --inpainter.",
            )
        return self.part("regressor")

    def _runnable(self, file: Path) -> Path:
        if self.manifest.io == "raw":
            return file
        return cached_graph(
            f"raw {file_hash(file)} {__version__}",
            lambda: raw_graph(load_onnx(file), self.manifest),
        )

    def backend(
        self,
        name: str = AUTO,
        *,
        precision: str = "fp32",
        options: RunOptions | None = None,
        inpaint: str | None = None,
    ) -> Backend:
        """Return an engine with the graph loaded, after it reproduced four golden events.

        Parameters
        ----------
        name
            Engine, or ``auto`` for the fastest that is installed and reproduces them.
        precision
            A graph of the bundle, an arithmetic that the engine makes of the fp32 graph, or
            ``auto`` for the fastest whose parity is recorded in the bundle and within its gate.
        options
            How to run.
        inpaint
            How dead channels are filled, see :meth:`graph`; None for the bundle's way.

        Raises
        ------
        UsageError
            If there is no such engine, device or graph.
        MissingExtra
            If the engine is not installed.
        CheckFailed
            If it does not reproduce the golden events within the gate of the precision.
        """
        options = options or RunOptions()
        key = (name, precision, options, inpaint)
        if key not in self._backends:
            if AUTO in {name, precision}:
                # Late, because it measures bundles.
                from xec_deploy.backends.tuning import tune  # noqa: PLC0415

                tuned = tune(self, name, precision=precision, options=options, inpaint=inpaint)
                found = self.backend(
                    tuned.backend, precision=tuned.precision, options=tuned.options, inpaint=inpaint
                )
            else:
                found = open_engine(self, name, precision, options, inpaint)
            self._backends[key] = found
        return self._backends[key]

    def run(
        self,
        npho: ArrayLike,
        time: ArrayLike,
        dead: ArrayLike | None = None,
        *,
        backend: str = AUTO,
        precision: str = "fp32",
    ) -> dict[str, NDArray[np.float32]]:
        """Run raw events.

        Parameters
        ----------
        npho, time
            (n, 4760) or (4760,) photons and seconds.
        dead
            Flags of the same shape; None for no dead channels.
        backend, precision
            Engine and graph.

        Returns
        -------
        outputs
            Output name -> (n, components) float32 in physical units.
        """
        raw_npho = np.atleast_2d(np.asarray(npho, dtype=np.float32))
        raw_time = np.atleast_2d(np.asarray(time, dtype=np.float32))
        given = np.zeros(N_SENSORS, bool) if dead is None else np.asarray(dead, dtype=bool)
        for label, array in (("npho", raw_npho), ("time", raw_time)):
            if array.ndim != 2 or array.shape != (len(raw_npho), N_SENSORS):
                raise UsageError(f"{label} has shape {array.shape}, expected (events, {N_SENSORS})")
        if given.shape not in {(N_SENSORS,), (1, N_SENSORS), raw_npho.shape}:
            raise UsageError(f"dead has shape {given.shape}, expected {raw_npho.shape}")
        flags = np.broadcast_to(given, raw_npho.shape)
        engine = self.backend(backend, precision=precision)
        return engine.run(
            np.ascontiguousarray(raw_npho), np.ascontiguousarray(raw_time), np.array(flags)
        )

    @cached_property
    def identity(self) -> dict[str, str]:
        """Name and hashes for the provenance of results."""
        graphs = {
            precision: record.canonical_sha256 for precision, record in self.manifest.graphs.items()
        } or {LONE_PRECISION: graph_record(self.path).canonical_sha256}
        # The graph's hash leaves the metadata out, but results depend on it: units, max_dead.
        manifest = self.manifest.without_hashes().model_dump_json().encode()
        return {
            "name": self.manifest.name,
            "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
            **{f"{key}_sha256": v for key, v in graphs.items()},
        }
