"""Masks: valid sensors only, exact shares, faces, evenness in light, boards."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xec_deploy.detector.constants import N_SENSORS
from xec_deploy.detector.geometry import design_geometry
from xec_deploy.errors import UsageError
from xec_train.data import MaskSampler

EVENTS = 8


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def sensors(invalid=0.1, seed=0):
    random = generator(seed)
    valid = torch.rand(EVENTS, N_SENSORS, generator=random) >= invalid
    npho = torch.exp(torch.randn(EVENTS, N_SENSORS, generator=random) * 1.5 + 4)
    return valid, torch.where(valid, npho, 1e10)


samplers = st.builds(
    MaskSampler,
    ratio=st.floats(0, 1)
    | st.dictionaries(st.sampled_from(["inner", "us", "bot"]), st.floats(0, 1)),
    npho_flat=st.booleans(),
    board_probability=st.sampled_from([0.0, 0.5, 1.0]),
    time_scale=st.sampled_from([1.0, 3.0]),
)


@settings(deadline=None, max_examples=40)
@given(samplers, st.sampled_from([0.0, 0.1, 0.97, 1.0]), st.integers(0, 5))
def test_a_mask_never_touches_an_invalid_sensor(sampler, invalid, seed):
    valid, npho = sensors(invalid)
    time_valid = valid & (npho > 100)
    mask = sampler(valid, npho=npho, time_valid=time_valid, generator=generator(seed))
    assert mask.dtype == torch.bool
    assert not (mask & ~valid).any()
    again = sampler(valid, npho=npho, time_valid=time_valid, generator=generator(seed))
    assert torch.equal(mask, again)


@pytest.mark.parametrize("npho_flat", [False, True])
@pytest.mark.parametrize("ratio", [0.0, 0.05, 0.6, 1.0])
def test_the_share_is_of_the_valid_sensors_and_exact(ratio, npho_flat):
    valid, npho = sensors()
    mask = MaskSampler(ratio, npho_flat=npho_flat)(valid, npho=npho, generator=generator())
    expected = [int(count * ratio + 1e-6) for count in valid.sum(dim=1).tolist()]
    assert mask.sum(dim=1).tolist() == expected
    valid = torch.zeros(1, N_SENSORS, dtype=torch.bool)
    valid[:, :100] = True
    assert MaskSampler(0.05)(valid).sum() == 5


def test_shares_between_two_bounds():
    valid = torch.ones(500, N_SENSORS, dtype=torch.bool)
    share = MaskSampler(0.4, ratio_min=0.1)(valid, generator=generator()).float().mean(dim=1)
    assert 0.09 < share.min() < 0.12
    assert 0.38 < share.max() <= 0.4


def test_shares_by_face():
    valid, _ = sensors()
    mask = MaskSampler({"inner": 0.1, "us": 0.5, "top": 0.0})(valid, generator=generator())
    geometry = design_geometry()
    for face, ratio in {"inner": 0.1, "upstream": 0.5, "outer": 0.0, "top": 0.0}.items():
        ids = geometry.sensors_of(face)
        expected = [int(n * ratio + 1e-6) for n in valid[:, ids].sum(dim=1).tolist()]
        assert mask[:, ids].sum(dim=1).tolist() == expected


def test_flat_masks_take_bright_and_dim_sensors_alike():
    """In bins of log(npho), uniform masks follow the light; flat ones do not."""
    valid, npho = sensors()
    light = npho.log()

    def spread(mask):
        values = light[mask].numpy()
        counts, _ = np.histogram(values, bins=12, range=(1, 7))
        return counts.std() / counts.mean()

    uniform = MaskSampler(0.02)(valid, generator=generator())
    flat = MaskSampler(0.02, npho_flat=True)(valid, npho=npho, generator=generator())
    assert spread(flat) < 0.6 * spread(uniform)
    brightest = light.masked_fill(~valid, 0).argmax(dim=1)
    assert flat[torch.arange(EVENTS), brightest].float().mean() > 0.5


def test_sensors_with_a_time_are_masked_more_often():
    valid, npho = sensors(0.0)
    timed = npho > 300
    mask = MaskSampler(0.1, time_scale=4.0)(valid, time_valid=timed, generator=generator())
    assert mask[timed].float().mean() > 2 * mask[~timed].float().mean()


def test_boards_are_masked_whole_as_far_as_valid():
    valid, _ = sensors()
    mask = MaskSampler(0.0, board_probability=1.0)(valid, generator=generator())
    boards = mask[:, :4752].reshape(EVENTS, 297, 16)
    hit = boards.any(dim=2)
    assert torch.equal(boards[hit], valid[:, :4752].reshape(EVENTS, 297, 16)[hit])
    assert mask.any(dim=1).all()


def test_what_cannot_be_meant():
    with pytest.raises(UsageError, match=r"mask ratio 1\.5"):
        MaskSampler(1.5)
    with pytest.raises(UsageError, match=r"no face 'up'.*Did you mean 'top'|no face 'up'"):
        MaskSampler({"up": 0.1})
    with pytest.raises(UsageError, match=r"least mask ratio is not from 0 to 0\.1"):
        MaskSampler(0.1, ratio_min=0.2)
    valid, _ = sensors()
    with pytest.raises(ValueError, match="npho_flat needs npho"):
        MaskSampler(0.1, npho_flat=True)(valid)
    with pytest.raises(ValueError, match="time_scale needs time_valid"):
        MaskSampler(0.1, time_scale=2.0)(valid)
