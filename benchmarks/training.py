"""Events a second of the trainer, beside a plain PyTorch loop on the same model, data and batch.

Simulates a file, then trains for the same steps in turn: by ``xec_train``'s trainer (Lightning,
averaged weights, log, non-finite gradients skipped) and by the loop a user would write (forward,
loss, backward, clipping, AdamW).  Both have the same batches of an ``EventStream``, in memory, so
that the loader, which has a benchmark of its own, does not decide.  The best repetition counts.

    python benchmarks/training.py [--recipe regressor_256] [--batch 32] [--steps 20] [--json OUT]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from machine import write

from xec_deploy.simulation import SimulationConfig, write_simulation
from xec_train.config import RegressorConfig, load_config
from xec_train.data import EventStream, RawBatch
from xec_train.regressor import RegressorModule
from xec_train.training import CheckpointFiles, StopOnSignal, TrainingData, fit

UNCOUNTED = 3
"""Steps before the clock starts."""


class Memory:
    """The batches of an epoch, in memory."""

    def __init__(self, batches: list[RawBatch]) -> None:
        self.batches = batches
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[RawBatch]:
        return iter(self.batches)

    def state_dict(self) -> dict[str, Any]:
        """Return a position nobody asks for."""
        return {"epoch": self.epoch, "batches": 0}

    def load_state_dict(self, state: Any) -> None:
        """Nothing is resumed here."""


class Timed(RegressorModule):
    """Notes when batches end."""

    def on_train_batch_end(self, *_: Any) -> None:
        """Note the time once the device has finished."""
        self.ended.append(clock(self.device))

    ended: list[float]


def clock(device: torch.device) -> float:
    """Return the time when all work is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def rate(ended: list[float], batch: int) -> float:
    """Return events a second after the first steps."""
    return (len(ended) - UNCOUNTED) * batch / (ended[-1] - ended[UNCOUNTED - 1])


def trainer(config: RegressorConfig, batches: list[RawBatch]) -> float:
    """Return events a second of the trainer."""
    stop = StopOnSignal()
    module = Timed(config, lambda _: batches)
    module.ended = []
    data = TrainingData(Memory(batches), Memory(batches[:1]), stop)
    fit(module, data, config, CheckpointFiles(config.directory), stop=stop)
    return rate(module.ended, len(batches[0]))


def plain(config: RegressorConfig, batches: list[RawBatch], device: torch.device) -> float:
    """Return events a second of a loop over the same network."""
    module = RegressorModule(config, lambda _: batches).to(device)
    options = config.training
    optimiser = torch.optim.AdamW(module.model.parameters(), lr=options.lr)
    precision = options.precision_on(gpu=device.type == "cuda")
    ended = []
    for cpu_batch in batches:
        batch = cpu_batch.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            loss, _ = module.training_loss(batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.model.parameters(), options.grad_clip)
        optimiser.step()
        ended.append(clock(device))
    return rate(ended, len(batches[0]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--recipe", default="regressor_256")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        events = (options.steps + UNCOUNTED) * options.batch
        path = Path(folder, "events.root")
        write_simulation(path, SimulationConfig(seed=1), events, threads=options.threads)
        overrides = [
            f"data.train_path={path}",
            f"data.val_path={path}",
            f"data.batch_size={options.batch}",
            "data.num_workers=0",
            f"checkpoint.save_dir={folder}/run",
            "training.epochs=1",
            "mlflow.enabled=false",
        ]
        config = load_config(RegressorConfig, options.recipe, overrides)
        stream = EventStream(config.data.train_path, config.data, config.active_tasks, shuffle=True)
        batches = list(stream)
        found: dict[str, list[float]] = {"trainer": [], "plain": []}
        for _ in range(options.repeat):
            found["plain"].append(plain(config, batches, device))
            found["trainer"].append(trainer(config, batches))
    best = {name: max(rates) for name, rates in found.items()}
    record = {
        "recipe": options.recipe,
        "batch": options.batch,
        "steps": options.steps,
        "gpu": torch.cuda.get_device_name() if device.type == "cuda" else None,
        "threads": options.threads,
        "precision": config.training.precision_on(gpu=device.type == "cuda"),
        "parameters": sum(
            p.numel() for p in RegressorModule(config, lambda _: []).model.parameters()
        ),
        "events_per_s": best,
        "all": found,
        "ratio": best["trainer"] / best["plain"],
    }
    if options.json:
        write(options.json, record, "torch", "lightning")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
