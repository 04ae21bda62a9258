"""Losses of single quantities."""

import math

import pytest
import torch
from torch.nn import functional

from xec_train.training.losses import class_loss, event_loss, unit_vectors

ONE = torch.ones(3)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(20, 3, generator=generator), 2 + torch.randn(20, 3, generator=generator)


@pytest.mark.parametrize(
    ("names", "torch_loss", "beta"),
    [
        (("smooth_l1", "huber"), lambda p, t: functional.smooth_l1_loss(p, t, beta=0.3), 0.3),
        (("l1",), functional.l1_loss, 1.0),
        (("mse", "l2"), functional.mse_loss, 1.0),
    ],
)
def test_plain_losses_are_those_of_torch(pair, names, torch_loss, beta):
    prediction, target = pair
    for name in names:
        events = event_loss(name, prediction, target, scale=ONE, beta=beta)
        assert events.shape == (20,)
        torch.testing.assert_close(events.mean(), torch_loss(prediction, target))


@pytest.mark.parametrize("name", ["smooth_l1", "l1", "mse", "gaussian_nll"])
def test_in_the_unit_of_the_scale_a_unit_does_not_matter(pair, name):
    prediction, target = pair
    scale = torch.tensor([0.5, 1.0, 20.0])
    factor = torch.tensor([1e-3, 10.0, 7.0])
    if name == "gaussian_nll":
        sigma = torch.tensor([-1.0, 0.3, 2.0]).expand(20, 3)
        other = torch.cat([prediction * factor, sigma + 2 * factor.log()], dim=1)
        prediction = torch.cat([prediction, sigma], dim=1)
    else:
        other = prediction * factor
    torch.testing.assert_close(
        event_loss(name, prediction, target, scale=scale, beta=0.5),
        event_loss(name, other, target * factor, scale=scale * factor, beta=0.5),
    )


def test_relative_losses_divide_by_the_truth():
    target = torch.tensor([[2.0], [-4.0], [1e-9]])
    prediction = torch.tensor([[3.0], [-2.0], [5e-4]])
    for name, expected in (("relative_l1", [0.5, 0.5, 0.5]), ("relative_mse", [0.25] * 3)):
        events = event_loss(name, prediction, target, scale=torch.tensor([7.0]))
        torch.testing.assert_close(events, torch.tensor(expected))


def test_cosine_is_of_directions():
    angles = torch.tensor([[90.0, 359.0], [60.0, 0.0]])
    others = torch.tensor([[90.0, 1.0], [63.0, 0.0]])
    events = event_loss("cosine", angles, others, scale=torch.ones(2))
    expected = [1 - math.cos(math.radians(2)), 1 - math.cos(math.radians(3))]
    torch.testing.assert_close(events, torch.tensor(expected))
    vectors = unit_vectors(others)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    events = event_loss("cosine", 5 * unit_vectors(angles), vectors, scale=ONE)
    torch.testing.assert_close(events, torch.tensor(expected))


def test_gaussian_nll_is_smallest_at_the_spread():
    error = torch.randn(20000, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    target = 3.0 * error
    losses = {
        sigma: event_loss(
            "gaussian_nll",
            torch.cat([torch.zeros_like(target), torch.full_like(target, 2 * math.log(sigma))], 1),
            target,
            scale=torch.ones(1),
            beta=0.0,
        ).mean()
        for sigma in (2.0, 2.7, 3.0, 3.3, 4.5)
    }
    assert min(losses, key=losses.get) == 3.0
    assert float(losses[3.0]) == pytest.approx(0.5 + math.log(3.0), abs=0.02)


def test_beta_weights_by_the_variance_without_a_gradient_through_the_weight():
    log_variance = torch.tensor([[1.2]], requires_grad=True)
    prediction = torch.cat([torch.zeros(1, 1), log_variance], dim=1)
    target = torch.tensor([[2.0]])
    gradients = []
    for beta in (0.0, 0.5):
        loss = event_loss("gaussian_nll", prediction, target, scale=torch.ones(1), beta=beta).sum()
        gradients.append(torch.autograd.grad(loss, log_variance, retain_graph=True)[0])
    torch.testing.assert_close(gradients[1], gradients[0] * math.exp(0.6))


def test_classes():
    logits = torch.tensor([[0.0] * 5, [9.0, 0.0, 0.0, 0.0, 0.0]])
    target = torch.tensor([[3.0], [0.0]])
    events = class_loss(logits, target)
    assert events[0].item() == pytest.approx(math.log(5))
    assert events[1].item() < 1e-3


def test_half_precision_is_left_before_the_difference():
    prediction = torch.tensor([[100.0]], dtype=torch.bfloat16)
    target = torch.tensor([[100.25]])
    assert event_loss("l1", prediction, target, scale=torch.ones(1)).item() == 0.25
