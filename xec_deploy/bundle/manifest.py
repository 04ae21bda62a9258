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
    "FILLED_OUTPUT",
    "FORMAT_VERSION",
    "INPUTS",
    "LEGACY_INPUT",
    "LEGACY_OUTPUT",
    "METADATA_KEY",
    "REST_KEY",
    "TASK_OUTPUTS",
    "TOKENS_OUTPUT",
    "DeadChannelPolicy",
    "GraphRecord",
    "InpainterRecord",
    "Kind",
    "Manifest",
    "Output",
    "PartName",
    "TaskRecord",
]

FORMAT_VERSION: Final = 1
METADATA_KEY: Final = "xec.manifest"
"""Key of an ONNX file's metadata under which the manifest is stored."""
REST_KEY: Final = "xec.rest"
"""Key under which a graph says in what an engine shall compute what the graph has in float32, if
the engine can: the graph was judged so."""

INPUTS: Final = {"npho": "float32", "time": "float32", "dead": "bool"}
"""Inputs of a raw-in graph, each (batch, 4760): photons, seconds, flags."""
FILLED_OUTPUT: Final = "npho_filled"
"""The output of an inpainter, (batch, 4760) photons."""
TOKENS_OUTPUT: Final = "tokens"
"""The output of an encoder, (batch, tokens, width)."""
LEGACY_INPUT: Final = "input"
"""The input of a graph for existing callers, (batch, 4760, 2) normalised."""
LEGACY_OUTPUT: Final = "output_"
"""What the name of a task is preceded by in such a graph."""

Kind = Literal["regressor", "inpainter", "encoder"]
"""What a bundle holds: physical quantities, filled channels or features come out."""
PartName = Literal["inpainter", "regressor", "normalisation", "network"]
"""Parts of a graph that are kept as files of their own."""


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

    method: Literal["encoded", "inpainted", "solid-angle", "neighbours"] = "encoded"
    """``encoded``: dead channels enter as the sentinel the network was trained with;
    ``inpainted``: the graph begins with an inpainter; the others: with means of neighbours, see
    :mod:`xec_deploy.inpaint`."""
    max_dead: int = Field(ge=0)
    """Events with more dead channels get no numbers."""


class GraphRecord(_Record):
    """One ONNX file of the bundle."""

    file: str
    opset: int
    sha256: str
    canonical_sha256: str
    """Hash of the graph without metadata: the same network has the same hash."""
    origin: dict[str, Any] = {}
    """How the graph was made from fp32: method, calibration; empty for what export writes."""


class InpainterRecord(_Record):
    """The inpainter ahead of a regressor: where it comes from and what it was trained with."""

    layout: LayoutName
    normalisation: Normalisation
    fills_time: bool = False
    """Whether filled channels get a time; else they are given to the regressor without one."""
    checkpoint: dict[str, Any] = {}
    training: dict[str, Any] = {}


class Manifest(_Record):
    """See the module; what is hashed is left out inside ONNX files.

    ``tasks`` is empty for inpainters and encoders.
    """

    format_version: Literal[1] = 1
    kind: Kind = "regressor"
    name: str
    producer: str
    io: Literal["raw", "legacy"] = "raw"
    """``legacy``: the graph takes normalised events and gives what the heads emit."""
    layout: LayoutName
    normalisation: Normalisation
    tasks: dict[str, TaskRecord]
    dead_channels: DeadChannelPolicy
    inpainter: InpainterRecord | None = None
    """The inpainter that is part of the graphs."""
    graphs: dict[str, GraphRecord] = {}
    """Whole graphs, by precision."""
    parts: dict[PartName, GraphRecord] = {}
    """Parts of the fp32 graph."""
    engines: dict[str, dict[str, Any]] = {}
    """Built engines, by the name of the file in ``engines/``."""
    golden_sha256: str | None = None
    checkpoint: dict[str, Any] = {}
    """Hash of the checkpoint, which weights were taken, architecture."""
    training: dict[str, Any] = {}
    """Provenance recorded by the trainer."""

    def without_hashes(self) -> Manifest:
        """Return the part that goes into ONNX metadata."""
        hashed: dict[str, Any] = {"graphs": {}, "parts": {}, "engines": {}, "golden_sha256": None}
        return self.model_copy(update=hashed)

    def of_part(self, part: PartName) -> Manifest | None:
        """Return what goes into the metadata of a part, None for one that is no model."""
        whole = self.without_hashes()
        if part == "normalisation":
            return None
        if part == "inpainter":
            record = self.inpainter
            assert record is not None  # noqa: S101 - there is no such part without it
            changes = {"kind": "inpainter", "tasks": {}, **dict(record)}
            del changes["fills_time"]
            return whole.model_copy(update={**changes, "io": "raw", "inpainter": None})
        policy = self.dead_channels.model_copy(update={"method": "encoded"})
        io = "legacy" if part == "network" else "raw"
        return whole.model_copy(update={"inpainter": None, "dead_channels": policy, "io": io})

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs of a run, in order."""
        if self.kind != "regressor":
            return (FILLED_OUTPUT if self.kind == "inpainter" else TOKENS_OUTPUT,)
        names = []
        for task, record in self.tasks.items():
            names.append(task)
            if record.has_sigma:
                names.append(f"{task}_sigma")
        return tuple(names)

    @property
    def graph_outputs(self) -> tuple[str, ...]:
        """Names of the outputs of the graphs' files: with ``io`` legacy, other ones."""
        if self.io == "legacy":
            return tuple(LEGACY_OUTPUT + task for task in self.tasks)
        return self.output_names


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
