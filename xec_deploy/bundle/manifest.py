"""The manifest: everything a model's numbers depend on besides its weights.

``manifest.json`` lies in the bundle; the same content less the hashes is in the metadata of each
ONNX file, so that a lone file still knows its normalisation, layout, tasks and units.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from xec_deploy.detector.layout import LayoutName
from xec_deploy.normalisation import Normalisation

__all__ = [
    "FORMAT_VERSION",
    "INPUTS",
    "METADATA_KEY",
    "TASK_OUTPUTS",
    "DeadChannelPolicy",
    "GraphRecord",
    "Manifest",
    "Output",
    "TaskRecord",
]

FORMAT_VERSION: Final = 1
METADATA_KEY: Final = "xec.manifest"
"""Key of an ONNX file's metadata under which the manifest is stored."""

INPUTS: Final = {"npho": "float32", "time": "float32", "dead": "bool"}
"""Inputs of a raw-in graph, each (batch, 4760): photons, seconds, flags."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Output(_Record):
    """One component of a task: its branch name, unit and the detector's resolution."""

    name: str
    unit: str | None
    detector_sigma: float | None
    """Resolution of the detector in ``unit``, the yardstick of parity; None if undefined."""


class TaskRecord(_Record):
    """One output tensor of the graph."""

    outputs: tuple[Output, ...]
    has_sigma: bool = False
    """Whether the graph also has ``<task>_sigma``, of the same shape."""
    log_transform: bool = False
    """Whether the head emits logarithms; undone in the graph."""


class DeadChannelPolicy(_Record):
    """What the graph does with dead channels, and how many it may be given."""

    method: Literal["encoded"] = "encoded"
    """``encoded``: dead channels enter as the sentinel the network was trained with."""
    max_dead: int = Field(ge=0)
    """Events with more dead channels get no numbers."""


class GraphRecord(_Record):
    """One ONNX file of the bundle."""

    file: str
    opset: int
    sha256: str
    canonical_sha256: str
    """Hash of the graph without metadata: the same network has the same hash."""


class Manifest(_Record):
    """See the module; ``graphs`` and ``golden_sha256`` are left out inside ONNX files."""

    format_version: Literal[1] = 1
    name: str
    producer: str
    io: Literal["raw"] = "raw"
    layout: LayoutName
    normalisation: Normalisation
    tasks: dict[str, TaskRecord]
    dead_channels: DeadChannelPolicy
    graphs: dict[str, GraphRecord] = {}
    golden_sha256: str | None = None
    checkpoint: dict[str, Any] = {}
    """Hash of the checkpoint, which weights were taken, architecture."""
    training: dict[str, Any] = {}
    """Provenance recorded by the trainer."""

    def without_hashes(self) -> Manifest:
        """Return the part that goes into ONNX metadata."""
        return self.model_copy(update={"graphs": {}, "golden_sha256": None})

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the graph's outputs in order."""
        names = []
        for task, record in self.tasks.items():
            names.append(task)
            if record.has_sigma:
                names.append(f"{task}_sigma")
        return tuple(names)


# Detector resolutions as the parity gates use them: energy 1.8 % at the signal energy of
# 52.83 MeV, position 2.5, 2.5, 5 mm, time 65 ps, angles 5 mrad.
_ENERGY_SIGMA = 0.018 * 0.05283
_ANGLE_SIGMA = 0.2864788975654116

TASK_OUTPUTS: Final[dict[str, tuple[Output, ...]]] = {
    "angle": (
        Output(name="theta", unit="deg", detector_sigma=_ANGLE_SIGMA),
        Output(name="phi", unit="deg", detector_sigma=_ANGLE_SIGMA),
    ),
    "energy": (Output(name="energy", unit="GeV", detector_sigma=_ENERGY_SIGMA),),
    "timing": (Output(name="timing", unit="ns", detector_sigma=0.065),),
    "uvwFI": (
        Output(name="u", unit="cm", detector_sigma=0.25),
        Output(name="v", unit="cm", detector_sigma=0.25),
        Output(name="w", unit="cm", detector_sigma=0.5),
    ),
    "angleVec": tuple(
        Output(name=f"direction_{axis}", unit=None, detector_sigma=0.005) for axis in "xyz"
    ),
    "n_gamma": tuple(
        Output(name=f"n_gamma_{count}", unit=None, detector_sigma=None) for count in range(5)
    ),
}
"""Components of each task, in order, named as the branches `infer` writes."""
