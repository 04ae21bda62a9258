"""The plots of a parity page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.parity.measurement import MeasuredEvents, MeasuredRow, Measurement
from xec_deploy.parity.metrics import Quantity
from xec_deploy.parity.report import ParityReport
from xec_deploy.parity.summary import RowSummary, summarise
from xec_deploy.report.panels import density, panel_grid
from xec_deploy.report.style import INK, MUTED, SavedFigure, hide, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_parity"]

# M. Okabe and K. Ito's palette.
PRECISIONS: Final = {
    "fp32": "#0072B2",
    "fp16": "#009E73",
    "bf16": "#CC79A7",
    "int8": "#D55E00",
    "tf32": "#E69F00",
}
Line = str | tuple[int, tuple[int, ...]]
ENGINES: Final[dict[str, tuple[str, Line]]] = {
    "onnxruntime": ("#0072B2", "-"),
    "openvino": ("#D55E00", "--"),
    "cpp": ("#009E73", ":"),
    "tensorrt": ("#CC79A7", "-."),
    "torch": ("#E69F00", (0, (6, 1, 1, 1, 1, 1))),
}
SMALLEST: Final = 1e-8
"""Where differences of nothing are drawn on a logarithmic axis [sigma]."""
MOST_BINS: Final = 60


@dataclass(frozen=True)
class _Shown:
    """Differences of the events that are drawn, in detector resolutions."""

    events: MeasuredEvents
    rows: tuple[MeasuredRow, ...]

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        return self.events.quantities

    def of(self, row: MeasuredRow, column: int) -> NDArray[np.float64]:
        """Return one quantity's finite differences."""
        values = row.differences[self.events.facts.name][:, column]
        return np.asarray(values[np.isfinite(values)] / self.quantities[column].resolution)


def draw_parity(
    report: ParityReport, measurement: Measurement, folder: Path
) -> Iterator[SavedFigure]:
    """Draw and save the plots; measured events where there are any, else the golden ones."""
    events = measurement.event_sets[-1]
    shown = _Shown(events, measurement.rows)
    what = f"{events.facts.events} {events.facts.name} events"
    yield save(
        _overview(summarise(report)),
        folder,
        "overview",
        title="Every engine at a glance",
        caption="Full dots: spread of the difference from float64 of each quantity, hollow ones: "
        "size of its bias, triangles: largest difference of an event, on all events. Bars: the "
        "gate, which spread and bias have to keep.",
    )
    yield save(
        _cumulative(shown, report),
        folder,
        "cumulative",
        title="How often a difference is how large",
        caption=f"Share of the {what} whose difference from float64 is below a value, in detector "
        "resolutions. Colour: precision, line: engine, dotted uprights: gates.",
    )
    for precision in dict.fromkeys(row.precision for row in shown.rows):
        yield save(
            _histograms(shown, precision, report.gates.of(precision)),
            folder,
            f"histograms_{precision}",
            title=f"Differences in {precision}",
            caption=f"Engine less float64 of the {what}, in detector resolutions; areas are "
            f"equal. Shaded: within the gate, {report.gates.of(precision):g}.",
        )


def _overview(rows: Sequence[RowSummary]) -> Figure:
    figure = new_figure(11.0, 0.9 + 0.27 * len(rows))
    axes = figure.subplots()
    for place, row in enumerate(rows):
        colour = _colour(row.precision)
        spreads = [part.relative_spread for part in row.comparisons]
        biases = [abs(part.relative_bias) for part in row.comparisons]
        largest = row.maximum
        level = np.full(len(spreads), float(place))
        axes.plot(_visible(biases), level - 0.13, "o", mfc="none", mec=colour, ms=3.5, mew=0.8)
        axes.plot(_visible(spreads), level + 0.13, "o", color=colour, ms=4, alpha=0.75, mew=0)
        axes.plot(
            _visible([largest.maximum / largest.resolution]), [place], ">", color=colour, ms=5
        )
        axes.plot([row.gate] * 2, [place - 0.42, place + 0.42], color=INK, linewidth=2)
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("difference from float64 [detector resolutions]")
    return figure


def _cumulative(shown: _Shown, report: ParityReport) -> Figure:
    figure, panels = panel_grid(len(shown.quantities) + 1)
    gates = sorted({report.gates.of(row.precision) for row in shown.rows})
    for column, (axes, quantity) in enumerate(zip(panels, shown.quantities, strict=False)):
        for row in shown.rows:
            size = np.sort(np.abs(shown.of(row, column)))
            share = np.arange(1, len(size) + 1) / max(len(size), 1)
            _, line = _of_engine(row.engine)
            axes.step(
                np.maximum(size, SMALLEST),
                share,
                where="post",
                color=_colour(row.precision),
                linestyle=line,
                linewidth=1.1,
            )
        for gate in gates:
            axes.axvline(gate, color=MUTED, linestyle=":", linewidth=0.9)
        axes.set_xscale("log")
        axes.set_ylim(0, 1.03)
        axes.set_title(quantity.name)
        axes.set_xlabel("|difference| / \N{GREEK SMALL LETTER SIGMA}")
    precisions = dict.fromkeys(row.precision.partition("-")[0] for row in shown.rows)
    engines = dict.fromkeys(row.engine for row in shown.rows)
    entries: list[tuple[str, str, Line]] = [(name, _colour(name), "-") for name in precisions]
    entries += [(name, INK, _of_engine(name)[1]) for name in engines]
    _legend(panels[len(shown.quantities) :], entries)
    return figure


def _histograms(shown: _Shown, precision: str, gate: float) -> Figure:
    rows = [row for row in shown.rows if row.precision == precision]
    figure, panels = panel_grid(len(shown.quantities) + 1)
    for column, (axes, quantity) in enumerate(zip(panels, shown.quantities, strict=False)):
        found = [(row.engine, shown.of(row, column)) for row in rows]
        reach = max((float(np.abs(values).max()) for _, values in found if len(values)), default=0)
        count = max((len(values) for _, values in found), default=0)
        # Twice the root of the number: bins of few events are all noise.
        bins = np.linspace(-1, 1, int(np.clip(2 * count**0.5, 10, MOST_BINS)) + 1)
        bins *= 1.05 * reach or 1.0
        axes.axvspan(-gate, gate, color=_colour(precision), alpha=0.07, linewidth=0)
        for engine, values in found:
            colour, line = _of_engine(engine)
            axes.stairs(density(values, bins), bins, color=colour, linestyle=line, linewidth=1.3)
        axes.set_xlim(bins[0], bins[-1])
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False)
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
        axes.set_title(quantity.name)
        axes.set_xlabel("difference / \N{GREEK SMALL LETTER SIGMA}")
    engines = [(name, *_of_engine(name)) for name in dict.fromkeys(row.engine for row in rows)]
    _legend(panels[len(shown.quantities) :], engines)
    return figure


def _legend(spare: Sequence[Axes], entries: Sequence[tuple[str, str, Line]]) -> None:
    """Use the first panel that is left for the legend, and leave the others empty."""
    for axes in spare:
        hide(axes)
    for label, colour, line in entries:
        spare[0].plot([], [], color=colour, linestyle=line, label=label)
    spare[0].legend(loc="center left")


def _visible(values: Sequence[float]) -> NDArray[np.float64]:
    return np.maximum(np.asarray(values, dtype=np.float64), SMALLEST)


def _label(row: RowSummary) -> str:
    where = "" if row.device == "cpu" else f" on {row.device}"
    return f"{row.engine} {row.precision}{where}"


def _colour(precision: str) -> str:
    return PRECISIONS.get(precision.partition("-")[0], MUTED)


def _of_engine(name: str) -> tuple[str, Line]:
    return ENGINES.get(name, (MUTED, "-"))
