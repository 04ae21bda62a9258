"""Files dealt out to tasks: each exactly once, about as much to read for everyone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xec_deploy.cluster.shards import deal_evenly, in_order
from xec_deploy.errors import UsageError
from xec_deploy.events import InputFile


@pytest.fixture
def files(tmp_path):
    """Nine files of 10 to 90 kB and one that is not there."""
    for number in range(1, 10):
        (tmp_path / f"{number}.root").write_bytes(bytes(10_000 * number))
    return [InputFile(str(tmp_path / f"{number}.root"), run=number) for number in range(1, 11)]


def test_in_order(files):
    dealt = in_order(files, 4)
    assert [[item.run for item in task] for task in dealt] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


def test_evenly_by_size(files):
    dealt = deal_evenly(files, 4)
    assert sorted(item.run for task in dealt for item in task) == list(range(1, 11))
    # 450 kB known and 50 kB for the unknown one; the best possible is 125 kB.
    loads = [sum(10 * item.run if item.run < 10 else 50 for item in task) for task in dealt]
    assert max(loads) <= 140
    assert all(task == sorted(task, key=lambda item: item.run) for task in dealt)


@given(st.integers(1, 60), st.integers(1, 40))
def test_nothing_is_lost(count, tasks):
    files = [InputFile(f"https://host/{number}.root") for number in range(count)]
    dealt = deal_evenly(files, tasks)
    assert sorted(item.path for task in dealt for item in task) == sorted(f.path for f in files)
    lengths = [len(task) for task in dealt]
    assert len(lengths) == min(count, tasks)
    assert max(lengths) - min(lengths) <= 1


def test_impossible_numbers(files):
    for deal in (in_order, deal_evenly):
        with pytest.raises(UsageError, match=r"^0 "):
            deal(files, 0)
