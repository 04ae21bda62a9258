"""The two architectures at equal data and equal processor time: resolution and events a second.

Trains ``arch: xec`` by its recipe, counts the processor time, gives ``arch: research`` the same
time on the same files (one thread, rate of a short run before), and evaluates both on the same
events.
Losses, normalisation, augmentation and layout are the same.

    python benchmarks/architectures.py --train 'data/train_*.root' --val data/val.root \
        --test data/test.root -o benchmarks/results/architectures.json
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml

from xec_train.config import recipes

RESEARCH = {
    "arch": "research",
    "layout": "physical",
    "encoder_dim": 128,
    "hex_channels": 32,
    "outer_fine_pool": [3, 3],
    "transformer_dropout": 0.0,
    "head_dropout": 0.0,
}
RESEARCH_TRAINING = {"epochs": 1, "lr": 1e-3, "weight_decay": 1e-3, "ema_decay": 0.99}
RESEARCH_BATCH = 64
PROBE_EVENTS = 1280


def cpu_seconds(command: list[str]) -> float:
    """Run a command; return the processor time it took, imports included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)  # noqa: S603 - our own command line
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def train(folder: Path, name: str, config: dict[str, Any]) -> tuple[Path, float]:
    """Train by a configuration; return the best checkpoint and the processor time [s]."""
    config["checkpoint"] = {"save_dir": str(folder / name), "save_artifacts": False}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [sys.executable, "-m", "xec_train", "regressor", "--config", str(path)]
    seconds = cpu_seconds([*command, "--threads", "1"])
    return folder / name / "checkpoint_best.pth", seconds


def figures(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return sigma68 with errors in the fiducial volume, by network and quantity."""
    return {
        network: {
            quantity: [value["sigma68"], value["sigma68_error"]]
            for quantity, value in quantities.items()
            if quantity in ("energy", "timing", "u", "v", "w", "theta", "phi")
        }
        for network, quantities in metrics["resolution"]["fiducial"].items()
    }


def main() -> None:
    """Train, evaluate, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", required=True)
    parser.add_argument("--val", required=True)
    parser.add_argument("--test", required=True)
    parser.add_argument("--events", type=int, default=100_000, help="labelled events")
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--fit-epochs", type=int, default=20)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    recipe = yaml.safe_load(recipes()["compact"].read_text(encoding="utf-8"))
    recipe["data"] |= {"train_path": options.train, "val_path": options.val, "val_events": 2000}
    recipe["data"]["train_events"] = options.events
    recipe["training"]["view_fit"] = {
        "events": options.events,
        "copies": options.copies,
        "epochs": options.fit_epochs,
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        own, own_seconds = train(folder, "xec", recipe)
        research = {**recipe, "model": RESEARCH}
        research["training"] = {
            key: value for key, value in recipe["training"].items() if key != "view_fit"
        } | RESEARCH_TRAINING
        research["data"] = recipe["data"] | {"batch_size": RESEARCH_BATCH}
        probes = []
        for events in (PROBE_EVENTS, 2 * PROBE_EVENTS):
            research["data"]["train_events"] = events
            probes.append(train(folder, f"probe{events}", research)[1])
        per_event = (probes[1] - probes[0]) / PROBE_EVENTS
        affordable = int((own_seconds - (2 * probes[0] - probes[1])) / per_event)
        # As many passes as the time allows, at most the labelled events each.
        epochs = max(1, -(-affordable // options.events))
        research["data"]["train_events"] = affordable // epochs
        research["training"] |= {"epochs": epochs, "val_every_steps": None}
        other, other_seconds = train(folder, "research", research)
        command = [sys.executable, "-m", "xec_train", "evaluate", str(own), str(other)]
        names = ["--data", options.test, "-o", str(folder / "evaluation"), "--threads", "1"]
        subprocess.run([*command, *names], check=True)  # noqa: S603 - our own command line
        metrics = json.loads((folder / "evaluation/metrics.json").read_text(encoding="utf-8"))
    result = {
        "machine": {"processor": platform.machine(), "torch": torch.__version__},
        "labelled_events": options.events,
        "cpu_seconds": {"xec": own_seconds, "research": other_seconds},
        "research_events_seen": affordable,
        "sigma68": figures(metrics),
        "events_per_second": metrics["throughput"],
    }
    text = json.dumps(result, indent=1)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
