"""Dead patterns: whole boards, the asked shares, nothing revived, the same from the same seed."""

import pytest
import torch

from xec_deploy.detector.constants import N_SENSORS
from xec_deploy.normalisation import Normalisation, normalise_arrays
from xec_train.data import RawBatch, lose_channels
from xec_train.data.augment import BOARD_CHANNELS, MOST_BOARDS, dead_boards, random_dead

EVENTS = 400


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def batch():
    dead = torch.zeros(EVENTS, N_SENSORS, dtype=torch.bool)
    dead[:, ::50] = True
    npho = torch.full((EVENTS, N_SENSORS), 500.0)
    return RawBatch(npho, torch.full_like(npho, 1e-8), dead, {"energy": torch.ones(EVENTS, 1)})


def boards_of(dead):
    """How many of the channels of each board are dead; the last board is half as large."""
    padded = torch.zeros(len(dead), 298 * BOARD_CHANNELS, dtype=torch.int64)
    padded[:, :N_SENSORS] = dead
    return padded.reshape(len(dead), 298, BOARD_CHANNELS).sum(dim=2)


def test_dead_boards_are_whole_boards(batch):
    counts = boards_of(dead_boards(batch.dead, 1.0, generator()))
    full = torch.full((298,), BOARD_CHANNELS)
    full[-1] = 8
    assert ((counts == 0) | (counts == full)).all()
    boards = (counts > 0).sum(dim=1)
    assert boards.min() == 1
    assert boards.max() == MOST_BOARDS
    assert (counts > 0).any(dim=0).float().mean() > 0.9
    share = dead_boards(batch.dead, 0.25, generator()).any(dim=1).float().mean()
    assert 0.15 < share < 0.35
    assert not dead_boards(batch.dead, 0.0).any()


def test_single_channels_cover_the_range_of_shares(batch):
    share = random_dead(
        batch.dead, fraction_max=0.1, board_probability=0.0, generator=generator()
    ).float()
    by_event = share.mean(dim=1)
    assert by_event.min() < 0.01
    assert 0.08 < by_event.max() < 0.12
    assert abs(by_event.mean() - 0.05) < 0.01
    # every sensor is hit alike
    assert abs(share.mean(dim=0) - 0.05).max() < 0.06


def test_losses_are_encoded_as_dead_and_nothing_revives(batch):
    options = {"channel_dropout_rate": 0.1, "dead_fraction_max": 0.05}
    lost = lose_channels(batch, **options, dead_board_probability=0.5, generator=generator())
    assert (lost.dead | ~batch.dead).all()
    assert lost.dead.sum() > batch.dead.sum()
    assert lost.npho is batch.npho
    assert lost.targets is batch.targets
    definition = Normalisation()
    npho, time = normalise_arrays(lost.npho, lost.time, lost.dead, definition, torch)
    assert (npho[lost.dead] == definition.sentinel_npho).all()
    assert (time[lost.dead] == definition.sentinel_time).all()
    assert torch.equal(lose_channels(batch, generator=generator()).dead, batch.dead)


def test_the_generator_decides(batch):
    options = {"fraction_max": 0.1, "board_probability": 0.5}
    first = random_dead(batch.dead, **options, generator=generator(3))
    torch.manual_seed(0)
    again = random_dead(batch.dead, **options, generator=generator(3))
    assert torch.equal(first, again)
    assert not torch.equal(first, random_dead(batch.dead, **options, generator=generator(4)))
