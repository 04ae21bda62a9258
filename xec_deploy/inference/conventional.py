"""The conventional reconstruction beside the network: branches and rows."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from xec_deploy.cpp import FitStatus, reconstruct
from xec_deploy.detector import Geometry, load_geometry
from xec_deploy.errors import UsageError, nearest
from xec_deploy.events import Column, EventBatch
from xec_deploy.physics.conventional import centroid_angle
from xec_deploy.reconstruction import ReconstructionConstants, default_constants

__all__ = ["CONVENTIONAL_COLUMNS", "RECONSTRUCTIONS", "Conventional", "Reco", "conventional"]

Reco = Literal["none", "conventional"]
RECONSTRUCTIONS: Final[tuple[str, ...]] = get_args(Reco)

_STATUS = ", ".join(
    f"{int(status)} {status.name.lower().replace('_', ' ')}" for status in FitStatus
)

CONVENTIONAL_COLUMNS: Final[dict[str, Column]] = {
    "energy_conv": Column("f4", "GeV", description="weighted sum of photons"),
    "theta_conv": Column("f4", "deg", description="of the first interaction, seen from the origin"),
    "phi_conv": Column("f4", "deg", description="of the first interaction, seen from the origin"),
    "timing_conv": Column("f4", "ns", description="mean emission time"),
    **{axis + "_conv": Column("f4", "cm", description="first interaction") for axis in "uvw"},
    **{axis + "_fit": Column("f4", "cm", description="centre of the light") for axis in "uvw"},
    **{axis + "_fit_error": Column("f4", "cm", description="photon statistics") for axis in "uvw"},
    "fit_scale": Column("f4", "photons", description="emitted, were all light direct"),
    "fit_chi2_ndf": Column("f4"),
    "fit_n_sensors": Column("i4", description="sensors in the position fit"),
    "fit_status": Column("i4", description=f"{_STATUS}; without a point from 3 on"),
}


@dataclass(frozen=True, eq=False)
class Conventional:
    """How to reconstruct conventionally: geometry, constants and threads."""

    geometry: Geometry
    constants: ReconstructionConstants
    threads: int

    def describe(self) -> dict[str, Any]:
        """Describe what determines the values, for the provenance."""
        constants = self.constants.model_dump_json().encode()
        return {
            "reco": "conventional",
            "geometry": {"source": self.geometry.source, "sha256": self.geometry.sha256},
            "constants_sha256": hashlib.sha256(constants).hexdigest(),
        }

    def rows(self, batch: EventBatch) -> dict[str, NDArray[Any]]:
        """Return the rows of :data:`CONVENTIONAL_COLUMNS` for a batch; NaN where there is none."""
        found = reconstruct(
            batch.npho,
            batch.time,
            batch.dead,
            geometry=self.geometry,
            constants=self.constants,
            threads=min(self.threads, max(len(batch), 1)),
        )
        angle = centroid_angle(found.uvw)
        fit = found.fit
        return {
            "energy_conv": found.energy,
            "theta_conv": angle[:, 0],
            "phi_conv": angle[:, 1],
            "timing_conv": found.timing,
            **_columns("{}_conv", found.uvw),
            **_columns("{}_fit", fit.uvw),
            **_columns("{}_fit_error", fit.uvw_error),
            "fit_scale": fit.scale,
            "fit_chi2_ndf": fit.chi2_ndf,
            "fit_n_sensors": fit.n_sensors,
            "fit_status": fit.status,
        }


def conventional(
    reco: str,
    *,
    geometry: str | os.PathLike[str] | None = None,
    constants: str | os.PathLike[str] | None = None,
    threads: int | None = None,
) -> Conventional | None:
    """Return what ``reco`` asks for; None for ``none``.

    Raises
    ------
    UsageError
        If there is no such reconstruction, or options are given that none uses.
    InputError
        If the sensor table or the constants cannot be used.
    """
    if reco not in RECONSTRUCTIONS:
        raise UsageError(f"no reconstruction {reco!r}", fix=nearest(reco, RECONSTRUCTIONS))
    if reco == "none":
        for option, value in (("--geometry", geometry), ("--reco-constants", constants)):
            if value is not None:
                raise UsageError(
                    f"{option} has no use without the conventional reconstruction",
                    fix="Add --reco conventional.",
                )
        return None
    return Conventional(
        geometry=load_geometry(geometry),
        constants=default_constants()
        if constants is None
        else ReconstructionConstants.read(constants),
        threads=threads or len(os.sched_getaffinity(0)),
    )


def _columns(name: str, values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    return {name.format(axis): values[:, index] for index, axis in enumerate("uvw")}
