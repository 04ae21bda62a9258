"""Masks, losses and views of the masked autoencoders."""

import numpy as np
import pytest
import torch

from xec_deploy.detector.geometry import design_geometry
from xec_deploy.normalisation import Normalisation
from xec_train.config.mae import MaeTraining
from xec_train.data import RawBatch
from xec_train.mae.losses import SUMS, SensorLoss
from xec_train.mae.masks import regions
from xec_train.models import XecMae, XecMaeModelConfig

NORMALISATION = Normalisation(
    npho_scheme="sqrt", npho_scale2=1.0, time_scale=1e-8, time_shift=0.0, sentinel_time=-2.0
)


@pytest.fixture(scope="module")
def batch(simulated):
    arrays = (simulated[name][:6] for name in ("npho", "relative_time", "dead"))
    npho, time, dead = (torch.from_numpy(np.ascontiguousarray(values)) for values in arrays)
    return RawBatch(npho.float(), time.float(), dead.bool(), {})


@pytest.fixture(scope="module")
def x(batch):
    return torch.from_numpy(
        NORMALISATION.apply(batch.npho.numpy(), batch.time.numpy(), batch.dead.numpy())
    )


def test_a_region_is_all_around_one_sensor():
    generator = torch.Generator().manual_seed(3)
    hidden = regions(torch.zeros(200, 4760), 1.0, 20.0, generator).numpy()
    position = design_geometry().position
    for event in hidden[hidden.any(axis=1)][:20]:
        inside, outside = position[event], position[~event]
        # Some sensor has all hidden ones nearer than any other.
        distance = np.linalg.norm(inside[:, None] - inside, axis=2).max(axis=1)
        beyond = np.linalg.norm(inside[:, None] - outside, axis=2).min(axis=1)
        assert (distance < beyond).any()
        assert distance.min() < 20.0
    assert not regions(torch.zeros(5, 4760), 0.0, 20.0).any()


def test_the_loss_looks_at_masked_sensors_of_every_face_alike(batch, x):
    loss = SensorLoss(MaeTraining(loss_fn="mse"), NORMALISATION)
    valid = x[..., 0] != NORMALISATION.sentinel_npho
    prediction = x.clone()
    prediction[~valid] = 1e3
    sums = loss(prediction, x, valid, batch)
    assert sums.shape == (6, 2, len(SUMS))
    assert loss.totals(sums).tolist() == [0.0, 0.0]
    # An error of one on one of the small faces counts as one on all the inner face.
    for face in range(6):
        wrong = prediction.clone()
        wrong[:, loss.face == face, 0] += 1.0
        npho, time = loss.totals(loss(wrong, x, valid, batch)).tolist()
        assert npho == pytest.approx(1 / 6, rel=1e-4)
        assert time == 0.0


def test_sensors_without_a_time_have_no_time_loss(batch, x):
    loss = SensorLoss(MaeTraining(), NORMALISATION)
    valid = x[..., 0] != NORMALISATION.sentinel_npho
    timed = x[..., 1] != NORMALISATION.sentinel_time
    prediction = torch.zeros_like(x).requires_grad_()
    loss.totals(loss(prediction, x, valid, batch))[1].backward()
    moved = prediction.grad[..., 1] != 0
    assert moved.any()
    assert not (moved & ~(timed & valid)).any()


def test_bright_sensors_can_weigh_more(batch, x):
    valid = x[..., 0] != NORMALISATION.sentinel_npho
    bright = batch.npho > 100
    plain, weighted = (
        SensorLoss(
            MaeTraining.model_validate({"npho_loss_weight": {"enabled": enabled, "alpha": 1.0}}),
            NORMALISATION,
        )
        for enabled in (False, True)
    )
    prediction = x.clone()
    prediction[..., 0] += bright.float()
    first, second = (
        each.totals(each(prediction, x, valid, batch))[0] for each in (plain, weighted)
    )
    assert second > 1.5 * first


def test_hidden_sensors_are_not_looked_at(x):
    torch.manual_seed(0)
    model = XecMae(XecMaeModelConfig(width=32, fovea_rings=3), NORMALISATION)
    mask = torch.rand(x.shape[:2]) < 0.5
    other = torch.where(mask[..., None], torch.rand_like(x), x)
    views = [model.views(each, mask)[0] for each in (x, other)]
    assert torch.equal(*views)
    with torch.no_grad():
        assert torch.isfinite(model(model.seen(views[0]))).all()


def test_nothing_is_to_be_predicted_where_nothing_is_hidden(x):
    model = XecMae(XecMaeModelConfig(width=32, fovea_rings=3), NORMALISATION)
    view, difference = model.views(x, torch.zeros(x.shape[:2], dtype=torch.bool))
    assert view.shape == (6, model.encoder.view.count)
    assert difference.shape == (6, model.encoder.view.lights)
    assert (difference == 0).all()
