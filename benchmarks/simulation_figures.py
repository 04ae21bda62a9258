"""Figures of the fast simulation beside the published ones.

Prints a table (or, with ``--json``, JSON): photoelectrons, occupancy, light by face, events a
second, spread of times, and the resolution of the simple estimates.  ``--parameters`` prints the
table of the simulation's parameters.  ``docs/simulation.md`` holds both.

    python benchmarks/simulation_figures.py [--events 5000] [--json]
    python benchmarks/simulation_figures.py --parameters
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import os
import platform
import time
from itertools import pairwise
from typing import Any

import numpy as np

from xec_deploy.detector import FACES, design_geometry
from xec_deploy.detector import constants as c
from xec_deploy.physics import estimate, resolution
from xec_deploy.simulation import SimulationConfig, simulate

SPECTRA = {"52.8 MeV": (52.8, 52.8), "15-60 MeV": (15.0, 60.0)}
BRIGHT_PHOTONS = 100.0
TRUTH = {
    "energy": ("energyTruth", None, "%", 100.0),
    "u": ("uvwTruth", 0, "mm", 10.0),
    "v": ("uvwTruth", 1, "mm", 10.0),
    "w": ("uvwTruth", 2, "mm", 10.0),
    "timing": ("timeTruth", None, "ps", 1e3),
    "theta": ("emiAng", 0, "mrad", float(np.radians(1e3))),
    "phi": ("emiAng", 1, "mrad", float(np.radians(1e3))),
}


def measure(energies: tuple[float, float], n_events: int) -> dict[str, Any]:
    """Simulate a sample and summarise it."""
    config = SimulationConfig(
        energy_min=energies[0], energy_max=energies[1], seed=20_251_123, first_run=800_000
    )
    efficiency = np.where(design_geometry().is_mppc, c.MPPC_PDE, c.PMT_QE)
    face = design_geometry().face
    sums: list[np.ndarray] = []
    residuals: dict[str, list[np.ndarray]] = {name: [] for name in TRUTH}
    uvw, bright, timed, reach = [], [], [], []
    for block in simulate(config, n_events, threads=1):
        live = ~block["dead"]
        npho = np.where(live, block["npho"], 0.0)
        sums.append(np.stack([(npho * (face == k)) @ efficiency for k in range(6)], axis=1))
        valid = live & (block["relative_time"] < c.INVALID_ABOVE)
        bright.append(((npho > BRIGHT_PHOTONS) & live).sum(1) / live.sum(1))
        timed.append(valid.sum(1) / live.sum(1))
        late = np.where(valid & (npho > BRIGHT_PHOTONS), block["relative_time"], np.nan)
        reach.append(np.nanquantile(late, 0.95, axis=1) * 1e9)
        found = estimate(block["npho"], block["relative_time"], block["dead"]).to_dict()
        uvw.append(block["uvwTruth"])
        for name, (branch, column, _, scale) in TRUTH.items():
            true = block[branch] if column is None else block[branch][:, column]
            difference = found[name] / true - 1 if name == "energy" else found[name] - true
            residuals[name].append(difference * scale)
    position = np.concatenate(uvw)
    inside = (np.abs(position[:, 0]) < c.FIDUCIAL_U) & (np.abs(position[:, 1]) < c.FIDUCIAL_V)
    shallow = position[:, 2] < 2.0
    charge = np.concatenate(sums)
    total = charge.sum(axis=1)
    return {
        "events": n_events,
        "fiducial": int(inside.sum()),
        "photoelectrons": float(total[inside].mean()),
        "photoelectrons_spread": float(total[inside].std() / total[inside].mean()),
        "share_by_face": dict(
            zip(FACES, (charge[inside] / total[inside, None]).mean(0).tolist(), strict=True)
        ),
        "share_bright": float(np.concatenate(bright)[inside].mean()),
        "share_timed": float(np.concatenate(timed)[inside].mean()),
        "time_spread_ns": float(np.mean(np.concatenate(reach)[inside])),
        "share_w_below_2": float(shallow[inside].mean()),
        "resolution": {
            name: {
                "unit": TRUTH[name][2],
                **{
                    label: resolution(np.concatenate(parts)[inside & chosen]).to_dict()
                    for label, chosen in (
                        ("all", shallow | ~shallow),
                        ("w < 2 cm", shallow),
                        ("w > 2 cm", ~shallow),
                    )
                },
            }
            for name, parts in residuals.items()
        },
    }


def speed(threads: int, n_events: int = 600) -> float:
    """Return events a second, the best of three."""
    best = 0.0
    for _ in range(3):
        start = time.perf_counter()
        count = sum(len(b["run"]) for b in simulate(SimulationConfig(), n_events, threads=threads))
        best = max(best, count / (time.perf_counter() - start))
    return best


def tables(figures: dict[str, Any]) -> str:
    """Lay out the figures as Markdown tables."""
    samples = figures["samples"]
    lines = [
        f"| in the fiducial volume | {' | '.join(samples)} |",
        f"|---|{'---|' * len(samples)}",
    ]

    def row(label: str, *cells: str) -> None:
        lines.append(f"| {label} | {' | '.join(cells)} |")

    values = list(samples.values())
    row("events", *(f"{s['fiducial']}" for s in values))
    row("photoelectrons, mean", *(f"{s['photoelectrons']:,.0f}" for s in values))
    row("photoelectrons, spread", *(f"{100 * s['photoelectrons_spread']:.1f} %" for s in values))
    row(
        f"live sensors above {BRIGHT_PHOTONS:g} photons",
        *(f"{100 * s['share_bright']:.1f} %" for s in values),
    )
    row("live sensors with a time", *(f"{100 * s['share_timed']:.1f} %" for s in values))
    row(
        "95 % of the times of bright sensors within",
        *(f"{s['time_spread_ns']:.2f} ns" for s in values),
    )
    row("events with w < 2 cm", *(f"{100 * s['share_w_below_2']:.0f} %" for s in values))
    for name in FACES:
        row(f"photoelectrons, {name}", *(f"{100 * s['share_by_face'][name]:.1f} %" for s in values))
    depths = ("all", "w < 2 cm", "w > 2 cm")
    for label, sample in samples.items():
        lines += [
            "",
            f"| simple estimate, {label} | {' | '.join(depths)} | core, all | bias, all |",
            "|---|---|---|---|---|---|",
        ]
        for name, found in sample["resolution"].items():
            digits = 2 if found["unit"] != "ps" else 1
            widths = [
                f"{found[d]['sigma68']:.{digits}f} ± {found[d]['sigma68_error']:.{digits}f}"
                for d in depths
            ]
            core = f"{found['all']['core_sigma']:.{digits}f}"
            row(f"{name} [{found['unit']}]", *widths, core, f"{found['all']['bias']:+.{digits}f}")
    rates = ", ".join(f"{v:.0f} ({k})" for k, v in figures["events_per_second"].items())
    return "\n".join([*lines, "", f"Events per second: {rates}, on {figures['machine']}."])


def parameters() -> str:
    """Lay out the parameters of the simulation as a Markdown table, from its source."""
    tree = ast.parse(inspect.getsource(SimulationConfig))
    body = tree.body[0].body  # type: ignore[attr-defined]
    words = {
        before.target.id: " ".join(str(after.value.value).split())
        for before, after in pairwise(body)
        if isinstance(before, ast.AnnAssign) and isinstance(after, ast.Expr)
    }
    lines = ["| parameter | default | meaning |", "|---|---|---|"]
    for name, field in SimulationConfig.model_fields.items():
        lines.append(f"| `{name}` | {field.default} | {words.get(name, name.replace('_', ' '))} |")
    return "\n".join(lines)


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=5000, help="events of each sample")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--parameters", action="store_true", help="print the parameters only")
    options = parser.parse_args()
    if options.parameters:
        print(parameters())
        return
    figures = {
        "samples": {label: measure(range_, options.events) for label, range_ in SPECTRA.items()},
        "events_per_second": {"1 thread" if n == 1 else f"{n} threads": speed(n) for n in (1, 2)},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, NumPy {np.__version__}",
    }
    print(json.dumps(figures, indent=1) if options.json else tables(figures))


if __name__ == "__main__":
    main()
