"""What estimates the quantities of events: networks and conventional methods, behind one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from xec_deploy.bundle import TASK_OUTPUTS, Bundle, open_bundle
from xec_deploy.detector.layout import LayoutName
from xec_deploy.errors import BundleError, UsageError
from xec_deploy.export.graph import DeployedRegressor
from xec_deploy.normalisation import Normalisation
from xec_deploy.physics.conventional import ConventionalConstants, estimate
from xec_train.checkpoint import load_regressor
from xec_train.data import RawBatch
from xec_train.models import TaskName

__all__ = [
    "SIMPLE",
    "BundleNetwork",
    "Estimates",
    "Method",
    "SimpleConventional",
    "TorchNetwork",
    "open_network",
]

FloatArray = NDArray[np.float32]
Kind = Literal["network", "conventional"]
SIMPLE = "simple"
"""Name of the method of `SimpleConventional`."""


@dataclass(frozen=True, eq=False)
class Estimates:
    """What a method says about n events, (n,) float32 each, in the units of the result branches.

    Attributes
    ----------
    values
        By output name: ``energy`` [GeV], ``theta``, ``phi`` [deg], ``timing`` [ns], ``u``, ``v``,
        ``w`` [cm], ``direction_x`` .., ``n_gamma_0`` ..
    sigmas
        Predicted standard deviations, by the name of the value.
    """

    values: Mapping[str, FloatArray]
    sigmas: Mapping[str, FloatArray] = field(default_factory=dict)


class Method(Protocol):
    """Something that estimates quantities of raw events."""

    @property
    def name(self) -> str:
        """How tables and plots call it."""

    @property
    def kind(self) -> Kind:
        """Network or conventional."""

    def estimate(self, batch: RawBatch) -> Estimates:
        """Estimate the events of a batch on the CPU."""

    def describe(self) -> dict[str, Any]:
        """Say what it is, for provenance: plain values."""


@dataclass(frozen=True, eq=False)
class TorchNetwork:
    """A regressor in torch; evaluated through the module that export turns into a graph.

    Attributes
    ----------
    name
        For tables and plots.
    module
        From raw events to physical quantities, in eval mode on ``device``.
    outputs
        Names of the module's outputs in order: tasks, and ``<task>_sigma``.
    device
        Where it runs.
    origin
        Where it is from.
    """

    name: str
    module: DeployedRegressor
    outputs: tuple[str, ...]
    device: torch.device
    origin: Mapping[str, Any] = field(default_factory=dict)
    kind: Kind = "network"

    @classmethod
    def of(
        cls,
        name: str,
        model: Any,
        normalisation: Normalisation,
        log_transform: tuple[TaskName, ...] = (),
        *,
        device: torch.device,
        origin: Mapping[str, Any] | None = None,
    ) -> TorchNetwork:
        """Wrap a regressor, which is moved to the device and put in eval mode."""
        module = DeployedRegressor(model, normalisation, log_transform).to(device).eval()
        config = module.model.config
        outputs: list[str] = []
        for task in config.active_tasks:
            outputs += [task, f"{task}_sigma"] if task in config.nll_tasks else [task]
        return cls(name, module, tuple(outputs), device, origin or {})

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def estimate(self, batch: RawBatch) -> Estimates:
        """Estimate the events of a batch."""
        outputs = self.forward(batch.npho, batch.time, batch.dead)
        named = {
            name: output.float().cpu().numpy()
            for name, output in zip(self.outputs, outputs, strict=True)
        }
        return _estimates(named)

    def forward(
        self, npho: torch.Tensor, time: torch.Tensor, dead: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Run raw events (batch, 4760) of any device; the outputs are on the network's."""
        inputs = [part.to(self.device, non_blocking=True) for part in (npho, time, dead)]
        with torch.inference_mode():
            outputs: tuple[torch.Tensor, ...] = self.module(*inputs)
        return outputs

    def describe(self) -> dict[str, Any]:
        """Say what it is."""
        return {
            **self.origin,
            "parameters": self.parameters,
            "device": str(self.device),
            "threads": torch.get_num_threads() if self.device.type == "cpu" else None,
        }


@dataclass(frozen=True, eq=False)
class BundleNetwork:
    """A bundle, run by the engine its default backend names."""

    name: str
    bundle: Bundle
    kind: Kind = "network"

    def estimate(self, batch: RawBatch) -> Estimates:
        """Estimate the events of a batch."""
        return _estimates(
            self.bundle.run(batch.npho.numpy(), batch.time.numpy(), batch.dead.numpy())
        )

    def describe(self) -> dict[str, Any]:
        """Say what it is."""
        return {"path": str(self.bundle.path), **self.bundle.identity}


@dataclass(frozen=True, eq=False)
class SimpleConventional:
    """The weighted sum, centroid and mean time of `xec_deploy.physics.conventional`."""

    constants: ConventionalConstants | None = None
    name: str = SIMPLE
    kind: Kind = "conventional"

    def estimate(self, batch: RawBatch) -> Estimates:
        """Estimate the events of a batch."""
        found = estimate(
            batch.npho.numpy(), batch.time.numpy(), batch.dead.numpy(), constants=self.constants
        ).to_dict()
        return Estimates(
            {name: value.astype(np.float32) for name, value in found.items() if name not in "xyz"}
        )

    def describe(self) -> dict[str, Any]:
        """Say what it is."""
        constants = "of the project's simulation" if self.constants is None else "given"
        return {"method": "weighted charge sum, charge centroid, mean time", "constants": constants}


def open_network(
    path: str,
    *,
    device: torch.device,
    name: str | None = None,
    layout: LayoutName | None = None,
    log_transform: tuple[TaskName, ...] | None = None,
) -> TorchNetwork | BundleNetwork:
    """Open a checkpoint, a bundle or an ONNX file of a regressor.

    Raises
    ------
    BundleError
        If it is none of them.
    UsageError
        If a bundle is to run elsewhere than on the CPU.
    """
    place = Path(path)
    if not place.exists():
        raise BundleError(
            "no such file", where=path, fix="Pass a checkpoint, a bundle or an ONNX file."
        )
    if place.is_dir() or place.suffix == ".onnx":
        if device.type != "cpu":
            raise UsageError(
                f"a bundle is evaluated on the CPU, not on {device}",
                where=path,
                fix="Leave --device out, or pass the checkpoint.",
            )
        return BundleNetwork(name or place.stem, open_bundle(place))
    loaded = load_regressor(place, layout=layout, log_transform=log_transform)
    return TorchNetwork.of(
        name or place.stem,
        loaded.model,
        loaded.normalisation,
        loaded.log_transform,
        device=device,
        origin={
            "path": str(place.resolve()),
            "sha256": loaded.sha256,
            "weights": loaded.weights,
            "layout": loaded.layout,
            "model": loaded.model.config.model_dump(mode="json"),
            "training": loaded.training,
        },
    )


def _estimates(outputs: Mapping[str, NDArray[np.float32]]) -> Estimates:
    values: dict[str, FloatArray] = {}
    sigmas: dict[str, FloatArray] = {}
    for task, components in TASK_OUTPUTS.items():
        for index, component in enumerate(components):
            if task in outputs:
                values[component.name] = outputs[task][:, index]
            if f"{task}_sigma" in outputs:
                sigmas[component.name] = outputs[f"{task}_sigma"][:, index]
    return Estimates(values, sigmas)
