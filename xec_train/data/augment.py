"""Random dead channels, on the device: how a model learns to live with them.

A lost channel is flagged dead, so that the normalisation gives it the same encoding as any other
dead channel.  All randomness comes from the generator that is passed; one on another device than
the batch is refused by torch.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import torch
from torch import Generator, Tensor

from xec_deploy.detector.constants import N_SENSORS
from xec_train.data.batch import RawBatch

__all__ = [
    "BOARD_CHANNELS",
    "MOST_BOARDS",
    "N_BOARDS",
    "dead_boards",
    "lose_channels",
    "random_dead",
    "random_losses",
]

BOARD_CHANNELS: Final = 16
"""Consecutive ids that a readout board holds, and that are lost together."""
N_BOARDS: Final = math.ceil(N_SENSORS / BOARD_CHANNELS)
"""298; the last board has eight channels."""
MOST_BOARDS: Final = 4
"""Boards a pattern holds at most; one, two, three and four are equally likely."""


def lose_channels(
    batch: RawBatch,
    *,
    channel_dropout_rate: float = 0.0,
    dead_fraction_max: float = 0.0,
    dead_board_probability: float = 0.0,
    generator: Generator | None = None,
) -> RawBatch:
    """Flag random channels of a batch as dead; those that are dead stay so.

    Parameters
    ----------
    batch
        Raw events on any device.
    channel_dropout_rate
        Each event loses single channels, a share of them uniform from 0 to this.
    dead_fraction_max, dead_board_probability
        A dead pattern beside that, see `random_dead`.
    generator
        Source of randomness on the device of the batch; None for torch's own.
    """
    lost = random_losses(batch.dead, channel_dropout_rate, generator)
    lost |= random_dead(
        batch.dead,
        fraction_max=dead_fraction_max,
        board_probability=dead_board_probability,
        generator=generator,
    )
    return replace(batch, dead=batch.dead | lost)


def random_dead(
    like: Tensor,
    *,
    fraction_max: float,
    board_probability: float,
    generator: Generator | None = None,
) -> Tensor:
    """Draw a dead pattern for each event: single channels, and whole boards.

    Parameters
    ----------
    like
        Any (events, 4760) tensor, for number of events and device.
    fraction_max
        The share of channels that are dead one by one is uniform from 0 to this.
    board_probability
        Probability that boards are dead too, from 1 to `MOST_BOARDS`.
    generator
        Source of randomness; None for torch's own.

    Returns
    -------
    dead
        (events, 4760) bool.
    """
    singles = random_losses(like, fraction_max, generator)
    return singles | dead_boards(like, board_probability, generator)


def random_losses(like: Tensor, most: float, generator: Generator | None = None) -> Tensor:
    """Draw single channels, a share of each event's that is uniform from 0 to ``most``."""
    if most == 0:
        return torch.zeros(like.shape, dtype=torch.bool, device=like.device)
    share = most * torch.rand(len(like), 1, generator=generator, device=like.device)
    return torch.rand(like.shape, generator=generator, device=like.device) < share


def dead_boards(like: Tensor, probability: float, generator: Generator | None = None) -> Tensor:
    """Draw 1 to `MOST_BOARDS` whole boards of each event, with a probability, else none."""
    events, device = len(like), like.device
    if probability == 0:
        return torch.zeros(like.shape, dtype=torch.bool, device=device)
    happens = torch.rand(events, 1, generator=generator, device=device) < probability
    count = torch.randint(1, MOST_BOARDS + 1, (events, 1), generator=generator, device=device)
    order = torch.rand(events, N_BOARDS, generator=generator, device=device).argsort(dim=1)
    chosen = order[:, :MOST_BOARDS]
    taken = happens & (torch.arange(MOST_BOARDS, device=device) < count)
    boards = torch.zeros(events, N_BOARDS, dtype=torch.bool, device=device)
    boards.scatter_(1, chosen, taken)
    return boards.repeat_interleave(BOARD_CHANNELS, dim=1)[:, :N_SENSORS]
