"""The bound in bytes: what is planned stays below it, and so does what is allocated."""

import logging
import weakref

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xec_deploy.errors import UsageError
from xec_train.config.regressor import RegressorData
from xec_train.data import RawBatch
from xec_train.data.budget import EVENT_BYTES, evaluation_budget, training_budget

configs = st.builds(
    lambda **options: RegressorData(train_path=("a",), val_path=("a",), **options),
    batch_size=st.integers(1, 2000),
    memory_mb=st.integers(1, 4000),
    chunksize=st.integers(1, 300_000),
    num_workers=st.integers(0, 2),
    prefetch_factor=st.integers(1, 16),
)


@settings(deadline=None, max_examples=50)
@given(configs, st.integers(1, 800), st.integers(1, 5000), st.sampled_from([1, 2, 3, 8, 16]))
def test_the_plan_of_a_training_fits(config, largest, units, world):
    try:
        budget = training_budget(config, largest=largest, units=units, world=world)
    except UsageError:
        # refused only where the least does not fit
        least = max(4 * config.batch_size, largest) * EVENT_BYTES
        assert least > config.memory_mb * 1e6 / 2
        return
    pool = budget.lanes // world * largest
    ahead = (budget.prefetch + 1 if budget.workers else 0) * config.batch_size
    assert (pool + ahead + 2 * config.batch_size) * EVENT_BYTES <= config.memory_mb * 1e6
    assert budget.lanes % world == 0
    assert budget.workers <= budget.lanes // world
    assert budget.prefetch >= 1 or not budget.workers


@settings(deadline=None, max_examples=50)
@given(configs, st.integers(1, 800), st.integers(1, 5000))
def test_the_plan_of_an_evaluation_fits(config, largest, units):
    try:
        budget = evaluation_budget(config, largest=largest, units=units)
    except UsageError:
        least = (2 * config.batch_size + largest) * EVENT_BYTES
        assert least > config.memory_mb * 1e6
        return
    rings = budget.workers * (budget.prefetch + 1) if budget.workers else 1
    assert (rings * largest + 2 * config.batch_size) * EVENT_BYTES <= config.memory_mb * 1e6


@settings(deadline=None, max_examples=50)
@given(configs, st.integers(1, 800), st.integers(1, 5000), st.sampled_from([2, 4, 8]))
def test_ranks_have_the_lanes_of_one_process_of_their_size(config, largest, units, world):
    together = config.model_copy(
        update={
            "batch_size": config.batch_size * world,
            "memory_mb": config.memory_mb * world,
            "chunksize": config.chunksize * world,
        }
    )
    try:
        alone = training_budget(together, largest=largest, units=units, world=1)
        shared = training_budget(config, largest=largest, units=units, world=world)
    except UsageError:
        assume(False)
    assert shared.lanes == max(alone.lanes, world)


def test_too_little_memory_says_how_much_is_enough():
    config = RegressorData(train_path=("a",), val_path=("a",), batch_size=4096, memory_mb=100)
    with pytest.raises(UsageError, match=r"data\.memory_mb = 100 is too small") as caught:
        training_budget(config, largest=390, units=10, world=1)
    enough = int(str(caught.value).split("memory_mb to ")[1].split()[0])
    training_budget(config.model_copy(update={"memory_mb": enough}), largest=390, units=10, world=1)


def test_fewer_batches_ahead_are_told(caplog):
    config = RegressorData(
        train_path=("a",), val_path=("a",), batch_size=512, num_workers=1, prefetch_factor=16
    )
    with caplog.at_level(logging.INFO):
        budget = training_budget(
            config.model_copy(update={"memory_mb": 512}), largest=390, units=10, world=1
        )
    assert budget.prefetch == 8
    assert "8 batches instead of 16 are prefetched" in caplog.text


@pytest.mark.parametrize("shuffle", [False, True])
def test_what_is_allocated_stays_below_the_bound(stream, files, monkeypatch, shuffle):
    """All memory for events comes from one function; at no time is more of it alive."""
    megabytes = 24
    events = stream(files, shuffle=shuffle, batch_size=30, memory_mb=megabytes)
    alive: dict[int, int] = {}
    peak = 0
    allocate = RawBatch.empty

    def counted(*arguments, **options):
        nonlocal peak
        batch = allocate(*arguments, **options)
        for tensor in (batch.tensors() | batch.targets).values():
            storage = tensor.untyped_storage()
            alive[id(storage)] = storage.nbytes()
            weakref.finalize(storage, alive.pop, id(storage))
        peak = max(peak, sum(alive.values()))
        return batch

    monkeypatch.setattr(RawBatch, "empty", counted)
    events._empty = lambda: counted(30, events.tasks)
    assert sum(len(batch) for _ in range(2) for batch in events) == 600
    assert 0 < peak <= megabytes * 1e6


def test_large_baskets_are_cut(stream, files, energies, simulated, monkeypatch):
    """A basket larger than a unit may be is read in parts, each event once."""
    from xec_train.data import stream as module

    monkeypatch.setattr(module, "UNIT_EVENTS", 32)
    events = stream(files)
    assert events._index.largest <= 32
    assert (energies(events) == simulated["energyTruth"][:300]).all()
    shuffled = energies(stream(files, shuffle=True, batch_size=10))
    assert sorted(shuffled) == sorted(simulated["energyTruth"][:300])
