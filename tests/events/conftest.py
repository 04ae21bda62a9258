"""Real files, ROOT itself, and helpers to make files the way users have them."""

import numpy as np
import pytest

from xec_deploy.events import EventWriter, open_events


@pytest.fixture(scope="session")
def sixty(reference_root, read_all):
    """The 60 events of the reference files as one batch."""
    return read_all(reference_root / "fixed_lz4.root", size=60)


@pytest.fixture
def make_events(tmp_path, rng):
    """Write ``count`` random events with `EventWriter`; returns the path."""

    def make(name, count, **options):
        path = tmp_path / name
        with EventWriter(path, **options) as writer:
            writer.extend(
                {
                    "run": np.full(count, 7),
                    "event": np.arange(count),
                    "npho": rng.normal(500, 100, (count, 4760)),
                    "relative_time": rng.normal(1e-7, 1e-8, (count, 4760)),
                }
            )
            writer.commit()
        return path

    return make


@pytest.fixture
def rng():
    return np.random.default_rng(20240)


# Helpers as fixtures: tests need no import from each other, whatever pytest's import mode.


@pytest.fixture(scope="session")
def join():
    """Join batches to one."""
    return _join


@pytest.fixture(scope="session")
def read_all():
    """Read a file and join its batches to one."""
    return _read_all


@pytest.fixture(scope="session")
def assert_same_events():
    return _assert_same_events


def _read_all(source, size=16, **options):
    """Read a file and join its batches to one."""
    with open_events(source, **options) as file:
        return _join(list(file.batches(size)))


def _join(batches):
    first = batches[0]
    fields = ("run", "event", "npho", "time", "dead", "readable")
    return type(first)(
        entry_start=first.entry_start,
        **{name: np.concatenate([getattr(batch, name) for batch in batches]) for name in fields},
        extra={
            name: np.concatenate([batch.extra[name] for batch in batches]) for name in first.extra
        },
    )


def _assert_same_events(left, right):
    for name in ("run", "event", "npho", "time", "dead", "readable"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)
    assert left.extra.keys() == right.extra.keys()
    for name in left.extra:
        np.testing.assert_array_equal(left.extra[name], right.extra[name], err_msg=name)
