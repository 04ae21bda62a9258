"""The order of an epoch: every event once, shared by ranks and workers, found again anywhere."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xec_train.data.order import EpochOrder, split

units = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(sum)


def make(sizes, batch, lanes, *, epoch=0, seed=1, total=None):
    usable = np.asarray(sizes)
    total = int(usable.sum()) if total is None else total
    return EpochOrder(usable, total=total, batch=batch, lanes=lanes, seed=seed, epoch=epoch)


def events_of(order, lane, first_step=0):
    return [
        (segment.unit, int(row))
        for segment in order.segments(lane, first_step)
        for row in order.rows(segment)
    ]


def batches_of(order, lanes):
    """The global batches: per step, the shares of some lanes in turn."""
    drawn = {lane: iter(events_of(order, lane)) for lane in lanes}
    shares = {lane: int(order.shares[lane + 1] - order.shares[lane]) for lane in lanes}
    return [
        [next(drawn[lane]) for lane in lanes for _ in range(shares[lane])]
        for _ in range(order.steps)
    ]


@settings(deadline=None, max_examples=25)
@given(units, st.integers(1, 30), st.integers(1, 16), st.integers(0, 3))
def test_every_event_at_most_once_and_only_a_remainder_is_dropped(sizes, batch, lanes, epoch):
    order = make(sizes, batch, lanes, epoch=epoch)
    batches = batches_of(order, range(lanes))
    seen = [event for rows in batches for event in rows]
    assert len(seen) == len(set(seen)) == sum(sizes) // batch * batch
    assert all(row < sizes[unit] for unit, row in seen)


@settings(deadline=None, max_examples=25)
@given(units, st.sampled_from([1, 2, 4, 8]), st.integers(1, 6), st.integers(1, 4))
def test_ranks_and_workers_share_the_batches_of_one_process(sizes, world, per_rank, workers):
    lanes = 8
    order = make(sizes, world * per_rank, lanes)
    alone = batches_of(order, range(lanes))
    each = lanes // world
    shared = [[] for _ in range(order.steps)]
    for rank in range(world):
        edges = rank * each + split(each, min(workers, each))
        for first, last in pairwise(edges):
            for step, rows in enumerate(batches_of(order, range(first, last))):
                shared[step] += rows
    assert shared == alone
    assert all(len(rows) == world * per_rank for rows in alone)


@settings(deadline=None, max_examples=25)
@given(units, st.integers(1, 20), st.data())
def test_any_batch_can_be_reached_without_those_before(sizes, batch, data):
    order = make(sizes, batch, 4)
    step = data.draw(st.integers(0, order.steps))
    for lane in range(4):
        share = int(order.shares[lane + 1] - order.shares[lane])
        assert events_of(order, lane, step) == events_of(order, lane)[step * share :]


def test_epochs_and_seeds_differ_and_repeat():
    def drawn(**options):
        return batches_of(make([30, 20, 50], 10, 4, **options), range(4))

    assert drawn() == drawn()
    assert drawn() != drawn(epoch=1)
    assert drawn() != drawn(seed=2)


def test_a_limit_takes_other_events_in_each_epoch():
    seen = [set(events_of(make([30] * 10, 10, 1, epoch=e, total=60), 0)) for e in range(5)]
    assert all(len(events) == 60 for events in seen)
    assert len(set.union(*seen)) > 100


def test_a_batch_mixes_units_and_a_unit_is_spread():
    """Statistics of the order: correlations of neighbours must be those of chance."""
    sizes, lanes, batch = [100] * 80, 8, 32
    batches = batches_of(make(sizes, batch, lanes), range(lanes))
    units_of = [len({unit for unit, _ in rows}) for rows in batches]
    assert min(units_of) >= lanes
    unit = np.array([unit for rows in batches for unit, _ in rows])
    # the average distance of two events of a unit is that of a window of eight units
    places = [np.flatnonzero(unit == number) for number in range(80)]
    assert np.mean([np.ptp(place) for place in places if len(place)]) > 600
    row = np.array([row for rows in batches for _, row in rows])
    assert abs(np.corrcoef(row[:-1], row[1:])[0, 1]) < 0.05
    assert abs(np.corrcoef(row, np.arange(len(row)))[0, 1]) < 0.05


def test_split_is_even():
    assert split(10, 4).tolist() == [0, 2, 5, 7, 10]
    assert split(3, 5).tolist() == [0, 0, 1, 1, 2, 3]
