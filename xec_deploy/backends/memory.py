"""What does not fit on the GPU is tried again in smaller batches."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from xec_deploy.errors import UsageError

__all__ = ["OutOfDeviceMemory", "shrink_until_it_fits"]

T = TypeVar("T")

_LOG = logging.getLogger(__name__)


class OutOfDeviceMemory(Exception):
    """An allocation on the GPU failed."""


def shrink_until_it_fits(
    make: Callable[[int], T], batch: int, smaller: Callable[[int], int | None], *, where: str
) -> tuple[T, int]:
    """Call ``make`` with a batch, and with smaller ones as long as memory does not suffice.

    Parameters
    ----------
    make
        Allocates for a batch; raises :class:`OutOfDeviceMemory` and keeps nothing if it cannot.
    batch
        Events to begin with.
    smaller
        Returns what to try after a batch; None if that was the smallest.
    where
        The engine, for messages.

    Returns
    -------
    made
        What ``make`` returned.
    batch
        The batch it was made for; a warning is logged where it is not the first.

    Raises
    ------
    UsageError
        If the smallest batch does not fit.
    """
    size = batch
    while True:
        try:
            made = make(size)
        except OutOfDeviceMemory as error:
            following = smaller(size)
            if following is None:
                raise UsageError(
                    f"the GPU has no memory for a batch of {size}",
                    where=where,
                    fix="Free the GPU (nvidia-smi shows who uses it) or choose another one.",
                ) from error
            size = following
            continue
        if size != batch:
            _LOG.warning(
                "%s: no memory on the GPU for batches of %d, running %d", where, batch, size
            )
        return made, size
