"""Streams over the simulated files."""

import pytest
import torch

from xec_train.config.regressor import RegressorData
from xec_train.data import EventStream

TASKS = ("energy", "uvwFI", "angle")


@pytest.fixture(scope="session")
def config():
    """Make the section data; read in this process unless told otherwise."""

    def config(files, **options):
        paths = tuple(files)
        defaults = {"batch_size": 32, "num_workers": 0}
        return RegressorData.model_validate(
            {"train_path": paths, "val_path": paths, **defaults, **options}
        )

    return config


@pytest.fixture(scope="session")
def stream(config):
    """Make a stream; keywords of the stream itself and of the section data may be mixed."""

    def stream(files, *, shuffle=False, tasks=TASKS, **options):
        own = ("seed", "max_events", "rank", "world", "reweighting", "pin_memory")
        mine = {name: options.pop(name) for name in own if name in options}
        return EventStream(files, config(files, **options), tasks, shuffle=shuffle, **mine)

    return stream


@pytest.fixture(scope="session")
def energies():
    """Join the energies of batches: they tell which events these are."""

    def energies(batches):
        return torch.cat([batch.targets["energy"][:, 0] for batch in batches]).numpy()

    return energies
