"""Plots and tables of ``benchmarks/inpainting.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from xec_deploy.report.style import new_figure, plot_style

RECOVERY_FRACTION = 0.05
PATTERNS = ("channels", "boards")
QUANTITIES = {"energy": "%", "u": "mm", "v": "mm", "w": "mm", "timing": "ps"}


def draw(results: dict[str, Any], folder: Path, methods: list[str]) -> None:
    """Plot the errors of sensors, and the resolutions."""
    markers = dict(zip(methods, "sv^Dox*P", strict=False))
    with plot_style():
        figure = new_figure(9.0, 3.4)
        axes = figure.subplots(1, 4, sharey=True)
        places = [(face, pattern) for face in ("inner", "pmt") for pattern in PATTERNS]
        for axis, (face, pattern) in zip(axes, places, strict=True):
            for number, method in enumerate(methods):
                table = results["sensors"][pattern]
                keys = ("pull68", "pull68_error")
                points = [
                    (100 * float(f), *(cell[face][method][key] for key in keys))
                    for f, cell in table.items()
                    if method in cell[face]
                ]
                if points:
                    x, y, e = np.array(points).T
                    look = {"marker": markers[method], "color": f"C{number}", "ms": 4}
                    axis.errorbar(x, y, e, label=method, **look)
            axis.set(title=f"{face}: {pattern}", xlabel="dead channels [%]", xscale="log")
            axis.set(xticks=[1, 2, 5, 10], xticklabels=["1", "2", "5", "10"])
        axes[0].set_ylabel("$\\sigma_{68}$ of error / photon statistics")
        axes[0].legend()
        figure.savefig(folder / "inpainting_sensors.png", dpi=160, metadata={"Software": None})
        tables = results["recovery"]["reconstructions"]
        figure = new_figure(9.0, 1.0 + 2.0 * len(tables))
        grid = figure.subplots(len(tables), len(QUANTITIES), squeeze=False)
        for row, (name, table) in zip(grid, tables.items(), strict=True):
            for axis, (quantity, unit) in zip(row, QUANTITIES.items(), strict=True):
                if quantity not in table:
                    axis.set_axis_off()
                    continue
                entries = table[quantity]
                y = [entry["ratio_to_none"] for entry in entries.values()]
                e = [entry["ratio_to_none_error"] for entry in entries.values()]
                axis.errorbar(y, range(len(y)), xerr=e, fmt="o", ms=4)
                axis.axvline(1.0, color="0.6", lw=0.8)
                axis.set_yticks(range(len(y)), list(entries) if axis is row[0] else [])
                axis.set(title=f"{name}: {quantity}", xscale="log" if max(y) > 3 else "linear")
                axis.invert_yaxis()
                axis.set_xlabel(f"/ {entries['none']['sigma68']:.2f} {unit}")
        figure.savefig(folder / "inpainting_recovery.png", dpi=160, metadata={"Software": None})


def tables(results: dict[str, Any]) -> str:
    """Lay out the figures of ``docs/inpainting.md``."""
    lines = []
    for pattern in PATTERNS:
        cells_of_pattern = results["sensors"][pattern][str(RECOVERY_FRACTION)]
        names = [k for k, v in next(iter(cells_of_pattern.values())).items() if isinstance(v, dict)]
        lines += ["", f"| 5 % dead, {pattern} | photons | {' | '.join(names)} |"]
        lines += ["|---" * (len(names) + 2) + "|"]
        for key, cell in cells_of_pattern.items():
            row = []
            for name in names:
                v = cell.get(name)
                row.append(
                    f"{v['pull68']:.3f} ± {v['pull68_error']:.3f}; "
                    f"{v['bias']:.1f} ± {v['bias_error']:.1f}; {v['rms']:.0f}"
                    if v
                    else ""
                )
            lines.append(f"| {key} | {cell['mean_npho']:.0f} | {' | '.join(row)} |")
    for name, table in results["recovery"]["reconstructions"].items():
        conditions = list(next(iter(table.values())))
        lines += ["", f"| {name} | {' | '.join(conditions)} |"]
        lines += ["|---" * (len(conditions) + 1) + "|"]
        for quantity, entries in table.items():
            row = [f"{e['sigma68']:.3f} ± {e['sigma68_error']:.3f}" for e in entries.values()]
            lines.append(f"| {quantity} [{QUANTITIES[quantity]}] | {' | '.join(row)} |")
            for reference in ("zero", "flagged"):
                key = f"recovered_of_{reference}"
                lost = entries[reference]["ratio_to_none"] - 1.0
                if lost < 3.0 * entries[reference]["ratio_to_none_error"]:
                    continue  # a share of nothing
                row = [
                    f"{e[key]:.2f} ± {e[f'{key}_error']:.2f}" if key in e else ""
                    for e in entries.values()
                ]
                lines.append(f"| of the loss of {reference} | {' | '.join(row)} |")
    return "\n".join(lines)
