"""Calibration events: of every kind, and never those the result is judged on."""

import numpy as np
import pytest

from calibration.selection import data_hash, select_events, with_dead_channels
from xec_deploy.errors import InputError
from xec_deploy.parity import DEFAULT_EVENTS
from xec_deploy.parity.events import read_events


def identities(events):
    return [(label.run, label.event) for label in events.labels]


def test_no_event_is_in_both_sets(events_file):
    chosen = select_events([str(events_file)], count=40, judged=90)
    calibration, judged = identities(chosen.calibration), identities(chosen.judged)
    assert (len(set(calibration)), len(set(judged))) == (40, 90)
    assert not set(calibration) & set(judged)
    # Those that `parity` compares by default are judged, so calibration never sees them.
    assert set(identities(read_events([str(events_file)], DEFAULT_EVENTS))) <= set(judged)


def test_a_file_given_twice_gives_no_event_twice(events_file, tmp_path):
    copy = tmp_path / "copy.root"
    copy.write_bytes(events_file.read_bytes())
    chosen = select_events([str(events_file), str(copy)], count=60, judged=80)
    everything = identities(chosen.calibration) + identities(chosen.judged)
    assert len(set(everything)) == 140
    with pytest.raises(InputError, match="200 different readable events"):
        select_events([str(events_file), str(copy)], count=150, judged=80)


def test_the_choice_depends_on_the_seed_alone(events_file):
    hashes = [
        data_hash(select_events([str(events_file)], count=30, judged=70, seed=seed).calibration)
        for seed in (1, 1, 2)
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_events_are_of_every_kind(events_file):
    chosen = select_events([str(events_file)], count=60, judged=64)
    light = np.log(np.where(chosen.calibration.dead, 0, chosen.calibration.npho).sum(axis=1))
    pool = read_events([str(events_file)], 200)
    everything = np.log(np.where(pool.dead, 0, pool.npho).sum(axis=1))
    # Each quarter of the light has about its share.
    counts, _ = np.histogram(light, np.quantile(everything, [0, 0.25, 0.5, 0.75, 1]))
    assert counts.min() >= 8
    # The brightest of the candidates that may be taken is.
    assert light.max() >= np.sort(everything)[-3]
    assert len({label.run for label in chosen.calibration.labels}) >= 3


def test_the_hash_is_of_the_values(events_file):
    events = select_events([str(events_file)], count=10, judged=64).calibration
    assert data_hash(events) != data_hash(events.head(9))
    events.npho[3, 7] += 1
    assert data_hash(events) != data_hash(events.take(np.arange(10)[::-1]))


def test_some_events_lose_more_channels(events_file):
    events = select_events([str(events_file)], count=40, judged=64).calibration
    harder = with_dead_channels(events, 476, seed=1)
    changed = np.flatnonzero((harder.dead != events.dead).any(axis=1))
    assert set(changed) <= set(range(0, 40, 4))
    assert len(changed) >= 8
    assert (harder.dead >= events.dead).all()
    # Every second of them loses whole boards of 16.
    gained = harder.dead[4] & ~events.dead[4]
    boards = (harder.dead[4, :4080].reshape(-1, 16)).all(axis=1)
    assert gained.sum() <= 16 * boards.sum()
    assert (harder.dead.sum(axis=1) <= events.dead.sum(axis=1) + 476).all()
