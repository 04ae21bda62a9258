"""What is measured: a network, its bundle, events in a ROOT file, and their float64 results."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uproot
from gpu_plan import Sizes
from numpy.typing import NDArray

from xec_deploy.backends.measure import RawEvents
from xec_deploy.backends.torch_graph import TorchGraph
from xec_deploy.bench.products import matrix_flops
from xec_deploy.bundle import Bundle, open_bundle, shipped_bundle
from xec_deploy.events import open_events
from xec_deploy.simulation import SimulationConfig, write_simulation

__all__ = ["Prepared", "prepare", "prepared"]

SEED = 20260401
RUN = 470000
REFERENCE_CHUNK = 64
BRANCHES = ("run", "event", "npho", "relative_time", "dead")


@dataclass(frozen=True)
class Prepared:
    """Files to measure with.

    Attributes
    ----------
    bundle
        Opened.
    checkpoint
        Of the same network; None if there is none.
    data
        Events in a ROOT file.
    raw, reference
        The events of the comparison and their float64 results.
    mflop
        Matrix products of an event [MFLOP].
    """

    bundle: Bundle
    checkpoint: Path | None
    data: Path
    raw: RawEvents
    reference: dict[str, NDArray[np.float64]]
    mflop: float

    def request(self, count: int) -> RawEvents:
        """Return so many events, those of the comparison over and over."""
        rows = np.arange(count) % len(self.raw[0])
        npho, time, dead = (array[rows] for array in self.raw)
        return npho, time, dead


def prepare(
    folder: Path,
    network: str,
    sizes: Sizes,
    *,
    bundle: Path | None,
    checkpoint: Path | None,
    device: str,
) -> dict[str, Any]:
    """Make everything in a folder; return what it is, for the record.

    Parameters
    ----------
    folder
        For all files.
    network
        ``large`` (D = 1024, random encoder, trained heads), ``small`` (architecture xec, random)
        or ``shipped`` (no checkpoint); not looked at if a bundle is given.
    sizes
        How much.
    bundle, checkpoint
        Of a network of one's own.
    device
        Where the float64 reference is computed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    raw = folder / "simulated.root"
    if not raw.is_file():
        threads = len(os.sched_getaffinity(0))
        config = SimulationConfig(seed=SEED, first_run=RUN)
        write_simulation(raw, config, sizes.simulated, threads=threads)
    source, checkpoint = _network(folder, network, sizes, bundle, checkpoint, raw)
    opened = _copy(folder, source)
    data = folder / "events.root"
    _repeat(raw, data, sizes.events)
    events = _first(raw, sizes.compared)
    reference = _reference(opened, events, device)
    np.savez(
        folder / "reference.npz",
        npho=events[0], time=events[1], dead=events[2],
        **{f"out_{name}": values for name, values in reference.items()},
    )  # fmt: skip
    mflop = matrix_flops(opened.graph(), tuple(array[:2] for array in events)) / 1e6
    about = {
        "network": network if bundle is None else opened.manifest.name,
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "mflop": round(mflop, 3),
        "graphs": sorted(opened.manifest.graphs),
        "graph_mib": round(opened.graph().stat().st_size / 2**20, 1),
        "compared": sizes.compared,
        "events": sizes.events,
        "golden_sigma": _golden_sigma(opened, device),
    }
    (folder / "prepared.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    return {**about, "checkpoint": checkpoint is not None}


def prepared(folder: Path) -> Prepared:
    """Return what `prepare` has made."""
    about = json.loads((folder / "prepared.json").read_text(encoding="utf-8"))
    with np.load(folder / "reference.npz") as stored:
        arrays = dict(stored)
    return Prepared(
        open_bundle(folder / "network.xec"),
        None if about["checkpoint"] is None else Path(about["checkpoint"]),
        folder / "events.root",
        (arrays["npho"], arrays["time"], arrays["dead"]),
        {k.removeprefix("out_"): v for k, v in arrays.items() if k.startswith("out_")},
        about["mflop"],
    )


def _network(
    folder: Path,
    network: str,
    sizes: Sizes,
    bundle: Path | None,
    checkpoint: Path | None,
    raw: Path,
) -> tuple[Path, Path | None]:
    if bundle is not None:
        return bundle, checkpoint
    if network == "shipped":
        return shipped_bundle(), None
    made = folder / f"{network}.pth"
    exported = folder / f"{network}-exported.xec"
    if not made.is_file():
        if network == "large":
            program = Path(__file__).with_name("large_model.py")
            options = ["--events", str(sizes.simulated), "--epochs", str(sizes.epochs)]
            command = [sys.executable, program, "--data", raw, "-o", made, *options]
            subprocess.run(command, check=True)  # noqa: S603
        else:
            _small(made)
    if not exported.is_dir():
        # Late: needs the extra train.
        from xec_deploy.export import export_bundle  # noqa: PLC0415

        export_bundle(made, exported)
    return exported, made


def _small(path: Path) -> None:
    from large_model import NORMALISATION  # noqa: PLC0415

    from xec_deploy.detector.layout import get_layout  # noqa: PLC0415
    from xec_train.checkpoint import save_regressor  # noqa: PLC0415
    from xec_train.models import XecModelConfig, build_regressor  # noqa: PLC0415

    torch.manual_seed(3)
    config = XecModelConfig(active_tasks=("energy", "uvwFI"))
    model = build_regressor(config, get_layout("physical"), NORMALISATION)
    with torch.no_grad():
        for parameter in model.anchors.parameters():
            parameter.mul_(0.05)
    save_regressor(path, model, normalisation=NORMALISATION)


def _copy(folder: Path, source: Path) -> Bundle:
    """Copy a bundle, to which graphs are added."""
    target = folder / "network.xec"
    if target.is_dir():
        shutil.rmtree(target)
    return open_bundle(shutil.copytree(source, target))


def _repeat(raw: Path, data: Path, count: int) -> None:
    """Write a file of so many events, in baskets as an experiment's."""
    with uproot.open(raw) as file:
        arrays = file["tree"].arrays(list(BRANCHES), library="np")
    native = {k: np.ascontiguousarray(v, v.dtype.newbyteorder("=")) for k, v in arrays.items()}
    step = len(native["run"])
    with uproot.recreate(data, compression=uproot.LZ4(1)) as file:
        tree = file.mktree("tree", {k: (v.dtype, v.shape[1:]) for k, v in native.items()})
        for first in range(0, count, step):
            rows = slice(0, min(step, count - first))
            part = {k: v[rows] for k, v in native.items()}
            part["event"] = np.arange(first, first + len(part["run"]), dtype=np.int32)
            tree.extend(part)


def _first(raw: Path, count: int) -> RawEvents:
    with open_events(raw) as file:
        parts = list(file.batches(REFERENCE_CHUNK, stop=count))
    return (
        np.concatenate([part.npho for part in parts]),
        np.concatenate([part.time for part in parts]),
        np.concatenate([part.dead for part in parts]),
    )


def _reference(bundle: Bundle, events: RawEvents, device: str) -> dict[str, NDArray[np.float64]]:
    """Return float64 results, of the graph that is the bundle's by another engine's operators."""
    graph = TorchGraph(bundle.graph(), device=device, double=True)
    given = dict(zip(("npho", "time", "dead"), events, strict=True))
    parts = [
        graph.run({k: v[first : first + REFERENCE_CHUNK] for k, v in given.items()})
        for first in range(0, len(events[0]), REFERENCE_CHUNK)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in graph.outputs}


def _golden_sigma(bundle: Bundle, device: str) -> float | None:
    """Return how far that float64 is from the checkpoint's, stored at export [resolutions]."""
    from gpu_measure import parity  # noqa: PLC0415

    golden = bundle.golden
    if golden is None:
        return None
    found = _reference(bundle, (golden.npho, golden.time, golden.dead), device)
    values = {name: array.astype(np.float32) for name, array in found.items()}
    stored = {name: golden.outputs[name] for name in found}
    return float(parity(bundle.manifest, "fp32", stored, values)["sigma"])
