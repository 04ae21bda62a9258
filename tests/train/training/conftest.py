"""A training small enough to be run, stopped and resumed many times."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from xec_deploy.normalisation import Normalisation
from xec_train.checkpoint import regressor_entries
from xec_train.config import RegressorConfig
from xec_train.data import RawBatch
from xec_train.models import ModelConfig
from xec_train.training import (
    CheckpointFiles,
    StopOnSignal,
    TrainingData,
    TrainingModule,
    find_resume,
    fit,
)

WIDTH = 6


class Sample:
    """Batches of random events, the same whenever an epoch comes again.

    Each process sees its rows of the global batches.
    """

    def __init__(self, steps, batch=8):
        self.steps, self.batch = steps, batch
        self.epoch, self.first, self.position = 0, 0, (0, 0)

    def __len__(self):
        return self.steps

    def __iter__(self):
        epoch, first = self.epoch, self.first
        self.first = 0
        for step in range(first, self.steps):
            self.position = (epoch, step + 1)
            yield self.events(epoch, step)

    def events(self, epoch, step):
        generator = torch.Generator().manual_seed(1000 * epoch + step)
        x = torch.randn(self.batch, WIDTH, generator=generator)
        target = x.sum(dim=1, keepdim=True) + 0.1 * torch.randn(self.batch, 1, generator=generator)
        rank, world = 0, 1
        if torch.distributed.is_initialized():
            rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        rows = slice(rank * self.batch // world, (rank + 1) * self.batch // world)
        return RawBatch(x, x, x > 9, {"energy": target}).take(rows)

    def state_dict(self):
        return {"epoch": self.position[0], "batches": self.position[1]}

    def load_state_dict(self, state):
        self.epoch, self.first = state["epoch"], state["batches"]


class Tiny(TrainingModule):
    """Learns a sum, with dropout; ``spoil`` changes losses, ``on_batch`` watches."""

    def __init__(self, config, *, dropout=0.2, on_batch=None, spoil=None):
        torch.manual_seed(config.training.seed)
        model = nn.Sequential(nn.Linear(WIDTH, 8), nn.Dropout(dropout), nn.Linear(8, 1))
        super().__init__(model, config.training, Normalisation())
        self.on_batch, self.spoil = on_batch, spoil
        self.batches = self.validations = 0
        self.losses = []
        self.errors = []

    def training_loss(self, batch):
        self.batches += 1
        if self.on_batch:
            self.on_batch("training", self.batches)
        loss = (self.model(batch.npho) - batch.targets["energy"]).square().mean()
        if self.spoil:
            loss = self.spoil(self.batches, loss)
        self.losses.append(loss.item())
        return loss, {"energy": loss}

    def validate(self, model, batch):
        self.validations += 1
        if self.on_batch:
            self.on_batch("validation", self.validations)
        self.errors.append((model(batch.npho) - batch.targets["energy"]).square().mean().item())

    def validation_metrics(self):
        errors = [error for part in self.gather(self.errors) for error in part]
        self.errors = []
        return {"val_loss": sum(errors) / len(errors), "val_batches": float(len(errors))}

    def deployable(self):
        average = self.average.module.state_dict() if self.average is not None else None
        return regressor_entries(
            ModelConfig(),
            "physical",
            Normalisation(),
            model_state=self.model.state_dict(),
            ema_state=average,
        )


def tiny_config(save_dir, *, checkpoint=None, distributed=None, **training):
    return RegressorConfig.model_validate(
        {
            "data": {"train_path": [], "val_path": []},
            "tasks": {"energy": {}},
            "training": {
                "epochs": 3,
                "lr": 0.02,
                "ema_decay": 0.8,
                "lr_scheduler": "cosine",
                "warmup_epochs": 0.4,
                "accelerator": "cpu",
                **training,
            },
            "checkpoint": {"save_dir": str(save_dir), **(checkpoint or {})},
            "distributed": distributed or {},
            "mlflow": {"enabled": False},
        }
    )


def run_tiny(config, *, steps=7, batch=8, **options):
    """Train; return the module."""
    stop = StopOnSignal()
    module = Tiny(config, **options)
    data = TrainingData(Sample(steps, batch), Sample(3, batch), stop)
    resume = find_resume(config.checkpoint, "regressor")
    fit(module, data, config, CheckpointFiles(Path(config.directory)), stop=stop, resume=resume)
    return module


def opened(path):
    return torch.load(path, weights_only=True)


def difference(left, right):
    """Return the places in which two nested structures differ."""
    if dataclasses.is_dataclass(left):
        left, right = vars(left), vars(right)
    if isinstance(left, dict):
        found = [] if left.keys() == right.keys() else [f"keys {left.keys() ^ right.keys()}"]
        for key in left.keys() & right.keys():
            found += [f"{key}.{place}" for place in difference(left[key], right[key])]
        return found
    if isinstance(left, list | tuple):
        pairs = zip(left, right, strict=True)
        return [f"{i}.{place}" for i, (a, b) in enumerate(pairs) for place in difference(a, b)]
    same = torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right
    return [] if same else [f"{left} is not {right}"]


@pytest.fixture
def tiny():
    """The parts of a tiny training."""

    class Parts:
        config = staticmethod(tiny_config)
        run = staticmethod(run_tiny)
        open = staticmethod(opened)
        difference = staticmethod(difference)

    return Parts
