"""How far a graph is from its reference, in resolutions of the detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from calibration.opening import Opener, Run, onnxruntime_opener
from xec_deploy.bundle import GoldenEvents, Manifest, worst_difference
from xec_deploy.bundle.engine import OPENING_EVENTS
from xec_deploy.gates import load_gates
from xec_deploy.parity.events import ParityEvents, golden_events
from xec_deploy.parity.metrics import Outputs, compare

__all__ = ["Judge", "Score"]


@dataclass(frozen=True)
class Score:
    """Spread and bias of the difference from the reference, in detector resolutions.

    Attributes
    ----------
    spread, bias
        By quantity, the larger one of the event sets; ``bias`` is the magnitude of the mean.
    single
        Largest difference of the golden events that open a bundle, in units of what the gates
        allow a single event; 0 without golden events.
    broken
        Events that are a number in only one of the two.
    """

    spread: dict[str, float]
    bias: dict[str, float]
    single: float = 0.0
    broken: int = 0

    @property
    def worst(self) -> float:
        """What the gate is compared with: the largest of all; inf if events broke."""
        if self.broken:
            return float("inf")
        return max([*self.spread.values(), *self.bias.values(), self.single])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "worst": self.worst,
            "spread": self.spread,
            "bias": self.bias,
            "single_event": self.single,
        }


@dataclass(frozen=True)
class _Set:
    events: ParityEvents
    reference: dict[str, NDArray[np.float64]]


class Judge:
    """Compares graphs with the reference on the same events, as the parity gates do.

    On the golden events of the bundle the reference is float64.  On the others it is the fp32
    graph, whose own error (below 0.001 sigma, the fp32 gate) is small beside other gates.

    Parameters
    ----------
    reference
        The fp32 graph.
    manifest
        Of the bundle: quantities and resolutions.
    events
        Events that no calibration has seen.
    golden
        Golden events of the bundle, some of them far from any real one; None without.
    opener
        Loads the graphs that are compared.
    outputs
        Of the reference on ``events``, if they are known; ONNX Runtime computes them else.
    """

    def __init__(
        self,
        reference: onnx.ModelProto,
        manifest: Manifest,
        events: ParityEvents,
        *,
        golden: GoldenEvents | None = None,
        opener: Opener | None = None,
        outputs: Outputs | None = None,
    ) -> None:
        self._model, self._manifest = reference, manifest
        self._open = opener or onnxruntime_opener()
        self._golden = golden
        if outputs is None:
            outputs = onnxruntime_opener()(reference)(events.npho, events.time, events.dead)
        values = {name: value.astype(np.float64) for name, value in outputs.items()}
        self._sets = [_Set(events, values)]
        if golden is not None:
            self._sets.append(_Set(golden_events(golden), golden.outputs))

    @property
    def events(self) -> ParityEvents:
        """The events besides the golden ones."""
        return self._sets[0].events

    def some(self, count: int) -> Judge:
        """Return a judge on ``count`` of the events, evenly from all."""
        if count >= len(self.events):
            return self
        rows = np.linspace(0, len(self.events) - 1, count).round().astype(np.int64)
        return Judge(
            self._model,
            self._manifest,
            self.events.take(rows),
            golden=self._golden,
            opener=self._open,
            outputs={name: values[rows] for name, values in self._sets[0].reference.items()},
        )

    def score(self, model: onnx.ModelProto) -> Score:
        """Return how far a graph is from the reference."""
        return self.score_engine(self._open(model))

    def score_engine(self, run: Run) -> Score:
        """Return how far an engine is: ``run`` takes npho, time, dead of some events."""
        return self._score(
            [run(part.events.npho, part.events.time, part.events.dead) for part in self._sets]
        )

    def _score(self, outputs: Sequence[Outputs]) -> Score:
        found = [
            one
            for part, values in zip(self._sets, outputs, strict=True)
            for one in compare(
                self._manifest,
                part.reference,
                values,
                part.events.labels,
                engine="",
                version="",
                device="",
                precision="",
                event_set="",
                gate=1.0,
            )
        ]
        spread: dict[str, float] = {}
        bias: dict[str, float] = {}
        for one in found:
            spread[one.quantity] = max(spread.get(one.quantity, 0.0), one.relative_spread)
            bias[one.quantity] = max(bias.get(one.quantity, 0.0), abs(one.relative_bias))
        return Score(spread, bias, self._single(outputs), sum(one.one_sided for one in found))

    def _single(self, outputs: Sequence[Outputs]) -> float:
        """Return how far the golden events that open a bundle are, in gates of a single event."""
        if self._golden is None:
            return 0.0
        head = self._golden.head(OPENING_EVENTS)
        values = {name: value[: len(head)] for name, value in outputs[-1].items()}
        worst = worst_difference(self._manifest, head.outputs, values)
        return max(worst.values()) / load_gates().single_event
