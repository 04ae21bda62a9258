"""Status bits of a result."""

from __future__ import annotations

from enum import IntFlag

__all__ = ["Status"]


class Status(IntFlag):
    """Why a result needs care, or why it is NaN; 0 is a plain result."""

    INPAINTED = 1
    """Dead channels were filled before the network saw them."""
    TOO_MANY_DEAD = 2
    """More dead channels than the bundle allows; values are NaN."""
    NO_VALID_INPUT = 4
    """No channel has a valid photon count; values are NaN."""
    OUTSIDE_TRAINING = 8
    """The event is outside what the network was trained on."""
    UNREADABLE = 16
    """The event's arrays could not be read; values are NaN."""
