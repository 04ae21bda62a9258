"""The stream of training events: complete, shuffled reproducibly, honest about bad events."""

import weakref

import numpy as np
import pytest
import torch

from xec_deploy.errors import InputError, UsageError
from xec_train.config import DataConfig
from xec_train.data import EventStream, RawBatch
from xec_train.data import stream as data

TASKS = ("energy", "uvwFI", "angle")


def config(files, **options):
    defaults = {"batch_size": 32, "chunksize": 50}
    return DataConfig(train_path=tuple(files), val_path=tuple(files), **{**defaults, **options})


def stream(files, *, shuffle=False, tasks=TASKS, max_events=None, seed=0, **options):
    return EventStream(
        files, config(files, **options), tasks, shuffle=shuffle, seed=seed, max_events=max_events
    )


def energies(batches):
    return torch.cat([batch.targets["energy"][:, 0] for batch in batches]).numpy()


def test_every_event_once_and_in_order(files, simulated):
    batches = list(stream(files))
    rows = slice(0, 300)
    np.testing.assert_array_equal(energies(batches), simulated["energyTruth"][rows])
    for attribute, name in (("npho", "npho"), ("time", "relative_time"), ("dead", "dead")):
        joined = torch.cat([getattr(batch, attribute) for batch in batches]).numpy()
        np.testing.assert_array_equal(joined, simulated[name][rows], err_msg=name)
    position = torch.cat([batch.targets["uvwFI"] for batch in batches]).numpy()
    np.testing.assert_array_equal(position, simulated["uvwTruth"][rows])
    assert batches[0].npho.dtype == batches[0].targets["energy"].dtype == torch.float32
    assert batches[0].dead.dtype == torch.bool


@pytest.mark.parametrize(("batch_size", "chunksize"), [(32, 50), (64, 7), (7, 1000), (300, 300)])
def test_batches_are_full_and_as_many_as_announced(files, batch_size, chunksize):
    events = stream(files, shuffle=True, batch_size=batch_size, chunksize=chunksize)
    sizes = [len(batch) for batch in events]
    assert len(sizes) == len(events) == -(-300 // batch_size)
    assert set(sizes[:-1]) <= {batch_size}
    assert sum(sizes) == 300


def test_shuffling_keeps_every_event(files, simulated):
    events = stream(files, shuffle=True)
    first, second = energies(events), energies(events)
    expected = np.sort(simulated["energyTruth"][:300])
    for epoch in (first, second):
        np.testing.assert_array_equal(np.sort(epoch), expected)
    assert (first != second).any()
    assert (first != simulated["energyTruth"][:300]).any()


def test_order_is_reproducible(files):
    first, again = stream(files, shuffle=True, seed=4), stream(files, shuffle=True, seed=4)
    for _ in range(2):
        np.testing.assert_array_equal(energies(first), energies(again))
    other = energies(stream(files, shuffle=True, seed=5))
    assert (other != energies(stream(files, shuffle=True, seed=4))).any()


def test_inputs_stay_with_their_targets(files, simulated):
    of_energy = {energy: row for row, energy in enumerate(simulated["energyTruth"])}
    for batch in stream(files, shuffle=True):
        rows = [of_energy[energy] for energy in batch.targets["energy"][:, 0].numpy()]
        np.testing.assert_array_equal(batch.npho.numpy(), simulated["npho"][rows])
        np.testing.assert_array_equal(batch.targets["angle"].numpy(), simulated["emiAng"][rows])


def test_max_events(files, simulated):
    for limit in (1, 49, 50, 51, 131, 300, 10**6):
        events = stream(files, max_events=limit)
        result = energies(events)
        count = min(limit, 300)
        np.testing.assert_array_equal(result, simulated["energyTruth"][:count])
        assert len(events) == -(-count // 32)


def test_memory_is_bounded_by_chunks(files, monkeypatch):
    """At no time are the tensors of more than a few chunks alive."""
    alive = weakref.WeakSet()
    original = data._usable

    def counted(*arguments):
        batch = original(*arguments)
        alive.add(batch.npho)
        assert len(alive) <= 3
        return batch

    monkeypatch.setattr(data, "_usable", counted)
    count = sum(len(batch) for batch in stream(files, shuffle=True, chunksize=10, batch_size=16))
    assert count == 300


def spoiled_energy(simulated, rows, bad):
    energy = simulated["energyTruth"][rows].copy()
    for row, value in bad.items():
        energy[row] = value
    return energy


def test_events_without_finite_truth_are_left_out(write_events, simulated, tmp_path):
    bad = {0: np.nan, 10: np.inf, 11: 1e10, 39: -np.inf}
    energy = spoiled_energy(simulated, slice(0, 40), bad)
    path = write_events(tmp_path / "a.root", slice(0, 40), energyTruth=energy)
    expected = np.delete(simulated["energyTruth"][:40], list(bad))
    np.testing.assert_array_equal(energies(stream([path], chunksize=15)), expected)
    # A limit counts the events that are used.
    result = energies(stream([path], chunksize=15, max_events=20))
    np.testing.assert_array_equal(result, expected[:20])


def test_a_chunk_without_truth_is_no_error_but_a_file_is(write_events, simulated, tmp_path):
    rows = slice(0, 20)
    energy = spoiled_energy(simulated, rows, dict.fromkeys(range(10), np.nan))
    path = write_events(tmp_path / "half.root", rows, energyTruth=energy)
    assert len(energies(stream([path], chunksize=5))) == 10
    path = write_events(tmp_path / "none.root", rows, energyTruth=energy * np.float32(np.nan))
    with pytest.raises(InputError, match=r"none\.root: no event is readable and has finite truth"):
        list(stream([path]))
    # Another task of the same file is fine.
    assert sum(len(batch) for batch in stream([path], tasks=("uvwFI",))) == 20


def test_missing_truth(write_events, files, tmp_path):
    path = write_events(tmp_path / "a.root", slice(0, 5), uvwTruth=None)
    with pytest.raises(InputError, match=r"a\.root: no truth branch for task 'uvwFI'"):
        stream([files[0], path])
    assert len(stream([path], tasks=("energy",))) == 1
    with pytest.raises(InputError, match="'n_gamma'"):
        stream(files, tasks=("n_gamma",))


def test_truth_of_the_wrong_width(tmp_path, simulated):
    from xec_deploy.events import Column, EventWriter

    names = ("run", "event", "npho", "relative_time")
    with EventWriter(tmp_path / "a.root", {"emiAng": Column("f4", "deg", (3,))}) as writer:
        writer.extend(
            {**{name: simulated[name][:5] for name in names}, "emiAng": np.ones((5, 3), "f4")}
        )
        writer.commit()
    events = stream([str(tmp_path / "a.root")], tasks=("angle",))
    with pytest.raises(InputError, match=r"'emiAng' has 3 components, task 'angle' needs 2"):
        list(events)


def test_no_events_and_no_files(reference_root, tmp_path):
    with pytest.raises(InputError, match="hold no events"):
        stream([str(reference_root / "no_events.root")], tasks=("energy",))
    with pytest.raises(UsageError, match="nothing_"):
        stream([str(tmp_path / "nothing_*.root")])
    with pytest.raises(InputError, match="missing"):
        stream([str(tmp_path / "missing.root")])


def test_a_glob_is_one_stream(files):
    pattern = files[0].replace("train_0", "train_*")
    assert stream([pattern]).num_events == 300


def test_raw_batch():
    batch = RawBatch(
        torch.arange(6.0).reshape(3, 2),
        torch.zeros(3, 2),
        torch.zeros(3, 2, dtype=torch.bool),
        {"energy": torch.arange(3.0)[:, None]},
    )
    assert len(batch) == 3
    assert energies([batch.take(slice(1, None))]).tolist() == [1, 2]
    assert energies([batch.take(torch.tensor([2, 0]))]).tolist() == [2, 0]
    assert energies([batch.join(batch.take(slice(1)))]).tolist() == [0, 1, 2, 0]
    assert batch.take(slice(0)).join(batch) is batch
    moved = batch.to(torch.device("meta"))
    assert moved.npho.device.type == moved.targets["energy"].device.type == "meta"
