"""Golden events: raw inputs with the float64 outputs a bundle must reproduce."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from xec_deploy.bundle.manifest import Manifest
from xec_deploy.errors import BundleError, CheckFailed

__all__ = ["FP32_GATE", "GoldenEvents", "compare_with_golden", "worst_difference", "yardstick"]

FP32_GATE = 0.001
"""Largest allowed difference from float64, in detector resolutions."""
SIGMA_FLOOR = 1e-5
"""Allowed difference relative to the spread of an output without a detector resolution."""


@dataclass(frozen=True)
class GoldenEvents:
    """Raw events and reference outputs.

    Attributes
    ----------
    npho, time, dead
        (n, 4760) float32 photons, float32 s, bool.
    outputs
        Output name -> (n, components) float64, physical units.
    """

    npho: NDArray[np.float32]
    time: NDArray[np.float32]
    dead: NDArray[np.bool_]
    outputs: dict[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.npho)

    def head(self, count: int) -> GoldenEvents:
        """Return the first ``count`` events."""
        return self.select(slice(count))

    def select(self, rows: slice | NDArray[np.intp]) -> GoldenEvents:
        """Return the events of some rows."""
        return GoldenEvents(
            self.npho[rows],
            self.time[rows],
            self.dead[rows],
            {name: values[rows] for name, values in self.outputs.items()},
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write an ``.npz`` with fixed bytes for fixed content, which C++ reads as it lies."""
        arrays: dict[str, Any] = {
            "npho": self.npho,
            "time": self.time,
            "dead": np.packbits(self.dead, axis=1),
            **{f"out_{name}": values for name, values in self.outputs.items()},
        }
        np.savez(path, **arrays)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> GoldenEvents:
        """Read golden events.

        Raises
        ------
        BundleError
            If the file is missing or damaged.
        """
        try:
            # Opened here, because NumPy leaves a damaged archive open.
            with (
                Path(path).open("rb") as stream,
                np.load(stream, allow_pickle=False) as archive,
            ):
                npho, time = archive["npho"], archive["time"]
                dead = np.unpackbits(archive["dead"], axis=1, count=npho.shape[1]).astype(bool)
                outputs = {
                    name.removeprefix("out_"): archive[name]
                    for name in archive.files
                    if name.startswith("out_")
                }
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise BundleError(f"golden events cannot be read ({error})", where=str(path)) from error
        return cls(npho, time, dead, outputs)


def worst_difference(
    manifest: Manifest,
    reference: Mapping[str, NDArray[np.float64]],
    outputs: Mapping[str, NDArray[np.float32]],
    spread: Mapping[str, NDArray[np.float64]] | None = None,
) -> dict[str, float]:
    """Return, per output, the largest absolute difference in detector resolutions.

    Outputs without a detector resolution (class logits, predicted sigmas) are measured against
    the larger of their spread over the events and their magnitude, scaled so that
    :data:`FP32_GATE` stands for a relative difference of 1e-5.
    """
    worst = {}
    for name in manifest.output_names:
        expected = reference[name]
        if not len(expected):
            worst[name] = 0.0
            continue
        difference = np.abs(outputs[name].astype(np.float64) - expected)
        relative = difference / yardstick(manifest, name, expected, (spread or reference)[name])[0]
        # NaN must fail a gate, and NaN > gate is False.
        worst[name] = float(relative.max()) if np.isfinite(relative).all() else float("inf")
    return worst


def yardstick(
    manifest: Manifest,
    name: str,
    expected: NDArray[np.float64],
    spread: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], bool]:
    """Return what differences of an output are measured in, and whether it stands for it.

    Parameters
    ----------
    manifest
        Has the resolutions.
    name
        The output.
    expected
        (n, components) reference values.
    spread
        Values whose spread counts, if not ``expected``.

    Returns
    -------
    resolution
        (components,) the detector's; for an output without one, a scale as
        :func:`worst_difference` says.
    assumed
        Whether it is such a scale.
    """
    task = manifest.tasks.get(name)
    sigmas = [output.detector_sigma for output in task.outputs] if task else [None]
    if None not in sigmas:
        return np.array(sigmas, dtype=np.float64), False
    values = expected if spread is None else spread
    scale = np.maximum(values.std(axis=0), np.abs(expected).max())
    return np.maximum(scale, 1e-30) * SIGMA_FLOOR / FP32_GATE, True


def compare_with_golden(
    manifest: Manifest,
    golden: GoldenEvents,
    outputs: Mapping[str, NDArray[np.float32]],
    *,
    where: str,
    gate: float = FP32_GATE,
) -> dict[str, float]:
    """Check outputs for golden events against their reference.

    Raises
    ------
    CheckFailed
        If an output differs by more than ``gate`` detector resolutions.
    """
    worst = worst_difference(manifest, golden.outputs, outputs)
    for name, value in worst.items():
        if not value <= gate:
            raise CheckFailed(
                f"golden events are not reproduced: output {name!r} differs by {value:.3g} "
                f"detector sigma, allowed is {gate:g}",
                where=where,
                fix="The graph and its golden events do not belong together; export again.",
            )
    return worst
