"""Stages in threads behave like the chain of generators they are."""

import threading

import pytest

from xec_deploy.inference.overlap import Ahead, Channel, Closed


def test_items_keep_their_order_and_errors_come_after_them():
    def items():
        yield from range(5)
        raise ValueError("entry 5")

    with Ahead(items(), 2, "test") as ahead:
        assert [next(ahead) for _ in range(5)] == list(range(5))
        with pytest.raises(ValueError, match="entry 5"):
            next(ahead)


def test_it_runs_ahead_only_so_far():
    made = []
    going = threading.Event()

    def items():
        for number in range(100):
            made.append(number)
            if number == 3:
                going.set()
            yield number

    with Ahead(items(), 3, "test") as ahead:
        assert going.wait(10)
        assert next(ahead) == 0
        assert len(made) <= 6
    assert len(made) < 10


def test_closing_the_last_stage_closes_all():
    closed = []

    def numbers():
        try:
            yield from iter(int, 1)
        finally:
            closed.append("numbers")

    def squares(source):
        try:
            for number in source:
                yield number**2
        finally:
            closed.append("squares")

    first = Ahead(numbers(), 2, "numbers")
    second = Ahead(squares(first), 2, "squares")
    assert next(second) == 0
    second.close()
    first.close()
    assert sorted(closed) == ["numbers", "squares"]


def test_a_closed_channel_wakes_both_ends():
    channel = Channel(1)
    channel.put(1)
    outcome = []

    def put():
        try:
            channel.put(2)
        except Closed:
            outcome.append("closed")

    thread = threading.Thread(target=put)
    thread.start()
    channel.close()
    thread.join()
    assert outcome == ["closed"]
    with pytest.raises(Closed):
        channel.get()
