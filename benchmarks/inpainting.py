r"""Dead channels filled by the inpainter, beside the means of their neighbours.

Events are simulated without dead channels, so that the truth of every channel is known.  Two
questions, on the same events and the same channels for all methods:

1. *sensors*: how far is a filled channel from what it would have read?  Single channels or whole
   boards are made dead; bias and sigma68 of prediction minus truth, in photons and in units of
   the channel's photon statistics, by face and by the light around the channel.
2. *recovery*: how much of the resolution that 5 % dead channels cost comes back?  Half of them
   single, half in boards.  Conditions: none dead; dead channels read as zero light; flagged dead,
   as the methods themselves deal with it; filled, and no longer flagged.  The recovered fraction is
   (s_reference - s_filled) / (s_reference - s_none) of the sigma68 of fiducial events, once with
   the zero and once with the flagged events as reference, errors from replicas that draw events.

    xec-train simulate -o whole.root --events 10000 --set seed=104 --set first_run=460000 \
        --set dead_fraction_min=0 --set dead_fraction_max=0 --set dead_board_probability=0
    python benchmarks/inpainting.py runs/inpainter_xec/inpainter_checkpoint_best.pth \
        --data whole.root --regressor compact=runs/compact/checkpoint_best.pth \
        --json benchmarks/results/inpainting.json --images docs/images

``docs/inpainting.md`` holds the figures.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from inpainting_figures import PATTERNS, QUANTITIES, RECOVERY_FRACTION, draw, tables

from xec_deploy.cpp import fit_position, predict_dead
from xec_deploy.detector import FACES, design_geometry
from xec_deploy.detector import constants as c
from xec_deploy.normalisation import normalise_arrays
from xec_deploy.physics import resolution
from xec_deploy.physics.width import ONE_SIGMA, interval_of_sorted
from xec_train.checkpoint import load_inpainter
from xec_train.config.regressor import RegressorData
from xec_train.data import EventStream, RawBatch
from xec_train.evaluation.dead import dead_ranks
from xec_train.evaluation.methods import SimpleConventional, open_network
from xec_train.models import padded_sensors
from xec_train.models.xec.light import FilledLight

FRACTIONS = (0.01, 0.02, 0.05, 0.10)
LIGHT = (0.0, 10.0, 100.0, 1000.0, np.inf)
NOISE = 10.0
CELL = 20_000
"""Sensors of a cell of the table at most; more would only cost time."""
REPLICAS = 40
CONDITIONS = ("none", "zero", "flagged", "neighbours", "solid_angle", "adjacent", "inpainter")

Filler = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def fillers(paths: dict[str, str]) -> dict[str, Filler]:
    """Return the methods: npho, time, dead (n, 4760) to npho with predictions at dead channels."""
    inpainters = {name: load_inpainter(path).model for name, path in paths.items()}
    normalisation = next(iter(inpainters.values())).normalisation
    light = FilledLight(normalisation)

    last: list[Any] = []

    def fitted(npho: np.ndarray, dead: np.ndarray) -> Any:
        # Two methods in a row need the fit of the same events.
        if not last or last[0] is not npho or last[1] is not dead:
            last[:] = [npho, dead, fit_position(npho, dead)]
        return last[2]

    def conventional(method: Any) -> Filler:
        def fill(npho: np.ndarray, _: np.ndarray, dead: np.ndarray) -> np.ndarray:
            fit = None if method == "neighbours" else fitted(npho, dead)
            found = predict_dead(npho, dead, fit, method=method)
            return np.where(dead, found, npho).astype(np.float32)

        return fill

    @torch.inference_mode()
    def adjacent(npho: np.ndarray, times: np.ndarray, dead: np.ndarray) -> np.ndarray:
        parts = [torch.from_numpy(part) for part in (npho, times, dead)]
        filled = light(torch.stack(normalise_arrays(*parts, normalisation, torch), -1))
        photons = torch.cat([filled.inner.flatten(1), filled.pmt], dim=1).numpy() * 1000.0
        return np.where(dead, photons, npho)

    def network(model: Any) -> Filler:
        @torch.inference_mode()
        def fill(npho: np.ndarray, times: np.ndarray, dead: np.ndarray) -> np.ndarray:
            parts = [torch.from_numpy(part) for part in (npho, times, dead)]
            x = torch.stack(normalise_arrays(*parts, model.normalisation, torch), -1)
            wanted, present = padded_sensors(parts[2])
            prediction = model(x, parts[2], wanted)[..., 0][present]
            filled = npho.copy()
            filled[dead] = model.normalisation.inverse(prediction, torch).numpy()
            return filled

        return fill

    return {
        "neighbours": conventional("neighbours"),
        "solid_angle": conventional("solid_angle"),
        "fit": conventional("fit"),
        "adjacent": adjacent,
        **{name: network(model) for name, model in inpainters.items()},
    }


def ranks(batch: RawBatch, pattern: Any, seed: int = 0) -> np.ndarray:
    """Return a number of each channel: those below f are dead at fraction f."""
    run, event = (batch.tensors()[name].numpy() for name in ("run", "event"))
    return dead_ranks(run, event, pattern=pattern, seed=seed)


def sensors(batches: Iterator[RawBatch], methods: dict[str, Filler]) -> dict[str, Any]:
    """Measure how far filled channels are from the truth."""
    rows: dict[tuple[str, float], list[dict[str, np.ndarray]]] = {}
    for batch in batches:
        npho, times = batch.npho.numpy(), batch.time.numpy()
        for pattern in PATTERNS:
            number = ranks(batch, pattern)
            for fraction in FRACTIONS:
                dead = number < fraction
                event, sensor = np.nonzero(dead)
                found = {
                    name: fill(npho, times, dead)[event, sensor] for name, fill in methods.items()
                }
                truth = npho[event, sensor]
                rows.setdefault((pattern, fraction), []).append(
                    {"sensor": sensor, "truth": truth, "around": found["adjacent"], **found}
                )
    table: dict[str, Any] = {}
    for (pattern, fraction), parts in rows.items():
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        table.setdefault(pattern, {})[str(fraction)] = cells(joined, methods)
    return table


def cells(joined: dict[str, np.ndarray], methods: dict[str, Filler]) -> dict[str, Any]:
    """Summarise by face and by the light around the channel."""
    face = design_geometry().face[joined["sensor"]]
    efficiency = np.where(joined["sensor"] < c.N_MPPC, c.MPPC_PDE, c.PMT_QE)
    statistics = np.sqrt((np.maximum(joined["truth"], 0) + NOISE) / efficiency)
    groups = {"all": face >= 0, "pmt": face > 0}
    groups |= {name: face == k for k, name in enumerate(FACES)}
    summary: dict[str, Any] = {}
    for name, inside in groups.items():
        for low, high in ((0.0, np.inf), *pairwise(LIGHT)):
            chosen = np.flatnonzero(inside & (joined["around"] >= low) & (joined["around"] < high))
            if len(chosen) < 100:
                continue
            chosen = chosen[:: -(-len(chosen) // CELL)]
            cell = {"sensors": len(chosen), "mean_npho": float(joined["truth"][chosen].mean())}
            for method in methods:
                error = joined[method][chosen] - joined["truth"][chosen]
                photons = resolution(error, replicas=REPLICAS)
                pull = resolution(error / statistics[chosen], replicas=REPLICAS)
                if photons.n < 100:  # the fit says nothing about PMTs
                    continue
                cell[method] = {
                    "bias": photons.mean,
                    "bias_error": photons.mean_error,
                    "sigma68": photons.sigma68,
                    "sigma68_error": photons.sigma68_error,
                    "rms": photons.rms,
                    "pull68": pull.sigma68,
                    "pull68_error": pull.sigma68_error,
                    "without": photons.excluded,
                }
            key = name if high == np.inf and low == 0 else f"{name} {low:g}-{high:g}"
            summary[key] = cell
    return summary


def recovery(
    batches: Iterator[RawBatch], methods: dict[str, Filler], reconstructions: list[Any]
) -> dict[str, Any]:
    """Measure the resolution with 5 % dead channels, filled in every way."""
    collected: dict[tuple[str, str, str], list[np.ndarray]] = {}
    inside: list[np.ndarray] = []
    for batch in batches:
        half = RECOVERY_FRACTION / 2
        dead = (ranks(batch, "channels", 1) < half) | (ranks(batch, "boards", 1) < half)
        uvw = batch.targets["uvwFI"].numpy()
        limits = np.array([c.FIDUCIAL_U, c.FIDUCIAL_V, c.FIDUCIAL_W])
        inside.append((np.abs(uvw) < limits).all(axis=1) & (uvw[:, 2] > 0))
        for condition in [*CONDITIONS, *(set(methods) - set(CONDITIONS) - {"fit"})]:
            changed = conditioned(batch, dead, condition, methods)
            for reconstruction in reconstructions:
                values = reconstruction.estimate(changed).values
                for quantity, residual in residuals(values, batch).items():
                    key = (reconstruction.name, quantity, condition)
                    collected.setdefault(key, []).append(residual)
    chosen = np.concatenate(inside)
    joined = {key: np.concatenate(parts)[chosen] for key, parts in collected.items()}
    table: dict[str, Any] = {}
    for name in dict.fromkeys(key[0] for key in joined):
        for quantity in dict.fromkeys(key[1] for key in joined if key[0] == name):
            by_condition = {k[2]: v for k, v in joined.items() if k[:2] == (name, quantity)}
            table.setdefault(name, {})[quantity] = recovered(by_condition)
    return {"fiducial_events": int(chosen.sum()), "units": QUANTITIES, "reconstructions": table}


def conditioned(
    batch: RawBatch, dead: np.ndarray, condition: str, methods: dict[str, Filler]
) -> RawBatch:
    """Return the events with channels dead, or dead and filled."""
    flags = torch.from_numpy(dead)
    silent = torch.where(flags, torch.tensor(c.INVALID, dtype=torch.float32), batch.time)
    match condition:
        case "none":
            return batch
        case "zero":
            return replace(batch, npho=torch.where(flags, 0.0, batch.npho), time=silent)
        case "flagged":
            return replace(batch, dead=batch.dead | flags)
    filled = methods[condition](batch.npho.numpy(), silent.numpy(), dead)
    npho = torch.from_numpy(np.nan_to_num(filled, nan=0.0).astype(np.float32))
    return replace(batch, npho=npho, time=silent)


def residuals(values: Any, batch: RawBatch) -> dict[str, np.ndarray]:
    """Return residuals in the units of `QUANTITIES`."""
    energy, uvw = batch.targets["energy"][:, 0].numpy(), batch.targets["uvwFI"].numpy()
    found = {"energy": 100 * (values["energy"] / energy - 1)}
    found |= {name: 10 * (values[name] - uvw[:, k]) for k, name in enumerate("uvw")}
    if "timing" in values:
        found["timing"] = 1000 * (values["timing"] - batch.targets["timing"][:, 0].numpy())
    return found


def recovered(by_condition: dict[str, np.ndarray], replicas: int = 300) -> dict[str, Any]:
    """Return widths by condition, and recovered fractions, with paired bootstrap errors."""
    names = list(by_condition)
    values = np.stack([by_condition[name] for name in names]).astype(np.float64)
    values = values[:, np.isfinite(values).all(axis=0)]
    random = np.random.default_rng(20_240_190)
    events = values.shape[1]
    draws = [np.arange(events), *(random.integers(0, events, events) for _ in range(replicas))]
    widths = np.array([[width(row[draw]) for row in values] for draw in draws])
    summary: dict[str, Any] = {}
    at = {name: widths[:, k] for k, name in enumerate(names)}
    for name in names:
        entry = {
            "sigma68": at[name][0],
            "sigma68_error": at[name][1:].std(),
            "ratio_to_none": at[name][0] / at["none"][0],
            "ratio_to_none_error": (at[name] / at["none"])[1:].std(),
            "bias": float(np.median(by_condition[name])),
        }
        for reference in ("zero", "flagged"):
            if name not in ("none", "zero", "flagged") or (name, reference) == ("flagged", "zero"):
                share = (at[reference] - at[name]) / (at[reference] - at["none"])
                low, high = np.quantile(share[1:], [0.1587, 0.8413])
                entry[f"recovered_of_{reference}"] = share[0]
                entry[f"recovered_of_{reference}_error"] = (high - low) / 2
        summary[name] = {key: float(value) for key, value in entry.items()}
    return summary


def width(values: np.ndarray) -> float:
    """Return sigma68."""
    low, high = interval_of_sorted(np.sort(values), ONE_SIGMA)
    return (high - low) / 2


def stream(path: str, tasks: tuple[Any, ...], events: int) -> Iterator[RawBatch]:
    """Iterate over the first events of a file."""
    config = RegressorData(train_path=[path], val_path=[path], batch_size=250, num_workers=0)
    return islice(iter(EventStream([path], config, tasks, shuffle=False)), -(-events // 250))


def main() -> None:
    """Run the studies."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("inpainter", help="checkpoint")
    parser.add_argument("--other", action="append", default=[], metavar="NAME=CHECKPOINT")
    parser.add_argument("--data", required=True, help="events without dead channels")
    parser.add_argument("--regressor", action="append", default=[], metavar="NAME=CHECKPOINT")
    parser.add_argument("--sensor-events", type=int, default=1000)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--reuse", action="store_true", help="only lay out what --json holds")
    parser.add_argument("--images", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.reuse:
        results = json.loads(options.json.read_text(encoding="utf-8"))
        named = dict.fromkeys(("neighbours", "solid_angle", "fit", "adjacent", "inpainter"))
    else:
        results, named = measure(options)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if options.images:
        draw(results, options.images, list(named))
    print(tables(results))


def measure(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Filler]]:
    """Run the studies; return the figures and the methods."""
    named = dict(text.split("=", 1) for text in options.other)
    methods = fillers({"inpainter": options.inpainter, **named})
    cpu = torch.device("cpu")
    reconstructions: list[Any] = [
        open_network(path, device=cpu, name=name)
        for name, path in (text.split("=", 1) for text in options.regressor)
    ]
    reconstructions.append(SimpleConventional())
    start = time.process_time()
    results = {
        "sensor_events": options.sensor_events,
        "sensors": sensors(stream(options.data, (), options.sensor_events), methods),
    }
    tasks = ("energy", "timing", "uvwFI")
    wanted = {name: fill for name, fill in methods.items() if name != "fit"}
    results["recovery"] = recovery(
        stream(options.data, tasks, options.events), wanted, reconstructions
    )
    results["cpu_seconds"] = round(time.process_time() - start)
    return results, methods


if __name__ == "__main__":
    main()
