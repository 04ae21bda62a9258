"""The deployed network in C++, the code an analyzer without Python runs."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xec_deploy import _cpp
from xec_deploy.cpp.arguments import flags, raw_events, thread_count
from xec_deploy.detector import N_SENSORS
from xec_deploy.errors import UsageError

__all__ = ["Model"]

FloatArray = NDArray[np.float32]

RUNTIME_VARIABLE = "XEC_ONNXRUNTIME"
LARGEST_BATCH = 65536


class Model:
    """A bundle or lone ONNX file, opened and verified by the C++ library.

    Hashes, the manifest inside the graph and four golden events are checked as
    :func:`xec_deploy.open_bundle` does.  Any number of Python threads may share one; calls run
    without the interpreter lock.

    Parameters
    ----------
    path
        Folder ``NAME.xec``, or an ONNX file with the manifest inside.
    precision
        Graph of the bundle.
    threads
        Threads ONNX Runtime uses inside one call.
    batch
        Events given to the engine at once.
    runtime
        ONNX Runtime's library or its folder.  None for the one the environment variable
        ``XEC_ONNXRUNTIME`` names, else that of the Python package, else the system's.

    Raises
    ------
    BundleError
        If the bundle cannot be used, or ONNX Runtime is not to be found.
    CheckFailed
        If golden events are not reproduced.
    UsageError
        If an option makes no sense.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        precision: str = "fp32",
        threads: int = 1,
        batch: int = 16,
        runtime: str | os.PathLike[str] | None = None,
    ) -> None:
        if not 1 <= batch <= LARGEST_BATCH:
            raise UsageError(f"a batch of {batch} events, expected 1 to {LARGEST_BATCH}")
        self._model = _cpp.Model(
            Path(path),
            precision=precision,
            threads=thread_count(threads),
            batch=batch,
            runtime=_wheel_folder() if runtime is None else os.fspath(runtime),
        )

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._model.name

    @property
    def runtime(self) -> str:
        """Version and path of ONNX Runtime."""
        return self._model.runtime

    @property
    def units(self) -> dict[str, str | None]:
        """Units of what :meth:`evaluate` returns, in its order; None for a pure number."""
        return {name: unit or None for name, unit in self._model.quantities}

    @property
    def inpaints(self) -> bool:
        """Whether the model fills dead channels, so that :meth:`inpaint` may be called."""
        return self._model.inpaints

    def run(
        self, npho: ArrayLike, time: ArrayLike, dead: ArrayLike | None = None
    ) -> dict[str, FloatArray]:
        """Return the graph's outputs, as :meth:`xec_deploy.Bundle.run`.

        Parameters
        ----------
        npho, time
            (n, 4760) or (4760,) photons and seconds; float64 is rounded to float32.
        dead
            Bool of the same shape, (4760,) for all events alike, or None for no dead channels.

        Returns
        -------
        outputs
            Output name -> (n, components) float32 in physical units.

        Raises
        ------
        UsageError
            If a shape or type is wrong.
        """
        return self._model.run(*_events(npho, time, dead))

    def evaluate(
        self, npho: ArrayLike, time: ArrayLike, dead: ArrayLike | None = None
    ) -> dict[str, NDArray[np.float32 | np.uint32]]:
        """Return named quantities, as the result files of ``infer`` have them.

        Arguments and errors are those of :meth:`run`.

        Returns
        -------
        values
            ``status`` (n,) uint32, the bits of :class:`~xec_deploy.inference.status.Status`, and
            each of :attr:`units` as (n,) float32, NaN where the status is not 0.
        """
        values, status = self._model.evaluate(*_events(npho, time, dead))
        return {"status": status} | {name: values[:, i] for i, name in enumerate(self.units)}

    def inpaint(self, npho: ArrayLike, time: ArrayLike, dead: ArrayLike) -> FloatArray:
        """Fill the dead channels of one event.

        Parameters
        ----------
        npho, time, dead
            (4760,) photons, seconds and bool.

        Returns
        -------
        npho_filled
            (4760,) float32 photons; live channels unchanged.

        Raises
        ------
        UsageError
            If a shape or type is wrong, or the model does not inpaint.
        """
        photons, seconds, mask = _events(npho, time, dead)
        if len(photons) != 1:
            raise UsageError(f"{len(photons)} events where one is filled at a time")
        assert mask is not None  # noqa: S101 - dead is not optional here
        return self._model.inpaint(photons[0], seconds[0], mask[0])


def _events(
    npho: ArrayLike, time: ArrayLike, dead: ArrayLike | None
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_] | None]:
    """Return arrays the module takes as they lie, copied only where they are not such."""
    photons, seconds = _single(npho, "npho"), _single(time, "time")
    if photons.shape != seconds.shape:
        raise UsageError(f"npho has shape {photons.shape} but time has {seconds.shape}")
    if dead is None:
        return photons, seconds, None
    mask = np.broadcast_to(flags(dead, len(photons)), (len(photons), N_SENSORS))
    return photons, seconds, np.ascontiguousarray(mask)


def _single(values: ArrayLike, name: str) -> FloatArray:
    # What single precision cannot hold becomes infinite, which is an invalid value.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(raw_events(values, name), dtype=np.float32)


def _wheel_folder() -> str:
    """Return the folder of the Python package's library, empty where the search is left to C++."""
    found = None if os.environ.get(RUNTIME_VARIABLE) else find_spec("onnxruntime")
    if found is None or found.origin is None:
        return ""
    folder = Path(found.origin).parent / "capi"
    return str(folder) if any(folder.glob("libonnxruntime.so*")) else ""
