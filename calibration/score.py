"""How far a graph is from its reference, in resolutions of the detector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from calibration.observe import open_session, run_events
from xec_deploy.bundle import Manifest
from xec_deploy.parity.events import ParityEvents
from xec_deploy.parity.metrics import compare

__all__ = ["Judge", "Score"]

BATCH: Final = 16

Run = Callable[[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]], Any]


@dataclass(frozen=True)
class Score:
    """Spread and bias of the difference from the reference, in detector resolutions.

    Attributes
    ----------
    spread, bias
        By quantity; ``bias`` is the magnitude of the mean.
    broken
        Events that are a number in only one of the two.
    """

    spread: dict[str, float]
    bias: dict[str, float]
    broken: int

    @property
    def worst(self) -> float:
        """What the gate is compared with: the largest spread or bias; inf if events broke."""
        if self.broken:
            return float("inf")
        return max([*self.spread.values(), *self.bias.values()])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"worst": self.worst, "spread": self.spread, "bias": self.bias}


class Judge:
    """Compares graphs with the fp32 graph on the same events, as the parity gates do.

    The reference runs in float32, whose own error (below 0.001 sigma, the fp32 gate) is small
    beside the gates of lower precisions.

    Parameters
    ----------
    reference
        The fp32 graph.
    manifest
        Of the bundle: quantities and resolutions.
    events
        Events that no calibration has seen.
    threads
        For ONNX Runtime.
    """

    def __init__(
        self,
        reference: onnx.ModelProto,
        manifest: Manifest,
        events: ParityEvents,
        threads: int = 1,
    ) -> None:
        self._manifest = manifest
        self._threads = threads
        self.events = events
        self._reference = {
            name: values.astype(np.float64) for name, values in self.outputs(reference).items()
        }

    def outputs(self, model: onnx.ModelProto, *, optimised: bool = True) -> dict[str, NDArray[Any]]:
        """Run a graph with ONNX Runtime on the events."""
        session = open_session(model, threads=self._threads, optimised=optimised)
        return self._all(session)

    def _all(self, session: onnxruntime.InferenceSession) -> dict[str, NDArray[Any]]:
        names = list(self._manifest.output_names)
        parts = list(run_events(session, names, self.events, BATCH))
        return {
            name: np.concatenate(values)
            for name, values in zip(names, zip(*parts, strict=True), strict=True)
        }

    def score(self, model: onnx.ModelProto, *, optimised: bool = True) -> Score:
        """Return how far a graph, run with ONNX Runtime, is from the reference."""
        return self.score_outputs(self.outputs(model, optimised=optimised))

    def score_engine(self, run: Run) -> Score:
        """Return how far an engine is: ``run`` takes npho, time, dead of a batch."""
        parts = [
            run(self.events.npho[rows], self.events.time[rows], self.events.dead[rows])
            for rows in (slice(first, first + BATCH) for first in range(0, len(self.events), BATCH))
        ]
        return self.score_outputs(
            {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
        )

    def score_outputs(self, outputs: dict[str, NDArray[Any]]) -> Score:
        """Return how far outputs of all the events are."""
        found = compare(
            self._manifest,
            self._reference,
            outputs,
            self.events.labels,
            engine="",
            version="",
            device="",
            precision="",
            event_set="",
            gate=1.0,
        )
        return Score(
            spread={one.quantity: one.spread / one.resolution for one in found},
            bias={one.quantity: abs(one.bias) / one.resolution for one in found},
            broken=sum(one.one_sided for one in found),
        )
