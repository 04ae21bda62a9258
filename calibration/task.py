"""A bundle on its way to lower precision: its graph, events, judge, and what makes graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from calibration.calibrated import Calibrated, calibrate
from calibration.correction import Builder, Means
from calibration.halves import Half
from calibration.layers import Layer, find_layers, last_layers
from calibration.lowering import Halves, Rest, members
from calibration.observe import multiply_adds
from calibration.opening import Opener, onnxruntime_opener, openvino_opener
from calibration.options import Options, Precision, Progress
from calibration.score import Judge
from calibration.search import MARGIN, search
from calibration.selection import Selection, select_events, with_dead_channels
from calibration.simplify import prepare
from calibration.worthwhile import pays
from xec_deploy.bundle import Bundle
from xec_deploy.bundle.onnx_file import canonical_hash, load_onnx
from xec_deploy.errors import UsageError, nearest
from xec_deploy.gates import load_gates
from xec_deploy.parity.events import ParityEvents

__all__ = ["Task"]


class Task:
    """What every precision starts from; most of it is computed when it is asked for.

    Parameters
    ----------
    bundle
        The folder of a regressor.
    data
        Files of events to calibrate and judge with.
    precision
        Wanted.
    options
        See `calibration.Options`.
    progress
        Told what is being done.

    Raises
    ------
    UsageError
        If a group to keep does not exist.
    """

    def __init__(
        self,
        bundle: Bundle,
        data: Sequence[str],
        precision: Precision,
        options: Options,
        progress: Progress = lambda _text, _count: None,
    ) -> None:
        self.bundle, self.data = bundle, data
        self.options, self.progress = options, progress
        self.source = load_onnx(bundle.graph())
        self.graph = prepare(self.source)
        everything = find_layers(self.graph)
        groups = {layer.group for layer in everything}
        for name in options.keep:
            if name not in groups:
                raise UsageError(f"the network has no group {name!r}", fix=nearest(name, groups))
        self.layers = tuple(one for one in everything if one.group not in options.keep)
        """Layers that may be in low precision; in int8 beside bf16 those where that pays."""
        self.last = tuple(one.node for one in last_layers(self.graph, everything))
        """Layers (their ``node``) that make the results."""
        self.with_bf16 = (precision, options.target, options.rest) == ("int8", "cpu", "bf16")
        """Whether an engine with bfloat16 on processors is needed."""
        if self.with_bf16:
            costs = self.costs
            self.layers = tuple(one for one in self.layers if pays(one, costs, self.graph))
        self.inner = tuple(
            one for one in everything if one.group not in options.keep and one.node not in self.last
        )
        """Layers that may be in 16 bits: the results themselves stay in float32."""

    def count(self, graphs: int) -> None:
        """Say that graphs were judged."""
        self.progress("graphs", graphs)

    @cached_property
    def selection(self) -> Selection:
        """Events to calibrate with and to judge on."""
        options = self.options
        return select_events(
            self.data, count=options.events, judged=options.judged, seed=options.seed
        )

    @cached_property
    def calibration(self) -> ParityEvents:
        """Calibration events, some with more dead channels."""
        most = self.bundle.manifest.dead_channels.max_dead
        return with_dead_channels(self.selection.calibration, most, self.options.seed)

    @cached_property
    def opener(self) -> Opener:
        """What runs the graphs that are made.

        ONNX Runtime has no bfloat16 on CPUs; other 16-bit graphs are emulated.
        """
        if self.with_bf16:
            return openvino_opener(self.options.threads, "bf16")
        return onnxruntime_opener(self.options.threads)

    @cached_property
    def judge(self) -> Judge:
        """The fp32 graph on the other events."""
        return Judge(
            self.source,
            self.bundle.manifest,
            self.selection.judged,
            golden=self.bundle.golden,
            opener=self.opener,
        )

    @cached_property
    def costs(self) -> dict[str, int]:
        """Layer (its ``node``) -> multiply-adds an event."""
        return multiply_adds(self.graph, find_layers(self.graph), self.calibration)

    def worth(self, layers: Sequence[Layer]) -> dict[str, int]:
        """Return group -> multiply-adds an event."""
        return {group: sum(parts.values()) for group, parts in self.parts(layers).items()}

    def parts(self, layers: Sequence[Layer]) -> dict[str, dict[str, int]]:
        """Return group -> part -> multiply-adds an event."""
        parts: dict[str, dict[str, int]] = {}
        for layer in layers:
            found = parts.setdefault(layer.group, {})
            found[layer.part] = found.get(layer.part, 0) + self.costs[layer.node]
        return parts

    def halves(self, half: Half) -> Builder:
        """Return what makes graphs in a 16-bit format."""
        emulated = not self.with_bf16
        return Builder(Halves(self.graph, self.inner, half), self._means, emulated=emulated)

    @cached_property
    def _means(self) -> Means | None:
        if not self.options.correct:
            return None
        return Means(
            self.graph,
            self.inner,
            self.last,
            self.calibration,
            self.opener,
            self.options.threads,
        )

    def rest(self, half: Half | None) -> Rest | None:
        """Return what can be in a 16-bit format within its gate; None for no format.

        OpenVINO computes float32 in bf16 as it is, which is faster than casts in the graph, but
        everywhere: if that passes the gate of int8, the graph stays in float32.
        """
        if half is None:
            return None
        if self.with_bf16:
            hinted = self.judge.score(self.halves(half).build(frozenset(), final=True))
            if hinted.worst <= load_gates().of("int8") * MARGIN:
                return None
        found = search(
            self.halves(half),
            self.judge,
            self.worth(self.inner),
            load_gates().of(half),
            parts=self.parts(self.inner),
            progress=self.count,
        )
        return Rest(half, tuple(members(self.inner, frozenset(found.low))))

    def calibrated(
        self, gate: float, rest: Rest | None, stored: Mapping[str, Any] | None
    ) -> Calibrated:
        """Return what makes graphs in int8; arguments as of `calibration.calibrated.calibrate`."""
        return calibrate(
            self.graph,
            self.layers,
            self.calibration,
            self.judge,
            self.worth(self.layers),
            gate,
            last=self.last,
            rest=rest,
            opener=self.opener,
            model_hash=canonical_hash(self.source),
            stored=stored,
            options=self.options,
            progress=self.progress,
        )
