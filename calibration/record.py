"""The calibration record: what ranges were measured, with what, for which graph."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from xec_deploy import __version__

__all__ = ["RECORD_VERSION", "CalibrationRecord", "packed", "reusable", "versions"]

RECORD_VERSION: Final = 1


class CalibrationRecord(BaseModel):
    """Ranges and all they depend on.

    A record is reused only if everything that was given is the same: the key is all but the
    ranges, the method they were found with, and the names of the files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = RECORD_VERSION
    asked: str
    """Method asked for; ``auto`` for the best one."""
    method: str
    """Method of the ranges."""
    target: str
    options: dict[str, Any]
    """Of the method, and how graph and events were prepared."""
    data_sha256: str
    """Hash of the calibration events' values."""
    events: int
    sources: tuple[str, ...]
    """Files the events come from; for readers, not part of the key."""
    model_canonical_sha256: str
    """Of the fp32 graph."""
    versions: dict[str, str]
    """Of what measured the ranges."""
    ranges: dict[str, tuple[float, float]]
    """Tensor of activations -> lowest and highest value to keep."""
    maxima: dict[str, str] = {}
    """Tensor of activations -> largest magnitude of each channel, where channels were evened:
    float16 in base64, as there are thousands of them."""

    def maxima_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return ``maxima`` as arrays."""
        return {
            name: np.frombuffer(b64decode(text), np.dtype("<f2")).astype(np.float32)
            for name, text in self.maxima.items()
        }

    def key(self) -> dict[str, Any]:
        """Return what must match for the ranges to be reused."""
        return self.model_dump(mode="json", exclude={"ranges", "maxima", "method", "sources"})


def packed(maxima: Mapping[str, NDArray[np.float32]]) -> dict[str, str]:
    """Return magnitudes as a record holds them."""
    most = np.finfo(np.float16).max
    return {
        name: b64encode(np.minimum(values, most).astype("<f2").tobytes()).decode()
        for name, values in maxima.items()
    }


def versions() -> dict[str, str]:
    """Return the versions of what measures ranges."""
    return {
        "xec-deploy": __version__,
        "onnxruntime": metadata.version("onnxruntime"),
        "numpy": np.__version__,
    }


def reusable(
    stored: Mapping[str, Any] | None, wanted: CalibrationRecord
) -> CalibrationRecord | None:
    """Return the stored record if it answers ``wanted``, whose ranges are not looked at."""
    if stored is None:
        return None
    try:
        found = CalibrationRecord.model_validate(stored)
    except ValidationError:
        return None  # written by another version, which the key would refuse anyway
    return found if found.key() == wanted.key() else None
