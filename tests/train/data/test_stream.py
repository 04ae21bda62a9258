"""The stream of training events: complete, shuffled reproducibly, honest about bad events."""

import logging

import awkward as ak
import numpy as np
import pytest
import torch
import uproot

from xec_deploy.errors import InputError, UsageError
from xec_deploy.events import open_events
from xec_train.data import RawBatch

COUNT = 300
"""Events of the three files."""


def test_every_event_once_and_in_order(stream, files, simulated, energies):
    batches = list(stream(files))
    rows = slice(0, COUNT)
    np.testing.assert_array_equal(energies(batches), simulated["energyTruth"][rows])
    for attribute, name in (
        ("npho", "npho"),
        ("time", "relative_time"),
        ("dead", "dead"),
        ("run", "run"),
        ("event", "event"),
    ):
        joined = torch.cat([getattr(batch, attribute) for batch in batches]).numpy()
        np.testing.assert_array_equal(joined, simulated[name][rows], err_msg=name)
    position = torch.cat([batch.targets["uvwFI"] for batch in batches]).numpy()
    np.testing.assert_array_equal(position, simulated["uvwTruth"][rows])
    assert batches[0].npho.dtype == batches[0].targets["energy"].dtype == torch.float32
    assert batches[0].dead.dtype == torch.bool
    assert batches[0].weight is None


@pytest.mark.parametrize("batch_size", [7, 32, 300, 1000])
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_are_full_and_as_many_as_announced(stream, files, batch_size, shuffle):
    events = stream(files, shuffle=shuffle, batch_size=batch_size)
    if shuffle and batch_size > COUNT:
        with pytest.raises(InputError, match=r"300 events do not fill a batch of 1000.*Lower"):
            list(events)
        return
    sizes = [len(batch) for batch in events]
    full = COUNT // batch_size
    assert sizes[:full] == [batch_size] * full
    assert len(sizes) == len(events) == (full if shuffle else -(-COUNT // batch_size))
    assert sum(sizes) == (full * batch_size if shuffle else COUNT)


def test_shuffling_keeps_every_event(stream, files, simulated, energies):
    events = stream(files, shuffle=True, batch_size=30)
    first, second = energies(events), energies(events)
    expected = np.sort(simulated["energyTruth"][:COUNT])
    for epoch in (first, second):
        np.testing.assert_array_equal(np.sort(epoch), expected)
    assert (first != second).any()
    assert (first != simulated["energyTruth"][:COUNT]).any()


def test_order_is_reproducible(stream, files, energies):
    first, again = (stream(files, shuffle=True, seed=4) for _ in range(2))
    for _ in range(2):
        np.testing.assert_array_equal(energies(first), energies(again))
    assert (energies(stream(files, shuffle=True, seed=5)) != energies(first)).any()
    first.epoch = again.epoch = 7
    np.testing.assert_array_equal(energies(first), energies(again))


def test_inputs_stay_with_their_targets(stream, files, simulated):
    of_energy = {energy: row for row, energy in enumerate(simulated["energyTruth"])}
    for batch in stream(files, shuffle=True):
        rows = [of_energy[energy] for energy in batch.targets["energy"][:, 0].numpy()]
        np.testing.assert_array_equal(batch.npho.numpy(), simulated["npho"][rows])
        np.testing.assert_array_equal(batch.time.numpy(), simulated["relative_time"][rows])
        np.testing.assert_array_equal(batch.dead.numpy(), simulated["dead"][rows])
        np.testing.assert_array_equal(batch.targets["angle"].numpy(), simulated["emiAng"][rows])
        np.testing.assert_array_equal(batch.event.numpy(), simulated["event"][rows])


def test_max_events(stream, files, simulated, energies):
    for limit in (1, 49, 131, 300, 10**6):
        events = stream(files, max_events=limit)
        count = min(limit, COUNT)
        np.testing.assert_array_equal(energies(events), simulated["energyTruth"][:count])
        assert len(events) == -(-count // 32)
    shuffled = stream(files, shuffle=True, max_events=96)
    assert [len(batch) for batch in shuffled] == [32] * 3


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("shuffle", [False, True])
def test_workers_change_nothing(stream, files, workers, shuffle):
    """Two epochs, and a third that is broken off, bit for bit as without workers."""
    options = {"shuffle": shuffle, "batch_size": 28}
    alone, shared = stream(files, **options), stream(files, **options, num_workers=workers)
    for _ in range(2):
        for left, right in zip(alone, shared, strict=True):
            for name, values in (left.tensors() | left.targets).items():
                assert torch.equal(values, (right.tensors() | right.targets)[name]), name
    next(iter(shared))
    next(iter(alone))
    for left, right in zip(alone, shared, strict=True):
        assert torch.equal(left.npho, right.npho)


@pytest.mark.parametrize("world", [2, 3, 8])
def test_ranks_see_their_parts_once(stream, files, simulated, energies, world):
    """Evaluation: exactly once, in the order of the files, though there are fewer files."""
    parts = [energies(stream(files, rank=rank, world=world)) for rank in range(world)]
    np.testing.assert_array_equal(np.concatenate(parts), simulated["energyTruth"][:COUNT])
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("world", "workers"), [(2, 0), (2, 1), (8, 0)])
def test_ranks_share_the_batch_of_one_process(stream, files, energies, world, workers):
    options = {"shuffle": True, "seed": 3}
    alone = list(stream(files, **options, batch_size=4 * world))
    parts = [
        stream(files, **options, batch_size=4, rank=rank, world=world, num_workers=workers)
        for rank in range(world)
    ]
    assert {len(part) for part in parts} == {len(alone)}
    for batch, *shares in zip(alone, *parts, strict=True):
        np.testing.assert_array_equal(energies([batch]), energies(shares))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_epoch_continues_bit_for_bit(stream, files, workers):
    options = {"shuffle": True, "batch_size": 16, "num_workers": workers}
    whole = stream(files, **options)
    list(whole)
    expected = list(whole)
    for stop in (1, 7, len(expected) - 1):
        broken = stream(files, **options)
        list(broken)
        batches = iter(broken)
        for _ in range(stop):
            next(batches)
        state = broken.state_dict()
        assert (state["epoch"], state["batches"]) == (1, stop)
        resumed = stream(files, **options)
        resumed.load_state_dict(state)
        assert resumed.state_dict() == state
        rest = list(resumed)
        assert len(rest) == len(expected) - stop
        for left, right in zip(expected[stop:], rest, strict=True):
            assert torch.equal(left.npho, right.npho)
            assert torch.equal(left.targets["angle"], right.targets["angle"])
        assert resumed.epoch == 2


def test_the_position_after_an_epoch_is_the_next_one(stream, files):
    events = stream(files, shuffle=True)
    assert events.state_dict()["epoch"] == 0
    for batch in events:
        assert len(batch) == 32
        state = events.state_dict()
    assert (state["epoch"], state["batches"]) == (1, 0)
    assert events.state_dict() == state


def test_a_position_in_other_data_is_told(stream, files, caplog):
    events = stream(files, shuffle=True)
    next(iter(events))
    state = events.state_dict()
    other = stream(files[:2], shuffle=True)
    with caplog.at_level(logging.WARNING):
        other.load_state_dict(state)
    assert "epoch 0 starts from its first batch" in caplog.text
    assert len(list(other)) == len(other)


def spoiled_energy(simulated, rows, bad):
    energy = simulated["energyTruth"][rows].copy()
    for row, value in bad.items():
        energy[row] = value
    return energy


def test_events_without_finite_truth_are_left_out(
    stream, write_events, simulated, tmp_path, energies, caplog
):
    bad = {0: np.nan, 10: np.inf, 11: 1e10, 39: -np.inf}
    energy = spoiled_energy(simulated, slice(0, 40), bad)
    path = write_events(tmp_path / "a.root", slice(0, 40), energyTruth=energy)
    expected = np.delete(simulated["energyTruth"][:40], list(bad))
    with caplog.at_level(logging.WARNING):
        events = stream([path], batch_size=15)
    assert "36 used, 0 outside the fiducial volume, 4 without finite truth" in caplog.text
    np.testing.assert_array_equal(energies(events), expected)
    # A limit counts the events that are used.
    np.testing.assert_array_equal(energies(stream([path], max_events=20)), expected[:20])
    shuffled = energies(stream([path], shuffle=True, batch_size=9))
    np.testing.assert_array_equal(np.sort(shuffled), np.sort(expected))


def test_a_file_without_truth_is_an_error(stream, write_events, simulated, tmp_path):
    rows = slice(0, 20)
    energy = spoiled_energy(simulated, rows, dict.fromkeys(range(20), np.nan))
    path = write_events(tmp_path / "none.root", rows, energyTruth=energy)
    with pytest.raises(InputError, match=r"none\.root: no event has finite truth"):
        stream([path])
    # Another task of the same file is fine.
    assert sum(len(batch) for batch in stream([path], tasks=("uvwFI",))) == 20


def test_unreadable_events_are_left_out_and_counted(stream, tmp_path, caplog):
    """Vectors of the wrong length show only when they are read."""
    path = str(tmp_path / "vectors.root")
    lengths = [4760, 0, 4760, 4759, 4760, 4760, 4760, 4760]
    with uproot.recreate(path) as file:
        names = ("run", "event", "npho", "time")
        types = ("i4", "i4", "var * float32", "var * float32")
        tree = file.mktree("tree", dict(zip(names, types, strict=True)))
        rows = ak.Array([np.full(length, 100.0, "f4") for length in lengths])
        numbers = np.arange(8, dtype="i4")
        tree.extend({"run": numbers, "event": numbers, "npho": rows, "time": rows})
    for shuffle in (False, True):
        events = stream([path], shuffle=shuffle, tasks=(), batch_size=2)
        assert events.num_events == 8
        with caplog.at_level(logging.WARNING):
            batches = list(events)
        assert events.unreadable == 2
        assert "2 events were left out" in caplog.text
        seen = torch.cat([batch.event for batch in batches])
        assert sorted(seen.tolist()) == [0, 2, 4, 5, 6, 7]
        assert all((batch.npho == 100).all() for batch in batches)
    assert list(map(len, stream([path], tasks=(), batch_size=5))) == [5, 1]


def test_fiducial_cuts_need_no_training_of_the_position(
    stream, files, simulated, energies, write_events, tmp_path
):
    cuts = {"enabled": True, "u_max": 10.0, "v_max": 40.0, "w_min": 1.0, "w_max": 8.0}
    u, v, w = simulated["uvwTruth"][:COUNT].T
    inside = (abs(u) < 10) & (abs(v) < 40) & (w >= 1) & (w < 8)
    events = stream(files, tasks=("energy",), fiducial=cuts)
    assert 0 < inside.sum() < COUNT
    assert events.num_events == inside.sum()
    assert events.counts.outside == COUNT - inside.sum()
    expected = simulated["energyTruth"][:COUNT][inside]
    np.testing.assert_array_equal(energies(events), expected)
    shuffled = energies(stream(files, shuffle=True, tasks=("energy",), fiducial=cuts, batch_size=1))
    np.testing.assert_array_equal(np.sort(shuffled), np.sort(expected))
    with pytest.raises(InputError, match="no event lies in the fiducial volume"):
        stream(files, tasks=("energy",), fiducial={**cuts, "w_min": 7.9999999})
    blind = write_events(tmp_path / "blind.root", slice(0, 5), uvwTruth=None)
    with pytest.raises(InputError, match="no truth branch for the fiducial cuts"):
        stream([blind], tasks=("energy",), fiducial=cuts)


def test_missing_truth(stream, write_events, files, tmp_path):
    path = write_events(tmp_path / "a.root", slice(0, 5), uvwTruth=None, nGamma=None)
    with pytest.raises(InputError, match=r"a\.root: no truth branch for task 'uvwFI'"):
        stream([files[0], path])
    assert len(stream([path], tasks=("energy",))) == 1
    assert len(stream([path], tasks=())) == 1
    with pytest.raises(InputError, match="'n_gamma'"):
        stream([path], tasks=("n_gamma",))


def test_named_truth(stream, files, simulated):
    (batch,) = stream(files, tasks=("uvwFI",), truth={"uvwFI": "xyzVTX"}, batch_size=COUNT)
    np.testing.assert_array_equal(batch.targets["uvwFI"].numpy(), simulated["xyzVTX"][:COUNT])
    with pytest.raises(InputError, match=r"no branch 'emiAnk'.*Did you mean 'emiAng'"):
        stream(files, tasks=("angle",), truth={"angle": "emiAnk"})
    with pytest.raises(InputError, match=r"'emiVec' has 3 components, task 'angle' needs 2"):
        stream(files, tasks=("angle",), truth={"angle": "emiVec"})


def test_number_of_photons_is_a_class(stream, write_events, tmp_path):
    photons = np.array([0, 1, 2, 4, 5, -1, 3], np.int32)
    path = write_events(tmp_path / "a.root", slice(0, 7), nGamma=photons)
    (batch,) = stream([path], tasks=("n_gamma",))
    assert batch.targets["n_gamma"].tolist() == [[0], [1], [2], [4], [3]]


def test_dead_channels_from_a_list(stream, files, tmp_path, simulated):
    (tmp_path / "dead.txt").write_text("7\n4000\n")
    batch = next(iter(stream(files, dead=str(tmp_path / "dead.txt"))))
    assert batch.dead[:, [7, 4000]].all()
    assert batch.dead.sum(dim=1).max() < 200
    undead = next(iter(stream(files, dead="none"))).dead.numpy()
    np.testing.assert_array_equal(undead, ~(simulated["npho"][:32] <= 9e9))


def test_no_events_and_no_files(stream, reference_root, tmp_path):
    with pytest.raises(InputError, match="hold no events"):
        stream([str(reference_root / "no_events.root")], tasks=("energy",))
    with pytest.raises(UsageError, match="nothing_"):
        stream([str(tmp_path / "nothing_*.root")])
    with pytest.raises(InputError, match="missing"):
        stream([str(tmp_path / "missing.root")])


@pytest.mark.parametrize("workers", [0, 1])
def test_damage_is_one_sentence_from_a_worker_too(stream, reference_root, workers):
    events = stream(
        [str(reference_root / "corrupted.root")], tasks=(), batch_size=4, num_workers=workers
    )
    with pytest.raises(InputError, match=r"corrupted\.root.*reading failed") as caught:
        list(events)
    assert "Traceback" not in str(caught.value)


def test_a_file_that_changes_is_told(stream, write_events, tmp_path, simulated):
    rows = slice(0, 40)
    path = write_events(tmp_path / "a.root", rows)
    events = stream([path])
    energy = spoiled_energy(simulated, rows, {3: np.nan})
    write_events(tmp_path / "a.root", rows, energyTruth=energy)
    with pytest.raises(InputError, match="has changed since the training started"):
        list(events)


def test_a_glob_is_one_stream(stream, files):
    pattern = files[0].replace("train_0", "train_*")
    assert stream([pattern]).num_events == COUNT


def test_raw_batch(energies):
    batch = RawBatch(
        torch.arange(6.0).reshape(3, 2),
        torch.zeros(3, 2),
        torch.zeros(3, 2, dtype=torch.bool),
        {"energy": torch.arange(3.0)[:, None]},
        weight=torch.ones(3),
    )
    assert len(batch) == 3
    assert batch.nbytes == 24 + 24 + 6 + 12 + 12
    assert energies([batch.take(slice(1, None))]).tolist() == [1, 2]
    assert energies([batch.take(torch.tensor([2, 0]))]).tolist() == [2, 0]
    joined = batch.join(batch.take(slice(1)))
    assert energies([joined]).tolist() == [0, 1, 2, 0]
    assert joined.weight.shape == (4,)
    assert batch.take(slice(0)).join(batch) is batch
    moved = batch.to(torch.device("meta"))
    assert moved.npho.device.type == moved.targets["energy"].device.type == "meta"
    assert moved.run is None


@pytest.mark.parametrize("name", ["fixed_lz4", "double_zlib", "vector_zstd", "rvec", "rntuple"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_form_of_file(stream, reference_root, name, shuffle):
    path = str(reference_root / f"{name}.root")
    batches = list(stream([path], shuffle=shuffle, tasks=("energy", "uvwFI"), batch_size=6))
    with open_events(path, keep=["energyTruth"]) as file:
        expected = next(file.batches(60))
    joined = batches[0]
    for batch in batches[1:]:
        joined = joined.join(batch)
    order = np.argsort(joined.event.numpy(), kind="stable")
    reference = np.argsort(expected.event, kind="stable")
    np.testing.assert_array_equal(joined.npho.numpy()[order], expected.npho[reference])
    np.testing.assert_array_equal(joined.dead.numpy()[order], expected.dead[reference])
    energy = joined.targets["energy"][:, 0].numpy()
    np.testing.assert_array_equal(energy[order], expected.extra["energyTruth"][reference])
